package neigh

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"openmpa/internal/acd"
	"openmpa/internal/host"
	"openmpa/internal/osnet"
	"openmpa/internal/osnet/osnettest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	nCoA      = netip.MustParseAddr("10.2.0.100")
	neighbour = netip.MustParseAddr("10.2.0.50")
	router    = acd.MAC{2, 0, 0, 0, 0, 1}
	visitor   = acd.MAC{2, 0, 0, 0, 0, 2}
	other     = acd.MAC{2, 0, 0, 0, 0, 3}
)

type sent struct {
	dst acd.MAC
	p   acd.Packet
}

// fakeConn is a link whose packets the test makes up.
type fakeConn struct {
	in     chan acd.Packet
	closed chan struct{}
	mu     sync.Mutex
	out    []sent
	fail   error
}

func newFake() *fakeConn { return &fakeConn{in: make(chan acd.Packet), closed: make(chan struct{})} }

func (f *fakeConn) MAC() net.HardwareAddr { return router.HardwareAddr() }
func (f *fakeConn) Close() error          { close(f.closed); return nil }
func (f *fakeConn) ReadARP(ctx context.Context) (acd.Packet, error) {
	select {
	case p := <-f.in:
		return p, nil
	case <-ctx.Done():
		return acd.Packet{}, ctx.Err()
	}
}

func (f *fakeConn) WriteARP(dst net.HardwareAddr, p acd.Packet) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return f.fail
	}
	f.out = append(f.out, sent{acd.MAC(dst), p})
	return nil
}

func (f *fakeConn) take() []sent {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.out
	f.out = nil
	return out
}

func request(from acd.MAC, spa, tpa netip.Addr) acd.Packet {
	return acd.Packet{Op: acd.OpRequest, SenderMAC: from, SenderIP: spa, TargetIP: tpa}
}

