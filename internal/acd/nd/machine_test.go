package nd

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"openmpa/internal/acd"
)

var short = Timers{Delay: time.Second, Transmits: 2, Retrans: time.Second, LoopTransmits: 3}

func machine(t *testing.T, timers Timers) *Machine {
	t.Helper()
	m, err := New(Config{Addr: addr, Own: []net.HardwareAddr{router.HardwareAddr(), visitor.HardwareAddr()}, Timers: timers, Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func drain(m *Machine) (out []Output) {
	for o, ok := m.Poll(); ok; o, ok = m.Poll() {
		out = append(out, o)
	}
	return out
}

// step runs the machine to its next deadline.
func step(t *testing.T, m *Machine, now *time.Time) []Output {
	t.Helper()
	at, ok := m.Deadline()
	if !ok {
		t.Fatalf("no deadline in state %v", m.State())
	}
	m.OnDeadline(at.Add(-1))
	if early := drain(m); len(early) > 0 {
		t.Errorf("%v before the deadline", early)
	}
	*now = at
	m.OnDeadline(at)
	return drain(m)
}

// sentProbe checks that out is one probe and returns it.
func sentProbe(t *testing.T, out []Output) Packet {
	t.Helper()
	if len(out) != 1 {
		t.Fatalf("outputs %v, want one probe", out)
	}
	s, ok := out[0].(Send)
	if !ok {
		t.Fatalf("output %T, want a probe", out[0])
	}
	msg, ok := s.Packet.Msg.(Solicit)
	if !ok || msg.Target != addr || msg.MAC != (acd.MAC{}) || len(msg.Nonce) != 6 || !s.Packet.Src.IsUnspecified() || s.Packet.Dst != SolicitedNode(addr) {
		t.Fatalf("probe %+v", s.Packet)
	}
	return s.Packet
}

func TestFree(t *testing.T) {
	m := machine(t, short)
	now := time.Unix(1000, 0)
	begun := now
	if err := m.Start(now); err != nil || m.State() != Waiting {
		t.Fatal(err, m.State())
	}
	if err := m.Start(now); !errors.Is(err, ErrState) {
		t.Errorf("started twice: %v", err)
	}
	first := sentProbe(t, step(t, m, &now))
	if d := now.Sub(begun); d < 0 || d > time.Second {
		t.Errorf("first probe after %v", d)
	}
	second := sentProbe(t, step(t, m, &now))
	if first.Msg == second.Msg {
		t.Error("two probes with one nonce")
	}
	if out := step(t, m, &now); len(out) != 1 || out[0] != (Usable{}) || m.State() != Free {
		t.Errorf("%v %v", out, m.State())
	}
	if d := now.Sub(begun); d < 2*time.Second || d > short.Longest() {
		t.Errorf("took %v, longest is %v", d, short.Longest())
	}
	// Still only claimed: what comes before it is used counts.
	m.HandlePacket(now, Packet{From: other, Src: addr, Dst: AllNodes(), Msg: Advert{Target: addr}})
	if out := drain(m); len(out) != 1 || out[0] != (Conflict{other}) {
		t.Errorf("%v", out)
	}
}

// TestHandle is RFC 4862 sections 5.4.3 and 5.4.4 and RFC 7527 section 4.2, after the first probe.
func TestHandle(t *testing.T) {
	none := netip.IPv6Unspecified()
	far := netip.MustParseAddr("2001:db8:2::1")
	probe := func(from acd.MAC, nonce Nonce) Packet {
		p := Probe(addr, nonce)
		p.From = from
		return p
	}
	const same = "the nonce that was sent"
	for _, c := range []struct {
		name string
		p    Packet
		want Output
	}{
		{"foreign probe without nonce", probe(other, ""), Conflict{other}},
		{"foreign probe with its nonce", probe(other, "abcdef"), Conflict{other}},
		{"ours looped back", probe(router, same), Looped{}},
		{"ours looped back by a bridge that changed the source", probe(other, same), Looped{}},
		{"the node arrives", probe(visitor, ""), nil},
		{"the node arrives, with a nonce", probe(visitor, "abcdef"), nil},
		{"probe for another", Packet{From: other, Src: none, Dst: SolicitedNode(far), Msg: Solicit{Target: far}}, nil},
		{"asked for", Packet{From: other, Src: far, Dst: SolicitedNode(addr), Msg: Solicit{Target: addr, MAC: other}}, nil},
		{"advertised", Packet{From: other, Src: addr, Dst: AllNodes(), Msg: Advert{Target: addr, MAC: other}}, Conflict{other}},
		{"advertised by a proxy", Packet{From: other, Src: far, Dst: AllNodes(), Msg: Advert{Target: addr, MAC: other, Override: true}}, Conflict{other}},
		{"advertised by the node", Packet{From: visitor, Src: addr, Dst: AllNodes(), Msg: Advert{Target: addr, MAC: visitor}}, nil},
		{"another advertised", Packet{From: other, Src: far, Dst: AllNodes(), Msg: Advert{Target: far, MAC: other}}, nil},
		{"router solicitation", Packet{From: other, Src: none, Dst: AllNodes(), Msg: RouterSolicit{}}, nil},
		{"no message", Packet{From: other}, nil},
	} {
		m := machine(t, short)
		now := time.Unix(1000, 0)
		if err := m.Start(now); err != nil {
			t.Fatal(err)
		}
		sent := sentProbe(t, step(t, m, &now))
		if s, ok := c.p.Msg.(Solicit); ok && s.Nonce == same {
			s.Nonce = sent.Msg.(Solicit).Nonce
			c.p.Msg = s
		}
		m.HandlePacket(now, c.p)
		out := drain(m)
		if c.want == nil && len(out) != 0 || c.want != nil && (len(out) != 1 || out[0] != c.want) {
			t.Errorf("%s: %v, want %v", c.name, out, c.want)
		}
		if _, conflict := c.want.(Conflict); conflict {
			if _, ok := m.Deadline(); ok || m.State() != Conflicted {
				t.Errorf("%s: goes on in state %v", c.name, m.State())
			}
			m.HandlePacket(now, c.p)
			if out := drain(m); len(out) != 0 {
				t.Errorf("%s: told twice: %v", c.name, out)
			}
		}
	}
}

// TestLoop is RFC 7527 section 4.1: a probe that came back has MAX_MULTICAST_SOLICIT more follow, each with a nonce of its own.
func TestLoop(t *testing.T) {
	m := machine(t, DefaultTimers())
	now := time.Unix(1000, 0)
	if err := m.Start(now); err != nil {
		t.Fatal(err)
	}
	seen := map[Nonce]bool{}
	back := func() {
		p := sentProbe(t, step(t, m, &now))
		n := p.Msg.(Solicit).Nonce
		if seen[n] {
			t.Error("a nonce twice")
		}
		seen[n] = true
		p.From = router
		m.HandlePacket(now, p)
		if out := drain(m); len(out) != 1 || out[0] != (Looped{}) {
			t.Errorf("%v, want looped", out)
		}
	}
	for range 1 + 3 + 3 {
		back()
	}
	for range 3 { // the loop is gone
		sentProbe(t, step(t, m, &now))
	}
	if out := step(t, m, &now); len(out) != 1 || out[0] != (Usable{}) {
		t.Errorf("%v", out)
	}
}

func TestRandomFails(t *testing.T) {
	for n, want := range map[int]string{0: "start", 8: "nonce"} {
		m, err := New(Config{Addr: addr, Timers: short, Rand: bytes.NewReader(make([]byte, n))})
		if err != nil {
			t.Fatal(err)
		}
		err = Run(t.Context(), &fakeConn{}, m, nil)
		if !errors.Is(err, io.EOF) || !strings.Contains(err.Error(), want) {
			t.Errorf("after %d octets: %v", n, err)
		}
	}
	for name, c := range map[string]Config{
		"IPv4":    {Addr: netip.MustParseAddr("10.0.0.1"), Timers: short, Rand: rand.Reader},
		"timers":  {Addr: addr, Rand: rand.Reader},
		"random":  {Addr: addr, Timers: short},
		"own":     {Addr: addr, Timers: short, Rand: rand.Reader, Own: []net.HardwareAddr{{1}}},
		"delay":   {Addr: addr, Timers: Timers{Delay: -1, Transmits: 1, Retrans: 1, LoopTransmits: 1}, Rand: rand.Reader},
		"number":  {Addr: addr, Timers: Timers{Transmits: 101, Retrans: 1, LoopTransmits: 1}, Rand: rand.Reader},
		"further": {Addr: addr, Timers: Timers{Transmits: 1, Retrans: 1}, Rand: rand.Reader},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s: want an error", name)
		}
	}
}

// TestAlwaysEnds: whatever comes, probing ends unless probes come back, and is free only if nobody else showed.
func TestAlwaysEnds(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := machine(t, DefaultTimers())
		now := time.Unix(1000, 0)
		if err := m.Start(now); err != nil {
			rt.Fatal(err)
		}
		foreign := false
		for range 20 {
			if rapid.Bool().Draw(rt, "packet") {
				from := rapid.SampledFrom([]acd.MAC{router, visitor, other}).Draw(rt, "from")
				var p Packet
				if rapid.Bool().Draw(rt, "probe") {
					p = Probe(addr, Nonce(rapid.SampledFrom([]string{"", "abcdef"}).Draw(rt, "nonce")))
				} else {
					p = Packet{Src: addr, Dst: AllNodes(), Msg: Advert{Target: addr}}
				}
				p.From = from
				foreign = foreign || from == other
				m.HandlePacket(now, p)
				continue
			}
			if at, ok := m.Deadline(); ok {
				now = at
				m.OnDeadline(now)
			}
		}
		for at, ok := m.Deadline(); ok; at, ok = m.Deadline() {
			m.OnDeadline(at)
		}
		if want := map[bool]State{true: Conflicted, false: Free}[foreign]; m.State() != want {
			rt.Errorf("state %v, want %v", m.State(), want)
		}
	})
}

