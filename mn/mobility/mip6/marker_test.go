package mip6

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"testing"
	"time"

	"openmpa/internal/inet"
	"openmpa/paa/keys"
)

const anID = 0x1122334455667788

func marker(t testing.TB, m Marker, sa Security) []byte {
	t.Helper()
	b, err := AppendMarkerPacket(nil, m, sa)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestMarkerRoundTrip(t *testing.T) {
	sa := testSecurity()
	for _, down := range []bool{false, true} {
		want := Marker{Home: home, HomeAgent: agent, ID: anID, Down: down}
		pkt := marker(t, want, sa)
		if got, ok := ParseMarkerPacket(pkt, sa); !ok || got != want {
			t.Errorf("down=%v: %+v, %v", down, got, ok)
		}
		src, dst := want.ends()
		if inet.Fold(inet.Sum(pseudo(src, dst, len(pkt)-ip6Len), pkt[ip6Len:])) != 0xffff {
			t.Error("checksum")
		}
		if _, err := Parse(pkt[ip6Len:], src, dst); err == nil {
			t.Error("a marker outside the tunnel is taken for a message")
		}
	}
}

// TestMarkerGolden holds the form of the package comment fast.
func TestMarkerGolden(t *testing.T) {
	pkt := marker(t, Marker{Home: home, HomeAgent: agent, ID: anID}, testSecurity())
	const want = "60000000" + "0028" + "8740"
	if got := hex.EncodeToString(pkt[:8]); got != want {
		t.Errorf("%s, expected %s", got, want)
	}
	b := bytes.Clone(pkt[ip6Len:])
	clear(b[4:6]) // checksum
	const message = "3b040b00" + "0000" + "62" + "00" + "1122334455667788" + "0103000000" + "09110100000100"
	if got := hex.EncodeToString(b[:28]); got != message {
		t.Errorf("%s, expected %s", got, message)
	}
}

func TestMarkerAppends(t *testing.T) {
	m := Marker{Home: home, HomeAgent: agent, ID: 1}
	b, err := AppendMarkerPacket([]byte("abc"), m, testSecurity())
	if err != nil || string(b[:3]) != "abc" || !bytes.Equal(b[3:], marker(t, m, testSecurity())) {
		t.Fatalf("%x, %v", b, err)
	}
	m.Home = netip.IPv6Loopback()
	if _, err := AppendMarkerPacket(nil, m, testSecurity()); err == nil {
		t.Error("a marker of the loopback address")
	}
	m.Home = home
	if _, err := AppendMarkerPacket(nil, m, Security{SPI: 256}); err == nil {
		t.Error("a marker without a key")
	}
}

func TestMarkerRefused(t *testing.T) {
	sa := testSecurity()
	good := marker(t, Marker{Home: home, HomeAgent: agent, ID: anID}, sa)
	for n := range good {
		if _, ok := ParseMarkerPacket(good[:n], sa); ok {
			t.Errorf("cut to %d octets was believed", n)
		}
	}
	for at := range good {
		switch at {
		case 0, 1, 2, 3, 7, ip6Len + 4, ip6Len + 5: // class, flow label, hop limit, checksum
			continue
		}
		b := bytes.Clone(good)
		b[at] ^= 0x01
		if _, ok := ParseMarkerPacket(b, sa); ok {
			t.Errorf("believed with octet %d changed", at)
		}
	}
	longer := append(bytes.Clone(good), make([]byte, 8)...)
	binary.BigEndian.PutUint16(longer[4:], uint16(len(longer)-ip6Len))
	longer[ip6Len+1]++
	if _, ok := ParseMarkerPacket(longer, sa); ok {
		t.Error("believed with something behind the authenticator")
	}
	if _, ok := ParseMarkerPacket(good, Security{SPI: sa.SPI, Key: keys.NewSecret([]byte("another, too long"))}); ok {
		t.Error("believed under another key")
	}
}

func TestPathMarkersOption(t *testing.T) {
	sa := testSecurity()
	for _, want := range []PathMarkers{{Path: anID}, {Path: 1, OldPath: true}} {
		u := &Update{Options: Options{{Type: OptExperimental, Data: []byte("another's")}, AlternateOption(careA), want.Option()}}
		b := encode(t, u, sa.Signer(careA, home))
		m, err := Parse(b, careA, agent)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := m.list().PathMarkers()
		if !ok || got != want {
			t.Errorf("%+v %v, expected %+v", got, ok, want)
		}
		if err := m.(*Update).Verify(sa, careA, home); err != nil {
			t.Error(err)
		}
	}
	if _, ok := (Options{{Type: OptExperimental, Data: []byte{experiment}}}).PathMarkers(); ok {
		t.Error("a short option")
	}
}

// TestPathMarkers: what is offered is answered, with what made the present path.
func TestPathMarkers(t *testing.T) {
	b := newBench(t, nil)
	ask := func(name string, src netip.Addr, offer uint64, expected PathMarkers, answered bool) {
		t.Helper()
		request := want{src: src, lifetime: 100}
		if offer != 0 {
			request.options = Options{PathMarkers{Path: offer}.Option()}
		}
		a := b.ask(request)
		b.status(name, a, StatusAccepted)
		if pm, ok := a.Options.PathMarkers(); ok != answered || pm != expected {
			t.Errorf("%s: %+v %v, expected %+v", name, pm, ok, expected)
		}
		if got := b.Bindings(home)[0]; got.Path != expected.Path || got.OldPath != expected.OldPath {
			t.Errorf("%s: the binding says %+v", name, got)
		}
	}
	ask("first", careA, 11, PathMarkers{Path: 11}, true)
	ask("renewed", careA, 11, PathMarkers{Path: 11}, true)
	ask("moved", careB, 22, PathMarkers{Path: 22, OldPath: true}, true)
	ask("asked again", careB, 22, PathMarkers{Path: 22, OldPath: true}, true)
	ask("another offer for the same path", careB, 33, PathMarkers{Path: 22, OldPath: true}, true)
	ask("not offered", careB, 0, PathMarkers{}, false)
	ask("moved without", careA, 0, PathMarkers{}, false)
	ask("moved with", careB, 44, PathMarkers{Path: 44, OldPath: true}, true)
}

func TestOrdinaryPacketsCostNothing(t *testing.T) {
	sa := testSecurity()
	pkt := marker(t, Marker{Home: home, HomeAgent: agent, ID: 1}, sa)
	pkt[6] = 17
	if n := testing.AllocsPerRun(100, func() {
		if _, ok := ParseMarkerPacket(pkt, sa); ok {
			t.Error("taken for a marker")
		}
	}); n != 0 {
		t.Errorf("%v allocations for an ordinary packet", n)
	}
}

// FuzzMarker: what is believed is what was sent.
func FuzzMarker(f *testing.F) {
	sa := testSecurity()
	f.Add(marker(f, Marker{Home: home, HomeAgent: agent, ID: anID}, sa))
	f.Add(marker(f, Marker{Home: home, HomeAgent: agent, ID: 1, Down: true}, sa))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, ok := ParseMarkerPacket(b, sa); ok {
			if again := marker(t, m, sa); len(again) != len(b) || !bytes.Equal(again[8:ip6Len], b[8:ip6Len]) {
				t.Fatalf("%x was taken for %+v", b, m)
			}
		}
	})
}

