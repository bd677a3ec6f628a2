package ha6

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"openmpa/internal/ha"
	"openmpa/internal/ha/path"
	"openmpa/internal/inet"
	"openmpa/mn/mobility/mip6"
	"openmpa/tunnel/ipip"
)

var (
	epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	peer  = netip.AddrPortFrom(netip.MustParseAddr("2001:db8:4::1"), 5000)
)

// fakeWorld writes down what the core does, in order.
type fakeWorld struct {
	log    []string
	out    [][]byte
	signal []byte // what Signal was given last
	kept   map[netip.Addr]Kept
	refuse error // of Bound
	full   error // of Keep
	lost   error // of Out
}

func (w *fakeWorld) note(format string, args ...any) {
	w.log = append(w.log, fmt.Sprintf(format, args...))
}

func (w *fakeWorld) Out(pkt []byte) error {
	w.out = append(w.out, bytes.Clone(pkt))
	return w.lost
}

func (w *fakeWorld) Signal(pkt []byte) error {
	w.signal = bytes.Clone(pkt)
	return nil
}

func (w *fakeWorld) Bound(home, linkLocal netip.Addr) error {
	w.note("bound %v %v", home, linkLocal)
	return w.refuse
}
func (w *fakeWorld) Unbound(home, linkLocal netip.Addr) { w.note("unbound %v %v", home, linkLocal) }
func (w *fakeWorld) Probe(home, linkLocal netip.Addr)   { w.note("probe %v %v", home, linkLocal) }
func (w *fakeWorld) Wake()                              {}
func (w *fakeWorld) Keep(home netip.Addr, k Kept) error {
	if w.full == nil {
		w.kept[home] = k
	}
	return w.full
}

// rig is a core, its world, and two mobile nodes.
type rig struct {
	*testing.T
	c     *Core
	w     *fakeWorld
	now   time.Time
	nodes map[netip.Addr]*mip6.Client
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{T: t, w: &fakeWorld{kept: make(map[netip.Addr]Kept)}, now: epoch, nodes: make(map[netip.Addr]*mip6.Client)}
	r.c = r.core()
	for h, s := range map[netip.Addr]mip6.Security{home: sa, home2: sa2} {
		n, err := mip6.NewClient(mip6.ClientConfig{Home: h, HomeAgent: agent, Security: s, Rand: rand.Reader, LinkLocal: h == home2})
		if err != nil {
			t.Fatal(err)
		}
		r.nodes[h] = n
	}
	return r
}

func (r *rig) core() *Core {
	r.Helper()
	c, err := NewCore(labConfig(nil, nil).Core, r.w)
	if err != nil {
		r.Fatal(err)
	}
	return c
}

// ask takes a node's message to the home agent and the answer back, and returns what the node says.
func (r *rig) ask(h netip.Addr, list ...mip6.CareOf) (mip6.Output, []ha.Notice) {
	r.Helper()
	r.now = r.now.Add(time.Second)
	if len(list) == 0 {
		r.nodes[h].Deregister(r.now, h)
	} else if err := r.nodes[h].Register(r.now, list[0].Addr, list...); err != nil {
		r.Fatal(err)
	}
	o, _ := r.nodes[h].Poll()
	r.w.out = nil
	r.handle(o.(mip6.Send).Packet)
	notices, err := r.c.Signal(r.now, r.w.signal)
	if err != nil {
		r.Fatal(err)
	}
	notices = append(notices, r.c.Probed(r.now, h, true)...)
	if len(r.w.out) != 1 {
		r.Fatalf("%d answers", len(r.w.out))
	}
	if err := r.nodes[h].HandlePacket(r.now, r.w.out[0]); err != nil {
		r.Fatal(err)
	}
	r.w.out = nil
	said, _ := r.nodes[h].Poll()
	return said, notices
}

func (r *rig) handle(pkt []byte) (ha.Notice, bool) {
	r.w.signal = nil
	return r.c.Handle(r.now, append(make([]byte, Headroom), pkt...))
}

