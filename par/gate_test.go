package par

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"openmpa/paa/notify"
	"openmpa/paa/pana"
)

// fakeGate is an enforcement point that remembers whom it lets pass.
type fakeGate struct {
	mu    sync.Mutex
	open  map[netip.Addr]time.Duration
	fail  int           // so many calls
	stuck chan struct{} // nil, or calls wait until it is closed
}

func (g *fakeGate) hold(stuck chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stuck = stuck
}

func (g *fakeGate) change(f func()) error {
	g.mu.Lock()
	stuck := g.stuck
	g.mu.Unlock()
	if stuck != nil {
		<-stuck
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.fail > 0 {
		g.fail--
		return errors.New("the kernel refuses")
	}
	f()
	return nil
}

func (g *fakeGate) Permit(a netip.Addr, life time.Duration) error {
	return g.change(func() { g.open[a] = life })
}

func (g *fakeGate) Forbid(a netip.Addr) error { return g.change(func() { delete(g.open, a) }) }

func (g *fakeGate) life(a netip.Addr) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open[a]
}

func startGate(t *testing.T) (*bed, *fakeGate) { return gated(t, start) }

func gated(t *testing.T, start func(*testing.T, func(*Config)) *bed) (*bed, *fakeGate) {
	t.Helper()
	g := &fakeGate{open: map[netip.Addr]time.Duration{}}
	return start(t, func(c *Config) { c.Gate = g }), g
}

// opens waits until the gate is told, which nobody is kept waiting for.
func (b *bed) opens(g *fakeGate, a netip.Addr, open bool, when string) {
	b.t.Helper()
	b.await(when, func() bool { return (g.life(a) > 0) == open })
	b.settled()
	if (g.life(a) > 0) != open {
		b.t.Errorf("%s: open %v for long only", when, !open)
	}
}

// settled waits until there is nothing that the gate is to be told.
func (b *bed) settled() {
	b.t.Helper()
	k := b.r.keeper
	b.await("the gate to be told all", func() bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		return len(k.due) == 0
	})
}

// TestGateCandidate: a node that prepares passes from its departure on, and no longer than
// its session.
func TestGateCandidate(t *testing.T) { families(t, gateCandidate) }

func gateCandidate(t *testing.T, start func(*testing.T, func(*Config)) *bed) {
	b, gate := gated(t, start)
	g := b.prepared(1)
	b.settled()
	if n := gate.life(g.addr); n != 0 {
		t.Errorf("a candidate passes for %v", n)
	}
	g.depart(header.Handover)
	b.opens(gate, g.addr, true, "the departure")
	b.r.SessionMessage(1, &notify.SwitchBack{Header: header})
	b.opens(gate, g.addr, false, "the switch back")
	g.depart(moved)
	b.opens(gate, g.addr, true, "another departure")
	g.settleIn()
	b.r.SessionMoved(1, netip.AddrPortFrom(g.addr, 1000))
	b.r.SessionActivated(1, netip.AddrPortFrom(g.addr, 1000))
	b.r.SessionMessage(1, &notify.Arrival{Header: header})
	b.opens(gate, g.addr, true, "the arrival")
	b.await("the flip", func() bool { return b.status(1).Mode == "direct" })
	b.r.SessionClosed(1, &pana.ErrLifetime{})
	b.opens(gate, g.addr, false, "the end of the session")
}

// TestGateGuest: a node that has logged in passes until it leaves, and then from its sealed
// arrival on, not by speaking from here alone.
func TestGateGuest(t *testing.T) { families(t, gateGuest) }

func gateGuest(t *testing.T, start func(*testing.T, func(*Config)) *bed) {
	b, gate := gated(t, start)
	g := b.attach(1)
	b.opens(gate, b.leased, true, "the login")
	if n := gate.life(b.leased); n < 59*time.Minute || n > time.Hour {
		t.Errorf("for %v, expected what is left of the session's hour", n)
	}
	g.depart(moved)
	b.opens(gate, b.leased, false, "the departure")
	g.resume(moved)
	b.r.SessionMoved(1, netip.AddrPortFrom(b.outer, 1000))
	b.r.SessionOpened(1, "mn@home.example", netip.AddrPortFrom(b.outer, 1000), false, sessionKeys(1), time.Hour) // again
	b.r.SessionMoved(1, netip.AddrPortFrom(b.leased, 1000))
	b.settled()
	if gate.life(b.leased) != 0 {
		t.Error("a node that was elsewhere passes by its address alone")
	}
	b.r.SessionMessage(1, &notify.Arrival{Header: header})
	b.opens(gate, b.leased, true, "the return")
	b.r.SessionMoved(1, netip.AddrPortFrom(b.outer, 1000)) // cut off, it says nothing but that
	b.opens(gate, b.leased, false, "the word from elsewhere")
}

