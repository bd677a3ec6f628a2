package neigh

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"openmpa/internal/acd"
	"openmpa/internal/acd/nd"
	"openmpa/internal/osnet"
	"openmpa/internal/osnet/osnettest"
)

// speaker is what a router asks of either family's proxy.
type speaker interface {
	MAC() net.HardwareAddr
	Probe(ctx context.Context, addr netip.Addr, visitor net.HardwareAddr) error
	DefendOrProbe(ctx context.Context, addr netip.Addr, pol Policy) error
	Present(ctx context.Context, router, addr netip.Addr, visitor net.HardwareAddr) (bool, error)
	Set(addr netip.Addr, pol Policy) error
	Remove(addr netip.Addr)
	Announce(addr netip.Addr) error
	Stats() Stats
	Close() error
}

var (
	_ speaker = (*Proxy)(nil)
	_ speaker = (*NDProxy)(nil)
)

var (
	nCoA6      = netip.MustParseAddr("2001:db8:2::aabb:ccdd")
	neighbour6 = netip.MustParseAddr("2001:db8:2::50")
	router6    = netip.MustParseAddr("fe80::1")
	none6      = netip.IPv6Unspecified()
)

// fakeND is a link whose packets the test makes up.
type fakeND struct {
	in     chan nd.Packet
	mu     sync.Mutex
	out    []nd.Packet
	joined map[netip.Addr]int
	fail   error
	closed bool
}

func newFakeND() *fakeND {
	return &fakeND{in: make(chan nd.Packet), joined: make(map[netip.Addr]int)}
}

func (f *fakeND) MAC() net.HardwareAddr { return router.HardwareAddr() }

func (f *fakeND) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	clear(f.joined)
	return nil
}

func (f *fakeND) Join(a netip.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return net.ErrClosed
	}
	f.joined[a]++
	return nil
}

func (f *fakeND) Leave(a netip.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.joined[a]--; f.joined[a] == 0 {
		delete(f.joined, a)
	}
	return nil
}

func (f *fakeND) ReadND(ctx context.Context) (nd.Packet, error) {
	select {
	case p := <-f.in:
		return p, nil
	case <-ctx.Done():
		return nd.Packet{}, ctx.Err()
	}
}

func (f *fakeND) WriteND(p nd.Packet) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return f.fail
	}
	f.out = append(f.out, p)
	return nil
}

func (f *fakeND) take() []nd.Packet {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.out
	f.out = nil
	return out
}

func (f *fakeND) groups() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.joined)
}

func solicit(from acd.MAC, src, target netip.Addr) nd.Packet {
	return nd.Packet{From: from, Src: src, Dst: nd.SolicitedNode(target), Msg: nd.Solicit{Target: target}}
}

func advert(from acd.MAC, target netip.Addr) nd.Packet {
	return nd.Packet{From: from, Src: target, Dst: nd.AllNodes(), Msg: nd.Advert{Target: target, MAC: from, Override: true}}
}

