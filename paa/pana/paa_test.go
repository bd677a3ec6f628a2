package pana

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"openmpa/paa/keys"
)

func TestPAAConfig(t *testing.T) {
	for name, cfg := range map[string]PAAConfig{
		"unknown PRF":       {PRFs: []keys.PRF{8}},
		"unknown integrity": {Integrities: []keys.Integrity{1}},
		"negative lifetime": {Lifetime: -1},
		"negative limit":    {MaxSessions: -1},
		"negative IRT":      {Request: Retransmission{IRT: -1}},
	} {
		if _, err := NewPAA(cfg); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: error %v, expected ErrConfig", name, err)
		}
	}
	if _, err := NewPAA(PAAConfig{Rand: bytes.NewReader(make([]byte, 7))}); err == nil {
		t.Error("no error with a random source that fails")
	}
}

// sent returns the PAA's datagrams and clears its outputs.
func sent(p *PAA) (sends []Send) {
	for o, ok := p.Poll(); ok; o, ok = p.Poll() {
		if s, ok := o.(Send); ok {
			sends = append(sends, s)
		}
	}
	return sends
}

var pciE = encode(&Message{Type: TypePCI, Flags: FlagE}, nil)

// TestStatelessPCI: a PCI leaves no session, no timer, nothing to retransmit
// (RFC 5191 section 4.1).
func TestStatelessPCI(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{PCIRate: 1e6})
	sids := map[uint32]bool{}
	for i := range 5000 {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 3, byte(i >> 8), byte(i)}), 716)
		w.paa.HandlePacket(w.now, from, pciE)
		s := sent(w.paa)
		if len(s) != 1 || s[0].To != from {
			t.Fatalf("PCI %d: %d datagrams, counters %v", i, len(s), w.paa.Counters())
		}
		m, err := ParseMessage(s[0].Data)
		if err != nil || m.Name() != "PAR[SE]" {
			t.Fatalf("%v, %v", m, err)
		}
		if _, ok := m.Get(CodeEAP); ok {
			t.Fatal("EAP in a PAR[S] needs state")
		}
		sids[m.SID] = true
	}
	if _, ok := w.paa.Deadline(); ok || w.paa.Sessions() != 0 || len(w.paa.sessions)+len(w.paa.byAddr) != 0 {
		t.Error("PCIs have left state")
	}
	if len(sids) < 4990 {
		t.Errorf("only %d session identifiers", len(sids))
	}
}

func TestPCIRate(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{PCIRate: 50, PCIRatePerSource: 5})
	flood := func(from func(i int) netip.AddrPort) (answered int) {
		for i := range 1000 {
			w.paa.HandlePacket(w.now, from(i), pciE)
			answered += len(sent(w.paa))
			w.now = w.now.Add(time.Millisecond)
		}
		return answered
	}
	if n := flood(func(i int) netip.AddrPort { return netip.AddrPortFrom(addrOld.Addr(), uint16(i)+1) }); n < 10 || n > 16 {
		t.Errorf("%d answers in a second to one source, expected 5 and a burst of 10", n)
	}
	w.now = w.now.Add(time.Minute)
	n := flood(func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 3, byte(i >> 8), byte(i)}), 716)
	})
	if n < 90 || n > 105 {
		t.Errorf("%d answers in a second to all, expected 50 and a burst of 50", n)
	}
	if w.paa.Counters()[DiscardRate] == 0 {
		t.Error("nothing was counted")
	}
}

// TestAllowPreauth: the list binds pre-authentication only (RFC 5873 section 6).
func TestAllowPreauth(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{AllowPreauth: func(a netip.Addr) bool { return a == addrOld.Addr() }})
	for _, c := range []struct {
		from netip.AddrPort
		e    bool
		want int
	}{{addrOld, true, 1}, {addrNew, true, 0}, {addrNew, false, 1}} {
		w.paa.HandlePacket(w.now, c.from, encode(&Message{Type: TypePCI, Flags: eBit(c.e)}, nil))
		if n := len(sent(w.paa)); n != c.want {
			t.Errorf("%v, E %v: %d answers, expected %d", c.from, c.e, n, c.want)
		}
	}
	if w.paa.Counters()[DiscardPreauthRefused] != 1 {
		t.Errorf("counters %v", w.paa.Counters())
	}
	mapped := netip.AddrPortFrom(netip.AddrFrom16(addrOld.Addr().As16()), 716)
	w.paa.HandlePacket(w.now, mapped, pciE)
	if len(sent(w.paa)) != 1 {
		t.Error("an IPv4-mapped address is not taken for the IPv4 address that it is")
	}
}

