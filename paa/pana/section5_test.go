package pana

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// ruleTests has the test of each rule of RFC 5191 and RFC 5873.

// seen is a message on the wire.
type seen struct {
	from, to netip.AddrPort
	at       time.Time
	m        *Message
	f        *fields
	raw      []byte
}

// record keeps everything that is sent from now on.
func (w *world) record() *[]seen {
	list := new([]seen)
	w.tap = func(from, to netip.AddrPort, b []byte) bool {
		raw := slices.Clone(b)
		m, err := ParseMessage(raw)
		if err != nil {
			w.t.Fatal(err)
		}
		f, err := m.fields()
		if err != nil {
			w.t.Fatal(err)
		}
		*list = append(*list, seen{from, to, w.now, m, f, raw})
		return true
	}
	return list
}

func names(list []seen) (n []string) {
	for _, s := range list {
		n = append(n, s.m.Name())
	}
	return n
}

// opened is a world with one open session, and its PAA side.
func opened(t *testing.T, paa PAAConfig, pac PaCConfig) (*world, *node, *session) {
	t.Helper()
	w := newWorld(t, 1, paa)
	n := w.node(addrOld, pac)
	w.open(n)
	w.outs, n.outs, w.wire = nil, nil, nil
	return w, n, w.paa.sessions[n.pac.sid]
}

// both runs f for the PaC's and for the PAA's side.
func both(t *testing.T, f func(t *testing.T, side string)) {
	for _, side := range []string{"PaC", "PAA"} {
		t.Run(side, func(t *testing.T) { f(t, side) })
	}
}

func reauthenticate(w *world, n *node, side string) {
	if side == "PaC" {
		n.do(func(now time.Time, p *PaC) { p.Reauthenticate(now) })
		return
	}
	if err := w.paa.Reauthenticate(w.now, n.pac.SID()); err != nil {
		w.t.Fatal(err)
	}
	w.flush()
}

func terminate(w *world, n *node, side string) {
	if side == "PaC" {
		n.do(func(now time.Time, p *PaC) { p.Terminate(now) })
		return
	}
	w.paa.Terminate(w.now, n.pac.SID())
	w.flush()
}

func rekeyed(w *world, n *node) func() bool {
	return func() bool { return count[Opened](w.outs) == 1 && count[Opened](n.outs) == 1 }
}