// TestNDAnswers goes through the table of the package comment.
func TestNDAnswers(t *testing.T) {
	known := func(pol Policy) *Policy { pol.IgnoreMAC = visitor.HardwareAddr(); return &pol }
	far := netip.MustParseAddr("2001:db8:2::51")
	for _, c := range []struct {
		name   string
		pol    *Policy
		p      nd.Packet
		answer bool
		want   Stats
	}{
		{"not set", nil, solicit(other, neighbour6, nCoA6), false, Stats{}},
		{"another address", &Policy{}, solicit(other, neighbour6, far), false, Stats{}},
		{"asked", &Policy{}, solicit(other, neighbour6, nCoA6), true, Stats{Answered: 1}},
		{"asked, visitor known", known(Policy{}), solicit(other, neighbour6, nCoA6), true, Stats{Answered: 1}},
		{"the visitor asks", known(Policy{}), solicit(visitor, neighbour6, nCoA6), false, Stats{Own: 1}},
		{"the visitor arrives", known(Policy{AnswerProbes: true}), solicit(visitor, none6, nCoA6), false, Stats{Own: 1}},
		{"the visitor advertises", known(Policy{}), advert(visitor, nCoA6), false, Stats{}},
		{"the visitor asks for another", known(Policy{}), solicit(visitor, nCoA6, neighbour6), false, Stats{}},
		{"probe", &Policy{}, solicit(other, none6, nCoA6), false, Stats{Probes: 1}},
		{"probe to be answered", known(Policy{AnswerProbes: true}), solicit(other, none6, nCoA6), true, Stats{Answered: 1}},
		{"advertised by a stranger", known(Policy{}), advert(other, nCoA6), false, Stats{Conflicts: 1}},
		{"a stranger asks with the address", &Policy{}, solicit(other, nCoA6, neighbour6), false, Stats{Conflicts: 1}},
		{"a stranger asks for its own", &Policy{}, solicit(other, nCoA6, nCoA6), false, Stats{Conflicts: 1}},
		{"an advertisement to the address", &Policy{}, nd.Packet{From: other, Src: neighbour6, Dst: nCoA6, Msg: nd.Advert{Target: neighbour6}}, false, Stats{}},
		{"the router asks", &Policy{}, solicit(router, neighbour6, nCoA6), false, Stats{}},
		{"group sender", &Policy{}, solicit(acd.MAC{0x33, 0x33, 0, 0, 0, 1}, neighbour6, nCoA6), false, Stats{Invalid: 1}},
		{"zero sender", &Policy{}, solicit(acd.MAC{}, neighbour6, nCoA6), false, Stats{Invalid: 1}},
		{"router advertisement", &Policy{}, nd.Packet{From: other, Src: router6, Dst: nd.AllNodes(), Msg: nd.RouterAdvert{}}, false, Stats{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeND()
				conflicts := 0
				p, err := NewND(f, NDConfig{Source: router6, Conflict: func(a netip.Addr, by net.HardwareAddr) {
					if a != nCoA6 || acd.MAC(by) != other {
						t.Errorf("conflict about %v by %v", a, by)
					}
					conflicts++
				}})
				if err != nil {
					t.Fatal(err)
				}
				if c.pol != nil {
					for range 2 {
						if err := p.Set(nCoA6, *c.pol); err != nil {
							t.Fatal(err)
						}
					}
					if f.groups() != 1 {
						t.Error("group not joined")
					}
				}
				f.in <- c.p
				synctest.Wait()
				out := f.take()
				if c.answer {
					want := nd.Packet{Src: router6, Dst: c.p.Src, To: c.p.From, Msg: nd.Advert{Target: nCoA6, MAC: router, Solicited: true}}
					if c.p.Src.IsUnspecified() {
						want = nd.Packet{Src: router6, Dst: nd.AllNodes(), Msg: nd.Advert{Target: nCoA6, MAC: router}}
					}
					if len(out) != 1 || out[0] != want {
						t.Errorf("sent %+v, want %+v", out, want)
					}
				} else if len(out) != 0 {
					t.Errorf("sent %+v, want nothing", out)
				}
				if s := p.Stats(); s != c.want || uint64(conflicts) != c.want.Conflicts {
					t.Errorf("stats %+v and %d conflicts, want %+v", s, conflicts, c.want)
				}
				p.Remove(nCoA6)
				p.Remove(nCoA6)
				f.in <- solicit(other, neighbour6, nCoA6)
				synctest.Wait()
				if out := f.take(); len(out) != 0 || f.groups() != 0 {
					t.Errorf("after Remove: answered %+v, %d groups", out, f.groups())
				}
				if err := p.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestNDAnnounceAndErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeND()
		p, err := NewND(f, NDConfig{Source: router6})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		if err := p.Announce(nCoA6); err == nil {
			t.Error("announcing an address not set: want an error")
		}
		for _, bad := range []netip.Addr{{}, none6, nCoA, netip.MustParseAddr("ff02::1")} {
			if err := p.Set(bad, Policy{}); err == nil {
				t.Errorf("Set(%v): want an error", bad)
			}
			if err := p.Probe(t.Context(), bad, nil); err == nil {
				t.Errorf("Probe(%v): want an error", bad)
			}
			if _, err := p.Present(t.Context(), router6, bad, visitor.HardwareAddr()); err == nil {
				t.Errorf("Present(%v): want an error", bad)
			}
		}
		if err := p.Set(nCoA6, Policy{IgnoreMAC: net.HardwareAddr{1}}); err == nil {
			t.Error("Set with a bad hardware address: want an error")
		}
		if err := p.Set(nCoA6, Policy{}); err != nil {
			t.Fatal(err)
		}
		if err := p.Announce(nCoA6); err != nil {
			t.Error(err)
		}
		want := nd.Packet{Src: router6, Dst: nd.AllNodes(), Msg: nd.Advert{Target: nCoA6, MAC: router, Override: true}}
		if out := f.take(); len(out) != 1 || out[0] != want {
			t.Errorf("sent %+v, want %+v", out, want)
		}
		f.fail = errors.New("no link")
		f.in <- solicit(other, neighbour6, nCoA6)
		synctest.Wait()
		if s := p.Stats(); s.Failed != 1 || s.Answered != 0 {
			t.Errorf("stats %+v", s)
		}
		if err := p.Announce(nCoA6); !errors.Is(err, f.fail) {
			t.Errorf("Announce: %v", err)
		}
	})
	if _, err := NewND(newFakeND(), NDConfig{Source: router6, Timers: nd.Timers{Transmits: 1}}); err == nil {
		t.Error("bad timers: want an error")
	}
	if _, err := NewND(newFakeND(), NDConfig{Source: nCoA}); err == nil {
		t.Error("an IPv4 source: want an error")
	}
}

func TestNDProbe(t *testing.T) {
	nonce := solicit(other, none6, nCoA6)
	nonce.Msg = nd.Solicit{Target: nCoA6, Nonce: "abcdef"}
	for _, c := range []struct {
		name     string
		visitor  net.HardwareAddr
		inject   *nd.Packet
		conflict bool
	}{
		{"free", nil, nil, false},
		{"in use", nil, new(advert(other, nCoA6)), true},
		{"somebody else probes", nil, new(solicit(other, none6, nCoA6)), true},
		{"somebody else probes with a nonce", visitor.HardwareAddr(), &nonce, true},
		{"the visitor has it", visitor.HardwareAddr(), new(advert(visitor, nCoA6)), false},
		{"the visitor arrives", visitor.HardwareAddr(), new(solicit(visitor, none6, nCoA6)), false},
		{"in use, not by the visitor", visitor.HardwareAddr(), new(advert(other, nCoA6)), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeND()
				p, err := NewND(f, NDConfig{Source: router6})
				if err != nil {
					t.Fatal(err)
				}
				result := make(chan error)
				go func() { result <- p.DefendOrProbe(t.Context(), nCoA6, Policy{IgnoreMAC: c.visitor}) }()
				synctest.Wait()
				if f.groups() != 1 {
					t.Error("the group is to be joined before probing")
				}
				if c.inject != nil {
					f.in <- *c.inject
				}
				err = <-result
				var conflict *acd.ConflictError
				if errors.As(err, &conflict) != c.conflict || !c.conflict && err != nil {
					t.Errorf("probe: %v, want conflict %v", err, c.conflict)
				}
				probes := len(f.take())
				f.in <- solicit(other, neighbour6, nCoA6)
				synctest.Wait()
				if got := len(f.take()); got == 1 == c.conflict {
					t.Errorf("%d answers after a probe with conflict %v", got, c.conflict)
				}
				if groups := f.groups(); groups == 1 == c.conflict {
					t.Errorf("%d groups joined", groups)
				}
				if !c.conflict {
					if probes != 1 {
						t.Errorf("%d probes, want 1", probes)
					}
					if err := p.DefendOrProbe(t.Context(), nCoA6, Policy{AnswerProbes: true}); err != nil || len(f.take()) != 0 {
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
		f := newFakeND()
		p, err := NewND(f, NDConfig{Source: router6})
		if err != nil {
			t.Fatal(err)
		}
		result := make(chan error)
		go func() { result <- p.Probe(context.Background(), nCoA6, nil) }()
		var sent []nd.Packet
		for len(sent) == 0 {
			time.Sleep(time.Millisecond)
			sent = f.take()
		}
		f.in <- sent[0] // the link has a loop
		synctest.Wait()
		if p.Looped() != 1 {
			t.Errorf("%d probes came back, want 1", p.Looped())
		}
		p.Close()
		if err := <-result; !errors.Is(err, net.ErrClosed) {
			t.Errorf("closed under a probe: %v", err)
		}
		if err := p.Probe(t.Context(), nCoA6, net.HardwareAddr{1}); err == nil {
			t.Error("bad visitor: want an error")
		}
	})
}

func TestNDPresent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeND()
		p, err := NewND(f, NDConfig{Source: router6})
		if err != nil {
			t.Fatal(err)
		}
		ask := func(answers ...nd.Packet) bool {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			result := make(chan bool)
			go func() {
				there, err := p.Present(ctx, router6, nCoA6, visitor.HardwareAddr())
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
		if ask(advert(other, nCoA6), advert(visitor, neighbour6), solicit(visitor, none6, nCoA6)) {
			t.Error("somebody else has the address, and the visitor another one or none yet: it was taken for present")
		}
		want := nd.Packet{Src: router6, Dst: nd.SolicitedNode(nCoA6), Msg: nd.Solicit{Target: nCoA6, MAC: router}}
		if out := f.take(); len(out) != 7 || out[0] != want || out[6] != want {
			t.Errorf("sent %+v", out)
		}
		if !ask(advert(visitor, nCoA6)) {
			t.Error("the visitor's answer was not heard")
		}
		if len(p.probed) != 0 || f.groups() != 0 {
			t.Error("a question stays registered")
		}
		p.Close()
		if _, err := p.Present(t.Context(), router6, nCoA6, visitor.HardwareAddr()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
		if _, err := p.Present(t.Context(), router6, nCoA6, nil); err == nil {
			t.Error("no hardware address: want an error")
		}
	})
}

// TestArrival has a visitor, with another kernel, arrive at a link where its address is answered for: with the kernel's own
// proxy entry it gives the address up, with ours it does not; a stranger that takes the address gives it up.
func TestArrival(t *testing.T) {
	osnettest.Enter(t)
	osnettest.NoLinkLocal(t)
	far := osnettest.Other(t)
	far(func() { osnettest.NoLinkLocal(t) })
	osnettest.VethTo(t, "lan0", "v1", far)
	osnettest.IP(t, "address add fe80::1/64 dev lan0 nodad")
	settled := func(mac acd.MAC) (flags string) {
		far(func() {
			osnettest.IP(t, "link set v1 address "+mac.String())
			osnettest.IP(t, "address add "+nCoA6.String()+"/64 dev v1")
			for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
				flags = osnettest.IP(t, "-6 address show dev v1")
				if !strings.Contains(flags, "tentative") || strings.Contains(flags, "dadfailed") {
					break
				}
				if time.Now().After(end) {
					t.Error("duplicate address detection does not end")
					break
				}
			}
			osnettest.IP(t, "address del "+nCoA6.String()+"/64 dev v1")
		})
		return flags
	}
	failed := func(mac acd.MAC) bool { return strings.Contains(settled(mac), "dadfailed") }

	osnettest.Sysctl(t, "ipv6/conf/all/forwarding", "1")
	osnettest.Sysctl(t, "ipv6/conf/lan0/proxy_ndp", "1")
	osnettest.Sysctl(t, "ipv6/neigh/lan0/proxy_delay", "0")
	osnettest.IP(t, "-6 neighbour add proxy "+nCoA6.String()+" dev lan0")
	if !failed(visitor) {
		t.Error("the kernel's proxy entry let the visitor keep its address: then ours would not be needed")
	}
	osnettest.IP(t, "-6 neighbour del proxy "+nCoA6.String()+" dev lan0")
	osnettest.Sysctl(t, "ipv6/conf/lan0/proxy_ndp", "0")

	n, err := osnet.Open(nil, osnet.OwnerLab)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	c, err := n.OpenND("lan0")
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewND(c, NDConfig{Source: router6, Timers: nd.Timers{Transmits: 2, Retrans: 100 * time.Millisecond, LoopTransmits: 3}})
	if err != nil {
		c.Close()
		t.Fatal(err)
	}
	defer p.Close()
	pol := Policy{IgnoreMAC: visitor.HardwareAddr(), AnswerProbes: true}
	if err := p.DefendOrProbe(t.Context(), nCoA6, pol); err != nil {
		t.Fatal(err)
	}
	if flags := settled(visitor); strings.Contains(flags, "dadfailed") {
		t.Errorf("our proxy made the visitor give its own address up:\n%s", flags)
	}
	if s := p.Stats(); s.Own == 0 || s.Answered != 0 {
		t.Errorf("after the arrival: %+v", s)
	}
	if !failed(other) {
		t.Error("a stranger took the address of an absent visitor")
	}
	if s := p.Stats(); s.Answered == 0 || s.Conflicts != 0 {
		t.Errorf("after the stranger: %+v", s)
	}

	// Neighbours resolve the absent visitor's address to the router.
	far(func() {
		osnettest.IP(t, "address add "+neighbour6.String()+"/64 dev v1 nodad")
		osnettest.IP(t, "address add fe80::50/64 dev v1 nodad") // a kernel asks from its link-local address
		m, err := osnet.Open(nil, osnet.OwnerMobileNode)
		if err != nil {
			t.Error(err)
			return
		}
		defer m.Close()
		got, err := m.Resolve(t.Context(), "v1", nCoA6)
		if err != nil || got.String() != p.MAC().String() {
			t.Errorf("resolved to %v (%v), want the router's %v", got, err, p.MAC())
		}
	})
	// What a kernel has is found in use, and its owner present.
	var conflict *acd.ConflictError
	if err := p.Probe(t.Context(), neighbour6, visitor.HardwareAddr()); !errors.As(err, &conflict) || acd.MAC(conflict.By) != other {
		t.Errorf("probe of an address in use: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if there, err := p.Present(ctx, router6, neighbour6, other.HardwareAddr()); !there || err != nil {
		t.Errorf("present: %v %v", there, err)
	}
}