// TestAnswers goes through the table of the package comment.
func TestAnswers(t *testing.T) {
	zero := netip.IPv4Unspecified()
	far := netip.MustParseAddr("10.2.0.51")
	for _, c := range []struct {
		name   string
		pol    *Policy
		p      acd.Packet
		answer bool
		want   Stats
	}{
		{"not set", nil, request(other, neighbour, nCoA), false, Stats{}},
		{"another address", &Policy{}, request(other, neighbour, far), false, Stats{}},
		{"asked", &Policy{}, request(other, neighbour, nCoA), true, Stats{Answered: 1}},
		{"asked, visitor known", &Policy{IgnoreMAC: visitor.HardwareAddr()}, request(other, neighbour, nCoA), true, Stats{Answered: 1}},
		{"the visitor asks", &Policy{IgnoreMAC: visitor.HardwareAddr()}, request(visitor, neighbour, nCoA), false, Stats{Own: 1}},
		{"the visitor probes", &Policy{IgnoreMAC: visitor.HardwareAddr(), AnswerProbes: true}, request(visitor, zero, nCoA), false, Stats{Own: 1}},
		{"the visitor announces", &Policy{IgnoreMAC: visitor.HardwareAddr()}, request(visitor, nCoA, nCoA), false, Stats{}},
		{"the visitor asks for another", &Policy{IgnoreMAC: visitor.HardwareAddr()}, request(visitor, nCoA, neighbour), false, Stats{}},
		{"probe", &Policy{}, request(other, zero, nCoA), false, Stats{Probes: 1}},
		{"probe to be answered", &Policy{AnswerProbes: true}, request(other, zero, nCoA), true, Stats{Answered: 1}},
		{"announcement by a stranger", &Policy{}, request(other, nCoA, nCoA), false, Stats{Conflicts: 1}},
		{"a stranger asks with the address", &Policy{}, request(other, nCoA, neighbour), false, Stats{Conflicts: 1}},
		{"a stranger answers", &Policy{}, acd.Packet{Op: acd.OpReply, SenderMAC: other, SenderIP: nCoA, TargetIP: neighbour}, false, Stats{Conflicts: 1}},
		{"a reply to the address", &Policy{}, acd.Packet{Op: acd.OpReply, SenderMAC: other, SenderIP: neighbour, TargetIP: nCoA}, false, Stats{}},
		{"the router asks", &Policy{}, request(router, neighbour, nCoA), false, Stats{}},
		{"group sender", &Policy{}, request(acd.MAC{1, 0, 0x5e, 0, 0, 1}, neighbour, nCoA), false, Stats{Invalid: 1}},
		{"zero sender", &Policy{}, request(acd.MAC{}, neighbour, nCoA), false, Stats{Invalid: 1}},
		{"group sender address", &Policy{}, request(other, netip.MustParseAddr("224.0.0.1"), nCoA), false, Stats{Invalid: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				conflicts := 0
				p, err := New(f, Config{Conflict: func(a netip.Addr, by net.HardwareAddr) {
					if a != nCoA || acd.MAC(by) != other {
						t.Errorf("conflict about %v by %v", a, by)
					}
					conflicts++
				}})
				if err != nil {
					t.Fatal(err)
				}
				if c.pol != nil {
					if err := p.Set(nCoA, *c.pol); err != nil {
						t.Fatal(err)
					}
				}
				f.in <- c.p
				synctest.Wait()
				out := f.take()
				if c.answer {
					want := sent{c.p.SenderMAC, acd.Packet{Op: acd.OpReply, SenderMAC: router, SenderIP: nCoA, TargetMAC: c.p.SenderMAC, TargetIP: c.p.SenderIP}}
					if len(out) != 1 || out[0] != want {
						t.Errorf("sent %+v, want %+v", out, want)
					}
				} else if len(out) != 0 {
					t.Errorf("sent %+v, want nothing", out)
				}
				if s := p.Stats(); s != c.want || uint64(conflicts) != c.want.Conflicts {
					t.Errorf("stats %+v and %d conflicts, want %+v", s, conflicts, c.want)
				}
				p.Remove(nCoA)
				p.Remove(nCoA)
				f.in <- request(other, neighbour, nCoA)
				synctest.Wait()
				if out := f.take(); len(out) != 0 {
					t.Errorf("answered after Remove: %+v", out)
				}
				if err := p.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestAnnounceAndErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		p, err := New(f, Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		if err := p.Announce(nCoA); err == nil {
			t.Error("announcing an address not set: want an error")
		}
		for _, bad := range []netip.Addr{{}, netip.IPv4Unspecified(), netip.MustParseAddr("224.0.0.1"), netip.MustParseAddr("2001:db8::1")} {
			if err := p.Set(bad, Policy{}); err == nil {
				t.Errorf("Set(%v): want an error", bad)
			}
		}
		if err := p.Set(nCoA, Policy{IgnoreMAC: net.HardwareAddr{1}}); err == nil {
			t.Error("Set with a bad hardware address: want an error")
		}
		if err := p.Set(nCoA, Policy{}); err != nil {
			t.Fatal(err)
		}
		if err := p.Announce(nCoA); err != nil {
			t.Error(err)
		}
		want := sent{acd.MAC(acd.Broadcast()), acd.AnnouncementPacket(nCoA, router)}
		if out := f.take(); len(out) != 1 || out[0] != want {
			t.Errorf("sent %+v, want %+v", out, want)
		}
		f.fail = errors.New("no link")
		f.in <- request(other, neighbour, nCoA)
		synctest.Wait()
		if s := p.Stats(); s.Failed != 1 || s.Answered != 0 {
			t.Errorf("stats %+v", s)
		}
		if err := p.Announce(nCoA); !errors.Is(err, f.fail) {
			t.Errorf("Announce: %v", err)
		}
	})
	bad := acd.DefaultTimers()
	bad.ProbeNum = 0
	if _, err := New(newFake(), Config{Timers: bad}); err == nil {
		t.Error("bad timers: want an error")
	}
}

func TestProbe(t *testing.T) {
	for _, c := range []struct {
		name     string
		visitor  net.HardwareAddr
		inject   *acd.Packet
		conflict bool
	}{
		{"free", nil, nil, false},
		{"in use", nil, &acd.Packet{Op: acd.OpReply, SenderMAC: other, SenderIP: nCoA, TargetMAC: router}, true},
		{"somebody else probes", nil, &acd.Packet{Op: acd.OpRequest, SenderMAC: other, SenderIP: netip.IPv4Unspecified(), TargetIP: nCoA}, true},
		{"the visitor has it", visitor.HardwareAddr(), &acd.Packet{Op: acd.OpReply, SenderMAC: visitor, SenderIP: nCoA, TargetMAC: router}, false},
		{"in use, not by the visitor", visitor.HardwareAddr(), &acd.Packet{Op: acd.OpReply, SenderMAC: other, SenderIP: nCoA, TargetMAC: router}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				p, err := New(f, Config{})
				if err != nil {
					t.Fatal(err)
				}
				result := make(chan error)
				go func() { result <- p.DefendOrProbe(t.Context(), nCoA, Policy{IgnoreMAC: c.visitor}) }()
				if c.inject != nil {
					time.Sleep(2 * time.Second)
					in := *c.inject
					if !in.TargetIP.IsValid() {
						in.TargetIP = netip.IPv4Unspecified()
					}
					f.in <- in
				}
				err = <-result
				var conflict *acd.ConflictError
				if errors.As(err, &conflict) != c.conflict || !c.conflict && err != nil {
					t.Errorf("probe: %v, want conflict %v", err, c.conflict)
				}
				probes := len(f.take())
				f.in <- request(other, neighbour, nCoA)
				synctest.Wait()
				if got := len(f.take()); got == 1 == c.conflict {
					t.Errorf("%d answers after a probe with conflict %v", got, c.conflict)
				}
				if !c.conflict {
					if probes != 3 {
						t.Errorf("%d probes, want 3", probes)
					}
					// Known now: set again without probing.
					if err := p.DefendOrProbe(t.Context(), nCoA, Policy{AnswerProbes: true}); err != nil || len(f.take()) != 0 {
						t.Errorf("second time: %v", err)
					}
				}
				if len(p.probed) != 0 {
					t.Error("a probe stays registered")
				}
				p.Close()
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		p, err := New(f, Config{})
		if err != nil {
			t.Fatal(err)
		}
		result := make(chan error)
		go func() { result <- p.Probe(context.Background(), nCoA, nil) }()
		synctest.Wait()
		p.Close()
		if err := <-result; !errors.Is(err, net.ErrClosed) {
			t.Errorf("closed under a probe: %v", err)
		}
		if err := p.Probe(t.Context(), nCoA, net.HardwareAddr{1}); err == nil {
			t.Error("bad visitor: want an error")
		}
	})
}

// TestKernelAsks lets another kernel resolve an absent visitor's address, and a real probe find it in use.
func TestKernelAsks(t *testing.T) {
	osnettest.Enter(t)
	far := osnettest.Other(t)
	osnettest.VethTo(t, "lan0", "v1", far)
	n, err := host.Linux(nil, osnet.OwnerLab)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	timers := acd.DefaultTimers()
	timers.ProbeWait, timers.ProbeMin, timers.ProbeMax, timers.AnnounceWait = 10*time.Millisecond, 10*time.Millisecond, 20*time.Millisecond, 100*time.Millisecond
	p, err := Listen(n, "lan0", Config{Timers: timers})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.DefendOrProbe(t.Context(), nCoA, Policy{}); err != nil {
		t.Fatal(err)
	}
	far(func() {
		osnettest.IP(t, "address add 10.2.0.50/24 dev v1")
		m, err := osnet.Open(nil, osnet.OwnerLab)
		if err != nil {
			t.Error(err)
			return
		}
		defer m.Close()
		got, err := m.Resolve(t.Context(), "v1", nCoA)
		if err != nil || got.String() != p.MAC().String() {
			t.Errorf("resolved to %v (%v), want the router's %v", got, err, p.MAC())
		}
	})
	if s := p.Stats(); s.Answered == 0 {
		t.Errorf("stats %+v", s)
	}
	var conflict *acd.ConflictError
	if err := p.Probe(t.Context(), neighbour, nil); !errors.As(err, &conflict) {
		t.Errorf("probe of an address in use: %v", err)
	}
	if _, err := Listen(n, "nosuch", Config{}); err == nil {
		t.Error("want an error")
	}
}

func TestPresent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		p, err := New(f, Config{})
		if err != nil {
			t.Fatal(err)
		}
		here := netip.MustParseAddr("10.2.0.1")
		ask := func(answers ...acd.Packet) bool {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			result := make(chan bool)
			go func() {
				there, err := p.Present(ctx, here, nCoA, visitor.HardwareAddr())
				if err != nil {
					t.Error(err)
				}
				result <- there
			}()
			time.Sleep(time.Second)
			for _, a := range answers {
				f.in <- a
			}
			return <-result
		}
		if ask(acd.Packet{Op: acd.OpReply, SenderMAC: other, SenderIP: nCoA, TargetMAC: router, TargetIP: here},
			acd.Packet{Op: acd.OpReply, SenderMAC: visitor, SenderIP: neighbour, TargetMAC: router, TargetIP: here}) {
			t.Error("somebody else has the address, and the visitor another one: it was taken for present")
		}
		want := sent{acd.MAC(acd.Broadcast()), acd.Packet{Op: acd.OpRequest, SenderMAC: router, SenderIP: here, TargetIP: nCoA}}
		if out := f.take(); len(out) != 7 || out[0] != want || out[6] != want {
			t.Errorf("sent %+v", out)
		}
		if !ask(acd.Packet{Op: acd.OpReply, SenderMAC: visitor, SenderIP: nCoA, TargetMAC: router, TargetIP: here}) {
			t.Error("the visitor's answer was not heard")
		}
		if len(p.probed) != 0 {
			t.Error("a question stays registered")
		}
		f.fail = errors.New("no link")
		if _, err := p.Present(t.Context(), here, nCoA, visitor.HardwareAddr()); !errors.Is(err, f.fail) {
			t.Errorf("no link: %v", err)
		}
		f.fail = nil
		p.Close()
		if _, err := p.Present(t.Context(), here, nCoA, visitor.HardwareAddr()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
		if _, err := p.Present(t.Context(), here, nCoA, nil); err == nil {
			t.Error("no hardware address: want an error")
		}
	})
}