// TestStartExchange: a PAN[S] counts only as the answer to a fresh PAR[S] to
// this address and port, with this E bit and algorithms that were offered.
func TestStartExchange(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(m *Message, from *netip.AddrPort, now *time.Time)
		want Discard // discards: a session begins
	}{
		{"as it should be", func(*Message, *netip.AddrPort, *time.Time) {}, discards},
		{"15 s later", func(_ *Message, _ *netip.AddrPort, now *time.Time) { *now = now.Add(15 * time.Second) }, discards},
		{"33 s later", func(_ *Message, _ *netip.AddrPort, now *time.Time) { *now = now.Add(33 * time.Second) }, DiscardCookie},
		{"another port", func(_ *Message, from *netip.AddrPort, _ *time.Time) {
			*from = netip.AddrPortFrom(from.Addr(), 717)
		}, DiscardCookie},
		{"another address", func(_ *Message, from *netip.AddrPort, _ *time.Time) { *from = addrNew }, DiscardCookie},
		{"another number", func(m *Message, _ *netip.AddrPort, _ *time.Time) { m.Seq++ }, DiscardCookie},
		{"another session", func(m *Message, _ *netip.AddrPort, _ *time.Time) { m.SID++ }, DiscardCookie},
		{"E cleared", func(m *Message, _ *netip.AddrPort, _ *time.Time) { m.Flags &^= FlagE }, DiscardCookie},
		{"PRF not offered", func(m *Message, _ *netip.AddrPort, _ *time.Time) { m.AVPs[0] = avp32(CodePRF, 2) }, DiscardAlgorithms},
		{"integrity not offered", func(m *Message, _ *netip.AddrPort, _ *time.Time) { m.AVPs[1] = avp32(CodeIntegrity, 7) }, DiscardAlgorithms},
		{"unknown PRF", func(m *Message, _ *netip.AddrPort, _ *time.Time) { m.AVPs[0] = avp32(CodePRF, 99) }, DiscardAlgorithms},
		{"no algorithms", func(m *Message, _ *netip.AddrPort, _ *time.Time) { m.AVPs = nil }, DiscardAlgorithms},
		{"a PRF only", func(m *Message, _ *netip.AddrPort, _ *time.Time) { m.AVPs = m.AVPs[:1] }, DiscardAlgorithms},
		{"EAP, which was not asked for", func(m *Message, _ *netip.AddrPort, _ *time.Time) {
			m.AVPs = append(m.AVPs, AVP{Code: CodeEAP, Data: eapPacket(2, 1, 1)})
		}, DiscardInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 1, PAAConfig{PRFs: []keys.PRF{5}, Integrities: []keys.Integrity{12, 13}})
			w.now = w.now.Truncate(cookieSlot)
			w.paa.HandlePacket(w.now, addrOld, pciE)
			par, err := ParseMessage(sent(w.paa)[0].Data)
			if err != nil {
				t.Fatal(err)
			}
			pan := Message{Type: TypeAuth, Flags: FlagS | FlagE, SID: par.SID, Seq: par.Seq, AVPs: []AVP{avp32(CodePRF, 5), avp32(CodeIntegrity, 13)}}
			from := addrOld
			c.edit(&pan, &from, &w.now)
			w.paa.HandlePacket(w.now, from, encode(&pan, nil))
			o, _ := w.paa.Poll()
			start, began := o.(EAPStart)
			if began != (c.want == discards) || !began && w.paa.Counters()[c.want] != 1 {
				t.Errorf("session began: %v, counters %v", began, w.paa.Counters())
			}
			if began {
				if start.SID != par.SID || !start.Preauth || start.From != addrOld || start.Reauth {
					t.Errorf("%+v", start)
				}
				w.paa.HandlePacket(w.now, from, encode(&pan, nil)) // once more
				if _, ok := w.paa.Poll(); ok || w.paa.Sessions() != 1 {
					t.Error("a PAN[S] repeated had an effect")
				}
				w.paa.HandlePacket(w.now, from, pciE) // section 5.5
				if _, ok := w.paa.Poll(); ok {
					t.Error("a PCI was answered after the S exchange")
				}
			}
		})
	}
}

// TestSuperseded: when the PAR[S] changed under way the PaC's last answer
// counts.
func TestSuperseded(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	w.now = w.now.Truncate(cookieSlot).Add(cookieSlot - time.Second)
	var late []byte
	w.tap = func(_, to netip.AddrPort, b []byte) bool {
		if m, err := ParseMessage(b); err == nil && m.Name() == "PAN[S]" && late == nil {
			late = bytes.Clone(b)
			return false
		}
		return true
	}
	n := w.node(addrOld, PaCConfig{})
	n.do(func(now time.Time, p *PaC) { p.Start(now) })
	w.run(10*time.Second, func() bool { return count[Closed](w.outs) == 0 && n.pac.pci.sent == 2 })
	w.pass(1500 * time.Microsecond) // the second PAR[S] is on its way
	w.paa.HandlePacket(w.now, addrOld, late)
	w.flush()
	if !w.run(10*time.Second, func() bool { return n.pac.State() == PaCOpen }) {
		t.Fatalf("no session: %v, %v", n.pac.Counters(), w.paa.Counters())
	}
	if c, ok := last[Closed](w.outs); !ok || !errors.Is(c.Reason, errSuperseded) || w.paa.Sessions() != 1 {
		t.Errorf("outputs %v, %d sessions", kinds(w.outs), w.paa.Sessions())
	}
}

