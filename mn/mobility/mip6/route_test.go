package mip6

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
	"time"
)

// both are a mobile node's route and the correspondent, with a path that loses nothing
// between them.
type both struct {
	testing.TB
	*Route
	peer *Correspondent
	now  time.Time
	// lose says which packets do not arrive; nil: none.
	lose func(pkt []byte) bool
	seen [][]byte // all packets
	up   []RouteUp
	down []RouteDown
	fail []RouteFailed
}

func newBoth(t testing.TB) *both {
	return &both{TB: t, Route: newTestRoute(t, nil), peer: newTestCorrespondent(t, nil), now: epoch}
}

// run carries packets until there are none.
func (b *both) run() {
	b.Helper()
	for range 1000 {
		moved := false
		for _, o := range drain(b.Route) {
			switch o := o.(type) {
			case Send:
				moved = true
				b.seen = append(b.seen, o.Packet)
				if p, _ := ParsePacket(o.Packet); o.Tunnel != (p.Src == home) {
					b.Errorf("from %v, tunnel %v", p.Src, o.Tunnel)
				}
				if b.lose == nil || !b.lose(o.Packet) {
					if err := b.peer.HandlePacket(b.now, o.Packet); err != nil {
						b.Log(err)
					}
				}
			case RouteUp:
				b.up = append(b.up, o)
			case RouteDown:
				b.down = append(b.down, o)
			case RouteFailed:
				b.fail = append(b.fail, o)
			}
		}
		for _, o := range drain(b.peer) {
			moved = true
			send, ok := o.(Send)
			if !ok {
				continue
			}
			pkt := send.Packet
			b.seen = append(b.seen, pkt)
			if b.lose == nil || !b.lose(pkt) {
				p, _ := ParsePacket(pkt)
				if err := b.HandlePacket(b.now, pkt, p.Dst == home); err != nil {
					b.Log(err)
				}
			}
		}
		if !moved {
			return
		}
	}
	b.Fatal("packets without end")
}

// to lets the clock go on.
func (b *both) to(end time.Time) {
	b.Helper()
	for range 10000 {
		b.run()
		at, ok := b.Deadline()
		if peer, more := b.peer.Deadline(); more && (!ok || peer.Before(at)) {
			at, ok = peer, true
		}
		if !ok || at.After(end) {
			b.now = end
			return
		}
		b.now = at
		b.OnDeadline(at)
		b.peer.OnDeadline(at)
	}
	b.Fatal("the deadline does not move")
}

func (b *both) start(careOf netip.Addr) {
	b.Helper()
	b.Start(b.now, careOf, time.Time{})
	b.run()
}

// types counts what was sent, by type, and forgets it.
func (b *both) types() map[byte]int {
	n := make(map[byte]int)
	for _, pkt := range b.seen {
		p, _ := ParsePacket(pkt)
		n[p.Payload[2]]++
	}
	b.seen = nil
	return n
}

func (b *both) agreed(careOf netip.Addr) {
	b.Helper()
	mine, _ := b.Route.CareOf()
	theirs, _ := b.peer.CareOf(home)
	if mine != careOf || theirs != careOf {
		b.Errorf("mobile node %v, correspondent %v, expected %v", mine, theirs, careOf)
	}
}

