package pana

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"
)

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
