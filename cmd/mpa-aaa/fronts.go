package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/netip"

	"openmpa/aaa/diameter"
	"openmpa/aaa/server"
	"openmpa/internal/config"
	"openmpa/internal/operators"
)

// fronts are the protocols in which routers ask.
type fronts struct {
	radius   *server.RADIUS
	radsec   *server.RadSec
	diameter *server.Diameter

	listen []string // protocol and address of each
	serve  []func(context.Context) error
	close  []func() error // of what serve would close
}

// open binds the sockets of all fronts: what fails is said at once.
func (c configuration) open(core *server.Server, log *slog.Logger) (*fronts, error) {
	f := &fronts{}
	err := f.openRADIUS(c.RADIUS, core, log)
	if err == nil {
		err = f.openRadSec(c.RadSec, core, log)
	}
	if err == nil {
		err = f.openDiameter(c.Diameter, core, log)
	}
	if err != nil {
		f.shut()
		return nil, err
	}
	return f, nil
}

// shut lets go of sockets that nobody serves.
func (f *fronts) shut() {
	for _, c := range f.close {
		_ = c() // it was only bound
	}
}

func listenError(at netip.AddrPort, err error) error {
	return fmt.Errorf("listen on %v: %w; is the address on this machine, and the port free?", at, err)
}

func (f *fronts) openRADIUS(c *radiusFront, core *server.Server, log *slog.Logger) error {
	if c == nil {
		return nil
	}
	clients, err := c.clients()
	if err != nil {
		return err
	}
	if f.radius, err = server.NewRADIUS(core, server.RADIUSConfig{Clients: clients, Log: log}); err != nil {
		return err
	}
	books, err := c.Accounting.of(c.Listen)
	if err != nil {
		return config.At("radius.accounting", err)
	}
	for _, one := range []struct {
		name  string
		at    netip.AddrPort
		serve func(context.Context, server.Conn) error
	}{{"radius", c.Listen, f.radius.Serve}, {"radius accounting", books, f.radius.ServeAccounting}} {
		if !one.at.IsValid() {
			continue
		}
		conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(one.at))
		if err != nil {
			return listenError(one.at, err)
		}
		f.close = append(f.close, conn.Close)
		f.serve = append(f.serve, func(ctx context.Context) error { return one.serve(ctx, conn) })
		f.listen = append(f.listen, one.name+" "+conn.LocalAddr().String())
	}
	return nil
}

// clients loads the secrets.
func (c *radiusFront) clients() ([]server.Client, error) {
	var out []server.Client
	for i, cl := range c.Clients {
		secret, err := cl.SecretFile.Load()
		if err != nil {
			return nil, config.At(fmt.Sprintf("radius.clients[%d].secret-file", i), err)
		}
		out = append(out, server.Client{Prefix: cl.Prefix, Secret: secret, Orders: cl.Orders})
	}
	return out, nil
}

func (f *fronts) openRadSec(c *radsecFront, core *server.Server, log *slog.Logger) error {
	if c == nil {
		return nil
	}
	pair, roots, err := operators.Certificates(c.CA, c.Certificate, c.Key)
	if err != nil {
		return config.At("radsec", err)
	}
	t := &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: roots, MinVersion: tls.VersionTLS13}
	if f.radsec, err = server.NewRadSec(core, server.RadSecConfig{TLS: t, Clients: c.Clients, Log: log}); err != nil {
		return err
	}
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(c.Listen))
	if err != nil {
		return listenError(c.Listen, err)
	}
	f.close = append(f.close, l.Close)
	f.serve = append(f.serve, func(ctx context.Context) error { return f.radsec.Serve(ctx, l) })
	f.listen = append(f.listen, "radsec "+l.Addr().String())
	return nil
}

func (f *fronts) openDiameter(c *diameterFront, core *server.Server, log *slog.Logger) error {
	if c == nil {
		return nil
	}
	front, doors, err := c.front(core, log)
	if err != nil {
		return err
	}
	f.diameter = front
	for _, d := range doors {
		f.close = append(f.close, d.Close)
		f.listen = append(f.listen, "diameter "+d.Addr().String())
	}
	f.serve = append(f.serve, front.Serve)
	return nil
}

// diameterStatus is what the control socket tells of Diameter.
type diameterStatus struct {
	Peers    []diameter.PeerStatus `json:"peers"`
	Counters diameter.Counters     `json:"counters"`
}

// status adds what the fronts tell.
func (f *fronts) status(s *status) {
	s.Listen = f.listen
	if f.radius != nil {
		n := f.radius.Counters()
		s.RADIUS = &n
	}
	if f.radsec != nil {
		n := f.radsec.Counters()
		s.RadSec = &n
	}
	if f.diameter != nil {
		n := f.diameter.Node()
		s.Diameter = &diameterStatus{Peers: n.Peers(), Counters: n.Counters()}
	}
}
