package par

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/host"
	"openmpa/internal/osnet"
	"openmpa/internal/osnet/osnettest"
	"openmpa/internal/standstill"
	"openmpa/paa/notify"
	"openmpa/tunnel"
)

// slowKernel has something happen before and after it deletes the next host route, and
// may refuse to set one, or be slow with those that have packets wait.
type slowKernel struct {
	host.Host
	before, after atomic.Pointer[func()]
	refuses       atomic.Bool
	keeps         atomic.Bool   // routes that are to be deleted
	loses         atomic.Bool   // what the router sends through its TUN itself
	slow          atomic.Int64  // a time.Duration
	waits         atomic.Uint32 // routes that have packets wait
}

var errRefused = errors.New("refused")

func (k *slowKernel) SetRoute(r osnet.Route) error {
	if k.refuses.Load() {
		return errRefused
	}
	err := k.Host.SetRoute(r)
	if r.Via.IsValid() {
		k.waits.Add(1)
		time.Sleep(time.Duration(k.slow.Load()))
	}
	return err
}

// startSlow is start with such a kernel.
func startSlow(t *testing.T) (*bed, *slowKernel) {
	t.Helper()
	k := &slowKernel{}
	return start(t, func(c *Config) {
		c.Host = func(log *slog.Logger, owner string) (host.Host, error) {
			var err error
			k.Host, err = host.Linux(log, owner)
			return k, err
		}
	}), k
}

// losing is a socket of a kernel that loses what is sent.
type losing struct {
	net.Conn
	loses *atomic.Bool
}

func (c losing) Write(b []byte) (int, error) {
	if c.loses.Load() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func (k *slowKernel) DialUDP(dev string, local, remote netip.AddrPort) (net.Conn, error) {
	c, err := k.Host.DialUDP(dev, local, remote)
	return losing{c, &k.loses}, err
}

func (k *slowKernel) DelRoute(r osnet.Route) error {
	if k.keeps.Load() {
		return errRefused
	}
	for _, f := range []*atomic.Pointer[func()]{&k.before, &k.after} {
		if f == &k.after {
			if err := k.Host.DelRoute(r); err != nil {
				return err
			}
		}
		if f := f.Swap(nil); f != nil {
			(*f)()
		}
	}
	return nil
}

// TestWhileFlipping: what ends the drain while the host route is being deleted takes
// effect when that is done, and the route is there again: nothing goes natively from then on.
func TestWhileFlipping(t *testing.T) {
	mark := func(kind tunnel.MarkerKind) func(g *guest) {
		return func(g *guest) { _ = g.t.SendMarker(tunnel.Marker{Kind: kind, Handover: moved, Seq: 1}) }
	}
	say := func(m notify.Message) func(g *guest) {
		return func(g *guest) { g.b.r.SessionMessage(g.sid, m) }
	}
	answered := func(g *guest) bool { return len(g.markers) > 0 }
	in := func(mode string) func(g *guest) bool {
		return func(g *guest) bool { return g.b.status(g.sid).Mode == mode }
	}
	for name, c := range map[string]struct {
		do   func(g *guest)
		done func(g *guest) bool
		mode string
	}{
		"guard":  {say(&notify.Deliver{Header: header, How: notify.Guard}), in("copy"), "copy"},
		"depart": {mark(tunnel.Depart), answered, "hold"},
		"resume": {mark(tunnel.Resume), answered, "tunnel"},
		"gone":   {func(g *guest) { g.b.r.visitor(g.sid).gone() }, in("hold"), "hold"},
		"delete": {say(&notify.TunnelDelete{Header: header}), func(g *guest) bool { return g.b.status(g.sid).Outer == "" }, "direct"},
		"end":    {func(g *guest) { g.b.r.SessionClosed(g.sid, errEnd) }, func(g *guest) bool { return g.b.status(g.sid) == nil }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b, kernel := startSlow(t)
			idle := b.idle()
			g := b.attach(1)
			captured := func() bool { return strings.Contains(osnettest.IP(t, "route show "+g.addr.String()), "mpa0") }
			g.depart(header.Handover)
			done := make(chan struct{})
			behind := func() { time.Sleep(20 * time.Millisecond) } // in which it may do what it should not yet
			before := func() {
				go func() {
					defer close(done)
					c.do(g)
					b.await("the answer", func() bool { return c.done(g) })
					if captured() != (c.mode != "direct" && c.mode != "") {
						t.Errorf("the answer has come, with mode %q, and the host route is there %v", c.mode, captured())
					}
				}()
				behind()
			}
			kernel.before.Store(&before)
			kernel.after.Store(&behind)
			b.r.SessionMessage(1, &notify.Arrival{Header: header})
			select {
			case <-done:
			case <-time.After(patience):
				t.Fatal("no flip, or no answer")
			}
			if c.mode == "" {
				if now := b.idle(); now != idle {
					t.Errorf("left of the visitor:\n%s\nbefore\n%s", now, idle)
				}
				return
			}
			if s := b.status(1); s.Mode != c.mode {
				t.Errorf("status %+v, expected %s", s, c.mode)
			}
			b.end(1, idle)
		})
	}
}

