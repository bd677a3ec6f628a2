package mip6

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"openmpa/internal/inet"
)

// pair is a client with what it sent last.
type pair struct {
	testing.TB
	*Client
	now time.Time
}

func newPair(t testing.TB, change func(*ClientConfig)) *pair {
	return &pair{TB: t, Client: newTestClient(t, change), now: epoch}
}

// update takes the Update that was sent.
func (p *pair) update() (Packet, *Update) {
	p.Helper()
	pkt, u := opened[*Update](p, pick[Send](p, p).Packet)
	if pkt.Source() != home || pkt.Dst != agent || pkt.Final.IsValid() || u.Flags&(FlagA|FlagH) != FlagA|FlagH {
		p.Errorf("%v of %v to %v, flags %v", pkt.Src, pkt.Source(), pkt.Dst, u.Flags)
	}
	return pkt, u
}

// reply is an Ack as a home agent makes it.
func (p *pair) reply(to Packet, u *Update, ack Ack) []byte {
	p.Helper()
	if ack.Sequence == 0 {
		ack.Sequence = u.Sequence
	}
	if stamp, ok, _ := u.Options.Replay(); ok && !slices.ContainsFunc(ack.Options, func(o Option) bool { return o.Type == OptReplay }) {
		ack.Options = append(ack.Options, ReplayOption(stamp))
	}
	careOf, err := u.CareOf(to.Src)
	if err != nil {
		p.Fatal(err)
	}
	o := acknowledgement(&ack, agent, home, to.Src, to.Home.IsValid(), testSecurity().Signer(careOf, home))
	return o.(Send).Packet
}

func (p *pair) accept(pkt []byte) {
	p.Helper()
	if err := p.HandlePacket(p.now, pkt); err != nil {
		p.Error(err)
	}
}

func (p *pair) register(list ...CareOf) {
	p.Helper()
	if err := p.Register(p.now, list[0].Addr, list...); err != nil {
		p.Fatal(err)
	}
}

// bind registers careA for 400 s.
func (p *pair) bind() {
	p.Helper()
	p.register(CareOf{Addr: careA})
	pkt, u := p.update()
	p.accept(p.reply(pkt, u, Ack{Lifetime: 100}))
	pick[Registered](p, p)
}

func TestClientRegisters(t *testing.T) {
	p := newPair(t, func(c *ClientConfig) { c.Identifier, c.LinkLocal = "mn@example.com", true })
	p.register(CareOf{Addr: careA})
	pkt, u := p.update()
	alt, _, _ := u.Options.Alternate()
	stamp, _, _ := u.Options.Replay()
	if id, _ := u.Options.Identifier(); pkt.Src != careA || alt != careA || u.Lifetime != 150 || id != "mn@example.com" || u.Flags&FlagL == 0 {
		t.Errorf("%+v from %v", u, pkt.Src)
	}
	if d := inet.Skew(stamp, inet.NTP(p.now)); d > time.Microsecond || d < -time.Microsecond {
		t.Errorf("time stamp %v off", d)
	}
	if err := u.Verify(testSecurity(), careA, home); err != nil {
		t.Error(err)
	}
	p.now = p.now.Add(50 * time.Millisecond)
	p.accept(p.reply(pkt, u, Ack{Lifetime: 100}))
	r := pick[Registered](t, p)
	end := epoch.Add(400 * time.Second) // counted from the Update
	if !slices.Equal(r.CareOf, []CareOf{{Addr: careA}}) || !r.Expires.Equal(end) || r.RTT != 50*time.Millisecond || r.Tries != 1 || r.Renewal {
		t.Errorf("%+v", r)
	}
	// Renewed at three quarters.
	if at, ok := p.Deadline(); !ok || !at.Equal(epoch.Add(300*time.Second)) {
		t.Errorf("deadline %v", at)
	}
	p.now = epoch.Add(300 * time.Second)
	p.OnDeadline(p.now)
	pkt, again := p.update()
	if again.Sequence != u.Sequence+1 || pkt.Src != careA {
		t.Errorf("sequence number %d after %d", again.Sequence, u.Sequence)
	}
	p.accept(p.reply(pkt, again, Ack{Lifetime: 150, Options: Options{RefreshAdviceOption(5)}}))
	if r := pick[Registered](t, p); !r.Renewal {
		t.Errorf("%+v", r)
	}
	if at, _ := p.Deadline(); !at.Equal(p.now.Add(20 * time.Second)) {
		t.Errorf("advised to renew after 20 s, deadline %v", at.Sub(p.now))
	}
	// The end: no answer until the lifetime is over.
	p.now = p.now.Add(600 * time.Second)
	var kinds []string
	tick(t, p, p.now)
	for _, o := range drain(p) {
		switch o := o.(type) {
		case Expired:
			kinds = append(kinds, "expired")
		case Failed:
			kinds = append(kinds, "failed")
			var te *TimeoutError
			if !errors.As(o.Err, &te) || !o.Renewal {
				t.Errorf("%+v", o)
			}
		}
	}
	if strings.Join(kinds, " ") != "expired failed" {
		t.Error(kinds)
	}
}