func TestMaxSessions(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{MaxSessions: 2})
	var nodes []*node
	for i := range 3 {
		n := w.node(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, 1, byte(i)}), 716), PaCConfig{AuthTimeout: 10 * time.Second})
		n.do(func(now time.Time, p *PaC) { p.Start(now) })
		w.pass(time.Second)
		nodes = append(nodes, n)
	}
	w.pass(time.Minute)
	if nodes[0].pac.State() != PaCOpen || nodes[1].pac.State() != PaCOpen || nodes[2].closed() == nil || w.paa.Counters()[DiscardLimit] == 0 {
		t.Errorf("states %v %v %v, counters %v", nodes[0].pac.State(), nodes[1].pac.State(), nodes[2].pac.State(), w.paa.Counters())
	}
	// Many short sessions: what a closed one leaves is bounded too.
	w = newWorld(t, 1, PAAConfig{MaxSessions: 2, PCIRatePerSource: 1000})
	for range 20 {
		n := w.node(addrOld, PaCConfig{})
		w.open(n)
		n.do(func(now time.Time, p *PaC) { p.Terminate(now) })
		w.pass(50 * time.Millisecond)
	}
	if len(w.paa.sessions) > 5 {
		t.Errorf("%d closed sessions are kept", len(w.paa.sessions))
	}
}

// TestSpoofedPCI must not harm an open session (nor one that authenticates).
func TestSpoofedPCI(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	n := w.node(addrOld, PaCConfig{Preauth: true})
	spoof := func(_, to netip.AddrPort, _ []byte) bool {
		w.after(0, func() { w.arrive(addrOld, w.paaAddr, bytes.Clone(pciE)) })
		return true
	}
	w.tap = func(from, to netip.AddrPort, b []byte) bool {
		if to == w.paaAddr {
			return spoof(from, to, b)
		}
		return true
	}
	w.open(n)
	n.do(func(now time.Time, p *PaC) { _, _ = p.Notify(now, vendorAVP("still here"), NotifyOptions{}) })
	w.pass(time.Second)
	if got := texts(w.outs); !slices.Equal(got, []string{"still here"}) || w.paa.Sessions() != 1 {
		t.Errorf("told %v, %d sessions", got, w.paa.Sessions())
	}
}

// TestActivation walks the rules of RFC 5873 section 3 on an open candidate.
func TestActivation(t *testing.T) {
	ping := func(e bool) Message { return Message{Type: TypeNtfy, Flags: FlagR | FlagP | eBit(e)} }
	setup := func(t *testing.T) (*world, *node, *session, func(m Message, from netip.AddrPort, sign bool) []byte) {
		w := newWorld(t, 1, PAAConfig{})
		n := w.node(addrOld, PaCConfig{Preauth: true})
		w.open(n)
		w.outs = nil
		s := w.paa.sessions[n.pac.sid]
		s.rxSeq, s.rxKnown = 100, true
		return w, n, s, func(m Message, from netip.AddrPort, sign bool) []byte {
			m.SID = s.sid
			if m.Seq == 0 {
				m.Seq = s.rxSeq
			}
			sa := n.pac.sa
			if !sign {
				sa = nil
			}
			raw := encode(&m, sa)
			w.paa.HandlePacket(w.now, from, raw)
			w.flush()
			return raw
		}
	}
	t.Run("without AUTH", func(t *testing.T) {
		w, _, s, inject := setup(t)
		inject(ping(false), addrNew, false)
		if !s.preauth || len(w.outs) != 0 || w.paa.Counters()[DiscardAUTH] != 1 || s.to != addrOld {
			t.Errorf("outputs %v, counters %v", kinds(w.outs), w.paa.Counters())
		}
	})
	t.Run("with a wrong AUTH", func(t *testing.T) {
		w, n, s, _ := setup(t)
		m := ping(false)
		m.SID, m.Seq = s.sid, s.rxSeq
		raw := encode(&m, n.pac.sa)
		raw[len(raw)-3] ^= 4
		w.paa.HandlePacket(w.now, addrNew, raw)
		if !s.preauth || w.paa.Counters()[DiscardAUTH] != 1 || s.rxSeq != 100 {
			t.Errorf("counters %v, expected number %d", w.paa.Counters(), s.rxSeq)
		}
	})
	t.Run("out of order", func(t *testing.T) {
		w, _, s, inject := setup(t)
		m := ping(false)
		m.Seq = 102
		inject(m, addrNew, true)
		if !s.preauth || w.paa.Counters()[DiscardSequence] != 1 {
			t.Errorf("counters %v", w.paa.Counters())
		}
	})
	t.Run("ping with E is a ping", func(t *testing.T) {
		w, _, s, inject := setup(t)
		inject(ping(true), addrOld, true)
		if !s.preauth || len(w.outs) != 0 {
			t.Errorf("outputs %v", kinds(w.outs))
		}
	})
	t.Run("from the new address, and again", func(t *testing.T) {
		w, _, s, inject := setup(t)
		raw := inject(ping(false), addrNew, true)
		if s.preauth || !slices.Equal(kinds(w.outs), []string{"AddressChanged", "Activated"}) || s.to != addrNew {
			t.Fatalf("outputs %v", kinds(w.outs))
		}
		answers := 0
		w.tap = func(from, to netip.AddrPort, b []byte) bool {
			answers++
			return to == addrOther
		}
		w.paa.HandlePacket(w.now, addrOther, raw) // a replay is answered where it came from and moves nothing
		w.flush()
		inject(ping(false), addrNew, true) // one more activation
		if answers != 2 || s.to != addrNew || count[Activated](w.outs) != 1 || count[AddressChanged](w.outs) != 1 {
			t.Errorf("%d answers, session at %v, outputs %v", answers, s.to, kinds(w.outs))
		}
		inject(ping(true), addrNew, true) // E must be clear from now on
		if w.paa.Counters()[DiscardPreauth] != 1 {
			t.Errorf("counters %v", w.paa.Counters())
		}
	})
	t.Run("from the old address", func(t *testing.T) {
		w, _, s, inject := setup(t)
		inject(ping(false), addrOld, true)
		if s.preauth || !slices.Equal(kinds(w.outs), []string{"Activated"}) {
			t.Errorf("outputs %v", kinds(w.outs))
		}
	})
	t.Run("PNR[A] and PTR with E clear do not", func(t *testing.T) {
		w, _, s, inject := setup(t)
		inject(Message{Type: TypeNtfy, Flags: FlagR | FlagA}, addrNew, true)
		inject(Message{Type: TypeTerm, Flags: FlagR, AVPs: []AVP{avp32(CodeTermCause, 1)}}, addrNew, true)
		if !s.preauth || len(w.outs) != 0 || w.paa.Counters()[DiscardPreauth] != 2 {
			t.Errorf("outputs %v, counters %v", kinds(w.outs), w.paa.Counters())
		}
	})
	t.Run("what is outstanding loses E and follows", func(t *testing.T) {
		w, n, s, _ := setup(t)
		var names []string
		w.tap = func(from, to netip.AddrPort, b []byte) bool {
			if m, _ := ParseMessage(b); m.request() {
				names = append(names, m.Name()+" "+to.String())
			}
			return to != addrOld
		}
		if _, err := w.paa.Notify(w.now, s.sid, vendorAVP("late"), NotifyOptions{}); err != nil {
			t.Fatal(err)
		}
		w.flush()
		n.move(addrNew)
		n.do(func(now time.Time, p *PaC) { _, _ = p.Notify(now, nil, NotifyOptions{Activate: true}) })
		s.rxSeq = n.pac.out.msg.Seq
		w.pass(100 * time.Millisecond)
		if want := []string{"PNR[PE] " + addrOld.String(), "PNR[P] 10.2.0.1:716", "PNR[P] " + addrNew.String()}; !slices.Equal(names, want) {
			t.Errorf("requests %v, expected %v", names, want)
		}
		if got := texts(n.outs); !slices.Equal(got, []string{"late"}) || count[NotifyDone](w.outs) != 1 {
			t.Errorf("the PaC was told %v, outputs %v", got, kinds(w.outs))
		}
	})
}