func TestRoute(t *testing.T) {
	b := newBoth(t)
	b.start(careA)
	b.agreed(careA)
	if n := b.types(); n[TypeHomeTestInit] != 1 || n[TypeCareOfTestInit] != 1 || n[TypeHomeTest] != 1 || n[TypeCareOfTest] != 1 || n[TypeUpdate] != 1 || n[TypeAck] != 1 {
		t.Errorf("messages %v", n)
	}
	if len(b.up) != 1 || !b.up[0].Expires.Equal(epoch.Add(420*time.Second)) {
		t.Errorf("%+v", b.up)
	}
	// Moved soon: the home token serves again (RFC 6275 section 5.2.7).
	b.now = b.now.Add(100 * time.Second)
	b.start(careB)
	b.agreed(careB)
	if n := b.types(); n[TypeHomeTestInit] != 0 || n[TypeCareOfTestInit] != 1 || n[TypeUpdate] != 1 {
		t.Errorf("moved: %v", n)
	}
	b.start(careA)
	b.agreed(careA)
	if n := b.types(); n[TypeCareOfTestInit] != 0 || n[TypeUpdate] != 1 {
		t.Errorf("and back: %v", n)
	}
	// Renewed in time, with new tests.
	b.to(b.now.Add(1000 * time.Second))
	b.agreed(careA)
	if len(b.down) != 0 || len(b.up) < 5 || !b.up[len(b.up)-1].Renewal {
		t.Errorf("%+v, %+v", b.up, b.down)
	}
	// Deleted, away: the home token alone.
	b.types()
	b.Delete(b.now, careA)
	b.run()
	b.agreed(netip.Addr{})
	if len(b.down) != 1 || b.down[0].Err != nil {
		t.Errorf("%+v", b.down)
	}
	// And made again, although the correspondent remembers the sequence numbers.
	b.now = b.now.Add(time.Second)
	b.start(careC)
	b.agreed(careC)
	// Deleted from home.
	b.now = b.now.Add(300 * time.Second)
	b.Delete(b.now, home)
	pkt := pick[Send](t, b.Route).Packet
	if p, _ := opened[*HomeTestInit](t, pkt); p.Src != home {
		t.Errorf("from %v", p.Src)
	}
	if err := b.peer.HandlePacket(b.now, pkt); err != nil {
		t.Fatal(err)
	}
	if err := b.HandlePacket(b.now, pick[Send](t, b.peer).Packet, false); err != nil {
		t.Fatal(err)
	}
	b.lose = func([]byte) bool { return false }
	p, u := opened[*Update](t, pick[Send](t, b.Route).Packet)
	if p.Home.IsValid() || u.Lifetime != 0 {
		t.Errorf("%+v from %v", u, p.Src)
	}
}

// TestRouteData has the headers of the data path.
func TestRouteData(t *testing.T) {
	b := newBoth(t)
	up, down := chain(home, cn, nil), chain(cn, home, nil)
	if _, err := b.AppendOutgoing(nil, up); !errors.Is(err, ErrNoBinding) {
		t.Errorf("without a binding: %v", err)
	}
	if out, err := b.peer.AppendOutgoing(nil, down); err != nil || !bytes.Equal(out, down) {
		t.Errorf("without a binding %x: %v", out, err)
	}
	b.start(careA)
	out, err := b.AppendOutgoing(nil, up)
	if err != nil {
		t.Fatal(err)
	}
	if in, err := b.peer.AppendIncoming(b.now, nil, out); err != nil || !bytes.Equal(in, up) {
		t.Errorf("up %x: %v", in, err)
	}
	if out, err = b.peer.AppendOutgoing(nil, down); err != nil {
		t.Fatal(err)
	}
	if in, err := b.AppendIncoming(nil, out); err != nil || !bytes.Equal(in, down) {
		t.Errorf("down %x: %v", in, err)
	}
	strange, err := AppendToCareOf(nil, chain(cn, other, nil), careA)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.AppendIncoming(nil, strange); !errors.Is(err, ErrHeader) {
		t.Errorf("a routing header to another home address: %v", err)
	}
	// Asked for again before its end, because it is in use.
	b.lose = func(pkt []byte) bool { p, _ := ParsePacket(pkt); return p.Src == careA || p.Src == home } // the renewals
	b.to(b.now.Add(415 * time.Second))
	if n := b.types(); n[TypeRefreshRequest] != 1 {
		t.Errorf("%v: expected a refresh request", n)
	}
	// The correspondent has lost it (it was started again): a Binding Error brings it back.
	b.peer, b.lose = newTestCorrespondent(t, nil), nil
	b.start(careA)
	b.peer = newTestCorrespondent(t, func(c *CorrespondentConfig) { c.Rand = newRandom(9) })
	if out, err = b.AppendOutgoing(nil, up); err != nil {
		t.Fatal(err)
	}
	b.now = b.now.Add(2 * time.Second)
	if _, err := b.peer.AppendIncoming(b.now, nil, out); !errors.Is(err, ErrNoBinding) {
		t.Errorf("without a binding: %v", err)
	}
	b.run()
	b.agreed(careA)
	if len(b.down) != 1 || !errors.Is(b.down[0].Err, ErrNoBinding) {
		t.Errorf("%+v", b.down)
	}
	answered := 0
	for range 50 {
		_, _ = b.peer.AppendIncoming(b.now, nil, mustFromHome(t, chain(other, cn, nil)))
		answered += len(drain(b.peer))
	}
	if answered == 0 || answered > errorRate {
		t.Errorf("%d binding errors within a second", answered)
	}
}

