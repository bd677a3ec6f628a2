package mip6

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"openmpa/internal/inet"
)

// FuzzMessage: what parses must survive being built and parsed again.
func FuzzMessage(f *testing.F) {
	sa := testSecurity()
	for _, m := range every() {
		f.Add(encode(f, m, nil))
		f.Add(encode(f, m, sa.Signer(careA, home)))
		f.Add(encode(f, m, routeSigner(bindingKey(Token{1}), careA, cn)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if size := 8; len(b) >= size {
			if size = 8 + 8*int(b[1]); len(b) >= size {
				b = checksummed(bytes.Clone(b[:size])) // so that more than checksums is tried
			}
		}
		m, err := Parse(b, careA, agent)
		if err != nil {
			return
		}
		l := m.list()
		_, _, _ = l.Alternate()
		_, _, _ = l.NonceIndices()
		_, _, _ = l.RefreshAdvice()
		_, _, _ = l.Replay()
		_, _ = l.Identifier()
		_, _ = l.BindingIDs()
		switch m := m.(type) {
		case *Update:
			_ = m.Verify(sa, careA, home)
			_ = verifyRoute(m.raw, m.Options, sa.Key, careA, cn)
		case *Ack:
			_ = m.Verify(sa, careA, home)
			_ = verifyRoute(m.raw, m.Options, sa.Key, careA, cn)
		}
		again, err := Append(nil, bare(m), careA, agent, nil)
		if err != nil {
			return // alignment made it too long
		}
		got, err := Parse(again, careA, agent)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(bare(got), bare(m)) {
			t.Fatalf("parsed %+v, again %+v", m, got)
		}
	})
}

// FuzzPacket: headers that go in come out, and what is stripped can be parsed.
func FuzzPacket(f *testing.F) {
	for _, b := range chains(home, cn) {
		f.Add(b)
		out, err := AppendFromHome(nil, b, careA)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(out)
		if out, err = AppendToCareOf(nil, out, careB); err != nil {
			f.Fatal(err)
		}
		f.Add(out)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParsePacket(b)
		if err != nil {
			return
		}
		plain := p.AppendStripped(nil, b)
		q, err := ParsePacket(plain)
		if err != nil || q.Home.IsValid() || q.Final.IsValid() || q.Src != p.Source() || q.Dst != p.Destination() || q.Proto != p.Proto || !bytes.Equal(q.Payload, p.Payload) {
			t.Fatalf("stripped: %+v, %v", q, err)
		}
		if !Unicast(q.Src) || !Unicast(q.Dst) {
			return
		}
		out, err := AppendFromHome(nil, plain, careA)
		if err != nil {
			return // too big, or one header too many
		}
		if out, err = AppendToCareOf(nil, out, careB); err != nil {
			return
		}
		if q, err = ParsePacket(out); err != nil {
			return // one header too many
		}
		if back := q.AppendStripped(nil, out); !bytes.Equal(back, plain) {
			t.Fatalf("in and out:\n%x\n%x", back, plain)
		}
	})
}

// newSession has a mobile node that was bound to two care-of addresses and has a route,
// with another registration and another test under way.
func newSession(t testing.TB) *world {
	w := newWorld(t, 5, false)
	w.late, w.attached = time.Millisecond, []netip.Addr{careA, careB}
	register := func(from netip.Addr, list ...CareOf) {
		if err := w.client.Register(w.now, from, list...); err != nil {
			t.Fatal(err)
		}
	}
	register(careA, CareOf{careA, 1}, CareOf{careB, 2})
	w.run(2 * time.Second)
	w.route.Start(w.now, careA, time.Time{})
	w.run(time.Second)
	w.check("session")
	register(careB, CareOf{Addr: careB})
	w.route.Start(w.now, careB, time.Time{})
	w.settle() // all of it under way
	return w
}

// FuzzSession: any packet at any of the three, in the middle of a session, its checksum
// repaired: no panic, bounded answers, and bindings only to what was authenticated.
func FuzzSession(f *testing.F) {
	for _, pkt := range newSession(f).said {
		f.Add(pkt, false)
	}
	f.Add(packet(f, &Error{Status: ErrorUnknownBinding, Home: home}, cn, careA, netip.Addr{}, nil), false)
	f.Add(packet(f, &RefreshRequest{}, cn, home, netip.Addr{}, nil), true)
	f.Add(strangeType(f, agent), false)
	f.Fuzz(func(t *testing.T, b []byte, tunnelled bool) {
		s := newSession(t)
		pkt := repaired(b)
		answers := 0
		_ = s.agent.HandlePacket(s.now, pkt)
		_ = s.peer.HandlePacket(s.now, pkt)
		for _, o := range append(drain(s.agent), drain(s.peer)...) {
			if o, ok := o.(Send); ok {
				if answers++; len(o.Packet) > len(pkt)+64 {
					t.Errorf("%d octets are answered with %d", len(pkt), len(o.Packet))
				}
			}
		}
		if answers > 1 {
			t.Errorf("%d answers to one packet", answers)
		}
		_ = s.client.HandlePacket(s.now, pkt)
		_ = s.route.HandlePacket(s.now, pkt, tunnelled)
		if n := len(drain(s.client)) + len(drain(s.route)); n > 5 {
			t.Errorf("%d outputs for one packet", n)
		}
		_, _ = s.peer.AppendIncoming(s.now, nil, pkt)
		_, _ = s.peer.AppendOutgoing(nil, pkt)
		_, _ = s.route.AppendIncoming(nil, pkt)
		known := []netip.Addr{careA, careB}
		for _, x := range s.agent.Bindings(home) {
			if !slices.Contains(known, x.Addr) {
				t.Errorf("bound to %v", x.Addr)
			}
		}
		for h := range s.peer.cache {
			if a, ok := s.peer.CareOf(h); ok && (h != home || !slices.Contains(known, a)) {
				t.Errorf("the correspondent has %v at %v", h, a)
			}
		}
		s.run(time.Second)
	})
}

// repaired is a copy of a packet with the checksum of its mobility header made right.
func repaired(b []byte) []byte {
	b = bytes.Clone(b)
	p, err := ParsePacket(b)
	if err != nil || p.Proto != Protocol || len(p.Payload) < 8 {
		return b
	}
	size := 8 + 8*int(p.Payload[1])
	if len(p.Payload) < size {
		return b
	}
	p.Payload[4], p.Payload[5] = 0, 0
	binary.BigEndian.PutUint16(p.Payload[4:], ^inet.Fold(inet.Sum(pseudo(p.Source(), p.Destination(), size), p.Payload[:size])))
	return b
}
