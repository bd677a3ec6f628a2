package pana

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// await adds a node that waits for the PAA to begin.
func (w *world) await(addr netip.AddrPort, cfg PaCConfig) *node {
	n := w.node(addr, cfg)
	n.do(func(_ time.Time, p *PaC) { p.Await() })
	return n
}

func (w *world) initiate(to netip.AddrPort) uint32 {
	w.t.Helper()
	sid, err := w.paa.Initiate(w.now, to)
	if err != nil {
		w.t.Fatal(err)
	}
	w.flush()
	return sid
}

// TestInitiate: the PAA begins, with and without EAP in the PAR[S], and the PaC
// answers it there or in a PAR.
func TestInitiate(t *testing.T) {
	for _, c := range []struct {
		name      string
		optimized bool
		separate  bool
		want      []string // up to the first round with nonces
	}{
		{"plain", false, false, []string{"PAR[S]", "PAN[S]", "PAR[]", "PAN[]"}},
		{"EAP in PAR[S] and PAN[S]", true, false, []string{"PAR[S]", "PAN[S]", "PAR[]", "PAN[]"}},
		{"EAP in PAR[S] and a PAR", true, true, []string{"PAR[S]", "PAN[S]", "PAR[]", "PAN[]", "PAR[]", "PAN[]"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 1, PAAConfig{EAPInStart: c.optimized})
			n := w.await(addrOld, PaCConfig{NoPiggyback: c.separate})
			w.pass(time.Hour) // there is no hurry
			eap := map[string]bool{}
			w.tap = func(_, _ netip.AddrPort, b []byte) bool {
				m, _ := ParseMessage(b)
				_, has := m.Get(CodeEAP)
				eap[m.Name()] = eap[m.Name()] || has
				return true
			}
			sid := w.initiate(addrOld)
			if !w.run(time.Minute, func() bool { return count[Opened](w.outs) == 1 && count[Opened](n.outs) == 1 }) {
				t.Fatalf("no session: %v, %v, %v", n.pac.State(), n.pac.Counters(), w.paa.Counters())
			}
			if !slices.Equal(w.wire[:len(c.want)], c.want) || eap["PAR[S]"] != c.optimized || eap["PAN[S]"] != (c.optimized && !c.separate) {
				t.Errorf("messages %v, with EAP %v", w.wire, eap)
			}
			a, _ := last[Opened](n.outs)
			b, _ := last[Opened](w.outs)
			if !sameSecret(a.MSK, b.MSK) || a.SID != sid || len(n.pac.Counters())+len(w.paa.Counters()) != 0 || len(w.paa.byAddr) != 0 {
				t.Errorf("opened %+v and %+v, discarded %v and %v", a, b, n.pac.Counters(), w.paa.Counters())
			}
		})
	}
}

// TestEAPInStart: the answer to a PCI, repeated by timer when it is lost.
func TestEAPInStart(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{EAPInStart: true})
	lost := false
	w.tap = func(_, _ netip.AddrPort, b []byte) bool {
		m, _ := ParseMessage(b)
		first := m.Name() == "PAR[S]" && !lost
		lost = lost || first
		return !first && (m.Type != TypePCI || len(w.wire) == 1)
	}
	n := w.node(addrOld, PaCConfig{})
	w.open(n)
	if count := len(slices.DeleteFunc(slices.Clone(w.wire), func(s string) bool { return s != "PAR[S]" })); count != 2 {
		t.Errorf("messages %v, expected two PAR[S]", w.wire)
	}
	for i := range 10 { // what is pending is bounded, as is everything
		w = newWorld(t, uint64(i), PAAConfig{EAPInStart: true, MaxPending: 3, PCIRatePerSource: 1000})
		for i := range 10 {
			w.paa.HandlePacket(w.now, netip.AddrPortFrom(addrOld.Addr(), uint16(i)+1), encode(&Message{Type: TypePCI}, nil))
		}
		if w.paa.Sessions() != 3 || w.paa.Counters()[DiscardLimit] != 7 {
			t.Fatalf("%d sessions, counters %v", w.paa.Sessions(), w.paa.Counters())
		}
	}
}