// TestPhases: access, re-authentication and termination (RFC 5191 sections 4.2 to 4.4).
func TestPhases(t *testing.T) {
	t.Run("ping from either side", func(t *testing.T) {
		both(t, func(t *testing.T, side string) {
			w, n, _ := opened(t, PAAConfig{}, PaCConfig{})
			list := w.record()
			notify(w, n, side, "hello")
			w.pass(time.Second)
			if got := names(*list); !slices.Equal(got, []string{"PNR[P]", "PNA[P]"}) {
				t.Errorf("messages %v", got)
			}
		})
	})
	t.Run("pings are rate-limited by the sender", func(t *testing.T) {
		both(t, func(t *testing.T, side string) {
			w, n, _ := opened(t, PAAConfig{}, PaCConfig{})
			list := w.record()
			for range maxQueued {
				notify(w, n, side, "again")
			}
			w.pass(time.Minute)
			if d := (*list)[len(*list)-1].at.Sub((*list)[0].at); d < (maxQueued-notifyBurst-1)*time.Second/notifyRate {
				t.Errorf("%d pings in %v", maxQueued, d)
			}
		})
	})
	t.Run("no ping is begun in re-authentication or termination", func(t *testing.T) {
		both(t, func(t *testing.T, side string) {
			w, n, s := opened(t, PAAConfig{PingInterval: time.Second}, PaCConfig{PingInterval: time.Second})
			w.aaa = 5 * time.Second // longer than the ping's interval
			list := w.record()
			reauthenticate(w, n, side)
			for range 2 { // before the first PAR, and after it
				if side == "PAA" {
					if _, err := w.paa.Notify(w.now, s.sid, vendorAVP("waits"), NotifyOptions{}); err != nil {
						t.Error(err)
					}
					w.flush()
				}
				w.run(10*time.Second, func() bool { return s.state == paaWaitEAP && s.sentPAR })
			}
			w.run(time.Minute, rekeyed(w, n))
			first, last := slices.Index(names(*list), "PAR[]"), slices.Index(names(*list), "PAN[C]")
			if first < 0 || last < first+6 {
				t.Fatalf("messages %v", names(*list))
			}
			for i, m := range (*list)[:last] { // before the first PAR only the PAA knows
				if m.m.Flags.Has(FlagP) && (i >= first || m.m.request() && m.from == w.paaAddr) {
					t.Errorf("%s after %v", m.m.Name(), m.at.Sub((*list)[0].at))
				}
			}
			w.pass(100 * time.Millisecond)
			terminate(w, n, side)
			if side == "PaC" {
				n.do(func(now time.Time, p *PaC) {
					if _, err := p.Notify(now, nil, NotifyOptions{}); !errors.Is(err, ErrNotOpen) {
						t.Errorf("in termination: %v", err)
					}
				})
			} else if _, err := w.paa.Notify(w.now, s.sid, nil, NotifyOptions{}); !errors.Is(err, ErrNotOpen) {
				t.Errorf("in termination: %v", err)
			}
		})
	})
	t.Run("no ping is answered in the first authentication", func(t *testing.T) {
		w := newWorld(t, 1, PAAConfig{})
		n := w.node(addrOld, PaCConfig{})
		n.do(func(now time.Time, p *PaC) { p.Start(now) })
		w.run(time.Second, func() bool { return n.pac.State() == PaCAuth })
		ping := encode(&Message{Type: TypeNtfy, Flags: FlagR | FlagP, SID: n.pac.sid, Seq: n.pac.rxSeq}, nil)
		n.pac.HandlePacket(w.now, ping)
		w.paa.HandlePacket(w.now, addrOld, ping)
		if n.pac.Counters()[DiscardUnexpected] != 1 || w.paa.Counters()[DiscardUnexpected] != 1 {
			t.Errorf("counters %v and %v", n.pac.Counters(), w.paa.Counters())
		}
	})
	t.Run("re-authentication", func(t *testing.T) {
		both(t, func(t *testing.T, side string) {
			w, n, s := opened(t, PAAConfig{}, PaCConfig{})
			old, next := *n.pac.sa, s.txSeq
			oldKey := association{integ: old.integ, key: old.key.Clone()}
			list := w.record()
			reauthenticate(w, n, side)
			if !w.run(time.Second, rekeyed(w, n)) {
				t.Fatal("no re-authentication")
			}
			w.pass(10 * time.Millisecond)
			if side == "PaC" {
				if got := names((*list)[:2]); !slices.Equal(got, []string{"PNR[A]", "PNA[A]"}) {
					t.Errorf("it begins with %v", got)
				}
				*list = (*list)[2:]
			}
			nonces := 0
			for i, m := range *list {
				request := m.m.request()
				switch {
				case m.m.Flags.Has(FlagS):
					t.Errorf("message %d: S in re-authentication", i)
				case (m.f.nonce != nil) != (i < 2):
					t.Errorf("message %d: nonce %x: it belongs into the first PAR and PAN", i, m.f.nonce)
				case request && m.m.Seq != next: // the numbers go on
					t.Errorf("message %d: number %d, expected %d", i, m.m.Seq, next)
				}
				if m.f.nonce != nil {
					nonces++
				}
				if !request {
					next++
				}
				key, which := &oldKey, "old"
				if m.m.Flags.Has(FlagC) {
					key, which = s.sa, "new"
				}
				if !key.verify(m.raw, m.f.auth) {
					t.Errorf("message %d, %s, is not signed with the %s key", i, m.m.Name(), which)
				}
			}
			if nonces != 2 || old.keyID == s.sa.keyID || s.sa.key.Equal(oldKey.key) {
				t.Errorf("%d nonces, Key-Id %d and %d", nonces, old.keyID, s.sa.keyID)
			}
			notify(w, n, "PAA", "after")
			if m := (*list)[len(*list)-1]; !s.sa.verify(m.raw, m.f.auth) {
				t.Error("what follows is not signed with the new key")
			}
		})
	})
	t.Run("PARs are discarded while a PNR[A] is outstanding", func(t *testing.T) {
		w, n, s := opened(t, PAAConfig{}, PaCConfig{})
		n.off = true // the PNA[A] takes its time
		n.do(func(now time.Time, p *PaC) { p.Reauthenticate(now) })
		n.off = false
		m := Message{Type: TypeAuth, Flags: FlagR, SID: s.sid, Seq: n.pac.rxSeq, AVPs: []AVP{
			{Code: CodeNonce, Data: make([]byte, 20)}, {Code: CodeEAP, Data: eapPacket(1, 1, 1)},
		}}
		n.pac.HandlePacket(w.now, encode(&m, s.sa))
		if n.pac.State() != PaCWaitReauth || n.pac.Counters()[DiscardUnexpected] != 1 {
			t.Errorf("state %v, counters %v", n.pac.State(), n.pac.Counters())
		}
	})
	t.Run("re-authentication before the lifetime ends", func(t *testing.T) {
		both(t, func(t *testing.T, side string) {
			paa, pac := PAAConfig{Lifetime: time.Minute}, PaCConfig{}
			if side == "PAA" {
				paa.ReauthBefore = 20 * time.Second
			} else {
				pac.ReauthBefore = 20 * time.Second
			}
			w, n, _ := opened(t, paa, pac)
			w.pass(10 * time.Minute)
			if n.closed() != nil || count[Opened](n.outs) < 10 {
				t.Errorf("closed with %v after %d times", n.closed(), count[Opened](n.outs))
			}
		})
	})
	t.Run("PNR[A] of an unknown session is discarded silently", func(t *testing.T) {
		w, n, s := opened(t, PAAConfig{}, PaCConfig{})
		fresh := newWorld(t, 2, PAAConfig{})
		raw := encode(&Message{Type: TypeNtfy, Flags: FlagR | FlagA, SID: s.sid, Seq: 1}, n.pac.sa)
		fresh.paa.HandlePacket(w.now, addrOld, raw)
		if out := sent(fresh.paa); len(out) != 0 || fresh.paa.Counters()[DiscardSID] != 1 {
			t.Errorf("%d answers, counters %v", len(out), fresh.paa.Counters())
		}
	})
	t.Run("failed re-authentication ends the session", func(t *testing.T) {
		both(t, func(t *testing.T, side string) {
			w, n, s := opened(t, PAAConfig{}, PaCConfig{})
			w.newEAP = func() *fakeServer { return &fakeServer{rounds: 1, reject: true} }
			reauthenticate(w, n, side)
			w.pass(time.Second)
			if n.closed() == nil || s.state != paaClosed {
				t.Errorf("PaC %v, PAA %v", n.pac.State(), s.state)
			}
		})
	})
	t.Run("termination from either side", func(t *testing.T) {
		both(t, func(t *testing.T, side string) {
			w, n, s := opened(t, PAAConfig{}, PaCConfig{})
			list := w.record()
			lost := false
			record := w.tap
			w.tap = func(from, to netip.AddrPort, b []byte) bool { // the first PTA is lost
				record(from, to, b)
				pta := (*list)[len(*list)-1].m.Name() == "PTA[]"
				lost, pta = lost || pta, pta && !lost
				return !pta
			}
			terminate(w, n, side)
			w.pass(5 * time.Second)
			if got := names(*list); !slices.Equal(got, []string{"PTR[]", "PTA[]", "PTR[]", "PTA[]"}) {
				t.Fatalf("messages %v", got)
			}
			if (*list)[0].m.AVPs[0].Code != CodeTermCause || !slices.Equal((*list)[1].raw, (*list)[3].raw) {
				t.Error("the cause is not first, or the second PTA is not the first one again")
			}
			if n.pac.State() != PaCClosed || s.state != paaClosed {
				t.Errorf("PaC %v, PAA %v", n.pac.State(), s.state)
			}
		})
	})
	t.Run("expiry needs no PTR", func(t *testing.T) {
		w, n, s := opened(t, PAAConfig{Lifetime: 30 * time.Second}, PaCConfig{})
		w.pass(31 * time.Second)
		var e *ErrLifetime
		if !errors.As(n.closed(), &e) || s.state != paaClosed || len(w.wire) != 0 {
			t.Errorf("closed with %v, PAA %v, messages %v", n.closed(), s.state, w.wire)
		}
	})
}

// TestTerminationEnds: a PTR that nobody answers ends with what was to end the re-authentication that
// it broke off, when its retransmissions do not.
func TestTerminationEnds(t *testing.T) {
	endless := Retransmission{IRT: time.Second, MRT: time.Minute}
	both(t, func(t *testing.T, side string) {
		w, n, s := opened(t, PAAConfig{Request: endless, AuthTimeout: 20 * time.Second}, PaCConfig{Request: endless, AuthTimeout: 20 * time.Second})
		w.tap = func(netip.AddrPort, netip.AddrPort, []byte) bool { return false }
		if side == "PaC" {
			n.pac.enterReauth(w.now)
			n.do(func(now time.Time, p *PaC) { p.Terminate(now) })
		} else {
			s.enterReauth(w.now)
			w.paa.Terminate(w.now, s.sid)
			w.flush()
		}
		w.pass(30 * time.Second)
		if side == "PaC" && n.pac.State() != PaCClosed || side == "PAA" && s.state != paaClosed {
			t.Errorf("states %v and %v", n.pac.State(), s.state)
		}
	})
}
