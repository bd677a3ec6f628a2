package pana

import (
	"slices"
	"testing"
	"time"
)

// TestStates: what is expected in a state, and what is not (RFC 5191 section 5.5).
func TestStates(t *testing.T) {
	t.Run("a PAR in the access phase begins a re-authentication", func(t *testing.T) {
		w, n, _ := opened(t, PAAConfig{}, PaCConfig{})
		reauthenticate(w, n, "PAA")
		if !w.run(time.Second, func() bool { return n.pac.State() == PaCReauth }) || slices.Contains(w.wire, "PNR[A]") {
			t.Errorf("PaC %v, messages %v", n.pac.State(), w.wire)
		}
	})
	t.Run("no PTR is answered in the first authentication", func(t *testing.T) {
		w, n, s := authenticating(t)
		ptr := Message{Type: TypeTerm, Flags: FlagR, SID: s.sid, Seq: n.pac.rxSeq, AVPs: []AVP{avp32(CodeTermCause, uint32(CauseAdministrative))}}
		n.pac.HandlePacket(w.now, encode(&ptr, nil))
		ptr.Seq = s.rxSeq
		w.paa.HandlePacket(w.now, addrOld, encode(&ptr, nil))
		if n.pac.Counters()[DiscardUnexpected] != 1 || w.paa.Counters()[DiscardUnexpected] != 1 {
			t.Errorf("counters %v and %v", n.pac.Counters(), w.paa.Counters())
		}
		goesOn(t, w)
	})
	t.Run("no PCI in authentication", func(t *testing.T) {
		w, _, _ := authenticating(t)
		w.paa.HandlePacket(w.now, addrOld, encode(&Message{Type: TypePCI}, nil))
		if out := sent(w.paa); len(out) != 0 || w.paa.Counters()[DiscardUnexpected] != 1 {
			t.Errorf("%d answers, counters %v", len(out), w.paa.Counters())
		}
		goesOn(t, w)
	})
	t.Run("no PAR[S] once there was a PAR without S", func(t *testing.T) {
		w, n, s := authenticating(t)
		parS := Message{Type: TypeAuth, Flags: FlagR | FlagS, SID: s.sid, Seq: 77, AVPs: offer(defaultPRFs, defaultIntegrities)}
		n.pac.HandlePacket(w.now, encode(&parS, nil))
		if n.pac.Counters()[DiscardUnexpected] != 1 {
			t.Errorf("counters %v", n.pac.Counters())
		}
		goesOn(t, w)
		w.pass(time.Second)
		w.outs = nil
		reauthenticate(w, n, "PAA")
		w.run(time.Second, func() bool { return n.pac.State() == PaCReauth })
		n.pac.HandlePacket(w.now, encode(&parS, nil))
		if n.pac.Counters()[DiscardUnexpected] != 2 {
			t.Errorf("in re-authentication: counters %v", n.pac.Counters())
		}
		goesOn(t, w)
	})
	t.Run("no PAR[C] before the S exchange", func(t *testing.T) {
		w := newWorld(t, 1, PAAConfig{})
		n := w.node(addrOld, PaCConfig{})
		n.do(func(now time.Time, p *PaC) { p.Start(now) })
		m := Message{Type: TypeAuth, Flags: FlagR | FlagC, SID: 7, Seq: 7, AVPs: []AVP{avp32(CodeResult, uint32(ResultAuthenticationRejected))}}
		n.pac.HandlePacket(w.now, encode(&m, nil))
		if n.pac.State() != PaCWaitPAA || n.pac.Counters()[DiscardSID] != 1 {
			t.Errorf("PaC %v, counters %v", n.pac.State(), n.pac.Counters())
		}
		goesOn(t, w)
	})
	t.Run("only PTR and ping in termination", func(t *testing.T) {
		both(t, func(t *testing.T, side string) {
			w, n, s := opened(t, PAAConfig{}, PaCConfig{})
			key := &association{integ: n.pac.sa.integ, key: n.pac.sa.key.Clone()}
			terminate(w, n, side)
			w.events = nil // the PTR is lost
			counts, seq := s.endpoint.counts, n.pac.txSeq
			if side == "PaC" {
				counts, seq = n.pac.endpoint.counts, s.txSeq
			}
			for _, m := range []Message{
				{Type: TypeNtfy, Flags: FlagR | FlagA},
				{Type: TypeAuth, Flags: FlagR, AVPs: []AVP{{Code: CodeNonce, Data: make([]byte, 20)}, {Code: CodeEAP, Data: eapPacket(1, 1, 1)}}},
			} {
				m.SID, m.Seq = s.sid, seq
				give(w, n, side, encode(&m, key))
			}
			if counts[DiscardUnexpected] != 2 {
				t.Errorf("counters %v", counts.snapshot())
			}
			w.wire = nil
			give(w, n, side, encode(&Message{Type: TypeNtfy, Flags: FlagR | FlagP, SID: s.sid, Seq: seq}, key))
			if !slices.Equal(w.wire, []string{"PNA[P]"}) {
				t.Errorf("a ping was answered by %v", w.wire)
			}
		})
	})
	t.Run("the cause of a termination", func(t *testing.T) {
		for cause, end := range map[TerminationCause]func(w *world, n *node){
			CauseLogout:         func(w *world, n *node) { terminate(w, n, "PaC") },
			CauseAdministrative: func(w *world, n *node) { terminate(w, n, "PAA") },
			CauseSessionTimeout: func(w *world, n *node) { w.paa.Expire(w.now, n.pac.sid); w.flush() },
		} {
			w, n, _ := opened(t, PAAConfig{}, PaCConfig{})
			list := w.record()
			end(w, n)
			if got := TerminationCause((*list)[0].f.cause); got != cause {
				t.Errorf("cause %v, expected %v", got, cause)
			}
		}
	})
}

// authenticating is a first authentication under way.
func authenticating(t *testing.T) (*world, *node, *session) {
	t.Helper()
	w := newWorld(t, 1, PAAConfig{})
	n := w.node(addrOld, PaCConfig{})
	n.do(func(now time.Time, p *PaC) { p.Start(now) })
	if !w.run(time.Second, func() bool { return n.pac.State() == PaCAuth }) {
		t.Fatalf("PaC %v", n.pac.State())
	}
	return w, n, w.paa.sessions[n.pac.sid]
}

// goesOn: the authentication under way comes to its end.
func goesOn(t *testing.T, w *world) {
	t.Helper()
	if !w.run(time.Minute, func() bool { return count[Opened](w.outs) == 1 }) {
		t.Errorf("outputs %v", kinds(w.outs))
	}
}
