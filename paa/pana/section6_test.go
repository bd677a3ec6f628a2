package pana

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// TestNumbers: sequence numbers (RFC 5191 section 5.2).
func TestNumbers(t *testing.T) {
	t.Run("one more with each request, and 0 after the last", func(t *testing.T) {
		both(t, func(t *testing.T, side string) {
			w, n, s := opened(t, PAAConfig{NoEncryption: true}, PaCConfig{})
			const first = 1<<32 - 2
			if side == "PaC" {
				n.pac.txSeq, s.rxSeq, s.rxKnown = first, first, true
			} else {
				s.txSeq, n.pac.rxSeq = first, first
			}
			list := w.record()
			for range 4 {
				notify(w, n, side, "next")
				w.pass(10 * time.Millisecond)
			}
			for i, want := range []uint32{first, first, first + 1, first + 1, 0, 0, 1, 1} { // requests and answers
				if (*list)[i].m.Seq != want {
					t.Errorf("message %d has number %d, expected %d", i, (*list)[i].m.Seq, want)
				}
			}
		})
	})
	t.Run("first numbers and session identifiers are random", func(t *testing.T) {
		values := map[uint32]bool{}
		for seed := range uint64(200) {
			w := newWorld(t, seed, PAAConfig{})
			n := w.node(addrOld, PaCConfig{})
			w.open(n)
			for _, v := range []uint32{n.pac.sid, n.pac.txSeq, w.paa.sessions[n.pac.sid].txSeq} {
				values[v] = true
			}
		}
		if len(values) < 598 {
			t.Errorf("%d different values of 600", len(values))
		}
	})
	t.Run("an answer copies the number, a retransmission reuses it", func(t *testing.T) {
		w, n, _ := opened(t, PAAConfig{}, PaCConfig{})
		list := w.record()
		n.do(func(now time.Time, p *PaC) { _, _ = p.Notify(now, vendorAVP("x"), NotifyOptions{}) })
		w.events = nil // lost
		w.pass(1200 * time.Millisecond)
		if got := names(*list); !slices.Equal(got, []string{"PNR[P]", "PNR[P]", "PNA[P]"}) {
			t.Fatalf("messages %v", got)
		}
		for _, m := range *list {
			if m.m.Seq != (*list)[0].m.Seq {
				t.Errorf("%s has number %d, expected %d", m.m.Name(), m.m.Seq, (*list)[0].m.Seq)
			}
		}
	})
	t.Run("a request has the number expected, an answer that of the request", func(t *testing.T) {
		for _, off := range []uint32{1, 1<<32 - 2, 1 << 31} {
			w, n, s := opened(t, PAAConfig{}, PaCConfig{})
			s.rxSeq, s.rxKnown = 10, true
			w.paa.HandlePacket(w.now, addrOld, encode(&Message{Type: TypeNtfy, Flags: FlagR | FlagP, SID: s.sid, Seq: 10 + off}, n.pac.sa))
			notify(w, n, "PAA", "asks")
			w.paa.HandlePacket(w.now, addrOld, encode(&Message{Type: TypeNtfy, Flags: FlagP, SID: s.sid, Seq: s.out.msg.Seq + off}, n.pac.sa))
			if w.paa.Counters()[DiscardSequence] != 2 || s.out == nil || s.rxSeq != 10 {
				t.Errorf("%d off: counters %v", off, w.paa.Counters())
			}
		}
	})
	t.Run("a PCI and a PAR[S] are not checked", func(t *testing.T) {
		w := newWorld(t, 1, PAAConfig{})
		n := w.node(addrOld, PaCConfig{})
		n.do(func(now time.Time, p *PaC) { p.Start(now) })
		for _, seq := range []uint32{77, 3} {
			n.pac.HandlePacket(w.now, encode(&Message{Type: TypeAuth, Flags: FlagR | FlagS, SID: 9, Seq: seq, AVPs: offer(defaultPRFs, defaultIntegrities)}, nil))
			if n.pac.last.of.Seq != seq {
				t.Errorf("PAR[S] with number %d is not taken", seq)
			}
		}
	})
	t.Run("one request is outstanding", func(t *testing.T) {
		both(t, func(t *testing.T, side string) {
			w, n, _ := opened(t, PAAConfig{}, PaCConfig{})
			list := w.record()
			for range 3 {
				notify(w, n, side, "x")
			}
			if len(*list) != 1 {
				t.Errorf("messages %v", names(*list))
			}
		})
	})
	t.Run("the number expected advances after AUTH", func(t *testing.T) {
		both(t, func(t *testing.T, side string) {
			w, n, s := opened(t, PAAConfig{}, PaCConfig{})
			to, sa := &s.endpoint, n.pac.sa
			if side == "PaC" {
				to = &n.pac.endpoint
			}
			to.rxSeq, to.rxKnown = 10, true
			raw := encode(&Message{Type: TypeNtfy, Flags: FlagR | FlagP, SID: s.sid, Seq: 10}, sa)
			raw[len(raw)-1] ^= 1
			n.pac.HandlePacket(w.now, raw)
			w.paa.HandlePacket(w.now, addrOld, raw)
			if to.rxSeq != 10 || to.counts[DiscardAUTH] != 1 {
				t.Errorf("expected is %d, counters %v", to.rxSeq, to.counts.snapshot())
			}
		})
	})
	t.Run("a duplicate request is answered again, octet for octet, within a rate", func(t *testing.T) {
		both(t, func(t *testing.T, side string) {
			w, n, s := opened(t, PAAConfig{}, PaCConfig{})
			list := w.record()
			other := map[string]string{"PaC": "PAA", "PAA": "PaC"}[side]
			notify(w, n, other, "x")
			w.pass(time.Second)
			request, answer := (*list)[0].raw, (*list)[1].raw
			for range 3 * heedRate {
				w.arrive((*list)[0].from, (*list)[0].to, slices.Clone(request))
			}
			repeated := (*list)[2:]
			if len(repeated) != heedRate {
				t.Errorf("%d answers, expected %d", len(repeated), heedRate)
			}
			for _, m := range repeated {
				if !slices.Equal(m.raw, answer) {
					t.Fatalf("answered by %x, expected %x", m.raw, answer)
				}
			}
			counts := &s.endpoint
			if side == "PaC" {
				counts = &n.pac.endpoint
			}
			if len(texts(w.outs))+len(texts(n.outs)) != 1 || counts.counts[DiscardRate] != 2*heedRate {
				t.Errorf("told %v and %v, counters %v", texts(w.outs), texts(n.outs), counts.counts.snapshot())
			}
		})
	})
	t.Run("a duplicate answer is dropped", func(t *testing.T) {
		both(t, func(t *testing.T, side string) {
			w, n, s := opened(t, PAAConfig{}, PaCConfig{})
			list := w.record()
			notify(w, n, side, "x")
			w.pass(time.Second)
			a := (*list)[1]
			w.arrive(a.from, a.to, slices.Clone(a.raw))
			counts := s.counts
			if side == "PaC" {
				counts = n.pac.endpoint.counts
			}
			if counts[DiscardNoRequest] != 1 || count[NotifyDone](w.outs)+count[NotifyDone](n.outs) != 1 {
				t.Errorf("counters %v", counts.snapshot())
			}
		})
	})
}