// TestActivationInReauthentication: the only ping that may be sent then,
// because nothing else tells the PAA the new address.
func TestActivationInReauthentication(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	n := w.node(addrOld, PaCConfig{Preauth: true})
	w.open(n)
	w.aaa = 50 * time.Millisecond
	if err := w.paa.Reauthenticate(w.now, n.pac.sid); err != nil {
		t.Fatal(err)
	}
	w.flush()
	w.run(time.Second, func() bool { return n.pac.State() == PaCReauth })
	n.do(func(now time.Time, p *PaC) { _, _ = p.Notify(now, vendorAVP("waits"), NotifyOptions{}) })
	w.pass(time.Millisecond)
	if n.pac.out != nil {
		t.Error("a notification was sent in re-authentication")
	}
	n.off = true
	w.pass(120 * time.Millisecond)
	n.off = false
	n.move(addrNew)
	n.do(func(now time.Time, p *PaC) {
		_, _ = p.Notify(now, vendorAVP("arrival"), NotifyOptions{Activate: true, Urgent: true})
	})
	w.pass(10 * time.Millisecond)
	if got := texts(w.outs); !slices.Equal(got, []string{"waits", "arrival"}) || count[Activated](w.outs) != 1 {
		t.Errorf("told %v, outputs %v", got, kinds(w.outs))
	}
	if !w.run(5*time.Second, func() bool { return count[Opened](w.outs) == 2 && count[Opened](n.outs) == 2 }) {
		t.Errorf("the re-authentication died: %v, %v, %v", n.pac.State(), n.pac.Counters(), w.paa.Counters())
	}
}

// TestMoveBeforePANC: the PAN[C] is lost and the node moves; its activation
// proves what the PAN[C] would have.
func TestMoveBeforePANC(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	n := w.node(addrOld, PaCConfig{Preauth: true})
	w.tap = func(_, to netip.AddrPort, b []byte) bool {
		m, _ := ParseMessage(b)
		return m.Name() != "PAN[CE]" && to != addrOld || n.pac.State() != PaCOpen && m.Name() != "PAN[CE]"
	}
	n.do(func(now time.Time, p *PaC) { p.Start(now) })
	w.run(time.Second, func() bool { return n.pac.State() == PaCOpen })
	n.move(addrNew)
	n.do(func(now time.Time, p *PaC) {
		_, _ = p.Notify(now, vendorAVP("arrival"), NotifyOptions{Activate: true, Urgent: true})
	})
	w.pass(100 * time.Millisecond)
	if want := []string{"Opened", "AddressChanged", "Activated", "Notified"}; !slices.Equal(kinds(w.outs), want) {
		t.Errorf("outputs %v, expected %v", kinds(w.outs), want)
	}
}

