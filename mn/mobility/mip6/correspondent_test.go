package mip6

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"openmpa/paa/keys"
)

// peer asks a correspondent what a mobile node would, and more.
type peer struct {
	testing.TB
	*Correspondent
	now time.Time
	seq uint16
}

func newPeer(t testing.TB, change func(*CorrespondentConfig)) *peer {
	return &peer{TB: t, Correspondent: newTestCorrespondent(t, change), now: epoch}
}

// tokens makes both tests.
func (p *peer) tokens(home, careOf netip.Addr) (h, c Token, n NonceIndices) {
	p.Helper()
	ask := func(m Message, src netip.Addr) []byte {
		if err := p.HandlePacket(p.now, packet(p, m, src, cn, netip.Addr{}, nil)); err != nil {
			p.Fatal(err)
		}
		return pick[Send](p, p).Packet
	}
	pkt, ht := opened[*HomeTest](p, ask(&HomeTestInit{Cookie: Cookie{1}}, home))
	if ht.Cookie != (Cookie{1}) || pkt.Dst != home {
		p.Errorf("%+v to %v", ht, pkt.Dst)
	}
	pkt, ct := opened[*CareOfTest](p, ask(&CareOfTestInit{Cookie: Cookie{2}}, careOf))
	if ct.Cookie != (Cookie{2}) || pkt.Dst != careOf {
		p.Errorf("%+v to %v", ct, pkt.Dst)
	}
	return ht.Token, ct.Token, NonceIndices{Home: ht.Index, CareOf: ct.Index}
}

// claim is an Update with what it is made of.
type claim struct {
	home, src, careOf netip.Addr
	lifetime          uint16
	flags             Flags
	options           Options
	nonces            NonceIndices
	key               *keys.Secret
	sequence          uint16 // 0: the next
	noIndices         bool
}

func (p *peer) packet(c claim) []byte {
	p.Helper()
	setDefault(&c.home, home)
	setDefault(&c.src, careA)
	setDefault(&c.careOf, c.src)
	if c.sequence == 0 {
		p.seq++
		c.sequence = p.seq
	}
	u := &Update{Sequence: c.sequence, Flags: FlagA ^ c.flags, Lifetime: c.lifetime}
	first := c.careOf
	if c.lifetime == 0 {
		first = c.home
	}
	if c.careOf != c.src {
		u.Options = append(u.Options, AlternateOption(c.careOf))
	}
	u.Options = append(u.Options, c.options...)
	if !c.noIndices {
		u.Options = append(u.Options, c.nonces.Option())
	}
	sign := routeSigner(c.key, first, cn)
	if c.key == nil {
		sign = nil
	}
	return packet(p, u, c.home, cn, c.src, sign)
}

// ask sends an Update and returns the answer; nil: there is none.
func (p *peer) ask(c claim) *Ack {
	p.Helper()
	return p.deliver(p.packet(c))
}

func (p *peer) deliver(pkt []byte) *Ack {
	p.Helper()
	if err := p.HandlePacket(p.now, pkt); err != nil {
		p.Logf("%v", err)
	}
	var answer []byte
	for _, o := range drain(p) {
		switch o := o.(type) {
		case Send:
			answer = o.Packet
		case Changed:
			if answer != nil {
				p.Error("answered before the change was told")
			}
			if a, ok := p.CareOf(o.Home); ok != (len(o.Bindings) == 1) || ok && o.Bindings[0].Addr != a {
				p.Errorf("%+v is told, the binding is %v", o, a)
			}
		}
	}
	if answer == nil {
		return nil
	}
	sent, _ := ParsePacket(pkt)
	got, a := opened[*Ack](p, answer)
	if got.Src != cn || got.Dst != sent.Src || got.Final != sent.Home {
		p.Errorf("answered to %v by %v, asked from %v of %v", got.Dst, got.Final, sent.Src, sent.Home)
	}
	return a
}

func (p *peer) status(name string, a *Ack, s Status) {
	p.Helper()
	(&bench{TB: p}).status(name, a, s)
}