func (r *rig) bind(h, careOf netip.Addr) []ha.Notice {
	r.Helper()
	o, notices := r.ask(h, mip6.CareOf{Addr: careOf})
	if _, ok := o.(mip6.Registered); !ok {
		r.Fatalf("%+v", o)
	}
	return notices
}

// did checks what the world saw since the last time.
func (r *rig) did(want ...string) {
	r.Helper()
	if !slices.Equal(r.w.log, want) {
		r.Errorf("the world saw\n  %s\nwant\n  %s", strings.Join(r.w.log, "\n  "), strings.Join(want, "\n  "))
	}
	r.w.log = nil
}

// sent checks the one packet that went out: to the care-of address in a tunnel, or, when that is
// not valid, plain.
func (r *rig) sent(what string, careOf netip.Addr, inner []byte) {
	r.Helper()
	if len(r.w.out) != 1 {
		r.Fatalf("%s: %d packets went out\n%v", what, len(r.w.out), r.c.Counters())
	}
	got := r.w.out[0]
	r.w.out = nil
	if careOf.IsValid() {
		src, dst, next, total, err := ipip.ParseIPv6(got)
		if err != nil || src != agent || dst != careOf || next != ipip.Protocol6 || total != len(got) {
			r.Errorf("%s: from %v to %v, protocol %d, %v", what, src, dst, next, err)
		}
		got = got[ipip.HeaderLen6:]
	}
	if !bytes.Equal(got, inner) {
		r.Errorf("%s: %x\nwant %x", what, got, inner)
	}
}

func (r *rig) tunnel(careOf netip.Addr, inner []byte) []byte {
	r.Helper()
	b := append(make([]byte, ipip.HeaderLen6), inner...)
	if err := ipip.Encapsulate6(b, careOf, agent); err != nil {
		r.Fatal(err)
	}
	return b
}

func (r *rig) counted(name string, want uint64) {
	r.Helper()
	if got := r.c.Counters()[name]; got != want {
		r.Errorf("%s is %d, want %d", name, got, want)
	}
}

func TestBinding(t *testing.T) {
	r := newRig(t)
	down := datagram(peer, nodePort, 0xb9, "down")
	r.handle(down)
	r.counted("down_dropped_unbound", 1)
	n := r.bind(home, careA)
	if len(n) != 1 || n[0].What != ha.NoticeBound || n[0].CareOf != careA || n[0].Lifetime != 600*time.Second {
		t.Errorf("%+v", n)
	}
	r.did("probe 2001:db8:9::2 invalid IP", "bound 2001:db8:9::2 invalid IP")
	r.handle(down)
	r.sent("down", careA, down)
	up := datagram(nodePort, peer, 0, "up")
	r.handle(r.tunnel(careA, up))
	r.sent("up", netip.Addr{}, up)

	if n = r.bind(home, careA); n[0].What != ha.NoticeRenewed {
		t.Errorf("%+v", n)
	}
	if n = r.bind(home, careB); n[0].What != ha.NoticeMoved || n[0].Previous != careA {
		t.Errorf("%+v", n)
	}
	r.did()
	r.handle(down)
	r.sent("down after the move", careB, down)
	for _, careOf := range []netip.Addr{careA, careB} { // the old path, for a while
		r.handle(r.tunnel(careOf, up))
		r.sent("up by "+careOf.String(), netip.Addr{}, up)
	}
	r.now = r.now.Add(path.DefaultOldPath)
	r.handle(r.tunnel(careA, up))
	r.counted("up_dropped_not_bound", 1)

	o, n := r.ask(home)
	if _, ok := o.(mip6.Deregistered); !ok || n[0].What != ha.NoticeUnbound || n[0].Previous != careB {
		t.Errorf("%+v, %+v", o, n)
	}
	r.did("unbound 2001:db8:9::2 invalid IP")
	r.handle(down)
	r.handle(r.tunnel(careB, up))
	r.counted("down_dropped_unbound", 2)
	r.counted("up_dropped_not_bound", 2)
}