func mustFromHome(t testing.TB, b []byte) []byte {
	t.Helper()
	out, err := AppendFromHome(nil, b, careA)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestRouteFails: nobody answers; the correspondent does not know Mobile IPv6.
func TestRouteFails(t *testing.T) {
	b := newBoth(t)
	b.lose = func([]byte) bool { return true }
	b.start(careA)
	b.to(b.now.Add(time.Minute))
	var te *TimeoutError
	if len(b.fail) != 1 || !errors.As(b.fail[0].Err, &te) {
		t.Fatalf("%+v", b.fail)
	}
	if n := b.types(); n[TypeHomeTestInit] != 4 || n[TypeCareOfTestInit] != 4 || n[TypeUpdate] != 0 {
		t.Errorf("%v: expected one and three repetitions", n)
	}
	b.Start(b.now, careA, time.Time{})
	drain(b.Route)
	if err := b.HandlePacket(b.now, packet(t, &Error{Status: ErrorUnknownType, Home: netip.IPv6Unspecified()}, cn, careA, netip.Addr{}, nil), false); err != nil {
		t.Error(err)
	}
	if f := pick[RouteFailed](t, b.Route); !errors.Is(f.Err, ErrUnsupported) {
		t.Errorf("%+v", f)
	}
	b.now = b.now.Add(time.Second)
	b.Start(b.now, careA, time.Time{})
	b.Unsupported(b.now)
	if f := pick[RouteFailed](t, b.Route); !errors.Is(f.Err, ErrUnsupported) {
		t.Errorf("%+v", f)
	}
	b.Start(b.now, home, time.Time{})
	if f := pick[RouteFailed](t, b.Route); f.Err == nil {
		t.Error("the home address as care-of address")
	}
	// Not beyond the home registration.
	b.lose = nil
	b.now = b.now.Add(time.Second)
	b.Start(b.now, careA, b.now.Add(20*time.Second))
	b.run()
	if _, until := b.Route.CareOf(); until.Sub(b.now) != 20*time.Second {
		t.Errorf("until %v", until.Sub(b.now))
	}
	b.to(b.now.Add(30 * time.Second))
	b.agreed(netip.Addr{})
}

// TestRouteBelieves: tests answered from elsewhere, with other cookies, by another way.
func TestRouteBelieves(t *testing.T) {
	b := newBoth(t)
	b.Start(b.now, careA, time.Time{})
	var cookies []Cookie
	for _, o := range drain(b.Route) {
		p, _ := ParsePacket(o.(Send).Packet)
		cookies = append(cookies, Cookie(p.Payload[8:16]))
	}
	for name, c := range map[string]struct {
		m        Message
		src, dst netip.Addr
		tunnel   bool
	}{
		"home test, another cookie":         {&HomeTest{}, cn, home, true},
		"home test, not by the tunnel":      {&HomeTest{Cookie: cookies[0]}, cn, home, false},
		"home test, another correspondent":  {&HomeTest{Cookie: cookies[0]}, other, home, true},
		"home test to the care-of address":  {&HomeTest{Cookie: cookies[0]}, cn, careA, false},
		"care-of test, another cookie":      {&CareOfTest{}, cn, careA, false},
		"care-of test, home cookie":         {&CareOfTest{Cookie: cookies[0]}, cn, careA, false},
		"care-of test, another address":     {&CareOfTest{Cookie: cookies[1]}, cn, careB, false},
		"acknowledgement without an update": {&Ack{}, cn, home, false},
		"refresh request without a binding": {&RefreshRequest{}, cn, home, true},
		"error without a binding":           {&Error{Status: 1, Home: home}, cn, careA, false},
		"a test init":                       {&HomeTestInit{}, cn, home, true},
	} {
		if err := b.HandlePacket(b.now, packet(t, c.m, c.src, c.dst, netip.Addr{}, nil), c.tunnel); !errors.Is(err, ErrUnexpected) && !errors.Is(err, ErrNotOurs) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if out := drain(b.Route); len(out) != 0 {
		t.Errorf("%+v", out)
	}
	for i, m := range []Message{&HomeTest{Cookie: cookies[0], Index: 1}, &CareOfTest{Cookie: cookies[1], Index: 2}} {
		dst := []netip.Addr{home, careA}[i]
		if err := b.HandlePacket(b.now, packet(t, m, cn, dst, netip.Addr{}, nil), dst == home); err != nil {
			t.Error(err)
		}
	}
	_, u := opened[*Update](t, pick[Send](t, b.Route).Packet)
	if n, _, _ := u.Options.NonceIndices(); n != (NonceIndices{1, 2}) {
		t.Errorf("%+v", n)
	}
	answer := func(a Ack, sign *Signer) error {
		return b.HandlePacket(b.now, acknowledgement(&a, cn, home, careA, true, sign).(Send).Packet, false)
	}
	kbm := bindingKey(Token{}, Token{})
	if err := answer(Ack{Sequence: u.Sequence, Lifetime: 3}, nil); !errors.Is(err, ErrNoAuthentication) {
		t.Errorf("no authenticator: %v", err)
	}
	if err := answer(Ack{Sequence: u.Sequence, Lifetime: 3}, routeSigner(bindingKey(Token{1}), careA, cn)); !errors.Is(err, ErrAuthenticator) {
		t.Errorf("another key: %v", err)
	}
	if err := answer(Ack{Sequence: u.Sequence + 1, Lifetime: 3}, routeSigner(kbm, careA, cn)); !errors.Is(err, ErrUnexpected) {
		t.Errorf("another sequence number: %v", err)
	}
	if err := answer(Ack{Status: StatusSequence, Sequence: 5}, nil); !errors.Is(err, ErrNoAuthentication) {
		t.Errorf("a forged sequence number: %v", err)
	}
	// Forged denials for nonces cost tests, but not without end.
	for range 10 {
		_ = answer(Ack{Status: StatusNonces, Sequence: u.Sequence}, nil)
	}
	if n := len(drain(b.Route)); n != 2 {
		t.Errorf("%d tests after ten copies of a forged denial", n)
	}
	if b.Stats().Discarded == 0 {
		t.Error("not counted")
	}
}

// TestRouteDenied: a correspondent that knows none of its nonces is asked a bounded number
// of times, and one that denies otherwise once.
func TestRouteDenied(t *testing.T) {
	for s, updates := range map[Status]int{StatusNonces: 4, StatusHomeNonce: 4, StatusCareOfNonce: 4, StatusResources: 1} {
		b := newBoth(t)
		b.lose = func(pkt []byte) bool {
			p, err := ParsePacket(pkt)
			if err != nil || p.Payload[2] != TypeUpdate {
				return false
			}
			_, u := opened[*Update](t, pkt)
			var sign *Signer
			if s == StatusResources {
				sign = routeSigner(b.Route.run.key, careA, cn)
			}
			ack := acknowledgement(&Ack{Status: s, Sequence: u.Sequence}, cn, home, careA, true, sign)
			if err := b.HandlePacket(b.now, ack.(Send).Packet, false); err != nil {
				t.Error(err)
			}
			return true
		}
		b.start(careA)
		b.to(b.now.Add(20 * time.Second))
		var e *StatusError
		if len(b.fail) != 1 || !errors.As(b.fail[0].Err, &e) || e.Status != s {
			t.Errorf("%v: %+v", s, b.fail)
		}
		if n := b.types(); n[TypeUpdate] != updates {
			t.Errorf("%v: %d updates, expected %d", s, n[TypeUpdate], updates)
		}
	}
}
