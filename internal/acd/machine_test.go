package acd

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"pgregory.net/rapid"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// constant is a random source that repeats one octet: 0x00 draws the least
// delays, 0xff the greatest.
type constant byte

func (c constant) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(c)
	}
	return len(p), nil
}

func machine(t testing.TB, policy Policy, rnd constant) *Machine {
	t.Helper()
	m, err := New(Config{
		Addr: addr, MAC: ours.HardwareAddr(), Own: []net.HardwareAddr{ours2.HardwareAddr()},
		Timers: DefaultTimers(), Policy: policy, Rand: rnd,
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func outputs(m *Machine) []Output {
	var out []Output
	for {
		o, ok := m.Poll()
		if !ok {
			return out
		}
		out = append(out, o)
	}
}

// expect compares what the machine put out since the last look.
func expect(t *testing.T, m *Machine, want ...Output) {
	t.Helper()
	if got := outputs(m); !reflect.DeepEqual(got, want) {
		t.Fatalf("want %+v, got %+v", want, got)
	}
}

// step goes to the deadline and returns it.
func step(t *testing.T, m *Machine) time.Time {
	t.Helper()
	at, ok := m.Deadline()
	if !ok {
		t.Fatalf("no deadline in state %v", m.State())
	}
	m.OnDeadline(at.Add(-1)) // too early: nothing
	if again, ok := m.Deadline(); !ok || !again.Equal(at) {
		t.Fatalf("OnDeadline before the deadline changed it to %v, %v", again, ok)
	}
	m.OnDeadline(at)
	return at
}

// The whole of section 2.1.1 and 2.3, with the least and the greatest delays.
func TestProbeTimeline(t *testing.T) {
	for _, c := range []struct {
		rnd                   constant
		first, between, total time.Duration
	}{
		{0x00, 0, time.Second, 4 * time.Second},
		{0xff, time.Second, 2 * time.Second, 7 * time.Second},
	} {
		m := machine(t, DefendOnce, c.rnd)
		if err := m.Start(epoch); err != nil {
			t.Fatal(err)
		}
		probe := Send{ProbePacket(addr, ours)}
		want := epoch.Add(c.first)
		for i := range 3 {
			if at := step(t, m); !at.Equal(want) {
				t.Errorf("probe %d: want %v, got %v", i, want, at)
			}
			expect(t, m, probe)
			want = want.Add(c.between)
		}
		if m.State() != Listening {
			t.Errorf("want listening, got %v", m.State())
		}
		at := step(t, m)
		expect(t, m, Usable{})
		if at.Sub(epoch) != c.total || m.State() != Free {
			t.Errorf("want free after %v, got %v after %v", c.total, m.State(), at.Sub(epoch))
		}
		if _, ok := m.Deadline(); ok {
			t.Error("free has a deadline")
		}

		if err := m.Announce(at); err != nil {
			t.Fatal(err)
		}
		announcement := Send{AnnouncementPacket(addr, ours)}
		expect(t, m, announcement)
		if second := step(t, m); second.Sub(at) != 2*time.Second {
			t.Errorf("second announcement after %v", second.Sub(at))
		}
		expect(t, m, announcement)
		if _, ok := m.Deadline(); ok || m.State() != Bound {
			t.Errorf("want bound without a deadline, got %v, %v", m.State(), ok)
		}
	}
	if got := DefaultTimers().Longest(); got != 7*time.Second {
		t.Errorf("Longest: got %v", got)
	}
}

// What is a conflict, and when: the tests of 2.1.1 and 2.4 by the letter.
func TestConflictConditions(t *testing.T) {
	request := func(mac MAC, sender, target netip.Addr) Packet {
		return Packet{Op: OpRequest, SenderMAC: mac, SenderIP: sender, TargetIP: target}
	}
	reply := func(mac MAC, sender, target netip.Addr) Packet {
		return Packet{Op: OpReply, SenderMAC: mac, SenderIP: sender, TargetMAC: ours, TargetIP: target}
	}
	zero := netip.IPv4Unspecified()
	odd := request(them, addr, addr)
	odd.Op = 3
	for _, c := range []struct {
		name           string
		p              Packet
		probing, bound bool
	}{
		{"reply that says it has it", reply(them, addr, zero), true, true},
		{"request from it", request(them, addr, other), true, true},
		{"announcement of it", AnnouncementPacket(addr, them), true, true},
		{"reply from it with our own hardware address", reply(ours, addr, zero), true, false},
		{"request from it with another of our hardware addresses", request(ours2, addr, other), true, false},
		{"foreign probe for it", ProbePacket(addr, them), true, false},
		{"echo of our probe", ProbePacket(addr, ours), false, false},
		{"our probe on another interface", ProbePacket(addr, ours2), false, false},
		{"foreign probe for another address", ProbePacket(other, them), false, false},
		{"request for it", request(them, other, addr), false, false},
		{"request between others", request(them, other, netip.MustParseAddr("10.2.0.1")), false, false},
		{"reply without a sender address", reply(them, zero, addr), false, false},
		{"neither request nor reply", odd, false, false},
	} {
		for name, reach := range states(t) {
			m := reach()
			outputs(m)
			m.HandlePacket(epoch.Add(time.Hour), c.p)
			got := outputs(m)
			var want []Output
			switch {
			case name == "idle":
			case (name == "announcing" || name == "bound") && c.bound:
				want = []Output{Ceased{By: c.p.SenderMAC}}
			case name != "announcing" && name != "bound" && c.probing:
				want = []Output{Conflict{By: c.p.SenderMAC}}
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s while %s: want %+v, got %+v", c.name, name, want, got)
			}
			if _, ok := m.Deadline(); len(want) > 0 && ok {
				t.Errorf("%s while %s: a deadline is left", c.name, name)
			}
			if len(want) > 0 { // it is over: nothing more, whatever comes
				m.HandlePacket(epoch.Add(time.Hour), AnnouncementPacket(addr, them))
				m.OnDeadline(epoch.Add(24 * time.Hour))
				expect(t, m)
			}
		}
	}
}

// states returns, by name, how to make a machine (policy: give up) in each state it can be in.
func states(t *testing.T) map[string]func() *Machine {
	after := func(steps int, announce bool, more int) func() *Machine {
		return func() *Machine {
			m := machine(t, GiveUp, 0)
			if err := m.Start(epoch); err != nil {
				t.Fatal(err)
			}
			for range steps {
				step(t, m)
			}
			if announce {
				if err := m.Announce(epoch); err != nil {
					t.Fatal(err)
				}
			}
			for range more {
				step(t, m)
			}
			return m
		}
	}
	out := map[string]func() *Machine{
		"idle":      func() *Machine { return machine(t, GiveUp, 0) },
		"waiting":   after(0, false, 0),
		"probing":   after(1, false, 0),
		"listening": after(3, false, 0), "free": after(4, false, 0),
		"announcing": after(4, true, 0), "bound": after(4, true, 1),
	}
	for name, reach := range out {
		if got := reach().State().String(); got != name {
			t.Fatalf("want state %s, got %s", name, got)
		}
	}
	return out
}

// Section 2.4 (b): one defence; a second conflict within DEFEND_INTERVAL ends it.
func TestDefendOnce(t *testing.T) {
	conflict := AnnouncementPacket(addr, them)
	announcement := Send{AnnouncementPacket(addr, ours)}
	m := bound(t, DefendOnce)
	m.HandlePacket(epoch, conflict)
	expect(t, m, announcement, Defended{By: them, Announced: true})
	m.HandlePacket(epoch.Add(10*time.Second), conflict) // long enough after
	expect(t, m, announcement, Defended{By: them, Announced: true})
	m.HandlePacket(epoch.Add(20*time.Second-1), conflict)
	expect(t, m, Ceased{By: them})
	if m.State() != Lost {
		t.Errorf("want lost, got %v", m.State())
	}
}

// Section 2.4 (c): never given up, never more than one announcement per interval.
func TestDefendAlways(t *testing.T) {
	conflict := AnnouncementPacket(addr, them)
	m := bound(t, DefendAlways)
	var announced int
	for i := range 100 { // a conflict every second
		m.HandlePacket(epoch.Add(time.Duration(i)*time.Second), conflict)
		out := outputs(m)
		last, ok := out[len(out)-1].(Defended)
		if !ok || last.By != them || last.Announced != (len(out) == 2) {
			t.Fatalf("second %d: got %+v", i, out)
		}
		if last.Announced {
			announced++
		}
	}
	if announced != 10 || m.State() != Bound {
		t.Errorf("want 10 announcements and bound, got %d, %v", announced, m.State())
	}
}

func TestGiveUp(t *testing.T) {
	m := bound(t, GiveUp)
	m.HandlePacket(epoch, AnnouncementPacket(addr, them))
	expect(t, m, Ceased{By: them})
}

// bound makes a machine whose address somebody else has probed.
func bound(t *testing.T, policy Policy) *Machine {
	t.Helper()
	m := machine(t, policy, 0)
	m.rnd = nil // not needed for an address probed before
	if err := m.Announce(epoch); err != nil {
		t.Fatal(err)
	}
	step(t, m)
	outputs(m)
	if m.State() != Bound {
		t.Fatalf("want bound, got %v", m.State())
	}
	return m
}

// A defence while still announcing does not disturb the announcements.
func TestDefendWhileAnnouncing(t *testing.T) {
	m := machine(t, DefendOnce, 0)
	if err := m.Announce(epoch); err != nil {
		t.Fatal(err)
	}
	outputs(m)
	m.HandlePacket(epoch.Add(time.Second), AnnouncementPacket(addr, them))
	expect(t, m, Send{AnnouncementPacket(addr, ours)}, Defended{By: them, Announced: true})
	if at := step(t, m); at.Sub(epoch) != 2*time.Second {
		t.Errorf("second announcement after %v", at.Sub(epoch))
	}
	expect(t, m, Send{AnnouncementPacket(addr, ours)})
}

func TestWrongStates(t *testing.T) {
	for name, reach := range states(t) {
		m := reach()
		err := m.Announce(epoch)
		if wantOK := name == "idle" || name == "free"; wantOK != (err == nil) || !wantOK && !errors.Is(err, ErrState) {
			t.Errorf("announce while %s: got %v", name, err)
		}
		m = reach()
		err = m.Start(epoch)
		if wantOK := name == "idle"; wantOK != (err == nil) || !wantOK && !errors.Is(err, ErrState) {
			t.Errorf("start while %s: got %v", name, err)
		}
	}
}

func TestNewErrors(t *testing.T) {
	good := Config{Addr: addr, MAC: ours.HardwareAddr(), Timers: DefaultTimers(), Rand: constant(0)}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Config){
		"no address":  func(c *Config) { c.Addr = netip.Addr{} },
		"IPv6":        func(c *Config) { c.Addr = netip.MustParseAddr("2001:db8::1") },
		"unspecified": func(c *Config) { c.Addr = netip.IPv4Unspecified() },
		"multicast":   func(c *Config) { c.Addr = netip.MustParseAddr("224.0.0.1") },
		"broadcast":   func(c *Config) { c.Addr = netip.MustParseAddr("255.255.255.255") },
		"no MAC":      func(c *Config) { c.MAC = nil },
		"long MAC":    func(c *Config) { c.MAC = make(net.HardwareAddr, 8) },
		"own":         func(c *Config) { c.Own = []net.HardwareAddr{{1}} },
		"timers":      func(c *Config) { c.Timers = Timers{} },
		"policy":      func(c *Config) { c.Policy = 3 },
	} {
		c := good
		spoil(&c)
		if _, err := New(c); err == nil || strings.Count(err.Error(), "acd:") != 1 {
			t.Errorf("%s: want an error with the prefix once, got %v", name, err)
		}
	}
	broken := errors.New("broken")
	c := good
	c.Rand = iotest.ErrReader(broken)
	m, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Start(epoch); !errors.Is(err, broken) || m.State() != Idle {
		t.Errorf("broken random source: got %v, %v", err, m.State())
	}
	c.Rand = nil
	if m, err = New(c); err != nil {
		t.Fatal(err)
	}
	if err := m.Start(epoch); err == nil {
		t.Error("no random source: want an error")
	}
}

func TestTimersCheck(t *testing.T) {
	if err := DefaultTimers().Check(); err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(*Timers){
		"probe-wait":                  func(x *Timers) { x.ProbeWait = -1 },
		"probe-num":                   func(x *Timers) { x.ProbeNum = 0 },
		"probe-min":                   func(x *Timers) { x.ProbeMin = 2 * time.Hour },
		"probe-max":                   func(x *Timers) { x.ProbeMax = -time.Second },
		"is more than probe-max":      func(x *Timers) { x.ProbeMin = x.ProbeMax + 1 },
		"announce-wait: want 0":       func(x *Timers) { x.AnnounceWait = -1 },
		"announce-wait: want more":    func(x *Timers) { x.AnnounceWait = 0 },
		"announce-num":                func(x *Timers) { x.AnnounceNum = 101 },
		"announce-interval":           func(x *Timers) { x.AnnounceInterval = -1 },
		"max-conflicts":               func(x *Timers) { x.MaxConflicts = 0 },
		"rate-limit-interval":         func(x *Timers) { x.RateLimitInterval = -1 },
		"defend-interval":             func(x *Timers) { x.DefendInterval = 61 * time.Minute },
		"acd: probe-num: want 1 to 1": func(x *Timers) { x.ProbeNum = -7 },
	} {
		x := DefaultTimers()
		spoil(&x)
		if err := x.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, got %v", want, err)
		}
	}
}

func TestUniformStaysInside(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lo := time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "lo"))
		hi := lo + time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "span"))
		d, err := Uniform(bytes.NewReader(rapid.SliceOfN(rapid.Byte(), 8, 8).Draw(t, "random")), lo, hi)
		if err != nil || d < lo || d > hi {
			t.Fatalf("%v to %v: got %v, %v", lo, hi, d, err)
		}
	})
	for _, c := range []struct {
		rnd  constant
		want time.Duration
	}{{0, time.Second}, {0xff, 2 * time.Second}, {0x7f, 1500 * time.Millisecond}} {
		if d, err := Uniform(c.rnd, time.Second, 2*time.Second); err != nil || d.Round(5*time.Millisecond) != c.want {
			t.Errorf("%x: want %v, got %v, %v", byte(c.rnd), c.want, d, err)
		}
	}
}