// TestGateRace: somebody else on the link, or on the way, was first with what a node has said, so
// that its session is at his address. He does not pass by that, and the node passes again as soon
// as it says something more. Whoever has left in the meantime does not.
func TestGateRace(t *testing.T) {
	thief := netip.AddrPortFrom(netip.MustParseAddr("10.2.0.77"), 1000)
	node := netip.AddrPortFrom(leased, 1000)
	b, gate := startGate(t)
	g := b.attach(1)
	b.opens(gate, leased, true, "the login")
	for _, from := range []netip.AddrPort{thief, netip.AddrPortFrom(outer, 1000)} {
		b.r.SessionMoved(1, from)
		b.opens(gate, leased, false, "the race")
		if n := gate.life(from.Addr()); n != 0 {
			t.Errorf("whoever was first, from %v, passes for %v", from, n)
		}
		b.r.SessionMoved(1, node)
		b.opens(gate, leased, true, "the node's next word")
	}
	b.r.SessionMoved(1, thief)
	g.depart(moved)
	b.r.SessionMoved(1, node)
	b.settled()
	if gate.life(leased) != 0 {
		t.Error("a node that has departed passes by its address alone")
	}
}

// TestGateRaceAtLogin: the same with the last message of the login of a node whose address is not
// the router's. It goes by the address that the session has (RFC 5191 section 5.6), on this link.
func TestGateRaceAtLogin(t *testing.T) {
	thief := netip.MustParseAddr("10.2.0.77")
	b, gate := startGate(t)
	b.r.SessionOpened(1, "mn@home.example", netip.AddrPortFrom(thief, 1000), false, sessionKeys(1), time.Hour)
	b.opens(gate, thief, true, "the login")
	b.r.SessionMoved(1, netip.AddrPortFrom(leased, 1000))
	b.opens(gate, leased, true, "the node's next word")
	b.opens(gate, thief, false, "the node's next word")
	b.r.SessionMoved(1, netip.AddrPortFrom(outer, 1000))
	b.opens(gate, leased, false, "the word from elsewhere")
	if n := gate.life(outer); n != 0 {
		t.Errorf("an address of another network passes for %v", n)
	}
}

// TestGateTwoSessions: one address, two sessions of a node that has begun again.
func TestGateTwoSessions(t *testing.T) {
	b, gate := startGate(t)
	from := netip.AddrPortFrom(leased, 1000)
	gate.mu.Lock()
	gate.fail = 2
	gate.mu.Unlock()
	b.r.SessionOpened(1, "mn@home.example", from, false, sessionKeys(1), time.Hour)
	b.opens(gate, leased, true, "the login, at the kernel's third word")
	b.r.SessionOpened(2, "mn@home.example", from, false, sessionKeys(2), 2*time.Hour)
	b.r.SessionClosed(1, pana.ErrTerminated)
	b.await("the new session's lifetime", func() bool { return gate.life(leased) > time.Hour })
	b.r.SessionOpened(2, "mn@home.example", from, false, sessionKeys(2), 4*time.Hour)
	b.await("the lifetime after another authentication", func() bool { return gate.life(leased) > 3*time.Hour })
	b.r.SessionClosed(2, pana.ErrTerminated)
	b.opens(gate, leased, false, "the end of both")
	b.r.SessionOpened(3, "mn@home.example", netip.AddrPortFrom(outer, 1000), false, sessionKeys(3), time.Hour)
	b.settled()
	if gate.life(outer) != 0 {
		t.Error("an address of another network passes on the access link")
	}
}

// TestGateSuperseded: a node that has crashed begins again in another session, which is all that it
// passes by from then on: how long the PAA goes on telling the node of before that the old one has
// ended, which nobody answers any more, is all the same, and so is what comes of the old one meanwhile.
func TestGateSuperseded(t *testing.T) { families(t, gateSuperseded) }

