package mn

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"openmpa/mn/mobility/mip6"
)

// pump carries mobility messages between routes and a correspondent, nil for one that does
// not answer, for d, and returns how many went out.
func pump(t *testing.T, r *routes, peer *mip6.Correspondent, now *time.Time, d time.Duration) (sent int) {
	t.Helper()
	for end := now.Add(d); ; {
		for s, ok := r.next(*now); ok; s, ok = r.next(*now) {
			if sent++; peer == nil {
				continue
			}
			if err := peer.HandlePacket(*now, s.data); err != nil {
				t.Fatal(err)
			}
			for o, ok := peer.Poll(); ok; o, ok = peer.Poll() {
				a, ok := o.(mip6.Send)
				if !ok {
					continue
				}
				p, err := mip6.ParsePacket(a.Packet)
				if err == nil {
					err = r.handle(*now, p.Src, received{data: a.Packet, tunnel: p.Dst == homeAddress6})
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		at, ok := r.deadline()
		if !ok || at.After(end) || !now.Before(end) {
			*now = end
			return sent
		}
		if at.After(*now) {
			*now = at
		} else {
			*now = now.Add(time.Millisecond)
		}
		r.onDeadline(*now)
	}
}

func newTestRoutes(prefix string) *routes {
	return newRoutes(mip6.ClientConfig{Home: homeAddress6, Rand: &counting{}}, []netip.Prefix{netip.MustParsePrefix(prefix)}, discard)
}

// counting is a source of octets that are never the same.
type counting struct{ n byte }

func (c *counting) Read(b []byte) (int, error) {
	for i := range b {
		c.n++
		b[i] = c.n
	}
	return len(b), nil
}

// TestRoutesLife: a correspondent is asked when something is sent there, told of a move, kept
// while it is used, and forgotten after.
func TestRoutesLife(t *testing.T) {
	now := time.Now()
	coa := []netip.Addr{netip.MustParseAddr("2001:db8:1::5"), netip.MustParseAddr("2001:db8:2::5")}
	r := newTestRoutes("2001:db8:4::/64")
	peer, err := mip6.NewCorrespondent(mip6.CorrespondentConfig{Address: correspondentAddr, Rand: &counting{}})
	if err != nil {
		t.Fatal(err)
	}
	if r.careOf(peerAddr6).IsValid() || len(r.wanted) != 0 {
		t.Error("one that is not named is asked")
	}
	if r.careOf(correspondentAddr).IsValid() {
		t.Error("known before it was asked")
	}
	r.add(now, <-r.wanted)
	if n := pump(t, r, peer, &now, time.Second); n != 0 {
		t.Errorf("%d messages without a binding at the home agent", n)
	}
	if r.registered(now, coa[0], now.Add(time.Hour)) != true {
		t.Error("nobody is told of the first address")
	}
	pump(t, r, peer, &now, time.Second)
	if !r.settled(now) || r.settled(now) || r.careOf(correspondentAddr) != coa[0] {
		t.Errorf("it knows %v", r.careOf(correspondentAddr))
	}
	if r.registered(now, coa[0], now.Add(2*time.Hour)) {
		t.Error("told of a renewal")
	}
	if !r.registered(now, coa[1], now.Add(time.Hour)) || r.settled(now) {
		t.Error("settled before it was told of the next address")
	}
	pump(t, r, peer, &now, time.Second)
	if !r.settled(now) || r.careOf(correspondentAddr) != coa[1] || len(r.status()) != 1 {
		t.Errorf("it knows %v", r.careOf(correspondentAddr))
	}
	c := (*r.known.Load())[correspondentAddr]
	for range 4 { // in use beyond the lifetime of the binding
		pump(t, r, peer, &now, 3*time.Minute)
		c.used.Store(now.UnixNano())
	}
	if r.careOf(correspondentAddr) != coa[1] {
		t.Error("not renewed")
	}
	c.used.Store(now.UnixNano())
	pump(t, r, peer, &now, routeIdle+mip6.MaxRouteLifetime)
	if _, bound := peer.CareOf(homeAddress6); bound || r.knows(correspondentAddr) {
		t.Error("kept although nobody uses it")
	}
}

// TestRoutesSilent: one that does not answer delays a move for a bounded time, and is asked less
// and less often; there is room for so many.
func TestRoutesSilent(t *testing.T) {
	now := time.Now()
	r := newTestRoutes("2001:db8:4::/64")
	r.add(now, correspondentAddr)
	r.registered(now, netip.MustParseAddr("2001:db8:1::5"), now.Add(24*time.Hour))
	pump(t, r, nil, &now, routesWithin-100*time.Millisecond)
	if r.settled(now) {
		t.Error("settled although it is being asked")
	}
	pump(t, r, nil, &now, 100*time.Millisecond)
	if !r.settled(now) {
		t.Error("a move waits for one that does not answer")
	}
	c := (*r.known.Load())[correspondentAddr]
	c.used.Store(now.Add(time.Hour).UnixNano()) // all the time
	first := pump(t, r, nil, &now, 10*time.Minute)
	if next := pump(t, r, nil, &now, 10*time.Minute); next >= first || next == 0 {
		t.Errorf("%d messages in ten minutes, %d in the next", first, next)
	}
	for i := range 2 * maxRoutes {
		r.add(now, netip.MustParseAddr(fmt.Sprintf("2001:db8:4::1:%x", i)))
	}
	if n := len(*r.known.Load()); n != maxRoutes {
		t.Errorf("%d correspondents, expected %d", n, maxRoutes)
	}
}
