package mn

import (
	"bytes"
	"context"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	hapath "openmpa/internal/ha/path"
	"openmpa/internal/host"
	"openmpa/mn/mobility/mip4"
	"openmpa/mn/mobility/mip6"
	"openmpa/paa/keys"
	"openmpa/tunnel/flow"
	"openmpa/tunnel/ipip"
)

// lastOctets is a TUN that keeps the last octet of each packet.
type lastOctets struct {
	host.TUN
	got []byte
}

func (d *lastOctets) Queue(p []byte) (int, error) {
	d.got = append(d.got, p[len(p)-1])
	return len(p), nil
}

// copiesOf is a home agent's path to a node in memory: what it sends waits for the test.
type copiesOf struct {
	agent, home netip.Addr
	sent        map[netip.Addr][][]byte
}

func (w *copiesOf) To(careOf netip.Addr, buf []byte) error {
	w.sent[careOf] = append(w.sent[careOf], bytes.Clone(buf))
	return nil
}
func (w *copiesOf) Wrap(buf []byte, tos uint8) error { return ipip.Wrap(buf, w.agent, w.home, tos) }
func (w *copiesOf) From([]byte) error                { return nil }
func (w *copiesOf) Wake()                            {}

// AppendDown implements hapath.Markers.
func (w *copiesOf) AppendDown(dst []byte, id uint64) ([]byte, error) {
	if w.home.Is6() {
		return mip6.AppendMarkerPacket(dst, mip6.Marker{Home: w.home, HomeAgent: w.agent, ID: id, Down: true}, security6())
	}
	return mip4.AppendMarkerPacket(dst, mip4.Marker{HomeAddress: w.home, HomeAgent: w.agent, ID: id, Down: true}, security4)
}
func (w *copiesOf) Is([]byte) bool           { return false }
func (w *copiesOf) Up([]byte) (uint64, bool) { return 0, false }

var security4 = mip4.Security{SPI: 256, Key: keys.NewSecret(make([]byte, 32)), Algorithm: mip4.HMACSHA256}

// packet makes one for the node, whose last octet is mark.
func (w *copiesOf) packet(t *testing.T, headroom int, mark byte) []byte {
	t.Helper()
	if w.home.Is4() {
		b, err := ipip.AppendHeader(make([]byte, headroom), ipip.Header{Src: w.agent.Next(), Dst: w.home, TTL: 64, Protocol: protoNothing}, 1)
		if err != nil {
			t.Fatal(err)
		}
		return append(b, mark)
	}
	b := append(make([]byte, headroom), 0x60, 0, 0, 0, 0, 1, protoNothing, 64)
	b = append(append(b, w.agent.Next().AsSlice()...), w.home.AsSlice()...)
	return append(b, mark)
}

// TestCopiesEnd: a node bound to a and b, to which 1, 2 and 3 are sent, is bound to a alone, to which 4
// and 5 are. What comes, in which order, is what a case says: by a or b a packet, its marker (m) or
// a forged one (x); "|" is a time in which nothing more comes. What goes on has no order but one,
// unless what is missing has not come in time.
func TestCopiesEnd(t *testing.T) {
	families := map[string]copiesOf{
		"IPv4": {agent: netip.MustParseAddr("10.0.3.1"), home: netip.MustParseAddr("10.9.0.2")},
		"IPv6": {agent: netip.MustParseAddr("2001:db8:9::1"), home: netip.MustParseAddr("2001:db8:9::2")},
	}
	for _, c := range []struct{ what, comes, goesOn string }{
		{"all by both", "a1 b1 a2 b2 a3 b3 am bm a4 a5", "12345"},
		{"b is behind", "a1 a2 a3 am a4 a5 b1 b2 b3 bm", "12345"},
		{"a is behind", "b1 b2 b3 bm a1 a2 a3 am a4 a5", "12345"},
		{"the first are lost at a", "a3 am a4 b1 b2 a5 b3 bm", "12345"},
		{"one is lost at a", "a1 a3 am a4 b1 b2 b3 bm a5", "12345"},
		{"the last are lost at a", "a1 am a4 b1 b2 a5 b3 bm", "12345"},
		{"all are lost at a", "am a4 a5 b1 b2 b3 bm", "12345"},
		{"the last is lost at a, whose marker comes again", "a1 a2 am am am a4 b1 b2 b3 bm a5", "12345"},
		{"the marker is lost at a", "a1 a2 a3 a4 a5 b1 b2 b3 bm", "12345"},
		{"the last is lost at both: the marker by both waits for nothing", "a1 a2 am a4 b1 b2 bm a5", "1245"},
		{"all are lost", "am a4 bm a5", "45"},
		{"nothing comes by b", "a1 a2 am a4 a5 | b3", "12453"},
		{"no marker", "a1 a2 a3 a4 | a5", "12345"},
		{"a forged marker", "a1 a2 ax a4 b2 bx a5 b3 am", "12345"},
	} {
		for family, w := range families {
			t.Run(c.what+", "+family, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { w.end(t, c.comes, c.goesOn) })
			})
		}
	}
}