// TestTimers: retransmission (RFC 5191 section 9).
func TestTimers(t *testing.T) {
	send := func(t *testing.T, p Retransmission, seed uint64) (sends []time.Duration) {
		var r rtx
		rnd := random{newSeeded(seed)}
		begin := time.Unix(1_700_000_000, 0)
		now := begin
		r.start(now, p, 0, &rnd)
		sends = append(sends, 0)
		for now.Sub(begin) < time.Hour {
			now = r.next
			if !r.again(now, &rnd) {
				break
			}
			sends = append(sends, now.Sub(begin))
		}
		return sends
	}
	t.Run("RAND is between -0.1 and 0.1", func(t *testing.T) {
		least, most := 1.0, -1.0
		rnd := random{newSeeded(1)}
		for range 10_000 {
			v := rnd.jitter()
			least, most = min(least, v), max(most, v)
		}
		if least < -0.1 || least > -0.099 || most > 0.1 || most < 0.099 {
			t.Errorf("between %v and %v", least, most)
		}
	})
	t.Run("IRT, doubled, up to MRT", func(t *testing.T) {
		for seed := range uint64(50) {
			checkTimeouts(t, send(t, Retransmission{IRT: time.Second, MRT: 30 * time.Second, MRC: 10}, seed), time.Second, 30*time.Second)
		}
	})
	t.Run("MRC transmissions", func(t *testing.T) {
		if n := len(send(t, Retransmission{IRT: time.Second, MRC: 4}, 1)); n != 4 {
			t.Errorf("sent %d times", n)
		}
	})
	t.Run("MRD seconds", func(t *testing.T) {
		s := send(t, Retransmission{IRT: time.Second, MRT: time.Second, MRD: 10 * time.Second}, 1)
		if last := s[len(s)-1]; last > 10*time.Second || last < 8*time.Second {
			t.Errorf("sent for %v", last)
		}
	})
	t.Run("without MRC and MRD it has no end", func(t *testing.T) {
		s := send(t, Retransmission{IRT: time.Second, MRT: 30 * time.Second}, 1)
		if last := s[len(s)-1]; last < time.Hour {
			t.Errorf("ended after %v", last)
		}
	})
	t.Run("the parameters of PCI and REQ", func(t *testing.T) {
		if defaultPCI != (Retransmission{IRT: time.Second, MRT: 120 * time.Second}) || defaultREQ != (Retransmission{IRT: time.Second, MRT: 30 * time.Second, MRC: 10}) {
			t.Errorf("%+v and %+v", defaultPCI, defaultREQ)
		}
	})
	t.Run("a request without an answer ends the session", func(t *testing.T) {
		both(t, func(t *testing.T, side string) {
			w, n, s := opened(t, PAAConfig{}, PaCConfig{})
			w.tap = func(netip.AddrPort, netip.AddrPort, []byte) bool { return false }
			notify(w, n, side, "x")
			w.pass(5 * time.Minute)
			reason := n.closed()
			if c, ok := last[Closed](w.outs); side == "PAA" && ok {
				reason = c.Reason
			}
			var e *ErrRetransmissions
			if !errors.As(reason, &e) || e.Sent != 10 || e.After < 2*time.Minute || side == "PAA" && s.state != paaClosed {
				t.Errorf("closed with %v", reason)
			}
		})
	})
	t.Run("answers are not repeated by timer", func(t *testing.T) {
		both(t, func(t *testing.T, side string) {
			w, n, _ := opened(t, PAAConfig{}, PaCConfig{})
			list := w.record()
			w.tap = func(tap func(_, _ netip.AddrPort, _ []byte) bool) func(_, _ netip.AddrPort, _ []byte) bool {
				return func(from, to netip.AddrPort, b []byte) bool {
					tap(from, to, b)
					return (*list)[len(*list)-1].m.request() // no answer arrives
				}
			}(w.tap)
			notify(w, n, side, "x")
			w.pass(time.Minute)
			requests := 0
			for _, m := range *list {
				if m.m.request() {
					requests++
				}
			}
			if requests < 5 || len(*list) != 2*requests {
				t.Errorf("%d requests in %d messages", requests, len(*list))
			}
		})
	})
	t.Run("PCIs end with FAILED_SESS_TIMEOUT", func(t *testing.T) {
		n, w, sends := alone(t, PaCConfig{AuthTimeout: 20 * time.Second})
		w.pass(time.Hour)
		var e *ErrAuthTimeout
		if !errors.As(n.closed(), &e) || (*sends)[len(*sends)-1] > 20*time.Second {
			t.Errorf("closed with %v after %v", n.closed(), *sends)
		}
	})
}

// TestForgedNumber: the number of a PAR before there were keys, which anybody may have sent, does not
// decide which numbers count afterwards.
func TestForgedNumber(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{})
	n := w.node(addrOld, PaCConfig{})
	w.tap = func(_, _ netip.AddrPort, b []byte) bool {
		if m, _ := ParseMessage(b); m.Name() == "PAN[C]" {
			s := w.paa.sessions[m.SID]
			s.rxSeq, s.rxKnown = s.rxSeq+1000, true
		}
		return true
	}
	w.open(n)
	notify(w, n, "PaC", "heard")
	w.pass(time.Second)
	if !slices.Equal(texts(w.outs), []string{"heard"}) {
		t.Errorf("the PAA heard %v, counters %v", texts(w.outs), w.paa.Counters())
	}
}
