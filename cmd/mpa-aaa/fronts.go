package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"

	"golang.org/x/sync/errgroup"

	"openmpa/aaa/diameter"
	"openmpa/aaa/server"
)

// fronts are the protocols by which routers ask.
type fronts struct {
	radius   *server.RADIUS // nil: not by it
	conn     *net.UDPConn
	diameter *server.Diameter // nil: not by it
	doors    []diameter.Listener
}

// fronts makes those that the configuration has.
func (c configuration) fronts(core *server.Server, log *slog.Logger) (*fronts, error) {
	f := &fronts{}
	var err error
	if c.Diameter != nil {
		if f.diameter, f.doors, err = c.Diameter.front(core, log); err != nil {
			return nil, err
		}
	}
	if !c.radius() {
		return f, nil
	}
	clients, err := c.clients()
	if err == nil {
		f.radius, err = server.NewRADIUS(core, server.RADIUSConfig{Clients: clients, Log: log})
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if f.conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(c.Listen)); err != nil {
		f.conn = nil
		return nil, errors.Join(fmt.Errorf("listen on %v: %w; is the address on this machine, and the port free?", c.Listen, err), f.Close())
	}
	return f, nil
}

// serve has them answer until ctx is done.
func (f *fronts) serve(ctx context.Context, group *errgroup.Group) {
	if f.radius != nil {
		group.Go(func() error { return f.radius.Serve(ctx, f.conn) })
	}
	if f.diameter != nil {
		group.Go(func() error { return f.diameter.Serve(ctx) })
	}
}

// Close lets go of what was not served.
func (f *fronts) Close() error {
	err := closeAll(f.doors)
	if f.conn != nil {
		err = errors.Join(err, f.conn.Close())
	}
	return err
}

// addresses are where routers ask, for the log.
func (f *fronts) addresses() string {
	var list []string
	if f.conn != nil {
		list = append(list, "radius "+f.conn.LocalAddr().String())
	}
	if f.diameter != nil {
		for _, l := range f.doors {
			list = append(list, "diameter "+l.Addr().String())
		}
	}
	return strings.Join(list, ", ")
}

// diameterStatus is what the control socket tells of Diameter.
type diameterStatus struct {
	Peers    []diameter.PeerStatus `json:"peers"`
	Counters diameter.Counters     `json:"counters"`
}

func (f *fronts) status(s *status) {
	if f.conn != nil {
		s.Listen, s.RADIUS = f.conn.LocalAddr().String(), f.radius.Counters()
	}
	if f.diameter != nil {
		n := f.diameter.Node()
		s.Diameter = &diameterStatus{Peers: n.Peers(), Counters: n.Counters()}
	}
}