// TestClientOffersMarkers: each registration asked for has a path of its own, its
// repetitions and renewals have that one; where the home agent names another, that.
func TestClientOffersMarkers(t *testing.T) {
	p := newPair(t, nil)
	offered := func() (Packet, *Update, uint64) {
		t.Helper()
		s := pick[Send](t, p)
		pkt, u := opened[*Update](t, s.Packet)
		m, ok := u.Options.PathMarkers()
		if ok != (s.Path != 0) || m.Path != s.Path || m.OldPath {
			t.Errorf("path %#x in the update, %#x is to be armed", m.Path, s.Path)
		}
		return pkt, u, s.Path
	}
	p.register(CareOf{Addr: careA})
	if _, _, path := offered(); path != 0 {
		t.Error("offered although nobody said so")
	}
	p.OfferPathMarkers(true)
	p.register(CareOf{Addr: careA})
	_, _, first := offered()
	p.now = p.now.Add(2 * time.Second)
	p.OnDeadline(p.now)
	pkt, u, again := offered()
	if first == 0 || again != first {
		t.Errorf("path %#x, repeated with %#x", first, again)
	}
	p.accept(p.reply(pkt, u, Ack{Lifetime: 100, Options: Options{PathMarkers{Path: first, OldPath: true}.Option()}}))
	if r := pick[Registered](t, p); r.ID != first || !r.PathMarkers {
		t.Errorf("%+v", r)
	}
	p.now = p.now.Add(300 * time.Second)
	p.OnDeadline(p.now)
	pkt, u, again = offered()
	if again != first {
		t.Errorf("renewed with path %#x, was %#x", again, first)
	}
	p.accept(p.reply(pkt, u, Ack{Lifetime: 100, Options: Options{PathMarkers{Path: 7}.Option()}}))
	if r := pick[Registered](t, p); r.ID != 7 || r.PathMarkers {
		t.Errorf("%+v", r)
	}
	p.now = p.now.Add(300 * time.Second)
	p.OnDeadline(p.now)
	if pkt, u, again = offered(); again != 7 {
		t.Errorf("renewed with path %#x, the home agent's is 7", again)
	}
	p.accept(p.reply(pkt, u, Ack{Lifetime: 100})) // it knows no markers
	if r := pick[Registered](t, p); r.ID != 0 || r.PathMarkers {
		t.Errorf("%+v", r)
	}
	p.register(CareOf{Addr: careB})
	if _, _, next := offered(); next == 0 || next == first {
		t.Errorf("the next path is %#x", next)
	}
	p.Deregister(p.now, careB)
	if _, _, path := offered(); path != 0 {
		t.Error("offered for the end of all paths")
	}
}

// TestRouteOldPath: a correspondent that takes what comes from the care-of address before says
// so, and one that does not says nothing.
func TestRouteOldPath(t *testing.T) {
	for _, wait := range []time.Duration{0, time.Second} {
		b := newBoth(t)
		b.peer = newTestCorrespondent(t, func(c *CorrespondentConfig) { c.OldPath = wait })
		b.start(careA)
		if len(b.up) != 1 || b.up[0].OldPath != (wait > 0) {
			t.Errorf("taken for %v: %+v", wait, b.up)
		}
	}
}
