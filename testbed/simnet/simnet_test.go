package simnet

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"openmpa/internal/acd"
	"openmpa/internal/host"
	"openmpa/internal/osnet"
	"openmpa/tunnel/bind"
	"openmpa/tunnel/tun"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// count is a Watcher that counts.
type count struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *count) add(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n[what]++
}

func (c *count) of(what string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[what]
}

func (c *count) Lost(_ string, why Reason, _ []byte) { c.add(string(why)) }
func (c *count) Doubled(string, []byte)              { c.add("doubled") }
func (c *count) Given(_ string, by Via, _ []byte)    { c.add("given " + string(by)) }
func (c *count) Taken(_ string, by Via, _ []byte)    { c.add("taken " + string(by)) }

// net1 is left - router - right.
type net1 struct {
	*testing.T
	w                   *World
	seen                *count
	left, router, right *Machine
	l, m, r             host.Host
	near, far           *Cable
}

func inNet(t *testing.T, fn func(t *testing.T, n *net1)) {
	synctest.Test(t, func(t *testing.T) {
		seen := &count{n: map[string]int{}}
		w := New(1, seen)
		defer w.Close()
		n := &net1{T: t, w: w, seen: seen, left: w.Machine("left", false), router: w.Machine("router", true), right: w.Machine("right", false)}
		p, a := netip.MustParsePrefix, netip.MustParseAddr
		n.near = w.Connect("near", n.left.Interface("eth0", p("10.1.0.2/24")), n.router.Interface("l", p("10.1.0.1/24")))
		n.far = w.Connect("far", n.right.Interface("eth0", p("10.2.0.2/24")), n.router.Interface("r", p("10.2.0.1/24")))
		n.left.Route(p("0.0.0.0/0"), a("10.1.0.1"), "eth0")
		n.right.Route(p("0.0.0.0/0"), a("10.2.0.1"), "eth0")
		for m, h := range map[*Machine]*host.Host{n.left: &n.l, n.router: &n.m, n.right: &n.r} {
			var err error
			if *h, err = m.Open(nil, osnet.OwnerLab); err != nil {
				t.Fatal(err)
			}
			defer (*h).Close()
		}
		fn(t, n)
	})
}

func (n *net1) listen(h host.Host, at string) host.UDP {
	n.Helper()
	u, err := h.ListenUDP(netip.MustParseAddrPort(at))
	if err != nil {
		n.Fatal(err)
	}
	n.Cleanup(func() { u.Close() })
	return u
}

func (n *net1) send(u host.UDP, to, text string) {
	n.Helper()
	if _, err := u.WriteToUDPAddrPort([]byte(text), netip.MustParseAddrPort(to)); err != nil {
		n.Fatal(err)
	}
}

// drain reads what has come to u until it is closed.
func drain(u host.UDP) <-chan string {
	out := make(chan string, 10000)
	go func() {
		defer close(out)
		b := make([]byte, 2000)
		for {
			k, from, err := u.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			out <- from.String() + " " + string(b[:k])
		}
	}()
	return out
}

func (n *net1) expect(what string, got <-chan string, want ...string) {
	n.Helper()
	synctest.Wait()
	var all []string
	for len(got) > 0 {
		all = append(all, <-got)
	}
	if strings.Join(all, "|") != strings.Join(want, "|") {
		n.Errorf("%s: came %q, expected %q", what, all, want)
		for _, l := range n.w.Trace() {
			n.Log(l)
		}
	}
}

func TestForwarding(t *testing.T) {
	inNet(t, func(t *testing.T, n *net1) {
		a, b := n.listen(n.l, "10.1.0.2:1000"), n.listen(n.r, "0.0.0.0:2000")
		got := drain(b)
		back := drain(a)
		n.send(a, "10.2.0.2:2000", "one")
		time.Sleep(time.Second)
		n.expect("through the router", got, "10.1.0.2:1000 one")
		n.send(b, "10.1.0.2:1000", "two")
		time.Sleep(time.Second)
		n.expect("and back, the source chosen by the route", back, "10.2.0.2:2000 two")
		n.send(a, "10.2.0.9:2000", "nobody")
		time.Sleep(2500 * time.Millisecond)
		if k := n.seen.of(string(ReasonUnresolved)); k != 0 {
			t.Errorf("%d packets lost before the third second", k)
		}
		time.Sleep(time.Second)
		n.send(a, "10.2.0.2:9", "no socket")
		n.send(a, "10.9.0.2:9", "the router has no route")
		time.Sleep(time.Second)
		for _, why := range []Reason{ReasonUnresolved, ReasonNoSocket, ReasonNoRoute} {
			if n.seen.of(string(why)) != 1 {
				t.Errorf("%s: %d packets, expected 1", why, n.seen.of(string(why)))
			}
		}
		a.Close()
		b.Close()
	})
}

