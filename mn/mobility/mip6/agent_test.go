package mip6

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"openmpa/internal/inet"
	"openmpa/paa/keys"
)

// bench sends a home agent what a mobile node would, and more.
type bench struct {
	testing.TB
	*Agent
	now time.Time
	seq uint16
}

func newBench(t testing.TB, change func(*AgentConfig)) *bench {
	return &bench{TB: t, Agent: newTestAgent(t, change), now: epoch, seq: 100}
}

// want is an Update to send, with what is unusual about it.
type want struct {
	home, src, careOf netip.Addr // zero: the usual ones; careOf equal to src: no option
	sequence          uint16     // 0: the next
	flags             Flags      // beside A and H
	lifetime          uint16
	stamp             uint64 // 0: of now
	noStamp, noAuth   bool
	noHome            bool // no Home Address option: the source is the home address
	sa                *Security
	options           Options
}

func (b *bench) packet(w want) []byte {
	b.Helper()
	setDefault(&w.home, home)
	setDefault(&w.src, careA)
	setDefault(&w.careOf, w.src)
	if w.sequence == 0 {
		b.seq++
		w.sequence = b.seq
	}
	u := &Update{Sequence: w.sequence, Flags: FlagA | FlagH | w.flags, Lifetime: w.lifetime}
	if w.careOf != w.src {
		u.Options = append(u.Options, AlternateOption(w.careOf))
	}
	u.Options = append(u.Options, w.options...)
	if w.stamp == 0 {
		w.stamp = inet.NTP(b.now)
	}
	if !w.noStamp {
		u.Options = append(u.Options, ReplayOption(w.stamp))
	}
	sa := testSecurity()
	if w.sa != nil {
		sa = *w.sa
	}
	sign := sa.Signer(w.careOf, w.home)
	if w.noAuth {
		sign = nil
	}
	if w.noHome {
		return packet(b, u, w.home, agent, netip.Addr{}, sa.Signer(w.home, w.home))
	}
	return packet(b, u, w.home, agent, w.src, sign)
}

// ask sends an Update, a millisecond later than the one before, and returns the answer; nil:
// there is none.
func (b *bench) ask(w want) *Ack {
	b.Helper()
	b.now = b.now.Add(time.Millisecond)
	return b.deliver(b.packet(w))
}

func (b *bench) deliver(pkt []byte) *Ack {
	b.Helper()
	if err := b.HandlePacket(b.now, pkt); err != nil {
		b.Logf("%v", err)
	}
	sent, _ := ParsePacket(pkt)
	var ack *Ack
	for _, o := range drain(b) {
		switch o := o.(type) {
		case DAD:
			b.DADDone(b.now, o.Home, true)
			return b.collect(sent)
		case Send:
			ack = b.opened(sent, o)
		}
	}
	return ack
}

func (b *bench) collect(sent Packet) (ack *Ack) {
	b.Helper()
	for _, o := range drain(b) {
		if o, ok := o.(Send); ok {
			ack = b.opened(sent, o)
		}
	}
	return ack
}

// opened checks where an answer goes.
func (b *bench) opened(sent Packet, o Send) *Ack {
	b.Helper()
	p, ack := opened[*Ack](b, o.Packet)
	if p.Src != agent || p.Dst != sent.Src || p.Final != sent.Home || o.Tunnel {
		b.Errorf("the answer goes from %v to %v by %v, the update came from %v of %v", p.Src, p.Dst, p.Final, sent.Src, sent.Home)
	}
	return ack
}

func (b *bench) bound(want ...CareOf) {
	b.Helper()
	var got []CareOf
	for _, x := range b.Bindings(home) {
		got = append(got, x.CareOf)
	}
	if !slices.Equal(got, want) {
		b.Errorf("bound to %v, expected %v", got, want)
	}
}

func (b *bench) status(name string, a *Ack, s Status) {
	b.Helper()
	switch {
	case a == nil:
		b.Errorf("%s: no answer, expected status %d", name, s)
	case a.Status != s:
		b.Errorf("%s: status %d (%v), expected %d (%v)", name, a.Status, a.Status, s, s)
	}
}