func TestCorrespondentBinds(t *testing.T) {
	p := newPeer(t, nil)
	h, c, n := p.tokens(home, careA)
	key := bindingKey(h, c)
	if len(p.cache) != 0 {
		t.Error("a test left something behind")
	}
	a := p.ask(claim{lifetime: 1000, nonces: n, key: key})
	p.status("bind", a, StatusAccepted)
	if a.Lifetime != 105 || a.Sequence != p.seq {
		t.Errorf("%+v: at most 420 s are granted", a)
	}
	if err := verifyRoute(a.raw, a.Options, key, careA, cn); err != nil {
		t.Error(err)
	}
	if got, ok := p.CareOf(home); !ok || got != careA {
		t.Errorf("bound to %v", got)
	}
	if a := p.ask(claim{lifetime: 5, nonces: n, key: key, flags: FlagA}); a != nil {
		t.Errorf("nobody asked for an answer: %+v", a)
	}
	// By an alternate care-of address: the test must have been of that.
	if a := p.ask(claim{lifetime: 5, careOf: careB, nonces: n, key: key}); a != nil {
		t.Errorf("a care-of address that was not tested: %+v", a)
	}
	hb, cb, nb := p.tokens(home, careB)
	p.status("alternate", p.ask(claim{lifetime: 5, careOf: careB, nonces: nb, key: bindingKey(hb, cb)}), StatusAccepted)
	if got, _ := p.CareOf(home); got != careB {
		t.Errorf("bound to %v", got)
	}
	p.OnDeadline(p.now.Add(20 * time.Second))
	if _, ok := p.CareOf(home); ok {
		t.Error("the lifetime is over")
	}
}

// TestCorrespondentOldPath: what was under way when a mobile node moved is still taken, for a while.
func TestCorrespondentOldPath(t *testing.T) {
	for _, wait := range []time.Duration{0, 5 * time.Second} {
		p := newPeer(t, func(c *CorrespondentConfig) { c.OldPath = wait })
		for _, careOf := range []netip.Addr{careA, careB, careB} { // the last a renewal
			h, c, n := p.tokens(home, careOf)
			p.status("bind", p.ask(claim{src: careOf, lifetime: 100, nonces: n, key: bindingKey(h, c)}), StatusAccepted)
		}
		pkt, err := AppendFromHome(nil, chain(home, cn, nil), careA)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.AppendIncoming(p.now.Add(wait/2), nil, pkt); (err == nil) != (wait != 0) {
			t.Errorf("%v: %v", wait, err)
		}
		if _, err := p.AppendIncoming(p.now.Add(wait), nil, pkt); !errors.Is(err, ErrNoBinding) {
			t.Errorf("%v later: %v", wait, err)
		}
		if b := p.Bindings()[home]; b.Addr != careB || b.Since != p.now {
			t.Errorf("%+v", b)
		}
	}
}

// TestCorrespondentReplays: sequence numbers, also after the binding is gone.
func TestCorrespondentReplays(t *testing.T) {
	p := newPeer(t, nil)
	h, c, n := p.tokens(home, careA)
	key := bindingKey(h, c)
	ask := func(seq uint16) *Ack { return p.ask(claim{lifetime: 5, nonces: n, key: key, sequence: seq}) }
	p.status("first", ask(65534), StatusAccepted)
	p.status("next", ask(65535), StatusAccepted)
	good := p.packet(claim{lifetime: 5, nonces: n, key: key, sequence: 2})
	p.status("over the wrap", p.deliver(good), StatusAccepted)
	for name, a := range map[string]*Ack{"replayed": p.deliver(good), "reordered": ask(65535), "half way": ask(2 + 0x8000)} {
		p.status(name, a, StatusSequence)
		if a.Sequence != 2 || verifyRoute(a.raw, a.Options, key, careA, cn) != nil {
			t.Errorf("%s: %+v", name, a)
		}
	}
	p.status("deleted", p.ask(claim{nonces: NonceIndices{Home: n.Home, CareOf: 9}, key: bindingKey(h), sequence: 3}), StatusAccepted)
	if _, ok := p.CareOf(home); ok {
		t.Error("still bound")
	}
	p.status("replayed after the deletion", p.deliver(good), StatusSequence)
	p.status("deletion of nothing", p.ask(claim{nonces: n, key: bindingKey(h), sequence: 4}), StatusAccepted)
	p.status("bound again", ask(5), StatusAccepted)
	p.now = p.now.Add(20 * time.Second)
	p.OnDeadline(p.now)
	p.OnDeadline(p.now.Add(time.Second))
	p.status("replayed after its end", ask(5), StatusSequence)
	// As long as the tokens can be good, and no longer.
	p.now = p.now.Add(maxNonceLifetime)
	p.OnDeadline(p.now)
	if len(p.cache) != 0 || len(p.nonces.list) != 0 {
		t.Errorf("%d entries and %d nonces are kept", len(p.cache), len(p.nonces.list))
	}
	if _, ok := p.Deadline(); ok {
		t.Error("a deadline with nothing to do")
	}
}

