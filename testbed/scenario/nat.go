package scenario

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"openmpa/internal/control"
	"openmpa/internal/event"
	"openmpa/testbed/bed"
	"openmpa/testbed/impair"
	"openmpa/testbed/nat"
)

// hooks are what a scenario does within a handover. They run on goroutines that
// others wait for.
type hooks struct {
	steal []impair.Kind // markers that are lost, each once
	// event is told of the mobile node's timeline, stolen of each marker lost.
	event  func(m *measured, e event.Event)
	stolen func(m *measured, k impair.Kind)
}

// natRebind has the translator forget its mappings and use other ports, three
// times in each handover, and lose what it is just carrying:
//
//	authentication ─── configuration, tunnel ─── registration ─── Depart, Departed
//	              ^ rebinds: the session                ^ lost;           ^ lost;
//	                is behind another port                rebinds           rebinds
//
// When it does so for the second time, the binding has not moved yet; for the
// third time, both ends hold their packets. So none of them is on its way to a
// mapping that is no more: nothing needs to be lost, and nothing may.
func natRebind(ctx context.Context, r *run) error {
	r.opt.NAT = true
	opt := r.opt.bed(r.p)
	opt.LoseMarkers = true
	return r.withBed(ctx, opt, func(b *bed.Bed) error {
		x := &rebinder{b: b}
		r.hooks = hooks{steal: []impair.Kind{impair.KindTunnelUp, impair.KindDeparted}, event: x.event, stolen: x.stolen}
		return r.repeat(ctx, b, func(name string, m measured) {
			r.judgeClean(name, m)
			for _, problem := range x.judge(m) {
				r.problem("%s: %s", name, problem)
			}
		})
	})
}

// A rebinder restarts the translator within handovers, and looks whether
// everything goes through it.
type rebinder struct {
	b *bed.Bed

	// Guarded by mu.
	mu       sync.Mutex
	ports    []nat.Range // in use at authentication, registration, departure
	problems []string
}

func (x *rebinder) problem(format string, args ...any) {
	x.problems = append(x.problems, fmt.Sprintf(format, args...))
}

// rebind is called with mu held.
func (x *rebinder) rebind(t *nat.Translator) {
	x.ports = append(x.ports, t.Ports())
	if err := t.Rebind(); err != nil {
		x.problem("%v", err)
	}
}

func (x *rebinder) event(m *measured, e event.Event) {
	if e.Phase != event.PhaseAuth || e.Kind != event.KindEnd {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.ports, x.problems = nil, nil
	x.rebind(x.b.NAT[m.From])
}

func (x *rebinder) stolen(m *measured, k impair.Kind) {
	x.mu.Lock()
	defer x.mu.Unlock()
	t := x.b.NAT[m.From]
	if k == impair.KindDeparted {
		x.expectPeer(m)
	} else {
		x.expectMapping(t, bed.PANAPort, "the session after the first change of ports")
	}
	x.rebind(t)
}

// expectPeer looks where the router's tunnel leads. The caller holds mu.
func (x *rebinder) expectPeer(m *measured) {
	t := x.b.NAT[m.From]
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	outer, err := tunnelPeer(ctx, x.b.Client(m.To))
	switch {
	case err != nil:
		x.problem("router %s: %v", m.To, err)
	case outer.Addr() != t.Outer() || !t.Ports().Has(outer.Port()):
		x.problem("after the second change of ports the tunnel of router %s leads to %v; expected the translator's %v and a port of %v",
			m.To, outer, t.Outer(), t.Ports())
	}
}

// expectMapping looks for an answered flow to a port of the other router. The
// caller holds mu.
func (x *rebinder) expectMapping(t *nat.Translator, port uint16, what string) {
	list, err := t.Mappings()
	if err != nil {
		x.problem("%v", err)
		return
	}
	for _, m := range list {
		if m.To.Port() == port && m.Outer.Addr() == t.Outer() && t.Ports().Has(m.Outer.Port()) && m.Returned > 0 {
			return
		}
	}
	x.problem("the translator has no answered mapping to port %d with a port of %v for %s; it has %+v", port, t.Ports(), what, list)
}

// judge says what was not as it should be in the handover that has ended.
func (x *rebinder) judge(m measured) []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	defer func() { x.ports, x.problems = nil, nil }()
	if len(x.ports) != 3 {
		x.problem("the translator took other ports %d times, expected 3", len(x.ports))
		return x.problems
	}
	if !x.ports[0].Has(m.authPeer.Port()) {
		x.problem("router %s authenticated %v; expected a port of %v", m.To, m.authPeer, x.ports[0])
	}
	x.expectMapping(x.b.NAT[m.From], bed.TunnelPort, "the tunnel after the third change of ports")
	return x.problems
}

// tunnelPeer is where the tunnel of a router's only visitor in a tunnel leads.
func tunnelPeer(ctx context.Context, c *control.Client) (netip.AddrPort, error) {
	var status struct {
		Visitors []struct {
			Outer string `json:"outer"`
		} `json:"visitors"`
	}
	if err := c.Status(ctx, &status); err != nil {
		return netip.AddrPort{}, err
	}
	for _, v := range status.Visitors {
		if v.Outer != "" {
			return netip.ParseAddrPort(v.Outer)
		}
	}
	return netip.AddrPort{}, fmt.Errorf("of its %d visitors none has a tunnel", len(status.Visitors))
}

// preauthenticated is the peer of the last pre-authentication in a router's
// timeline after record since; zero when there is none.
func preauthenticated(ctx context.Context, c *control.Client, since uint64) (peer netip.AddrPort, err error) {
	err = c.Events(ctx, since, false, func(e event.Event) error {
		if pre, _ := e.Attrs["preauth"].(bool); pre && e.Phase == event.PhaseAuth && e.Kind == event.KindEnd {
			text, _ := e.Attrs["peer"].(string)
			peer, _ = netip.ParseAddrPort(text)
		}
		return nil
	})
	return peer, err
}

// expectTranslated checks that the router authenticated the translator's address,
// not the node's own.
func (r *run) expectTranslated(name string, m measured) {
	if want := m.translator; m.authPeer.Addr() != want {
		r.problem("%s: router %s authenticated %v; expected the address %v of the translator, which is not on the path", name, m.To, m.authPeer, want)
	}
}