func TestAgentBinds(t *testing.T) {
	b := newBench(t, nil)
	// Duplicate address detection comes first, and the newest request is answered.
	b.now = b.now.Add(time.Second)
	if err := b.HandlePacket(b.now, b.packet(want{lifetime: 100, flags: FlagL})); err != nil {
		t.Fatal(err)
	}
	if d := pick[DAD](t, b); d.Home != home || !d.LinkLocal {
		t.Errorf("%+v", d)
	}
	b.bound()
	b.now = b.now.Add(time.Second)
	if err := b.HandlePacket(b.now, b.packet(want{lifetime: 1000, src: careB})); err != nil || len(drain(b)) != 0 {
		t.Errorf("a repeated request asks for another detection: %v", err)
	}
	b.DADDone(b.now, other, true) // nobody's
	b.DADDone(b.now, home, true)
	out := drain(b)
	if len(out) != 2 {
		t.Fatalf("%+v", out)
	}
	if c, ok := out[0].(Changed); !ok || c.Home != home || len(c.Bindings) != 1 || c.Bindings[0].Addr != careB {
		t.Errorf("%+v: the change comes before the answer", out[0])
	}
	p, a := opened[*Ack](t, out[1].(Send).Packet)
	if a.Status != StatusAccepted || a.Sequence != b.seq || a.Lifetime != 150 || p.Dst != careB || p.Final != home {
		t.Errorf("%+v to %v", a, p.Dst)
	}
	if err := a.Verify(testSecurity(), careB, home); err != nil {
		t.Error(err)
	}
	if s, ok, err := a.Options.Replay(); !ok || err != nil || s != inet.NTP(b.now) {
		t.Errorf("time stamp %#x", s)
	}
	// Moved, by an alternate care-of address, without another detection.
	b.status("move", b.ask(want{lifetime: 10, src: careA, careOf: careC}), StatusAccepted)
	b.bound(CareOf{Addr: careC})
	since := b.Bindings(home)[0].Since
	b.status("renewal", b.ask(want{lifetime: 10, src: careC}), StatusAccepted)
	if !b.Bindings(home)[0].Since.Equal(since) {
		t.Error("a renewal has changed since when")
	}
	// The lifetime ends.
	end := b.now.Add(40 * time.Second)
	if at, ok := b.Deadline(); !ok || !at.Equal(end) {
		t.Errorf("deadline %v, expected %v", at, end)
	}
	b.OnDeadline(end.Add(-1))
	b.bound(CareOf{Addr: careC})
	b.OnDeadline(end)
	b.bound()
	if c := pick[Changed](t, b); !c.Expired || len(c.Bindings) != 0 {
		t.Errorf("%+v", c)
	}
	if _, ok := b.Deadline(); ok {
		t.Error("a deadline without a binding")
	}
}

func TestAgentUnbinds(t *testing.T) {
	b := newBench(t, nil)
	b.status("without a binding", b.ask(want{}), StatusNotHomeAgent)
	b.ask(want{lifetime: 10})
	if a := b.ask(want{}); a.Status != StatusAccepted || a.Lifetime != 0 {
		t.Errorf("%+v", a)
	}
	b.bound()
	b.ask(want{lifetime: 10})
	b.status("at home", b.ask(want{noHome: true, src: home}), StatusAccepted)
	b.bound()
	if a := b.ask(want{noHome: true, src: home, lifetime: 10}); a != nil {
		t.Errorf("registered without a Home Address option: %+v", a)
	}
	// Taken back while duplicate address detection runs.
	if err := b.HandlePacket(b.now, b.packet(want{lifetime: 10, stamp: inet.NTP(b.now.Add(time.Millisecond))})); err != nil {
		t.Fatal(err)
	}
	pick[DAD](t, b)
	b.now = b.now.Add(time.Second)
	b.status("taken back", b.ask(want{}), StatusNotHomeAgent)
	b.DADDone(b.now, home, true)
	b.bound()
	if out := drain(b); len(out) != 0 {
		t.Errorf("%+v", out)
	}
}

func TestAgentDuplicateAddress(t *testing.T) {
	b := newBench(t, nil)
	if err := b.HandlePacket(b.now, b.packet(want{lifetime: 10})); err != nil {
		t.Fatal(err)
	}
	pick[DAD](t, b)
	b.DADDone(b.now, home, false)
	_, a := opened[*Ack](t, pick[Send](t, b).Packet)
	b.status("another node has the home address", a, StatusDuplicate)
	b.bound()
}

