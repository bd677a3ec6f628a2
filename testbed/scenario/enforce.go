package scenario

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"openmpa/testbed/bed"
	"openmpa/testbed/topo"
	"openmpa/testbed/traffic"
)

const (
	strangerPort = 20100
	strangerSays = 50                     // datagrams to each place that is closed to it
	strangerWait = 200 * time.Millisecond // for what nothing should come of
)

// strangers has the bare host, which has never authenticated, stand on the access link, and judges
// that what it sends gets to where everybody may send, and nowhere else.
func (r *run) strangers(ctx context.Context, b *bed.Bed) (err error) {
	if !r.opt.Enforce || b.Bare == nil {
		return nil
	}
	r.p.Line("%s: a station that has not authenticated sends", r.res.Scenario)
	a, _ := topo.NetworkByName("a")
	if b.Bare.Point() != a.Points[0] {
		if _, err := b.Bare.Attach(ctx, a.Points[0]); err != nil {
			return err
		}
	}
	from, err := listenIn(b.Plain(topo.Bare, topo.BareAddress))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	open, err := listenIn(b.Plain(topo.CN, topo.Correspondent))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, open.Close()) }()
	closed := map[string]*net.UDPConn{}
	for node, addr := range map[string]netip.Addr{topo.HA: topo.HomeAgent, a.Router: a.Address} {
		if closed[node], err = listenIn(b.Plain(node, addr)); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, closed[node].Close()) }()
	}
	say := func(to net.Addr) error {
		if _, err := from.WriteTo([]byte{0}, to); err != nil {
			return fmt.Errorf("scenario: %w", err)
		}
		return nil
	}
	var flaw error
	passes := func() bool { // more than once: the link has come up just now
		var n int
		if flaw = say(open.LocalAddr()); flaw == nil {
			n, flaw = heard(open, time.Now().Add(strangerWait), 1)
		}
		return n > 0 || flaw != nil
	}
	if await(ctx, cleanLimit, passes) != nil && ctx.Err() == nil {
		r.problem("%s: what a station that has not authenticated sends does not get to %v, which is open to all", r.res.Scenario, topo.Correspondent)
		return nil
	}
	if err := errors.Join(ctx.Err(), flaw); err != nil {
		return err
	}
	for _, c := range closed {
		for range strangerSays {
			if err := say(c.LocalAddr()); err != nil {
				return err
			}
		}
	}
	if !passes() || flaw != nil {
		r.problem("%s: what a station that has not authenticated sends does not get to %v any more (%v)", r.res.Scenario, topo.Correspondent, flaw)
	}
	until := time.Now().Add(strangerWait)
	for node, c := range closed {
		if n, err := heard(c, until, strangerSays); err != nil {
			return err
		} else if n > 0 {
			r.problem("%s: of %d datagrams of a station that has not authenticated %d got to %s", r.res.Scenario, strangerSays, n, node)
		}
	}
	return nil
}

func listenIn(e traffic.Endpoint) (conn *net.UDPConn, err error) {
	err = e.Space.Do(func() error {
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(e.Addr, strangerPort)))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("scenario: listen in %s: %w", e.Space.Name(), err)
	}
	return conn, nil
}

// heard counts datagrams until then, or until there are so many.
func heard(c *net.UDPConn, until time.Time, most int) (n int, err error) {
	if err := c.SetReadDeadline(until); err != nil {
		return 0, fmt.Errorf("scenario: %w", err)
	}
	for b := make([]byte, 64); n < most; n++ {
		if _, err := c.Read(b); errors.Is(err, os.ErrDeadlineExceeded) {
			return n, nil
		} else if err != nil {
			return n, fmt.Errorf("scenario: %w", err)
		}
	}
	return n, nil
}