// TestCorrespondentNonces: old and unknown ones, each with its status.
func TestCorrespondentNonces(t *testing.T) {
	p := newPeer(t, nil)
	h, c, n := p.tokens(home, careA)
	key := bindingKey(h, c)
	for _, s := range []struct {
		name   string
		nonces NonceIndices
		want   Status
	}{
		{"home", NonceIndices{n.Home + 1, n.CareOf}, StatusHomeNonce},
		{"care-of", NonceIndices{n.Home, n.CareOf - 1}, StatusCareOfNonce},
		{"both", NonceIndices{n.Home + 5, n.CareOf + 7}, StatusNonces},
	} {
		a := p.ask(claim{lifetime: 5, nonces: s.nonces, key: key})
		p.status(s.name, a, s.want)
		if _, there := a.Options.find(OptAuthorization); there {
			t.Errorf("%s: authenticated, which RFC 6275 section 9.5.4 forbids", s.name)
		}
	}
	// Nonces change after 30 s, and old ones serve for 240 s.
	p.now = p.now.Add(nonceInterval - 1)
	if _, _, m := p.tokens(home, careA); m != n {
		t.Errorf("%+v, before %+v", m, n)
	}
	p.now = p.now.Add(1)
	h2, c2, n2 := p.tokens(home, careA)
	if n2.Home == n.Home || h2 == h || c2 == c {
		t.Errorf("the same after 30 s: %+v", n2)
	}
	p.now = epoch.Add(maxNonceLifetime - 1)
	p.status("almost too old", p.ask(claim{lifetime: 5, nonces: n, key: key}), StatusAccepted)
	p.now = epoch.Add(maxNonceLifetime)
	p.status("too old", p.ask(claim{lifetime: 5, nonces: n, key: key}), StatusNonces)
	p.status("home too old", p.ask(claim{lifetime: 5, nonces: NonceIndices{n.Home, n2.CareOf}, key: key}), StatusHomeNonce)
	p.status("deletion, home too old", p.ask(claim{nonces: NonceIndices{n.Home, n2.CareOf}, key: key}), StatusHomeNonce)
	p.status("new", p.ask(claim{lifetime: 5, nonces: n2, key: bindingKey(h2, c2)}), StatusAccepted)
	for range 1000 { // however often it is asked
		p.now = p.now.Add(10 * time.Second)
		p.tokens(home, careA)
	}
	if len(p.nonces.list) > 8 {
		t.Errorf("%d nonces are kept", len(p.nonces.list))
	}
}