// TestAgentReplays: a copy, an older one, and clocks that differ.
func TestAgentReplays(t *testing.T) {
	b := newBench(t, nil)
	first := b.packet(want{lifetime: 10, src: careA})
	b.deliver(first)
	b.now = b.now.Add(time.Second)
	second := b.packet(want{lifetime: 10, src: careB})
	b.now = b.now.Add(time.Second)
	b.status("newest", b.deliver(b.packet(want{lifetime: 10, src: careC})), StatusAccepted)
	for name, pkt := range map[string][]byte{"replayed": first, "reordered": second} {
		a := b.deliver(pkt)
		b.status(name, a, StatusIdentification)
		_, u := opened[*Update](t, pkt)
		sent, _, _ := u.Options.Replay()
		if got, ok, _ := a.Options.Replay(); !ok || uint32(got) != uint32(sent) || got>>32 != inet.NTP(b.now)>>32 {
			t.Errorf("%s: time stamp %#x for %#x", name, got, sent)
		}
		if p, _ := ParsePacket(pkt); a.Verify(testSecurity(), p.Src, home) != nil {
			t.Errorf("%s: the denial is not authenticated", name)
		}
	}
	b.bound(CareOf{Addr: careC})
	for _, d := range []time.Duration{-8 * time.Second, 8 * time.Second} {
		b.status(d.String(), b.ask(want{lifetime: 10, stamp: inet.NTP(b.now.Add(d))}), StatusIdentification)
	}
	b.status("none", b.ask(want{lifetime: 10, noStamp: true}), StatusNoIdentification)
	b.status("6 s ahead", b.ask(want{lifetime: 10, stamp: inet.NTP(b.now.Add(6 * time.Second))}), StatusAccepted)
	// Also after the binding is over.
	b.now = b.now.Add(6500 * time.Millisecond)
	last := b.packet(want{lifetime: 1})
	b.status("short", b.deliver(last), StatusAccepted)
	b.now = b.now.Add(4 * time.Second)
	b.OnDeadline(b.now)
	drain(b)
	b.bound()
	b.status("replayed after its binding", b.deliver(last), StatusIdentification)
	b.bound()
}

// TestAgentSequence: by sequence numbers alone, around the wrap (RFC 6275 section 9.5.1).
func TestAgentSequence(t *testing.T) {
	sa := testSecurity()
	sa.Sequence = true
	b := newBench(t, func(c *AgentConfig) { c.Nodes[0].Security = sa })
	ask := func(seq uint16) *Ack { return b.ask(want{lifetime: 10, sequence: seq, noStamp: true}) }
	b.status("any at first", ask(15), StatusAccepted)
	for _, seq := range []uint16{15, 14, 1, 32783, 65535} { // those the RFC names
		a := ask(seq)
		b.status("old", a, StatusSequence)
		if a.Sequence != 15 {
			t.Errorf("sequence number %d in the answer, expected the last accepted, 15", a.Sequence)
		}
	}
	for _, seq := range []uint16{16, 32782, 65000, 65535, 7} {
		b.status("new", ask(seq), StatusAccepted)
	}
	b.status("before the wrap", ask(65535), StatusSequence)
	b.status("deregistration", b.ask(want{sequence: 8, noStamp: true}), StatusAccepted)
	b.status("replayed after deregistration", ask(7), StatusSequence)
}

func TestAgentAuthenticates(t *testing.T) {
	b := newBench(t, nil)
	key := keys.NewSecret([]byte("fedcba9876543210"))
	b.status("another key", b.ask(want{lifetime: 10, sa: &Security{SPI: 256, Key: key}}), StatusAuthentication)
	if a := b.ask(want{lifetime: 10, sa: &Security{SPI: 256, Key: key}}); a != nil {
		t.Error("a second denial within a second")
	}
	b.now = b.now.Add(time.Second)
	b.status("changed", b.deliver(corrupt(t, b.packet(want{lifetime: 10}))), StatusAuthentication)
	for name, w := range map[string]want{
		"no authentication":    {lifetime: 10, noAuth: true},
		"another SPI":          {lifetime: 10, sa: &Security{SPI: 257, Key: testSecurity().Key}},
		"unknown home address": {lifetime: 10, home: other},
		"no home registration": {lifetime: 10, flags: FlagH},
		"nonce indices":        {lifetime: 10, options: Options{NonceIndices{}.Option()}},
		"link-local care-of":   {lifetime: 10, careOf: netip.MustParseAddr("fe80::1")},
		"multicast care-of":    {lifetime: 10, careOf: netip.MustParseAddr("ff02::1")},
	} {
		if name == "no home registration" {
			u := &Update{Flags: FlagA, Lifetime: 10}
			if a := b.deliver(packet(t, u, home, agent, careA, testSecurity().Signer(careA, home))); a != nil {
				t.Errorf("%s: %+v", name, a)
			}
			continue
		}
		if a := b.ask(w); a != nil {
			t.Errorf("%s: answered with %+v", name, a)
		}
	}
	b.bound()
	away := netip.MustParseAddr("2001:db8:77::1")
	b.status("not the home subnet", b.ask(want{lifetime: 10, home: away}), StatusNotHomeSubnet)
	answered := 0
	for range 50 {
		if b.ask(want{lifetime: 10, home: away}) != nil {
			answered++
		}
	}
	if answered >= errorRate {
		t.Errorf("%d answers within a second to whom nobody knows", answered+1)
	}
	b.status("home address as care-of address", b.ask(want{lifetime: 10, careOf: home}), StatusInvalidCareOf)
	b.status("in order", b.ask(want{lifetime: 10}), StatusAccepted)
	// A copy of a good one from another place is not believed.
	good := b.packet(want{lifetime: 10, stamp: inet.NTP(b.now.Add(time.Second))})
	copy(good[8:24], careB.AsSlice())
	b.now = b.now.Add(1100 * time.Millisecond)
	b.status("source address changed", b.deliver(good), StatusAuthentication)
	b.bound(CareOf{Addr: careA})
}