// TestCrossingReauthentication: both sides begin at once (RFC 5191 section 4.3).
func TestCrossingReauthentication(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	n := w.node(addrOld, PaCConfig{})
	w.open(n)
	w.aaa = 0
	if err := w.paa.Reauthenticate(w.now, n.pac.sid); err != nil {
		t.Fatal(err)
	}
	w.flush()
	n.do(func(now time.Time, p *PaC) { p.Reauthenticate(now) })
	if !w.run(time.Second, func() bool { return count[Opened](w.outs) == 2 && count[Opened](n.outs) == 2 }) {
		t.Fatalf("PaC %v, counters %v and %v", n.pac.State(), n.pac.Counters(), w.paa.Counters())
	}
	if n.pac.Counters()[DiscardUnexpected] != 1 {
		t.Errorf("PARs discarded before the PNA[A]: %v", n.pac.Counters())
	}
	a, _ := last[Opened](n.outs)
	b, _ := last[Opened](w.outs)
	if !sameSecret(a.MSK, b.MSK) || !a.Rekeyed || !b.Rekeyed {
		t.Error("the sides have different keys")
	}
}

// TestReauthenticationFails: the session is terminated (RFC 5191 section 4.3).
func TestReauthenticationFails(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	n := w.node(addrOld, PaCConfig{})
	w.open(n)
	w.newEAP = func() *fakeServer { return &fakeServer{rounds: 1, reject: true} }
	n.do(func(now time.Time, p *PaC) {
		_, _ = p.Notify(now, vendorAVP("first"), NotifyOptions{})
		p.Reauthenticate(now)
		_, _ = p.Notify(now, vendorAVP("never"), NotifyOptions{})
	})
	w.pass(time.Second)
	var e *ErrAuthRejected
	if c, _ := last[Closed](w.outs); !errors.As(n.closed(), &e) || !errors.As(c.Reason, &e) {
		t.Errorf("closed with %v and %v", n.closed(), c.Reason)
	}
	if d, _ := last[NotifyDone](n.outs); d.Err == nil || count[NotifyDone](n.outs) != 2 || len(texts(w.outs)) != 1 {
		t.Errorf("last notification ended with %+v; told %v", d, texts(w.outs))
	}
}

// TestForgedRejection: under an SA a PAR[C] needs AUTH, whatever it says.
func TestForgedRejection(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	n := w.node(addrOld, PaCConfig{})
	w.open(n)
	n.do(func(now time.Time, p *PaC) { p.Reauthenticate(now) })
	w.run(time.Second, func() bool { return n.pac.State() == PaCReauth && n.pac.sawNonce })
	m := Message{Type: TypeAuth, Flags: FlagR | FlagC, SID: n.pac.sid, Seq: n.pac.rxSeq, AVPs: []AVP{avp32(CodeResult, 1)}}
	n.pac.HandlePacket(w.now, encode(&m, nil))
	if n.pac.State() != PaCReauth || n.pac.Counters()[DiscardAUTH] != 1 {
		t.Errorf("state %v, counters %v", n.pac.State(), n.pac.Counters())
	}
}

// TestUnauthorized: EAP went well, access is refused all the same: result 2,
// with Key-Id and AUTH (RFC 5191 section 4.1).
func TestUnauthorized(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	n := w.node(addrOld, PaCConfig{})
	w.edit = func(r *EAPReply) {
		if r.Done {
			r.Unauthorized, r.Err = true, errors.New("quota")
		}
	}
	var protected bool
	w.tap = func(_, to netip.AddrPort, b []byte) bool {
		m, _ := ParseMessage(b)
		_, key := m.Get(CodeKeyID)
		_, auth := m.Get(CodeAUTH)
		protected = key && auth
		return true
	}
	n.do(func(now time.Time, p *PaC) { p.Start(now) })
	w.pass(time.Second)
	var e *ErrAuthRejected
	if c, _ := last[Closed](w.outs); !errors.As(n.closed(), &e) || e.Code != ResultAuthorizationRejected || !errors.As(c.Reason, &e) || !protected {
		t.Errorf("closed with %v and %v, protected %v", n.closed(), c.Reason, protected)
	}
}

// TestEAPSilent: the authenticator fails without an EAP-Failure; the session
// goes silently (RFC 5191 section 4.1).
func TestEAPSilent(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	n := w.node(addrOld, PaCConfig{AuthTimeout: 10 * time.Second})
	cause := errors.New("AAA is silent")
	w.edit = func(r *EAPReply) {
		if r.Done {
			*r = EAPReply{Err: cause}
			w.wire = nil
		}
	}
	n.do(func(now time.Time, p *PaC) { p.Start(now) })
	w.pass(5 * time.Second)
	if c, _ := last[Closed](w.outs); !errors.Is(c.Reason, cause) || len(w.wire) != 0 {
		t.Errorf("closed with %v, messages %v", c.Reason, w.wire)
	}
	w.pass(time.Minute)
	var e *ErrAuthTimeout
	if !errors.As(n.closed(), &e) || e.State == "" {
		t.Errorf("PaC closed with %v", n.closed())
	}
}

