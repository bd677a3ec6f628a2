package bed

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"

	"openmpa/aaa/radius"
	"openmpa/aaa/server"
	"openmpa/testbed/peers"
	"openmpa/testbed/proc"
	"openmpa/testbed/topo"
)

// startFreeRADIUS starts a FreeRADIUS that authenticates.
func (b *Bed) startFreeRADIUS(ctx context.Context, s aaaServer, a AAA) error {
	state, serverName := a.setup()
	certificates, err := server.OpenState(b.Run.File(state))
	if err != nil {
		return fmt.Errorf("bed: %w", err)
	}
	if _, err := certificates.ServerCertificate(serverName); err != nil {
		return fmt.Errorf("bed: %w", err)
	}
	f, err := b.freeRADIUS(s)
	if err != nil {
		return err
	}
	f.State = b.Run.File(state)
	f.MinTLS, f.MaxTLS = b.opt.tlsVersions()
	if f.Passwords, err = b.passwords(); err != nil {
		return err
	}
	b.opt.say("starting FreeRADIUS")
	return b.runFreeRADIUS(ctx, s, f)
}

// startFreeRADIUSProxy starts one that forwards to the home servers.
func (b *Bed) startFreeRADIUSProxy(ctx context.Context, s aaaServer) error {
	f, err := b.freeRADIUS(s)
	if err != nil {
		return err
	}
	port := uint16(aaaPort)
	f.Home = &peers.Home{Realm: homeRealm, Operator: s.realm, RadSec: b.opt.over(TransportRadSec)}
	if f.Home.RadSec {
		port = radsecPort
	}
	for _, h := range b.opt.homes() {
		f.Home.Servers = append(f.Home.Servers, h.at(port))
	}
	b.opt.say("starting FreeRADIUS of the visited operator")
	return b.runFreeRADIUS(ctx, s, f)
}

// freeRADIUS is what both have in common.
func (b *Bed) freeRADIUS(s aaaServer) (f peers.FreeRADIUS, err error) {
	secret, err := os.ReadFile(b.Run.File(radiusSecret))
	if err != nil {
		return f, fmt.Errorf("bed: %w", err)
	}
	f = peers.FreeRADIUS{
		Dir: b.Run.Path, Name: s.name, Listen: s.at(aaaPort),
		Clients: netip.MustParsePrefix("10.0.0.0/8"), Secret: string(bytes.TrimSpace(secret)),
	}
	if b.opt.over(TransportRadSec) {
		f.RadSec, f.Transport = s.at(radsecPort), b.transportFiles(s.identity)
	}
	return f, nil
}

// runFreeRADIUS starts it and waits until it lets somebody authenticate, itself or by its home server.
func (b *Bed) runFreeRADIUS(ctx context.Context, s aaaServer, f peers.FreeRADIUS) error {
	command, err := f.Command()
	if err != nil {
		return err
	}
	return b.run(ctx, proc.Spec{
		Name: s.name, Space: b.Top.Space(s.node), Command: command,
		Answers: func(ctx context.Context) error {
			return f.Answers(ctx, MNIdentity, func() (radius.Conn, error) { return b.udp(topo.RB, nil) })
		},
	})
}