// TestLinkLocal: with the L bit the link-local address is tested and answered for, too.
func TestLinkLocal(t *testing.T) {
	r := newRig(t)
	r.bind(home2, careA)
	r.did("probe 2001:db8:9::3 fe80::3", "bound 2001:db8:9::3 fe80::3")
	after := r.core()
	if n, err := after.Restore(r.now, home2, r.w.kept[home2]); err != nil || len(n) != 1 || n[0].What != ha.NoticeRestored {
		t.Errorf("%+v, %v", n, err)
	}
	r.did("bound 2001:db8:9::3 fe80::3")
	after.Close()
	r.did("unbound 2001:db8:9::3 fe80::3")
	if got := r.w.kept[home2]; len(got.Bindings) != 1 {
		t.Errorf("an orderly end forgot %+v", got)
	}
}

func TestExpiry(t *testing.T) {
	r := newRig(t)
	r.bind(home, careA)
	at, ok := r.c.Deadline()
	if n := r.c.OnDeadline(at.Add(-1)); len(n) != 0 || !ok {
		t.Errorf("%+v", n)
	}
	if n := r.c.OnDeadline(at); len(n) != 1 || n[0].What != ha.NoticeExpired || n[0].Previous != careA {
		t.Errorf("%+v", n)
	}
	r.did("probe 2001:db8:9::2 invalid IP", "bound 2001:db8:9::2 invalid IP", "unbound 2001:db8:9::2 invalid IP")
}

// TestRestored: after a crash packets are taken from where they were, and from nowhere else.
func TestRestored(t *testing.T) {
	r := newRig(t)
	r.bind(home, careA)
	r.bind(home, careB)
	r.c = r.core()
	if _, err := r.c.Restore(r.now, home, r.w.kept[home]); err != nil {
		t.Fatal(err)
	}
	up := datagram(nodePort, peer, 0, "up")
	for _, careOf := range []netip.Addr{careA, careB} {
		r.handle(r.tunnel(careOf, up))
		r.sent("up by "+careOf.String(), netip.Addr{}, up)
	}
	down := datagram(peer, nodePort, 0, "down")
	r.handle(down)
	r.sent("down", careB, down)
}

// TestRefused: what cannot be stored or intercepted is denied, and leaves nothing.
func TestRefused(t *testing.T) {
	r := newRig(t)
	denied := func(what string) {
		t.Helper()
		o, n := r.ask(home, mip6.CareOf{Addr: careA})
		if f, ok := o.(mip6.Failed); !ok || !strings.Contains(f.Err.Error(), mip6.StatusResources.String()) || len(n) != 0 {
			t.Errorf("%s: %+v, %+v", what, o, n)
		}
	}
	r.w.full = errors.New("disk full")
	denied("not stored")
	r.did("probe 2001:db8:9::2 invalid IP")
	r.w.full, r.w.refuse = nil, errors.New("no route")
	denied("not intercepted")
	r.did("probe 2001:db8:9::2 invalid IP", "bound 2001:db8:9::2 invalid IP", "unbound 2001:db8:9::2 invalid IP")
	if k := r.w.kept[home]; len(k.Bindings) != 0 {
		t.Errorf("kept: %+v", k)
	}
}