// TestClientRepeats: times, new numbers, and answers to all but the newest are taken, too.
func TestClientRepeats(t *testing.T) {
	p := newPair(t, nil)
	p.register(CareOf{Addr: careA})
	pkt, first := p.update()
	var last *Update
	for _, wait := range []time.Duration{1500 * time.Millisecond, 3 * time.Second, 6 * time.Second} {
		at, _ := p.Deadline()
		if at.Sub(p.now) != wait {
			t.Errorf("%v until the next, expected %v", at.Sub(p.now), wait)
		}
		p.now = at
		p.OnDeadline(at)
		_, u := p.update()
		if last != nil && !sequenceAfter(u.Sequence, last.Sequence) || !sequenceAfter(u.Sequence, first.Sequence) {
			t.Errorf("sequence number %d", u.Sequence)
		}
		last = u
	}
	p.accept(p.reply(pkt, first, Ack{Lifetime: 150}))
	if r := pick[Registered](t, p); !r.Expires.Equal(epoch.Add(600*time.Second)) || r.Tries != 4 {
		t.Errorf("%+v: counted from the Update that was answered", r)
	}
	if err := p.HandlePacket(p.now, p.reply(pkt, last, Ack{Lifetime: 150})); !errors.Is(err, ErrUnexpected) {
		t.Errorf("a second answer: %v", err)
	}
	// Nobody answers.
	p.register(CareOf{Addr: careB})
	tick(t, p, p.now.Add(29*time.Second))
	drain(p)
	p.now = p.now.Add(30 * time.Second)
	p.OnDeadline(p.now)
	out := drain(p)
	if len(out) != 2 {
		t.Fatalf("%+v: expected a failure and an Update", out)
	}
	if f, ok := out[0].(Failed); !ok || !errors.As(f.Err, new(*TimeoutError)) || f.Renewal {
		t.Errorf("%+v", out[0])
	}
	// The home agent may have taken one of them: what was bound before is made sure of.
	if got, _ := p.CareOf(); !slices.Equal(got, []CareOf{{Addr: careA}}) {
		t.Errorf("%v: what was bound before stays", got)
	}
	if pkt, _ := opened[*Update](t, out[1].(Send).Packet); pkt.Src != careA {
		t.Errorf("an Update from %v, expected %v", pkt.Src, careA)
	}
}

// TestClientRate: no more than three Updates within a second (RFC 6275 section 11.8).
func TestClientRate(t *testing.T) {
	p := newPair(t, nil)
	for range 10 {
		p.register(CareOf{Addr: careA})
		p.register(CareOf{Addr: careB})
	}
	if n := len(drain(p)); n != 3 {
		t.Errorf("%d Updates at once", n)
	}
	at, ok := p.Deadline()
	if !ok || at.Sub(p.now) != time.Second {
		t.Errorf("the next after %v", at.Sub(p.now))
	}
	p.now = at
	p.OnDeadline(at)
	if pkt, _ := p.update(); pkt.Src != careB {
		t.Errorf("from %v", pkt.Src)
	}
}