// TestInitiateUnanswered: a PaC that does not want a session drops the PAR[S]
// silently (RFC 5191 section 4.1).
func TestInitiateUnanswered(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{AuthTimeout: 10 * time.Minute})
	n := w.node(addrOld, PaCConfig{}) // neither started nor waiting
	w.initiate(addrOld)
	w.pass(10 * time.Minute)
	var gone *ErrRetransmissions
	if c, ok := last[Closed](w.outs); !ok || !errors.As(c.Reason, &gone) || gone.Request != "PAR[S]" || gone.Sent != 10 {
		t.Errorf("closed with %v", c.Reason)
	}
	if len(w.wire) != 10 || n.pac.Counters()[DiscardUnexpected] != 10 || len(w.paa.byAddr)+w.paa.pending != 0 {
		t.Errorf("messages %v, counters %v", w.wire, n.pac.Counters())
	}
}

// TestInitiateRefused says why.
func TestInitiateRefused(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{MaxPending: 1})
	if _, err := w.paa.Initiate(w.now, netip.AddrPort{}); !errors.Is(err, ErrConfig) {
		t.Errorf("no address: %v", err)
	}
	w.initiate(addrOld)
	for _, to := range []netip.AddrPort{addrOld, addrNew} {
		if _, err := w.paa.Initiate(w.now, to); err == nil {
			t.Errorf("%v: a second session", to)
		}
	}
	w.paa.Terminate(w.now, slices.Collect(func(yield func(uint32) bool) {
		for sid := range w.paa.sessions {
			yield(sid)
		}
	})[0])
	if w.paa.Sessions() != 0 || len(w.paa.byAddr)+w.paa.pending != 0 {
		t.Error("it is not gone")
	}
	dry := newWorld(t, 1, PAAConfig{Rand: &failing{Reader: newSeeded(1)}})
	dry.paa.random.r.(*failing).off = true
	if _, err := dry.paa.Initiate(dry.now, addrOld); err == nil || dry.paa.Sessions() != 0 {
		t.Errorf("without randomness: %v", err)
	}
}

// TestStartedDiscards: what is no answer to that PAR[S].
func TestStartedDiscards(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(m *Message, from *netip.AddrPort)
		want Discard
	}{
		{"another address", func(_ *Message, from *netip.AddrPort) { *from = addrOther }, DiscardAddress},
		{"another number", func(m *Message, _ *netip.AddrPort) { m.Seq++ }, DiscardSequence},
		{"E set", func(m *Message, _ *netip.AddrPort) { m.Flags |= FlagE }, DiscardPreauth},
		{"no S", func(m *Message, _ *netip.AddrPort) { m.Flags = 0 }, DiscardNoRequest},
		{"algorithm not offered", func(m *Message, _ *netip.AddrPort) { m.AVPs[0] = avp32(CodePRF, 2) }, DiscardAlgorithms},
		{"no algorithm", func(m *Message, _ *netip.AddrPort) { m.AVPs = nil }, DiscardAlgorithms},
		{"EAP, which was not asked for", func(m *Message, _ *netip.AddrPort) {
			m.AVPs = append(m.AVPs, AVP{Code: CodeEAP, Data: eapPacket(2, 1, 1)})
		}, DiscardInvalid},
		{"a PTR", func(m *Message, _ *netip.AddrPort) {
			m.Type, m.Flags, m.AVPs = TypeTerm, FlagR, []AVP{avp32(CodeTermCause, 1)}
		}, DiscardUnexpected},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 1, PAAConfig{PRFs: defaultPRFs[:1]})
			sid, err := w.paa.Initiate(w.now, addrOld)
			if err != nil {
				t.Fatal(err)
			}
			s, from := w.paa.sessions[sid], addrOld
			m := Message{Type: TypeAuth, Flags: FlagS, SID: sid, Seq: s.out.msg.Seq, AVPs: []AVP{avp32(CodePRF, 5), avp32(CodeIntegrity, 12)}}
			c.edit(&m, &from)
			w.paa.HandlePacket(w.now, from, encode(&m, nil))
			if s.state != paaStart || w.paa.Counters()[c.want] != 1 {
				t.Errorf("state %v, counters %v", s.state, w.paa.Counters())
			}
		})
	}
}