// TestDropped: what must not pass does not, and is counted for what it is.
func TestDropped(t *testing.T) {
	r := newRig(t)
	r.bind(home, careA)
	good := datagram(nodePort, peer, 0, "up")
	change := func(b []byte, at int, to byte) []byte { b = bytes.Clone(b); b[at] = to; return b }
	linkLocal := netip.MustParseAddr("fe80::1")
	for name, c := range map[string]struct {
		pkt   []byte
		count string
	}{
		"cut":                  {good[:39], "dropped_format"},
		"version":              {change(good, 0, 0x45), "dropped_format"},
		"multicast":            {datagram(peer, netip.AddrPortFrom(netip.MustParseAddr("ff02::1"), 1), 0, ""), "dropped_other"},
		"stranger's address":   {datagram(peer, peer, 0, ""), "down_dropped_unbound"},
		"node at home":         {datagram(peer, netip.AddrPortFrom(home2, 1), 0, ""), "down_dropped_unbound"},
		"from the care-of":     {datagram(netip.AddrPortFrom(careA, 1), nodePort, 0, ""), "down_dropped_loop"},
		"no hops left":         {change(datagram(peer, nodePort, 0, ""), 7, 0), "down_dropped_loop"},
		"from a link":          {datagram(netip.AddrPortFrom(linkLocal, 1), nodePort, 0, ""), "down_dropped_format"},
		"UDP for the agent":    {datagram(peer, netip.AddrPortFrom(agent, 1), 0, ""), "dropped_other"},
		"elsewhere":            {r.tunnel(careB, good), "up_dropped_not_bound"},
		"unknown node":         {r.tunnel(careA, datagram(peer, nodePort, 0, "")), "up_dropped_unknown_node"},
		"other's home address": {r.tunnel(careA, datagram(netip.AddrPortFrom(home2, 1), peer, 0, "")), "up_dropped_not_bound"},
		"inner cut":            {r.tunnel(careA, good)[:ipip.HeaderLen6], "dropped_format"},
		"inner to a link":      {r.tunnel(careA, datagram(nodePort, netip.AddrPortFrom(linkLocal, 1), 0, "")), "up_dropped_format"},
		"inner to a group":     {r.tunnel(careA, datagram(nodePort, netip.AddrPortFrom(netip.MustParseAddr("ff0e::1"), 1), 0, "")), "up_dropped_format"},
		"congestion not told":  {change(r.tunnel(careA, good), 1, 0x30), "up_dropped_format"},
		"tunnel in the tunnel": {r.tunnel(careA, r.tunnel(home, good)), "dropped_other"},
		"wrong checksum":       {change(inet.AppendICMPv6(nil, peer.Addr(), agent, icmpEchoRequest, []byte{0, 0, 0, 1}, nil), 47, 9), "dropped_format"},
	} {
		before := r.c.Counters()
		if r.handle(c.pkt); r.w.signal != nil {
			t.Errorf("%s: taken for a message", name)
		}
		if after := r.c.Counters(); after[c.count] != before[c.count]+1 || len(r.w.out) != 0 {
			t.Errorf("%s: not counted as %s, or %d packets out: %v", name, c.count, len(r.w.out), after)
		}
		r.w.out = nil
	}
}

// TestBetweenNodes: what one mobile node sends to another goes from tunnel to tunnel, with a
// hop less.
func TestBetweenNodes(t *testing.T) {
	r := newRig(t)
	r.bind(home, careA)
	r.bind(home2, careB)
	inner := datagram(nodePort, netip.AddrPortFrom(home2, 1), 0, "to the other")
	r.handle(r.tunnel(careA, inner))
	inner[7]--
	r.sent("between nodes", careB, inner)
	inner[7] = 1
	r.handle(r.tunnel(careA, inner))
	r.counted("up_dropped_error", 1)
}

// TestTooBig: the source of the inner packet hears of a narrow path (RFC 2473 section 8.2).
func TestTooBig(t *testing.T) {
	r := newRig(t)
	r.bind(home, careA)
	inner := datagram(peer, nodePort, 0, strings.Repeat("x", 1300))
	r.handle(inner)
	outer := r.w.out[0]
	r.w.out = nil
	router := netip.MustParseAddr("2001:db8:5::1")
	tell := func(mtu uint32, quote []byte) {
		r.handle(inet.AppendICMPv6(nil, router, agent, inet.ICMPv6TooBig, binary.BigEndian.AppendUint32(nil, mtu), quote[:1200]))
	}
	for told, want := range map[uint32]uint32{1400: 1360, 1300: 1280, 1280: 1280} {
		tell(told, outer)
		quote := inner[:1160]
		r.sent("too big", netip.Addr{}, inet.AppendICMPv6(nil, agent, peer.Addr(), inet.ICMPv6TooBig, binary.BigEndian.AppendUint32(nil, want), quote))
	}
	for name, spoil := range map[string]func(b []byte){
		"another exit":   func(b []byte) { b[39]++ },
		"another source": func(b []byte) { b[23]++ },
		"no tunnel":      func(b []byte) { b[6] = 17 },
		"unknown node":   func(b []byte) { b[79]++ },
	} {
		b := bytes.Clone(outer)
		spoil(b)
		tell(1300, b)
		if len(r.w.out) != 0 {
			t.Errorf("%s: told", name)
			r.w.out = nil
		}
	}
	tell(1200, outer)
	r.counted("too_big_told", 3)
}