func gateSuperseded(t *testing.T, start func(*testing.T, func(*Config)) *bed) {
	b, gate := gated(t, start)
	g := b.prepared(1)
	g.depart(header.Handover)
	b.opens(gate, g.addr, true, "the departure")
	b.r.SessionOpened(2, "mn@home.example", netip.AddrPortFrom(g.addr, 1000), false, sessionKeys(2), 2*time.Hour)
	b.await("the end of the old session", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.term[1]
	})
	b.await("the new session's lifetime", func() bool { return gate.life(g.addr) > time.Hour })
	b.r.SessionClosed(2, &pana.ErrPeerTerminated{})
	b.opens(gate, g.addr, false, "the end of the new session")
	b.r.SessionMoved(1, netip.AddrPortFrom(g.addr, 1000)) // was under way
	b.r.SessionActivated(1, netip.AddrPortFrom(g.addr, 1000))
	b.r.SessionMessage(1, &notify.Arrival{Header: header})
	b.settled()
	if gate.life(g.addr) != 0 {
		t.Error("the node passes by a session in the place of which it has begun another")
	}
}

// TestGateOutlives: a router that ends shuts nobody out who may pass, since the one after it
// finds him there.
func TestGateOutlives(t *testing.T) {
	b, gate := startGate(t)
	b.attach(1)
	b.opens(gate, leased, true, "the login")
	b.r.SessionClosed(1, context.Canceled) // as the PAA says when it ends
	b.r.Close()
	if gate.life(leased) == 0 {
		t.Error("the router has ended, and the node that is on the link passes no more")
	}
}

// stubbornGate refuses one address, and everything else the first time.
type stubbornGate struct {
	fakeGate
	refused netip.Addr
}

func (g *stubbornGate) Permit(a netip.Addr, life time.Duration) error {
	if a == g.refused {
		return fmt.Errorf("the kernel refuses %v", a)
	}
	return g.fakeGate.Permit(a, life)
}

// TestGateRefuses: what the gate refuses for one address keeps back nothing that is for others,
// whichever comes first, and every refusal is said.
func TestGateRefuses(t *testing.T) {
	const many = 20
	addr := func(i byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 2, 0, i}) }
	g := &stubbornGate{fakeGate{open: map[netip.Addr]time.Duration{}, fail: 3}, addr(7)}
	k := newGatekeeper(g)
	for i := range byte(many) {
		k.set(uint32(i), addr(i), time.Now().Add(time.Hour))
	}
	err := k.tell()
	if err == nil || !strings.Contains(err.Error(), "refuses "+addr(7).String()) || strings.Count(err.Error(), "\n") != 3 {
		t.Errorf("error %v, expected that of %v and three more", err, addr(7))
	}
	if len(g.open) != many-4 || len(k.due) != 4 {
		t.Errorf("%d pass, %d are due, expected %d and 4", len(g.open), len(k.due), many-4)
	}
	err = k.tell() // again
	if err == nil || len(g.open) != many-1 || len(k.due) != 1 {
		t.Errorf("the second time %d pass, %d are due, error %v", len(g.open), len(k.due), err)
	}
}

// TestGateDeparture: a departure to us is answered when the gate is open, since what the node sends may
// follow the answer at once. A gate that is stuck does not keep the answer back for good.
func TestGateDeparture(t *testing.T) {
	for _, x := range []struct {
		what string
		wait time.Duration
		open bool // within that, and so before the answer
	}{
		{"a slow gate", patience, true},
		{"a gate that is stuck", time.Millisecond, false},
	} {
		t.Run(x.what, func(t *testing.T) {
			b, gate := startGate(t)
			b.r.keeper.wait = x.wait
			g := b.prepared(1)
			b.settled()
			stuck := make(chan struct{})
			release := sync.OnceFunc(func() { close(stuck) })
			defer release()
			gate.hold(stuck)
			if x.open {
				time.AfterFunc(50*time.Millisecond, release)
			}
			g.depart(header.Handover)
			if open := gate.life(g.addr) > 0; open != x.open {
				t.Errorf("answered with the gate open %v, expected %v", open, x.open)
			}
			release()
			b.opens(gate, g.addr, true, "the departure")
		})
	}
}
