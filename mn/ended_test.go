package mn

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"openmpa/aaa"
	"openmpa/aaa/aaatest"
	"openmpa/internal/osnet"
	"openmpa/internal/osnet/osnettest"
	"openmpa/paa/pana"
	"openmpa/par"
)

// watchedGate is an enforcement point of the kernel that remembers whom it lets pass.
type watchedGate struct {
	*osnet.Gate
	mu   sync.Mutex
	open map[netip.Addr]time.Duration
}

func (g *watchedGate) Permit(a netip.Addr, life time.Duration) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open[a] = life
	return g.Gate.Permit(a, life)
}

func (g *watchedGate) Forbid(a netip.Addr) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.open, a)
	return g.Gate.Forbid(a)
}

func (g *watchedGate) life(a netip.Addr) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open[a]
}

// TestEndedByAAA: what the AAA server ends is gone at the router: of a node that prepares
// tunnel and lease, of one that is served the enforcement point is closed; and it comes back
// only when the server lets it in again. What the server extends passes for longer.
func TestEndedByAAA(t *testing.T) {
	var gates []*watchedGate
	b := startOn(t, nil, func(*bed) {}, nil, func(c *par.Config) {
		g, err := osnet.OpenGate(osnet.GateConfig{Owner: osnet.OwnerAccessRouter, Dev: c.Access, PANA: pana.Port, DHCP: c.DHCPServer, Grace: time.Minute})
		if err != nil {
			t.Error(err)
			return
		}
		w := &watchedGate{Gate: g, open: map[netip.Addr]time.Duration{}}
		gates = append(gates, w)
		c.Gate = w
		t.Cleanup(func() { _ = g.Close(0) }) // with its namespace
	})
	who := aaa.Match{Identity: aaatest.Identity}
	here := netip.MustParseAddr("10.1.0.100")
	passes := func() (longest time.Duration) {
		for _, g := range gates {
			longest = max(longest, g.life(here))
		}
		return longest
	}
	b.eventually("the gate", func(Status) bool { return passes() > 0 })
	idle := osnettest.Snapshot(t)

	b.prepare("a")
	if v := b.routers["a"].Status().Visitors; len(v) != 1 || v[0].Outer == "" || len(b.dhcp.Leases()) != 2 {
		t.Fatalf("prepared: %+v, leases %v", v, b.dhcp.Leases())
	}
	if n := b.agents["a"].End(who, "unpaid"); n != 1 {
		t.Errorf("%d sessions ended", n)
	}
	b.eventually("no visitor", func(Status) bool { return len(b.routers["a"].Status().Visitors) == 0 })
	b.eventually("one lease", func(Status) bool { return len(b.dhcp.Leases()) == 1 })
	b.eventually("nothing prepared", func(s Status) bool { return s.Prepared == nil })
	if now := osnettest.Snapshot(t); now != idle {
		t.Errorf("left in the kernel: before\n%s\nafter\n%s", idle, now)
	}

	if n := b.agents["b"].Extend(who, 3*time.Hour); n != 1 {
		t.Errorf("%d sessions extended", n)
	}
	b.eventually("a longer life", func(Status) bool { return passes() > 2*time.Hour })
	before := b.node.Status().Session
	b.aaa["b"].Fail(&aaa.RejectError{Server: "x", Identity: "mn"})
	if n := b.agents["b"].End(who, "unpaid"); n != 1 {
		t.Errorf("%d sessions ended", n)
	}
	b.eventually("a closed gate", func(Status) bool { return passes() == 0 && len(b.routers["b"].Status().Visitors) == 0 })
	time.Sleep(500 * time.Millisecond) // it asks again, and is refused
	if d := passes(); d != 0 {
		t.Errorf("it passes for %v although it was refused", d)
	}
	b.aaa["b"].Fail(nil)
	b.eventually("another session", func(s Status) bool { return s.Session != 0 && s.Session != before && passes() > 0 })
	b.works()
	if _, ended := b.aaa["b"].Books(); len(ended) != 1 || ended[0].Cause != aaa.CauseAdmin {
		t.Errorf("%+v", ended)
	}
}
