package cn

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"openmpa/internal/inet"
	"openmpa/mn/mobility/mip6"
)

var (
	epoch   = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	address = netip.MustParseAddr("2001:db8:4::c")
	home    = netip.MustParseAddr("2001:db8:9::2")
	careA   = netip.MustParseAddr("2001:db8:a::100")
	careB   = netip.MustParseAddr("2001:db8:b::100")
	router  = netip.MustParseAddr("2001:db8:5::1")

	hostPort = netip.AddrPortFrom(address, 5000)
	nodePort = netip.AddrPortFrom(home, 7000)
)

func config() mip6.CorrespondentConfig {
	return mip6.CorrespondentConfig{Address: address, OldPath: 5 * time.Second, Rand: rand.Reader}
}

// fakeWorld writes down what the core does.
type fakeWorld struct {
	log    []string
	out    [][]byte
	refuse error // of Bound
}

func (w *fakeWorld) Out(pkt []byte) error { w.out = append(w.out, bytes.Clone(pkt)); return nil }
func (w *fakeWorld) Wake()                {}
func (w *fakeWorld) Bound(home netip.Addr) error {
	w.log = append(w.log, fmt.Sprint("bound ", home))
	return w.refuse
}
func (w *fakeWorld) Unbound(home netip.Addr) { w.log = append(w.log, fmt.Sprint("unbound ", home)) }

// rig is a core, its world, and a mobile node.
type rig struct {
	*testing.T
	c    *Core
	w    *fakeWorld
	now  time.Time
	node *mip6.Route
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{T: t, w: &fakeWorld{}, now: epoch}
	var err error
	if r.c, err = NewCore(config(), 1500, r.w); err != nil {
		t.Fatal(err)
	}
	if r.node, err = mip6.NewRoute(mip6.RouteConfig{Home: home, Correspondent: address, Rand: rand.Reader}); err != nil {
		t.Fatal(err)
	}
	return r
}

// talk carries messages until there are none, and returns what changed and what the node says.
func (r *rig) talk() (changes []mip6.Changed, said []mip6.Output) {
	r.Helper()
	for {
		o, ok := r.node.Poll()
		if !ok {
			return changes, said
		}
		send, ok := o.(mip6.Send)
		if !ok {
			said = append(said, o)
			continue
		}
		c, err := r.c.Handle(r.now, send.Packet)
		if err != nil {
			r.Fatal(err)
		}
		changes = append(changes, c...)
		for _, pkt := range r.take() {
			p, err := mip6.ParsePacket(pkt)
			if err != nil {
				r.Fatal(err)
			}
			if err := r.node.HandlePacket(r.now, pkt, p.Dst == home); err != nil {
				r.Fatal(err)
			}
		}
	}
}

func (r *rig) take() [][]byte { out := r.w.out; r.w.out = nil; return out }

func (r *rig) bind(careOf netip.Addr) []mip6.Changed {
	r.Helper()
	r.node.Start(r.now, careOf, time.Time{})
	changes, said := r.talk()
	if len(said) != 1 || said[0].(mip6.RouteUp).CareOf != careOf {
		r.Fatalf("%+v", said)
	}
	return changes
}

// did checks what the world saw since the last time.
func (r *rig) did(want ...string) {
	r.Helper()
	if !slices.Equal(r.w.log, want) {
		r.Errorf("the world saw %q, want %q", r.w.log, want)
	}
	r.w.log = nil
}

// sent checks the one packet that came out for one that went in.
func (r *rig) sent(what string, in, want []byte) {
	r.Helper()
	r.w.out = nil
	if _, err := r.c.Handle(r.now, bytes.Clone(in)); err != nil {
		r.Fatal(err)
	}
	if out := r.take(); len(out) != 1 || !bytes.Equal(out[0], want) {
		r.Errorf("%s: %x\nwant %x", what, out, want)
	}
}

func (r *rig) counted(name string, want uint64) {
	r.Helper()
	if _, _, n := r.c.Status(); n[name] != want {
		r.Errorf("%s is %d, want %d", name, n[name], want)
	}
}