// fakeConn is a link whose packets the test makes up.
type fakeConn struct {
	in   chan Packet
	mu   sync.Mutex
	out  []Packet
	fail error
}

func (f *fakeConn) ReadND(ctx context.Context) (Packet, error) {
	select {
	case p := <-f.in:
		return p, nil
	case <-ctx.Done():
		return Packet{}, ctx.Err()
	}
}

func (f *fakeConn) WriteND(p Packet) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.out = append(f.out, p)
	return f.fail
}

func (f *fakeConn) sent() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.out)
}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeConn{in: make(chan Packet)}
		if err := Run(t.Context(), f, machine(t, DefaultTimers()), nil); err != nil || len(f.out) != 1 {
			t.Errorf("free: %v after %d probes", err, len(f.out))
		}
		result := make(chan error)
		loops := 0
		go func() { result <- Run(t.Context(), f, machine(t, DefaultTimers()), func(Looped) { loops++ }) }()
		for f.sent() < 2 { // the second probe is sent at any time of the first second
			time.Sleep(time.Millisecond)
		}
		f.in <- f.out[1]
		f.in <- Packet{From: other, Src: addr, Dst: AllNodes(), Msg: Advert{Target: addr}}
		var conflict *acd.ConflictError
		if err := <-result; !errors.As(err, &conflict) || conflict.Addr != addr || !slices.Equal(conflict.By, other.HardwareAddr()) || loops != 1 {
			t.Errorf("conflict: %v, %d loops", err, loops)
		}
		f.fail = errors.New("no link")
		if err := Run(t.Context(), f, machine(t, DefaultTimers()), nil); !errors.Is(err, f.fail) {
			t.Errorf("no link: %v", err)
		}
		f.fail = nil
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := Run(ctx, f, machine(t, DefaultTimers()), nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("ended: %v", err)
		}
	})
}