func (w copiesOf) end(t *testing.T, comes, goesOn string) {
	w.sent = map[netip.Addr][][]byte{}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	d := &lastOctets{}
	n := &Node{dev: d}
	n.cfg.Timers.PathEnd = time.Second
	h := &home{uplink: uplink{n: n, ctx: ctx}, downlink: downlink{gate: flow.NewGate(limits)}, address: w.home, agent: w.agent}
	if h.mip = (&home4{h: h, security: security4}); w.home.Is6() {
		h.mip = &home6{h: h, security: security6()}
	}
	h.copies.merges.deliver, h.copies.merges.wait = h.copy, n.cfg.Timers.PathEnd
	h.timer = time.AfterFunc(time.Hour, h.gateDeadline)
	defer h.timer.Stop()
	a, b := &path{coa: w.home.Next()}, &path{coa: w.home.Next().Next()}
	h.bound = b

	cfg := hapath.Config{World: &w, Markers: &w, Header: ipip.HeaderLen, Counters: hapath.NewCounters(hapath.Names())}
	if w.home.Is6() {
		cfg.Header = ipip.HeaderLen6
	}
	if err := cfg.Check(); err != nil {
		t.Fatal(err)
	}
	agent := hapath.New(cfg)
	down := func(marks string) {
		for _, m := range []byte(marks) {
			agent.Down(w.packet(t, cfg.Headroom(), m))
		}
	}
	agent.Bind(time.Now(), hapath.Target{CareOf: []netip.Addr{b.coa}, Numbers: true})
	h.expectCopies(1, 2)
	agent.Bind(time.Now(), hapath.Target{CareOf: []netip.Addr{a.coa, b.coa}, Numbers: true, Ends: 1})
	h.down(b, w.sent[b.coa][0], w.agent)
	clear(w.sent)
	down("123")
	h.bound = a
	h.expect(a, 2)
	agent.Bind(time.Now(), hapath.Target{CareOf: []netip.Addr{a.coa}, Numbers: true, Ends: 2})
	down("45")

	for _, what := range strings.Fields(comes) {
		if what == "|" {
			time.Sleep(2 * n.cfg.Timers.PathEnd)
			synctest.Wait()
			continue
		}
		p := map[byte]*path{'a': a, 'b': b}[what[0]]
		pkt := bytes.Clone(w.sent[p.coa][strings.IndexByte("123m45", strings.Replace(what, "x", "m", 1)[1])])
		if what[1] == 'x' {
			pkt[len(pkt)-1] ^= 1
		}
		h.down(p, pkt, w.agent)
	}
	if forged := uint64(strings.Count(comes, "x")); string(d.got) != goesOn || h.gate.Armed() || h.forged.Load() != forged {
		t.Errorf("%s: %q went on, the gate is armed: %v, %d forged markers; expected %q, and %d forged", comes, d.got, h.gate.Armed(), h.forged.Load(), goesOn, forged)
	}
	h.copies.merges.close()
}