// TestNotCaptured: where the kernel delivers on, nobody is told otherwise.
func TestNotCaptured(t *testing.T) {
	b, kernel := startSlow(t)
	g := b.attach(1)
	kernel.refuses.Store(true)
	if why := g.ask(notify.Guard, netip.AddrPort{}); !strings.Contains(why, errRefused.Error()) {
		t.Errorf("guarded although the host route could not be set: %q", why)
	}
	v := b.r.visitor(1)
	for _, kind := range []tunnel.MarkerKind{tunnel.Depart, tunnel.Resume} {
		had := authentic(v.tunnel)
		if err := g.t.SendMarker(tunnel.Marker{Kind: kind, Handover: moved, Seq: 1}); err != nil {
			t.Fatal(err)
		}
		b.await("the marker", func() bool { return authentic(v.tunnel) > had })
	}
	v.gone()
	if s := b.status(1); s.Mode != "direct" || len(g.markers) > 0 {
		t.Errorf("%d answers, status %+v", len(g.markers), s)
	}
	kernel.refuses.Store(false)
	g.depart(moved)
	if s := b.status(1); s.Mode != "hold" {
		t.Errorf("status %+v", s)
	}
}

// TestDepartedBehind: no departure is answered before what the kernel has forwarded is
// ahead of the answer, however often the node asks, and whoever noticed first that it leaves.
func TestDepartedBehind(t *testing.T) {
	for name, first := range map[string]func(g *guest){
		"asked twice":     func(*guest) {},
		"seen to go away": func(g *guest) { g.b.r.visitor(g.sid).gone() },
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, nil)
			g := b.attach(1)
			began := time.Now()
			first(g)
			for seq := range uint32(2) {
				if err := g.t.SendMarker(tunnel.Marker{Kind: tunnel.Depart, Handover: moved, Seq: seq}); err != nil {
					t.Fatal(err)
				}
				b.await("the hold", func() bool { return b.status(1).Mode == "hold" })
			}
			for range 2 {
				<-g.markers
				if took := time.Since(began); took < kernelAhead {
					t.Errorf("answered after %v, expected %v or more", took, kernelAhead)
				}
			}
		})
	}
}

// TestFlipInOrder: packets that come while the kernel is slow with its tables wait for those
// that went through the TUN before, and none is lost.
func TestFlipInOrder(t *testing.T) {
	b, kernel := startSlow(t)
	idle := b.idle()
	g := b.attach(1)
	stop := b.streamEvery(3*time.Millisecond, g.addr)
	kernel.slow.Store(int64(5 * time.Millisecond))
	flips := uint64(0)
	for kernel.waits.Load() < standstill.Turns { // on a busy machine packets come in bursts, for which none waits
		if flips++; flips > 50 {
			t.Fatalf("packets waited for %d next hops in %d flips, of a kernel that is slow expected %d", kernel.waits.Load(), flips-1, standstill.Turns)
		}
		id, forced, waits := event.HandoverID{1, byte(flips)}, b.status(1).Forced, kernel.waits.Load()
		g.depart(id)
		b.await("packets to be held", func() bool { return b.status(1).Buffer.Packets > 20 })
		b.r.SessionMessage(1, &notify.Arrival{Header: notify.Header{Handover: id}})
		b.await("the flip", func() bool { return b.status(1).Mode == "direct" })
		if s := b.status(1); s.Forced > forced && kernel.waits.Load() > waits {
			t.Errorf("flip %d was forced, and packets waited", flips)
		}
	}
	g.exact(stop())
	b.end(1, idle)
}

// TestRouteStays: while the kernel does not delete the route by which packets have waited,
// they go to the node by it, and it is deleted as soon as the kernel does.
func TestRouteStays(t *testing.T) {
	b, kernel := startSlow(t)
	idle := b.idle()
	g := b.attach(1)
	stop := b.streamEvery(3*time.Millisecond, g.addr)
	g.depart(header.Handover)
	b.await("packets to be held", func() bool { return b.status(1).Buffer.Packets > 20 })
	kernel.keeps.Store(true)
	b.r.SessionMessage(1, &notify.Arrival{Header: header})
	b.await("the flip", func() bool { return b.status(1).Mode == "direct" })
	time.Sleep(50 * time.Millisecond) // in which the next hop may be forgotten, which it is not to be
	route := func() string { return osnettest.IP(t, "route show "+g.addr.String()) }
	if r := route(); !strings.Contains(r, "lan0") {
		t.Errorf("route %q, expected one by lan0", r)
	}
	time.Sleep(50 * time.Millisecond)
	kernel.keeps.Store(false)
	b.await("the route to be deleted", func() bool { return route() == "" })
	g.exact(stop())
	b.end(1, idle)
}

// TestLostFence: a drain comes to its end where nothing comes out of the TUN of what the
// router sends through it.
func TestLostFence(t *testing.T) {
	b, kernel := startSlow(t)
	idle := b.idle()
	g := b.attach(1)
	g.depart(header.Handover)
	kernel.loses.Store(true)
	b.r.SessionMessage(1, &notify.Arrival{Header: header})
	b.await("the flip", func() bool { return b.status(1).Mode == "direct" })
	if s := b.status(1); s.Forced != 1 {
		t.Errorf("%d flips were forced, expected 1", s.Forced)
	}
	kernel.loses.Store(false)
	stop := b.streamEvery(3*time.Millisecond, g.addr)
	time.Sleep(20 * time.Millisecond)
	g.exact(stop())
	b.end(1, idle)
}