func TestAgentSeveral(t *testing.T) {
	b := newBench(t, func(c *AgentConfig) { c.MaxCareOf = 3 })
	bid := func(ids ...BindingID) (l Options) {
		for _, id := range ids {
			l = append(l, id.Option())
		}
		return l
	}
	one, two, three := BindingID{ID: 1, CareOf: careA}, BindingID{ID: 2, CareOf: careB}, BindingID{ID: 3, CareOf: careC}
	b.status("plain", b.ask(want{lifetime: 10}), StatusAccepted)
	b.status("a plain one exists", b.ask(want{lifetime: 10, options: bid(one)}), StatusPlainBindingExists)
	b.bound(CareOf{Addr: careA})
	a := b.ask(want{lifetime: 10, flags: FlagO, options: bid(one, two)})
	b.status("overwritten", a, StatusAccepted)
	b.bound(CareOf{careA, 1}, CareOf{careB, 2})
	if ids, err := a.Options.BindingIDs(); err != nil || len(ids) != 2 || ids[0] != (BindingID{ID: 1}) || ids[1] != (BindingID{ID: 2}) {
		t.Errorf("%+v, %v", ids, err)
	}
	b.status("one more", b.ask(want{lifetime: 20, options: bid(three)}), StatusAccepted)
	b.bound(CareOf{careA, 1}, CareOf{careB, 2}, CareOf{careC, 3})
	b.status("moved", b.ask(want{lifetime: 10, options: bid(BindingID{ID: 2, CareOf: other})}), StatusAccepted)
	b.status("renewed without its address", b.ask(want{lifetime: 10, options: bid(BindingID{ID: 2})}), StatusAccepted)
	b.bound(CareOf{careA, 1}, CareOf{other, 2}, CareOf{careC, 3})
	b.status("an unknown one without its address", b.ask(want{lifetime: 10, options: bid(BindingID{ID: 9})}), StatusUnknownCareOf)
	b.status("no room", b.ask(want{lifetime: 10, options: bid(BindingID{ID: 9, CareOf: careB})}), StatusResources)
	a = b.ask(want{lifetime: 10, options: bid(BindingID{ID: 9}, BindingID{ID: 8, CareOf: netip.MustParseAddr("192.0.2.1")}, one, BindingID{ID: 7, CareOf: netip.MustParseAddr("ff02::1")}, BindingID{ID: 6, CareOf: home})})
	b.status("too many in one", a, StatusResources)
	a = b.ask(want{lifetime: 10, options: bid(BindingID{ID: 9}, BindingID{ID: 8, CareOf: netip.MustParseAddr("192.0.2.1")}, one)})
	b.status("some", a, StatusNotComplete)
	if ids, _ := a.Options.BindingIDs(); len(ids) != 3 || ids[0].Status != StatusUnknownCareOf || ids[1].Status != StatusProhibited || ids[2].Status != 0 {
		t.Errorf("%+v", ids)
	}
	for s, ids := range map[Status][]BindingID{
		StatusBindingMalformed:   {{ID: 7, CareOf: netip.MustParseAddr("ff02::1")}},
		StatusInvalidCareOf:      {{ID: 6, CareOf: home}},
		StatusHomeAndAwayRefused: {{ID: 1, AtHome: true}},
	} {
		b.status("one", b.ask(want{lifetime: 10, options: bid(ids...)}), s)
	}
	b.status("twice the same", b.ask(want{lifetime: 10, options: bid(one, one)}), StatusBindingMalformed)
	b.status("identifier 0", b.ask(want{lifetime: 10, options: bid(BindingID{CareOf: careA})}), StatusBindingMalformed)
	b.status("length", b.ask(want{lifetime: 10, options: Options{{Type: OptBinding, Data: make([]byte, 7)}}}), StatusBindingMalformed)
	b.bound(CareOf{careA, 1}, CareOf{other, 2}, CareOf{careC, 3})
	// Each has its own lifetime.
	b.OnDeadline(b.now.Add(60 * time.Second))
	drain(b)
	b.bound(CareOf{careC, 3})
	b.ask(want{lifetime: 10, options: bid(one, two)})
	b.status("deregister an unknown one", b.ask(want{options: bid(one, BindingID{ID: 9})}), StatusNotHomeAgent)
	b.bound(CareOf{careC, 3}, CareOf{careA, 1}, CareOf{careB, 2})
	b.status("deregister some", b.ask(want{options: bid(BindingID{ID: 1}, BindingID{ID: 3})}), StatusAccepted)
	b.bound(CareOf{careB, 2})
	b.status("after arrival, one", b.ask(want{lifetime: 10, src: careC}), StatusAccepted)
	b.bound(CareOf{Addr: careC})
	alone := newBench(t, func(c *AgentConfig) { c.MaxCareOf = 1 })
	alone.status("one only", alone.ask(want{lifetime: 10, options: bid(one)}), StatusSeveralProhibited)
}