// TestCrossingInitiations: both begin, at about the same time, over a network that
// loses, repeats and reorders. One session remains, with the same key at both.
func TestCrossingInitiations(t *testing.T) {
	superseded := 0
	for seed := range uint64(400) {
		w := newWorld(t, seed, PAAConfig{EAPInStart: seed%4 == 3, PCIRatePerSource: 1000, AuthTimeout: 5 * time.Minute})
		w.loss, w.dup, w.jitter = float64(seed%3)*0.1, float64(seed%3)*0.1, 60*time.Millisecond
		n := w.node(addrOld, PaCConfig{NoPiggyback: seed%5 == 0, AuthTimeout: 5 * time.Minute})
		start := func() { n.do(func(now time.Time, p *PaC) { p.Start(now) }) }
		ask := func() {
			_, _ = w.paa.Initiate(w.now, addrOld) // may be running already
			w.flush()
		}
		first, second := start, ask
		if seed%2 == 0 {
			first, second = ask, start
		}
		first()
		w.pass(time.Duration(w.rnd.Int64N(int64(80 * time.Millisecond))))
		second()
		if !w.run(4*time.Minute, func() bool { return n.pac.State() == PaCOpen && count[Opened](w.outs) == 1 }) {
			t.Fatalf("seed %d: PaC %v %v, PAA %v %v, messages %v", seed, n.pac.State(), n.pac.Counters(), kinds(w.outs), w.paa.Counters(), w.wire)
		}
		w.pass(time.Minute)
		s := w.paa.sessions[n.pac.SID()]
		if w.paa.Sessions() != 1 || s == nil || s.state != paaOpen || !s.sa.key.Equal(n.pac.sa.key) || len(w.paa.byAddr) != 0 {
			t.Fatalf("seed %d: %d sessions, outputs %v", seed, w.paa.Sessions(), kinds(w.outs))
		}
		for _, o := range w.outs {
			if c, ok := o.(Closed); ok && errors.Is(c.Reason, ErrSuperseded) {
				superseded++
			}
		}
	}
	if superseded < 10 {
		t.Errorf("only %d of 400 crossed: nothing was tested", superseded)
	}
}

// TestFarApart: a number is not used by both a request and an answer of the PaC.
func TestFarApart(t *testing.T) {
	for _, paa := range []uint32{0, 1, 1 << 31, 1<<32 - 1} {
		for _, random := range []uint32{0, 1, 1 << 31, 1<<32 - 1} {
			t.Run(fmt.Sprintf("%x/%x", paa, random), func(t *testing.T) {
				if d := apart(paa, random) - paa; d < 1<<30 || -d < 1<<30 {
					t.Errorf("%d apart", d)
				}
			})
		}
	}
}

// TestInvitePending: a PaC that is being authenticated already is not invited, others are.
func TestInvitePending(t *testing.T) {
	p, err := NewPAA(PAAConfig{})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	if _, err := p.Initiate(now, addrOld); err != nil {
		t.Fatal(err)
	}
	if _, ok := p.Poll(); !ok {
		t.Fatal("no PAR[S] of the session begun")
	}
	p.Invite(now, addrOld)
	if o, ok := p.Poll(); ok {
		t.Errorf("%+v to who is being authenticated", o)
	}
	p.Invite(now, addrNew)
	if o, ok := p.Poll(); !ok || o.(Send).To != addrNew {
		t.Errorf("%+v, expected a PAR[S] to %v", o, addrNew)
	}
}