func TestRules(t *testing.T) {
	inNet(t, func(t *testing.T, n *net1) {
		p := netip.MustParsePrefix
		dev, err := n.m.OpenTUN(tun.Config{Name: "mpa0"})
		if err != nil {
			t.Fatal(err)
		}
		defer dev.Close()
		a, b := n.listen(n.l, "10.1.0.2:1000"), n.listen(n.r, "10.2.0.2:2000")
		defer a.Close()
		defer b.Close()
		got := drain(b)
		for _, err := range []error{
			n.m.SetRoute(osnet.Route{Dst: p("10.2.0.2/32"), Dev: "mpa0"}),
			n.m.SetRoute(osnet.Route{Dst: p("10.2.0.0/24"), Dev: "r", Table: 7160}),
			n.m.AddRule(osnet.Rule{Priority: 7160, IIF: "mpa0", Table: 7160}),
			n.m.AddRule(osnet.Rule{Priority: 7160, From: p("10.1.0.2/32"), UDPFrom: 716, Table: 7160}),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		n.send(a, "10.2.0.2:2000", "captured")
		time.Sleep(time.Millisecond)
		n.expect("the host route wins", got)
		buf := make([]byte, 2000)
		k, err := dev.ReadNow(buf)
		if err != nil || k == 0 {
			t.Fatalf("from the TUN came %d octets, %v", k, err)
		}
		if _, err := dev.Write(buf[:k]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
		n.expect("what the daemon writes takes the rule's table", got, "10.1.0.2:1000 captured")
		pana := n.listen(n.l, "10.1.0.2:716")
		defer pana.Close()
		n.send(pana, "10.2.0.2:2000", "signalling")
		time.Sleep(time.Millisecond)
		n.expect("so does a source port", got, "10.1.0.2:716 signalling")
		if k, err := dev.ReadNow(buf); k != 0 || err != nil {
			t.Errorf("the TUN has %d octets more, %v", k, err)
		}
		dev.Close()
		n.send(a, "10.2.0.2:2000", "direct")
		time.Sleep(time.Millisecond)
		n.expect("routes go with the TUN", got, "10.1.0.2:1000 direct")
		if _, err := dev.Read(buf); !errors.Is(err, os.ErrClosed) {
			t.Errorf("read after close: %v", err)
		}
	})
}

func TestCrash(t *testing.T) {
	inNet(t, func(t *testing.T, n *net1) {
		p := netip.MustParsePrefix
		h, err := n.router.Open(nil, osnet.OwnerAccessRouter)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.router.Open(nil, osnet.OwnerAccessRouter); !errors.Is(err, osnet.ErrOwned) {
			t.Errorf("a second owner: %v", err)
		}
		arp, err := h.OpenARP("l")
		if err != nil {
			t.Fatal(err)
		}
		if err := h.SetRoute(osnet.Route{Dst: p("10.7.0.0/24"), Dev: "l"}); err != nil {
			t.Fatal(err)
		}
		read := make(chan error)
		go func() {
			_, err := arp.ReadARP(context.Background())
			read <- err
		}()
		synctest.Wait()
		n.router.Kill(osnet.OwnerAccessRouter)
		if err := <-read; err == nil {
			t.Error("a socket outlived its process")
		}
		if err := h.SetRoute(osnet.Route{Dst: p("10.8.0.0/24"), Dev: "l"}); !errors.Is(err, osnet.ErrClosed) {
			t.Errorf("a dead process sets a route: %v", err)
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		if left := n.router.Left(); len(left) != 1 {
			t.Errorf("left by the crash: %q, expected the route", left)
		}
		h, err = n.router.Open(nil, osnet.OwnerAccessRouter)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		if left := n.router.Left(); len(left) != 0 {
			t.Errorf("left by the next one: %q", left)
		}
	})
}

// TestMove: a mobile node between two bridges; the kernel forgets neighbours with
// the carrier, but permanent ones, and the bridges learn.
func TestMove(t *testing.T) {
	inNet(t, func(t *testing.T, n *net1) {
		p := netip.MustParsePrefix
		one, two := n.w.Bridge("one"), n.w.Bridge("two")
		up := n.router.Interface("lan", p("10.3.0.1/24"))
		n.w.Connect("one-lan", up, one)
		n.w.Connect("one-two", two, one)
		mobile := n.w.Machine("mobile", false)
		eth := mobile.Interface("eth0", p("10.3.0.2/24"))
		air := n.w.Connect("air", eth, nil)
		h, err := mobile.Open(nil, osnet.OwnerMobileNode)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		ctx, cancel := context.WithCancel(t.Context())
		states, err := h.WatchLink(ctx, "eth0")
		if err != nil {
			t.Fatal(err)
		}
		if s := <-states; s.Up {
			t.Error("up without a cable")
		}
		air.Plug(one)
		if s := <-states; !s.Up {
			t.Error("down with a cable")
		}
		u := n.listen(h, "10.3.0.2:5")
		defer u.Close()
		router := n.listen(n.m, "10.3.0.1:6")
		defer router.Close()
		got := drain(router)
		n.send(u, "10.3.0.1:6", "at one")
		time.Sleep(time.Second)
		n.expect("at the first bridge", got, "10.3.0.2:5 at one")
		air.Plug(nil)
		if err := h.SetNeighbour("eth0", netip.MustParseAddr("10.3.0.1"), up.MAC().HardwareAddr(), true); err != nil {
			t.Fatal(err)
		}
		air.Plug(two)
		if s, next := <-states, <-states; s.Up || !next.Up {
			t.Errorf("reports of a move: %v, %v", s, next)
		}
		n.send(u, "10.3.0.1:6", "at two")
		time.Sleep(time.Second)
		n.expect("at the second", got, "10.3.0.2:5 at two")
		back := drain(u)
		n.send(router, "10.3.0.2:5", "back")
		time.Sleep(time.Second)
		n.expect("the bridges have learnt", back, "10.3.0.1:6 back")
		n.send(router, "10.3.0.2:5", "lost")
		air.Plug(nil)
		time.Sleep(time.Second)
		n.expect("under way when the cable went", back)
		if n.seen.of(string(ReasonUnplugged))+n.seen.of(string(ReasonForeign))+n.seen.of(string(ReasonCarrier)) != 1 {
			t.Errorf("lost: %v, expected one", n.seen.n)
		}
		if s := <-states; s.Up {
			t.Error("up when the cable had gone")
		}
		cancel()
		for range states {
			t.Error("a report after the end")
		}
	})
}

// TestImpairment: shares come out about as asked, the same for the same seed, and
// what is not late keeps its order.
func TestImpairment(t *testing.T) {
	var first []string
	for range 2 {
		inNet(t, func(t *testing.T, n *net1) {
			a, b := n.listen(n.l, "10.1.0.2:1000"), n.listen(n.r, "10.2.0.2:2000")
			got := drain(b)
			n.send(a, "10.2.0.2:2000", "warm")
			time.Sleep(time.Second)
			<-got
			n.near.Impair(Impairment{Delay: time.Millisecond, Jitter: 3 * time.Millisecond, Loss: 0.2, Duplicate: 0.1, Late: time.Millisecond}, Impairment{})
			const sent = 1000
			for k := range sent {
				n.send(a, "10.2.0.2:2000", string(rune('a'+k%26)))
				time.Sleep(100 * time.Microsecond)
			}
			time.Sleep(time.Second)
			lost, doubled := n.seen.of(string(ReasonLoss)), n.seen.of("doubled")
			if lost < 120 || lost > 280 || doubled < 40 || doubled > 140 {
				t.Errorf("of %d lost %d, doubled %d", sent, lost, doubled)
			}
			var all []string
			for len(got) > 0 {
				all = append(all, <-got)
			}
			if len(all) != sent-lost+doubled {
				t.Errorf("%d came, %d sent, %d lost, %d doubled", len(all), sent, lost, doubled)
			}
			if first == nil {
				first = all
			} else if strings.Join(first, "") != strings.Join(all, "") {
				t.Error("the same seed gave another run")
			}
			a.Close()
			b.Close()
		})
	}
}

// TestTunnelSockets: ESP and IP in IP, as the endpoints use them.
func TestTunnelSockets(t *testing.T) {
	inNet(t, func(t *testing.T, n *net1) {
		a, b := netip.MustParseAddr("10.1.0.2"), netip.MustParseAddr("10.2.0.2")
		x, err := n.l.OpenESP(netip.AddrPortFrom(a, 4500), bind.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer x.Close()
		y, err := n.r.OpenESP(netip.AddrPortFrom(b, 4500), bind.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer y.Close()
		if err := x.Send(y.LocalAddr(), []byte("sealed"), 3); err != nil {
			t.Fatal(err)
		}
		got, err := y.ReadBatch(nil)
		if err != nil || len(got) != 1 || string(got[0].Data) != "sealed" || got[0].TOS != 3 || got[0].From != x.LocalAddr() {
			t.Errorf("ESP: %+v, %v", got, err)
		}
		p, err := n.l.OpenIPIP(a, bind.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		q, err := n.r.OpenIPIP(b, bind.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		inner := make([]byte, 40)
		copy(inner, []byte{0x45, 0, 0, 40, 0, 0, 0, 0, 9, 253, 0, 0, 10, 9, 0, 2, 10, 9, 0, 3})
		if err := p.Send(b, inner, 0); err != nil {
			t.Fatal(err)
		}
		back, from, err := q.Read(nil)
		if err != nil || from != a || string(back) != string(inner) {
			t.Errorf("IP in IP: %x from %v, %v", back, from, err)
		}
		o, err := n.l.OpenRaw(a, bind.Options{Device: "eth0"})
		if err != nil {
			t.Fatal(err)
		}
		copy(inner[12:], []byte{10, 1, 0, 2, 10, 2, 0, 2})
		if err := o.Send(inner); err != nil || o.Stats().Sent != 1 {
			t.Errorf("a whole packet: %v, %+v", err, o.Stats())
		}
		copy(inner[12:], []byte{10, 1, 0, 3})
		if err := o.Send(inner); err == nil || o.Stats().SendErrors != 1 {
			t.Errorf("a packet from elsewhere: %v, %+v", err, o.Stats())
		}
		if err := o.Close(); err != nil || !errors.Is(o.Send(inner), net.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
		if n.seen.of("given "+string(ViaESP)) != 1 || n.seen.of("taken "+string(ViaESP)) != 1 || n.seen.of("given "+string(ViaIPIP)) != 1 || n.seen.of("taken "+string(ViaIPIP)) != 1 {
			t.Errorf("the watcher saw %v", n.seen.n)
		}
	})
}

// TestProbe: duplicate address detection over the wire, against the kernel of
// another machine.
func TestProbe(t *testing.T) {
	inNet(t, func(t *testing.T, n *net1) {
		arp, err := n.l.OpenARP("eth0")
		if err != nil {
			t.Fatal(err)
		}
		defer arp.Close()
		var conflict *acd.ConflictError
		err = acd.Probe(t.Context(), arp, netip.MustParseAddr("10.1.0.1"), arp.MAC(), acd.DefaultTimers(), strings.NewReader(strings.Repeat("x", 1000)))
		if !errors.As(err, &conflict) {
			t.Errorf("the router's own address: %v", err)
		}
		err = acd.Probe(t.Context(), arp, netip.MustParseAddr("10.1.0.7"), arp.MAC(), acd.DefaultTimers(), strings.NewReader(strings.Repeat("x", 1000)))
		if err != nil {
			t.Errorf("a free one: %v", err)
		}
	})
}