func TestClientDeregisters(t *testing.T) {
	for _, from := range []netip.Addr{careA, home} {
		p := newPair(t, nil)
		p.bind()
		p.Deregister(p.now, from)
		pkt, u := p.update()
		if u.Lifetime != 0 || pkt.Src != from || pkt.Home.IsValid() != (from != home) {
			t.Errorf("%+v from %v", u, pkt.Src)
		}
		p.accept(p.reply(pkt, u, Ack{}))
		pick[Deregistered](t, p)
		if got, _ := p.CareOf(); got != nil || p.Busy() {
			t.Errorf("bound to %v", got)
		}
		if _, ok := p.Deadline(); ok {
			t.Error("a deadline with nothing to do")
		}
	}
}

// TestClientBelieves nothing that is not an answer.
func TestClientBelieves(t *testing.T) {
	p := newPair(t, nil)
	p.register(CareOf{Addr: careA})
	pkt, u := p.update()
	good := p.reply(pkt, u, Ack{Lifetime: 100})
	forged := Ack{Sequence: u.Sequence, Lifetime: 100}
	stamp, _, _ := u.Options.Replay()
	signed := func(a Ack, sign *Signer) []byte {
		return acknowledgement(&a, agent, home, careA, true, sign).(Send).Packet
	}
	sign := testSecurity().Signer(careA, home)
	for name, c := range map[string]struct {
		pkt  []byte
		want error
	}{
		"no authentication":   {signed(forged, nil), ErrNoAuthentication},
		"changed":             {corrupt(t, good), ErrAuthenticator},
		"another sequence":    {p.reply(pkt, u, Ack{Sequence: u.Sequence + 9, Lifetime: 100}), ErrUnexpected},
		"another time stamp":  {p.reply(pkt, u, Ack{Lifetime: 100, Options: Options{ReplayOption(stamp + 1)}}), ErrUnexpected},
		"no time stamp":       {signed(forged, sign), ErrUnexpected},
		"another's time":      {p.reply(pkt, u, Ack{Status: StatusIdentification, Options: Options{ReplayOption(stamp + 1)}}), ErrUnexpected},
		"from another node":   {packet(t, &forged, cn, home, netip.Addr{}, sign), ErrNotOurs},
		"for another node":    {packet(t, &forged, agent, other, netip.Addr{}, sign), ErrNotOurs},
		"a forged sequence":   {signed(Ack{Status: StatusSequence, Sequence: 1}, nil), ErrNoAuthentication},
		"unspecified Updates": {packet(t, &Update{}, agent, home, netip.Addr{}, nil), ErrUnexpected},
		"error, unbound":      {packet(t, &Error{Status: 1, Home: home}, agent, careA, netip.Addr{}, nil), ErrUnexpected},
		"for another key":     {signed(forged, Security{SPI: 300, Key: testSecurity().Key}.Signer(careA, home)), ErrSPI},
	} {
		if err := p.HandlePacket(p.now, c.pkt); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if out := drain(p); len(out) != 0 {
		t.Errorf("%+v", out)
	}
	p.accept(good)
	pick[Registered](t, p)
	if err := p.HandlePacket(p.now, good); !errors.Is(err, ErrUnexpected) {
		t.Errorf("a copy: %v", err)
	}
}

// TestClientClock adopts the home agent's clock (RFC 4285 section 6).
func TestClientClock(t *testing.T) {
	for _, skew := range []time.Duration{-3 * time.Hour, 90 * time.Second, 30 * 365 * 24 * time.Hour} {
		p := newPair(t, nil)
		p.register(CareOf{Addr: careA})
		pkt, u := p.update()
		stamp, _, _ := u.Options.Replay()
		wrong := ReplayOption(inet.NTP(p.now.Add(skew))>>32<<32 | stamp&0xffffffff)
		p.accept(p.reply(pkt, u, Ack{Status: StatusIdentification, Options: Options{wrong}}))
		pkt, again := p.update()
		got, _, _ := again.Options.Replay()
		if d := inet.Skew(got, inet.NTP(p.now.Add(skew))); d > time.Second || d < -time.Second {
			t.Errorf("clock %v away: time stamp %v off", skew, d)
		}
		// Not helped: no loop of denials and Updates without pause.
		stamp, _, _ = again.Options.Replay()
		p.accept(p.reply(pkt, again, Ack{Status: StatusIdentification, Options: Options{ReplayOption(stamp)}}))
		if out := drain(p); len(out) != 0 {
			t.Fatalf("%+v", out)
		}
		p.now = p.now.Add(2 * time.Second)
		p.OnDeadline(p.now)
		pkt, u = p.update()
		p.accept(p.reply(pkt, u, Ack{Lifetime: 10}))
		pick[Registered](t, p)
	}
}

// TestClientSequence adopts the home agent's sequence number, around the wrap.
func TestClientSequence(t *testing.T) {
	p := newPair(t, func(c *ClientConfig) { c.Security.Sequence = true })
	p.register(CareOf{Addr: careA})
	pkt, u := p.update()
	if _, ok, _ := u.Options.Replay(); ok {
		t.Error("a time stamp where sequence numbers are to serve")
	}
	p.accept(p.reply(pkt, u, Ack{Status: StatusSequence, Sequence: 65535}))
	pkt, u = p.update()
	if u.Sequence != 0 {
		t.Errorf("sequence number %d after 65535", u.Sequence)
	}
	// A copy of an older one would have numbers used twice.
	if err := p.HandlePacket(p.now, p.reply(pkt, u, Ack{Status: StatusSequence, Sequence: 65535})); !errors.Is(err, ErrUnexpected) {
		t.Errorf("a stale denial: %v", err)
	}
	// One that is wrong again is not followed at once.
	p.accept(p.reply(pkt, u, Ack{Status: StatusSequence, Sequence: 77}))
	if out := drain(p); len(out) != 0 {
		t.Fatalf("%+v", out)
	}
	p.now = p.now.Add(2 * time.Second)
	p.OnDeadline(p.now)
	if _, u = p.update(); u.Sequence != 78 {
		t.Errorf("sequence number %d after 77", u.Sequence)
	}
}

func TestClientDenied(t *testing.T) {
	for _, s := range []Status{StatusProhibited, StatusDuplicate, StatusAuthentication, StatusNoIdentification, StatusNotHomeSubnet} {
		p := newPair(t, nil)
		p.register(CareOf{Addr: careA})
		pkt, u := p.update()
		p.accept(p.reply(pkt, u, Ack{Status: s}))
		var e *StatusError
		if f := pick[Failed](t, p); !errors.As(f.Err, &e) || e.Status != s {
			t.Errorf("%+v", f)
		}
	}
	p := newPair(t, nil)
	p.register(CareOf{Addr: careA})
	pkt, u := p.update()
	p.accept(p.reply(pkt, u, Ack{}))
	if f := pick[Failed](t, p); !errors.Is(f.Err, ErrDeregisteredByPeer) {
		t.Errorf("a lifetime of zero: %+v", f)
	}
}

// TestClientAsked: the home agent has lost the binding, or asks for it.
func TestClientAsked(t *testing.T) {
	for name, m := range map[string]Message{"error": &Error{Status: ErrorUnknownBinding, Home: home}, "refresh request": &RefreshRequest{}} {
		p := newPair(t, nil)
		p.bind()
		pkt := packet(t, m, agent, home, netip.Addr{}, nil)
		p.accept(pkt)
		if _, u := p.update(); u.Lifetime == 0 {
			t.Errorf("%s: %+v", name, u)
		}
		if err := p.HandlePacket(p.now, pkt); !errors.Is(err, ErrUnexpected) {
			t.Errorf("%s again while the answer is waited for: %v", name, err)
		}
	}
}

// TestClientSeveral: bound to all, then to one (RFC 5648).
func TestClientSeveral(t *testing.T) {
	all := []CareOf{{careA, 1}, {careB, 2}, {careC, 3}}
	p := newPair(t, nil)
	p.register(all...)
	pkt, u := p.update()
	ids, err := u.Options.BindingIDs()
	if _, alt := u.Options.find(OptAlternate); err != nil || alt || len(ids) != 3 || ids[1] != (BindingID{ID: 2, CareOf: careB}) || u.Flags&FlagO == 0 || pkt.Src != careA {
		t.Errorf("%+v, %+v", u, ids)
	}
	p.accept(p.reply(pkt, u, Ack{Status: StatusNotComplete, Lifetime: 100, Options: Options{
		BindingID{ID: 1}.Option(), BindingID{ID: 2, Status: StatusInvalidCareOf}.Option(),
	}}))
	r := pick[Registered](t, p)
	if !slices.Equal(r.CareOf, all[:1]) || len(r.Denied) != 2 || r.Denied[all[1]] != StatusInvalidCareOf || r.Denied[all[2]] != StatusReason {
		t.Errorf("%+v", r)
	}
	// A home agent that does not know several.
	p.register(all...)
	pkt, u = p.update()
	p.accept(p.reply(pkt, u, Ack{Lifetime: 100}))
	if r := pick[Registered](t, p); !slices.Equal(r.CareOf, []CareOf{{Addr: careA}}) {
		t.Errorf("%+v", r)
	}
	// All denied.
	p.now = p.now.Add(time.Second)
	p.register(all[:2]...)
	pkt, u = p.update()
	p.accept(p.reply(pkt, u, Ack{Status: StatusNotComplete, Lifetime: 100, Options: Options{
		BindingID{ID: 1, Status: StatusResources}.Option(), BindingID{ID: 2, Status: StatusResources}.Option(),
	}}))
	var e *StatusError
	if f := pick[Failed](t, p); !errors.As(f.Err, &e) || e.Status != StatusResources {
		t.Errorf("%+v", f)
	}
	for name, list := range map[string][]CareOf{
		"twice":       {{careA, 1}, {careB, 1}},
		"zero":        {{careA, 0}, {careB, 1}},
		"link-local":  {{netip.MustParseAddr("fe80::1"), 0}},
		"from nobody": {{careB, 1}},
		"none":        nil,
	} {
		if err := p.Register(p.now, careA, list...); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestClientConfig(t *testing.T) {
	for name, change := range map[string]func(*ClientConfig){
		"no home":    func(c *ClientConfig) { c.Home = netip.Addr{} },
		"same":       func(c *ClientConfig) { c.Home = agent },
		"security":   func(c *ClientConfig) { c.Security.SPI = 3 },
		"lifetime":   func(c *ClientConfig) { c.Lifetime = time.Second },
		"time-outs":  func(c *ClientConfig) { c.Maximum = time.Millisecond },
		"negative":   func(c *ClientConfig) { c.GiveUp = -1 },
		"identifier": func(c *ClientConfig) { c.Identifier = strings.Repeat("x", 255) },
		"random":     func(c *ClientConfig) { c.Rand = nil },
	} {
		cfg := ClientConfig{Home: home, HomeAgent: agent, Security: testSecurity(), Rand: newRandom(1)}
		change(&cfg)
		if _, err := NewClient(cfg); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	p := newPair(t, func(c *ClientConfig) { c.Rand = noRandom{} })
	p.register(CareOf{Addr: careA})
	if f := pick[Failed](t, p); f.Err == nil {
		t.Error("registered without randomness")
	}
}