func TestEAPReplyRefused(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	n := w.node(addrOld, PaCConfig{})
	w.open(n)
	msk := keys.NewSecret(make([]byte, 64))
	if err := w.paa.EAPReply(w.now, n.pac.sid, EAPReply{Done: true, Success: true, MSK: msk}); err == nil || msk.Len() != 0 {
		t.Errorf("open session: error %v, %d octets of MSK left", err, msk.Len())
	}
	if err := w.paa.EAPReply(w.now, n.pac.sid+1, EAPReply{}); !errors.Is(err, ErrUnknownSession) {
		t.Errorf("unknown session: %v", err)
	}
	if err := w.paa.Reauthenticate(w.now, n.pac.sid); err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]EAPReply{
		"empty":     {},
		"too long":  {Packet: make([]byte, maxEAP+1)},
		"too short": {Packet: make([]byte, 3)},
	} {
		if err := w.paa.EAPReply(w.now, n.pac.sid, r); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestKeyless: without MSK there is no SA; refused unless configured, and
// always in pre-authentication (RFC 5873 section 3).
func TestKeyless(t *testing.T) {
	for _, c := range []struct {
		name         string
		pac, paa     bool
		wantOpen     bool
		wantRejected bool
	}{{"both allow", true, true, true, false}, {"the PAA does not", true, false, false, true}, {"the PaC does not", false, true, false, false}} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 1, PAAConfig{AllowKeyless: c.paa})
			w.newEAP = func() *fakeServer { return &fakeServer{rounds: 1, keyless: true} }
			n := w.node(addrOld, PaCConfig{AllowKeyless: c.pac, AuthTimeout: 10 * time.Second, NewEAP: func() (EAPPeer, error) { return &fakePeer{keyless: true}, nil }})
			n.do(func(now time.Time, p *PaC) { p.Start(now) })
			w.pass(5 * time.Second)
			var e *ErrAuthRejected
			if (n.pac.State() == PaCOpen) != c.wantOpen || errors.As(n.closed(), &e) != c.wantRejected {
				t.Fatalf("PaC %v, closed with %v, %v %v", n.pac.State(), n.closed(), n.pac.Counters(), w.paa.Counters())
			}
			if c.wantOpen {
				if o, _ := last[Opened](n.outs); o.MSK != nil || o.KeyID != 0 {
					t.Errorf("%+v", o)
				}
				n.do(func(now time.Time, p *PaC) { _, _ = p.Notify(now, vendorAVP("plain"), NotifyOptions{}) })
				w.pass(time.Second)
				if got := texts(w.outs); !slices.Equal(got, []string{"plain"}) {
					t.Errorf("told %v", got)
				}
			}
		})
	}
}

func TestLifetimes(t *testing.T) {
	for _, c := range []struct {
		name              string
		cfg, preauth, aaa time.Duration
		candidate         bool
		want              time.Duration
	}{
		{"configured", time.Minute, 0, 0, false, time.Minute},
		{"AAA grants less", time.Minute, 0, 20 * time.Second, true, 20 * time.Second},
		{"AAA grants more", time.Minute, 0, time.Hour, false, time.Minute},
		{"candidate", time.Minute, 30 * time.Second, 0, true, 30 * time.Second},
		{"not a candidate", time.Minute, 30 * time.Second, 0, false, time.Minute},
		{"whole seconds", 1500 * time.Millisecond, 0, 0, false, time.Second},
		{"never zero", time.Minute, 0, time.Millisecond, false, time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 1, PAAConfig{Lifetime: c.cfg, PreauthLifetime: c.preauth})
			n := w.node(addrOld, PaCConfig{Preauth: c.candidate})
			w.edit = func(r *EAPReply) { r.Lifetime = c.aaa }
			n.do(func(now time.Time, p *PaC) { p.Start(now) })
			w.run(500*time.Millisecond, func() bool { return count[Opened](w.outs) == 1 })
			a, _ := last[Opened](n.outs)
			b, _ := last[Opened](w.outs)
			if a.Lifetime != c.want || b.Lifetime != c.want {
				t.Errorf("lifetime %v and %v, expected %v", a.Lifetime, b.Lifetime, c.want)
			}
		})
	}
}