// TestNoAllocation: a packet of data costs none.
func TestNoAllocation(t *testing.T) {
	r := newRig(t)
	r.bind(home, careA)
	c, err := NewCore(r.c.cfg, nothing{r.w})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Restore(r.now, home, r.w.kept[home]); err != nil {
		t.Fatal(err)
	}
	r.bind(home2, careB)
	k := r.w.kept[home2]
	k.Bindings = append(slices.Clone(k.Bindings), k.Bindings[0])
	k.Bindings[0].Path, k.Bindings[1].ID, k.Bindings[1].Addr = 1, 1, careA
	if _, err := c.Restore(r.now, home2, k); err != nil {
		t.Fatal(err)
	}
	for name, pkt := range map[string][]byte{
		"down":   datagram(peer, nodePort, 0, "down"),
		"up":     r.tunnel(careA, datagram(nodePort, peer, 0, "up")),
		"copies": datagram(peer, netip.AddrPortFrom(home2, 1), 0, "down"),
	} {
		buf, pristine := make([]byte, Headroom+len(pkt)), append(make([]byte, Headroom), pkt...)
		if n := testing.AllocsPerRun(100, func() { copy(buf, pristine); c.Handle(r.now, buf) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	if n := c.Counters(); n["down_sent"] == 0 || n["up_delivered"] == 0 || n["down_copies"] == 0 {
		t.Errorf("nothing passed: %v", n)
	}
}

// nothing keeps no packets.
type nothing struct{ *fakeWorld }

func (nothing) Out([]byte) error { return nil }

// FuzzHandle: no packet breaks the home agent, and each is accounted for.
func FuzzHandle(f *testing.F) {
	w := &fakeWorld{kept: make(map[netip.Addr]Kept)}
	c, err := NewCore(labConfig(nil, nil).Core, nothing{w})
	if err != nil {
		f.Fatal(err)
	}
	k := Kept{}
	k.Bindings = []mip6.Binding{{CareOf: mip6.CareOf{Addr: careA}, Since: epoch, Expires: epoch.Add(time.Hour)}}
	if _, err := c.Restore(epoch, home, k); err != nil {
		f.Fatal(err)
	}
	inner := datagram(nodePort, peer, 0, "up")
	tunnelled := append(make([]byte, ipip.HeaderLen6), inner...)
	if err := ipip.Encapsulate6(tunnelled, careA, agent); err != nil {
		f.Fatal(err)
	}
	f.Add(tunnelled)
	f.Add(datagram(peer, nodePort, 0, "down"))
	f.Add(inet.AppendICMPv6(nil, peer.Addr(), agent, inet.ICMPv6TooBig, []byte{0, 0, 5, 0}, tunnelled))
	f.Add(inet.AppendICMPv6(nil, peer.Addr(), agent, icmpEchoRequest, []byte{0, 1, 0, 1}, []byte("echo")))
	f.Fuzz(func(t *testing.T, pkt []byte) {
		sum := func() (n uint64) {
			for name, v := range c.Counters() {
				if name != "down_in" && name != "up_in" {
					n += v
				}
			}
			return n
		}
		before := sum()
		w.signal = nil
		if c.Handle(epoch, append(make([]byte, Headroom), pkt...)); w.signal != nil {
			_, _ = c.Signal(epoch, w.signal)
		}
		if sum() == before {
			t.Error("a packet was not accounted for")
		}
	})
}