// datagram is an IPv6 and UDP packet with text in it.
func datagram(src, dst netip.AddrPort, text string) []byte {
	size := 8 + len(text)
	b := binary.BigEndian.AppendUint16([]byte{0x60, 0, 0, 0}, uint16(size))
	b = append(append(append(b, 17, 64), src.Addr().AsSlice()...), dst.Addr().AsSlice()...)
	b = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, src.Port()), dst.Port())
	b = append(append(binary.BigEndian.AppendUint16(b, uint16(size)), 0, 0), text...)
	sum := inet.Sum(inet.Sum(17+uint32(size), b[8:40]), b[40:])
	binary.BigEndian.PutUint16(b[46:], ^inet.Fold(sum))
	return b
}

func optimised(t testing.TB, pkt []byte, careOf netip.Addr, make func(dst, b []byte, careOf netip.Addr) ([]byte, error)) []byte {
	t.Helper()
	b, err := make(nil, pkt, careOf)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestOptimised(t *testing.T) {
	r := newRig(t)
	up, down := datagram(nodePort, hostPort, "up"), datagram(hostPort, nodePort, "down")
	r.sent("plain up", up, up)
	r.sent("plain down", down, down)

	if c := r.bind(careA); len(c) != 1 || c[0].Home != home || c[0].Bindings[0].Addr != careA {
		t.Errorf("%+v", c)
	}
	r.did("bound 2001:db8:9::2")
	fromA := optimised(t, up, careA, mip6.AppendFromHome)
	r.sent("up", fromA, up)
	r.sent("down", down, optimised(t, down, careA, mip6.AppendToCareOf))
	other := datagram(netip.AddrPortFrom(router, 1), nodePort, "from another address of the host")
	r.sent("another address", other, other)
	r.counted("up_optimised", 1)
	r.counted("down_optimised", 1)

	r.now = r.now.Add(time.Second)
	r.bind(careB)
	r.did() // bound already
	r.sent("up by the old path", fromA, up)
	r.sent("up", optimised(t, up, careB, mip6.AppendFromHome), up)
	r.sent("down", down, optimised(t, down, careB, mip6.AppendToCareOf))
	list, u, _ := r.c.Status()
	if len(list) != 1 || list[0].HomeAddress != home || list[0].CareOf != careB || !list[0].Since.Equal(r.now) || u.Accepted != 2 {
		t.Errorf("%+v, %+v", list, u)
	}

	// The old path is over: refused, and the node is told.
	r.now = r.now.Add(5 * time.Second)
	if _, err := r.c.Handle(r.now, bytes.Clone(fromA)); err != nil {
		t.Fatal(err)
	}
	out := r.take()
	p, err := mip6.ParsePacket(out[0])
	if err != nil || len(out) != 1 || p.Proto != mip6.Protocol || p.Dst != careA {
		t.Errorf("%+v, %v", p, err)
	}
	r.counted("up_dropped_not_bound", 1)

	at, _ := r.c.Deadline()
	for end := epoch.Add(mip6.MaxRouteLifetime); at.Before(end); at, _ = r.c.Deadline() {
		r.c.OnDeadline(at)
	}
	if c := r.c.OnDeadline(at); len(c) != 1 || !c[0].Expired || len(c[0].Bindings) != 0 {
		t.Errorf("%+v", c)
	}
	r.did("unbound 2001:db8:9::2")
	r.sent("after its end", down, down)
}

// TestRefusedRoute: where the kernel does not send packets here they go through the home agent,
// and the next binding tries again.
func TestRefusedRoute(t *testing.T) {
	r := newRig(t)
	r.w.refuse = fmt.Errorf("no")
	r.bind(careA)
	r.w.refuse = nil
	r.bind(careB)
	r.did("bound 2001:db8:9::2", "bound 2001:db8:9::2")
	r.c.Close()
	r.c.Close()
	r.did("unbound 2001:db8:9::2")
}

// TestTooBig: the socket hears what its packet may have without the routing header.
func TestTooBig(t *testing.T) {
	r := newRig(t)
	r.bind(careA)
	big := datagram(hostPort, nodePort, strings.Repeat("x", 1500-24-48+1))
	r.sent("too big for the link", big, inet.AppendTooBig(nil, address, address, 1476, big))

	inner := datagram(hostPort, nodePort, strings.Repeat("x", 1350))
	outer := optimised(t, inner, careA, mip6.AppendToCareOf)
	tell := func(mtu uint32, about []byte) []byte { return inet.AppendTooBig(nil, router, address, mtu, about) }
	quoted := inner[:1280-48-24]
	r.sent("too big for the path", tell(1400, outer), inet.AppendTooBig(nil, router, address, 1376, quoted))
	r.sent("as small as it gets", tell(1290, outer), inet.AppendTooBig(nil, router, address, 1280, quoted))
	r.counted("too_big_told", 2)
	for name, spoil := range map[string]func(b []byte){
		"another care-of address": func(b []byte) { b[39]++ },
		"another home address":    func(b []byte) { b[63]++ },
	} {
		b := bytes.Clone(outer)
		spoil(b)
		if _, err := r.c.Handle(r.now, tell(1400, b)); err != nil || len(r.take()) != 0 {
			t.Errorf("%s: told (%v)", name, err)
		}
	}
	r.sent("about another packet", tell(1400, inner), tell(1400, inner))
}

// TestDropped: what must not pass does not, and is counted for what it is.
func TestDropped(t *testing.T) {
	r := newRig(t)
	for name, c := range map[string]struct {
		pkt   []byte
		count string
	}{
		"cut":        {datagram(nodePort, hostPort, "x")[:39], "dropped_format"},
		"not whole":  {datagram(nodePort, hostPort, "x")[:48], "dropped_format"},
		"multicast":  {datagram(hostPort, netip.AddrPortFrom(netip.MustParseAddr("ff02::1"), 1), ""), "dropped_other"},
		"no binding": {optimised(t, datagram(nodePort, hostPort, "x"), careA, mip6.AppendFromHome), "up_dropped_not_bound"},
	} {
		_, _, before := r.c.Status()
		if _, err := r.c.Handle(r.now, c.pkt); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		r.take()
		if _, _, after := r.c.Status(); after[c.count] != before[c.count]+1 {
			t.Errorf("%s: not counted as %s: %v", name, c.count, after)
		}
	}
}

// TestNoAllocation: a packet of data costs none.
func TestNoAllocation(t *testing.T) {
	r := newRig(t)
	r.bind(careA)
	r.c.world = nothing{}
	for name, pkt := range map[string][]byte{
		"up":   optimised(t, datagram(nodePort, hostPort, "up"), careA, mip6.AppendFromHome),
		"down": datagram(hostPort, nodePort, "down"),
	} {
		if n := testing.AllocsPerRun(100, func() { _, _ = r.c.Handle(r.now, pkt) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// nothing keeps no packets.
type nothing struct{}

func (nothing) Out([]byte) error       { return nil }
func (nothing) Bound(netip.Addr) error { return nil }
func (nothing) Unbound(netip.Addr)     {}
func (nothing) Wake()                  {}

// FuzzHandle: no packet breaks the correspondent, and each is accounted for.
func FuzzHandle(f *testing.F) {
	c, err := NewCore(config(), 1500, nothing{})
	if err != nil {
		f.Fatal(err)
	}
	up, down := datagram(nodePort, hostPort, "up"), datagram(hostPort, nodePort, "down")
	f.Add(up)
	f.Add(down)
	f.Add(optimised(f, up, careA, mip6.AppendFromHome))
	f.Add(inet.AppendTooBig(nil, router, address, 1400, optimised(f, down, careA, mip6.AppendToCareOf)))
	f.Fuzz(func(t *testing.T, pkt []byte) {
		sum := func() (n uint64) {
			_, _, counters := c.Status()
			for _, v := range counters {
				n += v
			}
			return n
		}
		before := sum()
		_, _ = c.Handle(epoch, pkt)
		if sum() == before {
			t.Error("a packet was not accounted for")
		}
	})
}