// TestPARFromPaC: a PaC that does not piggyback sends its EAP in PARs of its
// own (RFC 5191 figure 1).
func TestPARFromPaC(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	w.paa.HandlePacket(w.now, addrOld, encode(&Message{Type: TypePCI}, nil))
	iPAR := sent(w.paa)[0].Data
	m, _ := ParseMessage(iPAR)
	pan := Message{Type: TypeAuth, Flags: FlagS, SID: m.SID, Seq: m.Seq, AVPs: []AVP{avp32(CodePRF, 2), avp32(CodeIntegrity, 7)}}
	h := handshake{prf: 2, integ: 7, iPAR: iPAR, iPAN: encode(&pan, nil)}
	w.paa.HandlePacket(w.now, addrOld, h.iPAN)
	sent(w.paa)
	f := &fakeServer{rounds: 1}
	peer := &fakePeer{}
	reply := f.start()
	h.pac = make([]byte, 20)
	seq := uint32(0xffffffff) // wraps
	for round := 0; ; round++ {
		if err := w.paa.EAPReply(w.now, m.SID, reply); err != nil {
			t.Fatal(err)
		}
		out := sent(w.paa)
		if len(out) != 1 {
			t.Fatalf("round %d: %d datagrams", round, len(out))
		}
		par, _ := ParseMessage(out[0].Data)
		fs, err := par.fields()
		if err != nil {
			t.Fatal(err)
		}
		resp, _ := peer.Handle(fs.eap)
		if par.Flags.Has(FlagC) {
			sa, err := h.derive(fakeMSK(peer.heard), fs.keyID)
			if err != nil || !sa.verify(out[0].Data, fs.auth) {
				t.Fatalf("AUTH of PAR[C] is wrong, %v", err)
			}
			w.paa.HandlePacket(w.now, addrOld, encode(&Message{Type: TypeAuth, Flags: FlagC, SID: m.SID, Seq: par.Seq, AVPs: []AVP{avp32(CodeKeyID, fs.keyID)}}, sa))
			break
		}
		ack := Message{Type: TypeAuth, SID: m.SID, Seq: par.Seq}
		if fs.nonce != nil {
			h.paa = bytes.Clone(fs.nonce)
			ack.AVPs = []AVP{{Code: CodeNonce, Data: h.pac}}
		}
		own := encode(&Message{Type: TypeAuth, Flags: FlagR, SID: m.SID, Seq: seq, AVPs: []AVP{{Code: CodeEAP, Data: resp}}}, nil)
		w.paa.HandlePacket(w.now, addrOld, own) // before its PAN: refused
		if n := len(sent(w.paa)); n != 0 {
			t.Fatalf("round %d: a PAR before the PAN was answered", round)
		}
		w.paa.HandlePacket(w.now, addrOld, encode(&ack, nil))
		w.paa.HandlePacket(w.now, addrOld, own)
		w.paa.HandlePacket(w.now, addrOld, own) // duplicate
		answers, responses := 0, 0
		for o, ok := w.paa.Poll(); ok; o, ok = w.paa.Poll() {
			switch o := o.(type) {
			case Send:
				a, _ := ParseMessage(o.Data)
				if a.Name() != "PAN[]" || a.Seq != seq {
					t.Fatalf("answered by %v", a)
				}
				answers++
			case EAPResponse:
				responses++
				reply = f.next(o.Packet)
			}
		}
		if answers != 2 || responses != 1 {
			t.Fatalf("%d answers, %d responses", answers, responses)
		}
		seq++
	}
	o, _ := w.paa.Poll()
	if opened, ok := o.(Opened); !ok || opened.SID != m.SID {
		t.Errorf("output %T, counters %v", o, w.paa.Counters())
	}
}

// TestPAADiscards feeds an open session what it has to refuse; nothing comes
// of it but a count.
func TestPAADiscards(t *testing.T) {
	for _, c := range []struct {
		name string
		m    Message
		sign bool
		want Discard
	}{
		{"unknown session", Message{Type: TypeNtfy, Flags: FlagR | FlagP, SID: 1}, true, DiscardSID},
		{"PAR when open", Message{Type: TypeAuth, Flags: FlagR, AVPs: []AVP{{Code: CodeEAP, Data: eapPacket(2, 1, 1)}}}, true, DiscardUnexpected},
		{"PAR[S] from a PaC", Message{Type: TypeAuth, Flags: FlagR | FlagS}, true, DiscardUnexpected},
		{"PAN[S] of the session", Message{Type: TypeAuth, Flags: FlagS}, true, DiscardUnexpected},
		{"PAN without PAR", Message{Type: TypeAuth}, true, DiscardNoRequest},
		{"PNA without PNR", Message{Type: TypeNtfy, Flags: FlagP}, true, DiscardNoRequest},
		{"PTA without PTR", Message{Type: TypeTerm}, true, DiscardNoRequest},
		{"PTR without AUTH", Message{Type: TypeTerm, Flags: FlagR, AVPs: []AVP{avp32(CodeTermCause, 1)}}, false, DiscardAUTH},
		{"PNR[A] without AUTH", Message{Type: TypeNtfy, Flags: FlagR | FlagA}, false, DiscardAUTH},
		{"PNR with E", Message{Type: TypeNtfy, Flags: FlagR | FlagP | FlagE}, true, DiscardPreauth},
		{"PNR out of order", Message{Type: TypeNtfy, Flags: FlagR | FlagP, Seq: 3}, true, DiscardSequence},
		{"two nonces", Message{Type: TypeAuth, AVPs: []AVP{{Code: CodeNonce, Data: make([]byte, 8)}, {Code: CodeNonce, Data: make([]byte, 8)}}}, true, DiscardInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 1, PAAConfig{})
			n := w.node(addrOld, PaCConfig{})
			w.open(n)
			s := w.paa.sessions[n.pac.sid]
			s.rxSeq, s.rxKnown = 100, true
			m := c.m
			if m.SID == 0 {
				m.SID = s.sid
			}
			if m.Seq == 0 {
				m.Seq = 100
			}
			sa := n.pac.sa
			if !c.sign {
				sa = nil
			}
			w.paa.HandlePacket(w.now, addrNew, encode(&m, sa))
			if o, ok := w.paa.Poll(); ok || w.paa.Counters()[c.want] != 1 || s.to != addrOld || s.rxSeq != 100 {
				t.Errorf("output %T, counters %v", o, w.paa.Counters())
			}
		})
	}
	w := newWorld(t, 1, PAAConfig{})
	w.paa.HandlePacket(w.now, addrOld, []byte{1, 2, 3})
	if w.paa.Counters()[DiscardMalformed] != 1 {
		t.Errorf("counters %v", w.paa.Counters())
	}
}