func TestCorrespondentRefuses(t *testing.T) {
	p := newPeer(t, func(c *CorrespondentConfig) {
		c.MaxBindings = 1
		c.HomeAgentFor = func(a netip.Addr) bool { return a == other }
	})
	h, c, n := p.tokens(home, careA)
	key := bindingKey(h, c)
	good := claim{lifetime: 5, nonces: n, key: key}
	with := func(change func(*claim)) claim { x := good; change(&x); return x }
	for name, x := range map[string]claim{
		"another key":              with(func(x *claim) { x.key = bindingKey(c, h) }),
		"the home token alone":     with(func(x *claim) { x.key = bindingKey(h) }),
		"no authenticator":         with(func(x *claim) { x.key = nil }),
		"no nonce indices":         with(func(x *claim) { x.noIndices = true }),
		"another home address":     with(func(x *claim) { x.home = other }),
		"another care-of address":  with(func(x *claim) { x.src = careB }),
		"link-local care-of":       with(func(x *claim) { x.careOf = netip.MustParseAddr("fe80::1") }),
		"deletion with both":       with(func(x *claim) { x.lifetime = 0 }),
		"two alternate addresses":  with(func(x *claim) { x.options = Options{AlternateOption(careA), AlternateOption(careB)} }),
		"nonce indices of a wrong": with(func(x *claim) { x.options, x.noIndices = Options{{Type: OptNonceIndices, Data: []byte{1}}}, true }),
	} {
		if a := p.ask(x); a != nil {
			t.Errorf("%s: answered with %+v", name, a)
		}
	}
	if a := p.deliver(corrupt(t, p.packet(good))); a != nil {
		t.Errorf("changed: answered with %+v", a)
	}
	p.status("home registration", p.ask(with(func(x *claim) { x.flags = FlagH })), StatusNoHomeRegistration)
	p.status("several", p.ask(with(func(x *claim) {
		x.options = Options{BindingID{ID: 1, CareOf: careA}.Option(), BindingID{ID: 2, CareOf: careB}.Option()}
	})), StatusBulkProhibited)
	p.status("binding identifier", p.ask(with(func(x *claim) { x.options = Options{{Type: OptBinding, Data: []byte{1}}} })), StatusBindingMalformed)
	if len(p.cache) != 0 {
		t.Fatalf("%d bindings", len(p.cache))
	}
	ho, co, no := p.tokens(other, careA)
	p.status("we are its home agent", p.ask(claim{home: other, lifetime: 5, nonces: no, key: bindingKey(ho, co)}), StatusTypeChange)
	p.status("one identifier", p.ask(with(func(x *claim) { x.options = Options{BindingID{ID: 1}.Option()} })), StatusAccepted)
	p.status("type change", p.ask(with(func(x *claim) { x.flags = FlagH })), StatusTypeChange)
	third := netip.MustParseAddr("2001:db8:1::300")
	h3, c3, n3 := p.tokens(third, careA)
	p.status("no room", p.ask(claim{home: third, lifetime: 5, nonces: n3, key: bindingKey(h3, c3)}), StatusResources)
	hh, ch, nh := p.tokens(home, home)
	p.status("home address as care-of address", p.ask(claim{lifetime: 5, careOf: home, nonces: nh, key: bindingKey(hh, ch)}), StatusInvalidCareOf)

	answered := 0
	for range 50 {
		if p.ask(with(func(x *claim) { x.flags = FlagH })) != nil {
			answered++
		}
	}
	if answered == 0 || answered > errorRate {
		t.Errorf("%d answers within a second to whom nobody knows", answered)
	}
	for name, pkt := range map[string][]byte{
		"a test with a Home Address option": packet(t, &HomeTestInit{}, home, cn, careA, nil),
		"for another node":                  packet(t, &HomeTestInit{}, home, agent, netip.Addr{}, nil),
		"a home test":                       packet(t, &HomeTest{}, home, cn, netip.Addr{}, nil),
		"not mobility":                      chain(home, cn, nil),
	} {
		if err := p.HandlePacket(p.now, pkt); !errors.Is(err, ErrRefused) && !errors.Is(err, ErrNotOurs) && !errors.Is(err, ErrUnexpected) {
			t.Errorf("%s: %v", name, err)
		}
	}
	p.now = p.now.Add(time.Second)
	if err := p.HandlePacket(p.now, strangeType(t, cn)); !errors.As(err, new(*UnknownTypeError)) {
		t.Error(err)
	}
	if _, e := opened[*Error](t, pick[Send](t, p).Packet); e.Status != ErrorUnknownType || e.Home != home {
		t.Errorf("%+v", e)
	}
}

func TestCorrespondentConfig(t *testing.T) {
	for name, change := range map[string]func(*CorrespondentConfig){
		"address":  func(c *CorrespondentConfig) { c.Address = netip.Addr{} },
		"lifetime": func(c *CorrespondentConfig) { c.Lifetime = time.Hour },
		"room":     func(c *CorrespondentConfig) { c.MaxBindings = -1 },
		"random":   func(c *CorrespondentConfig) { c.Rand = nil },
	} {
		cfg := CorrespondentConfig{Address: cn, Rand: newRandom(1)}
		change(&cfg)
		if _, err := NewCorrespondent(cfg); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	for name, change := range map[string]func(*RouteConfig){
		"home":     func(c *RouteConfig) { c.Home = cn },
		"lifetime": func(c *RouteConfig) { c.Lifetime = time.Hour },
		"retries":  func(c *RouteConfig) { c.Retries = -1 },
		"maximum":  func(c *RouteConfig) { c.Maximum = 1 },
		"random":   func(c *RouteConfig) { c.Rand = nil },
	} {
		cfg := RouteConfig{Home: home, Correspondent: cn, Rand: newRandom(1)}
		change(&cfg)
		if _, err := NewRoute(cfg); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	p := newPeer(t, func(c *CorrespondentConfig) { c.Rand = noRandom{} })
	if err := p.HandlePacket(p.now, packet(t, &HomeTestInit{}, home, cn, netip.Addr{}, nil)); err == nil {
		t.Error("tokens without randomness")
	}
}
