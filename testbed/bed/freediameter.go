package bed

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"

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
	b.opt.say("starting freeDiameter")
	return b.run(ctx, proc.Spec{
		Name: s.name, Space: b.Top.Space(s.node), Command: command,
		Answers: f.Connected,
	})
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