// TestAddressFixedBeforeSA: nobody moves a session that has no key yet.
func TestAddressFixedBeforeSA(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	n := w.node(addrOld, PaCConfig{})
	w.tap = func(from, to netip.AddrPort, b []byte) bool {
		if m, _ := ParseMessage(b); to == w.paaAddr && m.Name() == "PAN[]" {
			w.paa.HandlePacket(w.now, addrOther, bytes.Clone(b)) // a copy overtakes
			w.flush()
		}
		return true
	}
	w.open(n)
	if o, _ := last[Opened](w.outs); o.From != addrOld || w.paa.Counters()[DiscardAddress] != 4 {
		t.Errorf("opened from %v, counters %v", o.From, w.paa.Counters())
	}
}

// TestPAATerminates in each state.
func TestPAATerminates(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	n := w.node(addrOld, PaCConfig{})
	n.do(func(now time.Time, p *PaC) { p.Start(now) })
	w.run(time.Second, func() bool { return n.pac.State() == PaCAuth })
	w.wire = nil
	w.paa.Terminate(w.now, n.pac.sid)
	w.paa.Terminate(w.now, n.pac.sid)
	w.flush()
	if c, _ := last[Closed](w.outs); !errors.Is(c.Reason, ErrTerminated) || len(w.wire) != 0 || count[Closed](w.outs) != 1 {
		t.Errorf("closed with %v, messages %v", c.Reason, w.wire)
	}

	w = newWorld(t, 1, PAAConfig{})
	n = w.node(addrOld, PaCConfig{})
	w.open(n)
	if _, err := w.paa.Notify(w.now, n.pac.sid, vendorAVP("goes first"), NotifyOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.paa.Notify(w.now, n.pac.sid, vendorAVP("is dropped"), NotifyOptions{}); err != nil {
		t.Fatal(err)
	}
	w.paa.Terminate(w.now, n.pac.sid)
	w.flush()
	w.pass(time.Second)
	var e *ErrPeerTerminated
	if !errors.As(n.closed(), &e) || e.Cause != CauseAdministrative || !slices.Equal(texts(n.outs), []string{"goes first"}) || count[NotifyDone](w.outs) != 2 {
		t.Errorf("closed with %v, told %v", n.closed(), texts(n.outs))
	}
	w.paa.Terminate(w.now, 12345) // unknown: nothing

	// In a re-authentication the PTR follows what is outstanding.
	w = newWorld(t, 1, PAAConfig{})
	n = w.node(addrOld, PaCConfig{})
	w.open(n)
	if err := w.paa.Reauthenticate(w.now, n.pac.sid); err != nil {
		t.Fatal(err)
	}
	w.flush()
	w.run(time.Second, func() bool { return w.paa.sessions[n.pac.sid].state == paaWaitPAN })
	w.paa.Terminate(w.now, n.pac.sid)
	w.flush()
	w.pass(time.Second)
	if !errors.As(n.closed(), &e) {
		t.Errorf("closed with %v", n.closed())
	}

	// Both at once.
	w = newWorld(t, 1, PAAConfig{})
	n = w.node(addrOld, PaCConfig{})
	w.open(n)
	w.paa.Terminate(w.now, n.pac.sid)
	n.do(func(now time.Time, p *PaC) { p.Terminate(now) })
	w.flush()
	w.pass(100 * time.Millisecond)
	if c, _ := last[Closed](w.outs); !errors.Is(c.Reason, ErrTerminated) || !errors.Is(n.closed(), ErrTerminated) {
		t.Errorf("closed with %v and %v", c.Reason, n.closed())
	}
}

// TestAnswerPayload: what rides back in the PNA[P].
func TestAnswerPayload(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{AnswerPayload: func(sid uint32, in []AVP) []AVP {
		return []AVP{{Code: 2, Vendor: VendorID, Data: append([]byte("re: "), in[0].Data...)}}
	}})
	n := w.node(addrOld, PaCConfig{})
	w.open(n)
	n.do(func(now time.Time, p *PaC) { _, _ = p.Notify(now, vendorAVP("hello"), NotifyOptions{}) })
	w.pass(time.Second)
	if d, _ := last[NotifyDone](n.outs); len(d.AVPs) != 1 || string(d.AVPs[0].Data) != "re: hello" {
		t.Errorf("%+v", d)
	}
}

// TestReconfigure: the I bit reaches the PaC's owner.
func TestReconfigure(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{Reconfigure: true})
	n := w.node(addrOld, PaCConfig{})
	w.open(n)
	if o, _ := last[Opened](n.outs); !o.Reconfigure {
		t.Errorf("%+v", o)
	}
}