func TestAgentRefusesPackets(t *testing.T) {
	b := newBench(t, nil)
	for name, pkt := range map[string][]byte{
		"for another node": packet(t, &Update{Flags: FlagH}, home, cn, careA, nil),
		"not mobility":     chain(home, agent, nil),
		"a test":           packet(t, &HomeTestInit{}, home, agent, netip.Addr{}, nil),
		"cut":              {0x60},
	} {
		if err := b.HandlePacket(b.now, pkt); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if out := drain(b); len(out) != 0 {
		t.Errorf("%+v", out)
	}
	strange := strangeType(t, agent)
	var unknown *UnknownTypeError
	if err := b.HandlePacket(b.now, strange); !errors.As(err, &unknown) {
		t.Error(err)
	}
	p, e := opened[*Error](t, pick[Send](t, b).Packet)
	if e.Status != ErrorUnknownType || e.Home != home || p.Dst != careA || p.Final.IsValid() {
		t.Errorf("%+v to %v", e, p.Dst)
	}
	if b.Stats().Discarded != 5 {
		t.Errorf("%+v", b.Stats())
	}
}

// strangeType is a message of a type that nobody knows.
func strangeType(t testing.TB, dst netip.Addr) []byte {
	t.Helper()
	b := packet(t, &RefreshRequest{}, home, dst, careA, nil)
	p, err := ParsePacket(b)
	if err != nil {
		t.Fatal(err)
	}
	copy(p.Payload, []byte{59, 0, 99, 0, 0, 0, 0, 0})
	sum := ^inet.Fold(inet.Sum(pseudo(home, dst, 8), p.Payload))
	p.Payload[4], p.Payload[5] = byte(sum>>8), byte(sum)
	return b
}

func TestAgentConfig(t *testing.T) {
	for name, change := range map[string]func(*AgentConfig){
		"no address":       func(c *AgentConfig) { c.Address = netip.Addr{} },
		"lifetime":         func(c *AgentConfig) { c.Lifetime = time.Second },
		"clock window":     func(c *AgentConfig) { c.ClockWindow = time.Second },
		"care-of":          func(c *AgentConfig) { c.MaxCareOf = -1 },
		"nobody":           func(c *AgentConfig) { c.Nodes = nil },
		"outside":          func(c *AgentConfig) { c.Nodes = []Node{{Home: careA, Security: testSecurity()}} },
		"its own":          func(c *AgentConfig) { c.Nodes = []Node{{Home: agent, Security: testSecurity()}} },
		"twice":            func(c *AgentConfig) { c.Nodes = append(c.Nodes, c.Nodes...) },
		"without security": func(c *AgentConfig) { c.Nodes = []Node{{Home: home}} },
	} {
		cfg := AgentConfig{Address: agent, Prefixes: prefixes(), Nodes: []Node{{Home: home, Security: testSecurity()}}}
		change(&cfg)
		if _, err := NewAgent(cfg); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