func TestNamesOfStatesAndPolicies(t *testing.T) {
	seen := make(map[string]bool)
	for s := Idle; s <= Lost; s++ {
		if n := s.String(); n == "" || seen[n] {
			t.Errorf("state %d: name %q", s, n)
		}
		seen[s.String()] = true
	}
	if State(77).String() != "State(77)" || Policy(77).String() != "Policy(77)" || DefendOnce.String() != "defend once" {
		t.Error("names")
	}
}

func TestLimiter(t *testing.T) {
	x := DefaultTimers()
	x.MaxConflicts = 3
	l := NewLimiter(x)
	now := epoch
	for i := range 3 {
		if l.Limited() {
			t.Fatalf("limited after %d conflicts", i)
		}
		if w := l.Attempt(now); w != 0 {
			t.Errorf("attempt %d waits %v", i, w)
		}
		now = now.Add(time.Second)
		l.Conflict()
	}
	if !l.Limited() {
		t.Fatal("not limited after 3 conflicts")
	}
	// The last attempt was a second ago.
	for i, want := range []time.Duration{59 * time.Second, 119 * time.Second, 179 * time.Second} {
		if w := l.Attempt(now); w != want {
			t.Errorf("attempt %d: want a wait of %v, got %v", i, want, w)
		}
	}
	if w := l.Attempt(now.Add(time.Hour)); w != 0 {
		t.Errorf("an hour later: got a wait of %v", w)
	}
	l.Success()
	if w := l.Attempt(now.Add(time.Hour)); w != 0 || l.Limited() {
		t.Errorf("after a success: got a wait of %v", w)
	}
}
