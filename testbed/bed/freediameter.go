package bed

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"openmpa/testbed/peers"
	"openmpa/testbed/proc"
)

// relays are those of the lab that are freeDiameter.
func (b *Bed) relays() (all []aaaServer) {
	if b.opt.AAA != AAAFreeDiameter {
		return nil
	}
	return b.opt.between()
}

// startFreeDiameter starts a relay between the routers and the home servers.
func (b *Bed) startFreeDiameter(ctx context.Context, s aaaServer) error {
	f := b.freeDiameter(s)
	command, err := f.Command()
	if err != nil {
		return err
	}
	hosts, err := b.hosts()
	if err != nil {
		return err
	}
	// It asks for the name of whoever connects, and until that is answered, or nobody has answered for 5 s and
	// more, takes no other connection. The names are in a file that only it sees as /etc/hosts.
	command = append([]string{"unshare", "--mount", "sh", "-c", `mount --bind "$0" /etc/hosts && exec "$@"`, hosts}, command...)
	b.opt.say("starting freeDiameter")
	return b.run(ctx, proc.Spec{
		Name: s.name, Space: b.Top.Space(s.node), Command: command,
		Answers: f.Connected,
	})
}

// hosts writes a file of the names of routers and servers.
func (b *Bed) hosts() (path string, err error) {
	var text strings.Builder
	text.WriteString("127.0.0.1 localhost\n")
	for _, n := range b.opt.networks() {
		fmt.Fprintf(&text, "%v %s\n", n.Outer, routerIdentity(n))
	}
	for _, s := range append(b.opt.homes(), b.opt.between()...) {
		fmt.Fprintf(&text, "%v %s\n", s.addr, s.identity)
	}
	path = b.Run.File("hosts")
	if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
		return "", fmt.Errorf("bed: %w", err)
	}
	return path, nil
}

func (b *Bed) freeDiameter(s aaaServer) peers.FreeDiameter {
	f := peers.FreeDiameter{
		Dir: b.Run.Path, Name: s.name, Identity: s.identity, Realm: s.realm, Transport: b.transportFiles(s.identity),
	}
	secured := b.opt.over(TransportDiameterTLS)
	here := netip.AddrPortFrom(s.addr, b.opt.diameterPort()+s.above)
	if secured {
		f.TLS = here
	} else {
		f.Listen = here
	}
	for _, n := range b.opt.networks() {
		f.Clients = append(f.Clients, routerIdentity(n))
	}
	for _, h := range b.opt.homes() {
		f.Peers = append(f.Peers, peers.DiameterPeer{Identity: h.identity, Realm: h.realm, Addr: h.at(b.opt.diameterPort()), TLS: secured})
	}
	return f
}

// complaints are what relays have to say of what they were sent: nothing, if all is well.
func (b *Bed) complaints() error {
	var errs []error
	for _, s := range b.relays() {
		log, err := os.ReadFile(b.Run.File(s.name + ".log"))
		if errors.Is(err, os.ErrNotExist) {
			continue // it was not started
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("bed: %w", err))
		}
		for _, line := range b.freeDiameter(s).Complaints(log) {
			errs = append(errs, fmt.Errorf("freeDiameter %s complains: %s", s.name, line))
		}
	}
	return errors.Join(errs...)
}
