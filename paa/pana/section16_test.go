package pana

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// TestDiscards: what is discarded silently (RFC 5191 section 5.5), at both sides of an
// open session: nothing is sent, nothing put out, the state stays, and the counter of
// the reason moves by one.
func TestDiscards(t *testing.T) {
	ping := func(avps ...AVP) Message { return Message{Type: TypeNtfy, Flags: FlagR | FlagP, AVPs: avps} }
	resign := func(sa *association, b []byte) []byte {
		clear(b[len(b)-sa.integ.ICVLen():])
		sa.sign(b)
		return b
	}
	for _, c := range []struct {
		name string
		m    Message
		edit func(b []byte) []byte
		bare bool // without AUTH
		want Discard
	}{
		{name: "shorter than a header", m: ping(), edit: func(b []byte) []byte { return b[:15] }, want: DiscardMalformed},
		{name: "length beyond the datagram", m: ping(), edit: func(b []byte) []byte { return b[:len(b)-1] }, want: DiscardMalformed},
		{name: "length below a header", m: ping(), edit: func(b []byte) []byte { b[2], b[3] = 0, 15; return b }, want: DiscardMalformed},
		{name: "AVP beyond the message", m: ping(), edit: func(b []byte) []byte { b[HeaderLen+4] = 1; return b }, want: DiscardMalformed},
		{name: "unknown type", m: Message{Type: 9, Flags: FlagR}, want: DiscardInvalid},
		{name: "S with C", m: Message{Type: TypeAuth, Flags: FlagR | FlagS | FlagC}, want: DiscardInvalid},
		{name: "A with P", m: Message{Type: TypeNtfy, Flags: FlagR | FlagA | FlagP}, want: DiscardInvalid},
		{name: "neither A nor P", m: Message{Type: TypeNtfy, Flags: FlagR}, want: DiscardInvalid},
		{name: "PCI that is a request", m: Message{Type: TypePCI, Flags: FlagR}, bare: true, want: DiscardInvalid},
		{name: "PCI with a session", m: Message{Type: TypePCI}, bare: true, want: DiscardInvalid},
		{name: "unknown session", m: ping(), edit: func(b []byte) []byte { b[8] ^= 1; return b }, want: DiscardSID},
		{name: "wrong number", m: Message{Type: TypeNtfy, Flags: FlagR | FlagP, Seq: 12}, want: DiscardSequence},
		{name: "answer without a request", m: Message{Type: TypeNtfy, Flags: FlagP}, want: DiscardNoRequest},
		{name: "PAR[C] in the access phase", m: Message{Type: TypeAuth, Flags: FlagR | FlagC}, want: DiscardUnexpected},
		{name: "PAR[S] in the access phase", m: Message{Type: TypeAuth, Flags: FlagR | FlagS}, bare: true, want: DiscardUnexpected},
		{name: "Result-Code in a PNR", m: ping(avp32(CodeResult, 0)), want: DiscardInvalid},
		{name: "two Nonces", m: Message{Type: TypeAuth, Flags: FlagR, AVPs: []AVP{{Code: CodeNonce, Data: make([]byte, 8)}, {Code: CodeNonce, Data: make([]byte, 8)}}}, want: DiscardInvalid},
		{name: "PTR without a cause", m: Message{Type: TypeTerm, Flags: FlagR}, want: DiscardInvalid},
		{name: "cause that is not first", m: Message{Type: TypeTerm, Flags: FlagR, AVPs: []AVP{{Code: 77}, avp32(CodeTermCause, 1)}}, want: DiscardInvalid},
		{name: "AUTH that is not last", m: ping(AVP{Code: CodeAUTH, Data: make([]byte, 16)}, AVP{Code: 77}), bare: true, want: DiscardInvalid},
		{name: "two AUTHs", m: ping(AVP{Code: CodeAUTH, Data: make([]byte, 16)}), want: DiscardInvalid},
		{name: "cause of three octets", m: Message{Type: TypeTerm, Flags: FlagR, AVPs: []AVP{{Code: CodeTermCause, Data: []byte{0, 0, 1}}}}, want: DiscardInvalid},
		{name: "AUTH missing", m: ping(), bare: true, want: DiscardAUTH},
		{name: "AUTH wrong", m: ping(), edit: func(b []byte) []byte { b[len(b)-1] ^= 1; return b }, want: DiscardAUTH},
		{name: "E on a session without", m: Message{Type: TypeNtfy, Flags: FlagR | FlagP | FlagE}, want: DiscardPreauth},
	} {
		for _, side := range []string{"PaC", "PAA"} {
			t.Run(c.name+" at the "+side, func(t *testing.T) {
				w, n, s := opened(t, PAAConfig{}, PaCConfig{})
				ep, m := expecting10(n, s, side, c.m)
				if c.m.Type == TypePCI && c.name != "PCI with a session" {
					m.SID, m.Seq = 0, 0
				}
				sa := n.pac.sa
				if c.bare {
					sa = nil
				}
				b := encode(&m, sa)
				if c.edit != nil {
					b = c.edit(b)
				}
				give(w, n, side, b)
				if got := ep.counts.snapshot(); len(got) != 1 || got[c.want] != 1 {
					t.Errorf("counters %v, expected one %v", got, c.want)
				}
				untouched(t, w, n, s, ep)
			})
		}
	}
	tolerated := map[string]func(sa *association, b []byte) []byte{
		"reserved fields": func(sa *association, b []byte) []byte { b[0], b[1] = 0xff, 0xff; return resign(sa, b) },
		"unknown flags":   func(sa *association, b []byte) []byte { b[5] |= 0x7f; return resign(sa, b) },
		"flags of AVPs":   func(sa *association, b []byte) []byte { b[HeaderLen+2] |= 0x40; return resign(sa, b) },
		"octets after it": func(_ *association, b []byte) []byte { return append(b, 1, 2, 3) },
		"an unknown AVP":  func(_ *association, b []byte) []byte { return b },
	}
	for name, edit := range tolerated {
		both(t, func(t *testing.T, side string) {
			w, n, s := opened(t, PAAConfig{}, PaCConfig{})
			m := ping(AVP{Code: 0x7777, Data: []byte{1, 2, 3}})
			ep, m := expecting10(n, s, side, m)
			give(w, n, side, edit(n.pac.sa, encode(&m, n.pac.sa)))
			if !ep.last.ok || ep.last.of.Seq != 10 || len(ep.counts.snapshot()) != 0 {
				t.Errorf("%s: counters %v", name, ep.counts.snapshot())
			}
		})
	}
}

// expecting10 makes a side expect number 10, and m have it.
func expecting10(n *node, s *session, side string, m Message) (*endpoint, Message) {
	ep := &s.endpoint
	if side == "PaC" {
		ep = &n.pac.endpoint
	}
	ep.rxSeq, ep.rxKnown, ep.last = 10, true, answer{}
	m.SID = s.sid
	if m.Seq == 0 {
		m.Seq = 10
	}
	return ep, m
}

func give(w *world, n *node, side string, b []byte) {
	if side == "PaC" {
		n.pac.HandlePacket(w.now, bytes.Clone(b))
		n.flush()
		return
	}
	w.paa.HandlePacket(w.now, addrOld, bytes.Clone(b))
	w.flush()
}

// untouched: the session is as it was, and works.
func untouched(t *testing.T, w *world, n *node, s *session, ep *endpoint) {
	t.Helper()
	for _, name := range w.wire {
		if name != "PAR[S]" { // a PaC that has lost its session is told
			t.Errorf("sent %v", w.wire)
		}
	}
	if len(w.outs)+len(n.outs) != 0 || ep.rxSeq != 10 || s.to != addrOld || s.state != paaOpen || n.pac.State() != PaCOpen {
		t.Errorf("outputs %v and %v, expected number %d, at %v, %v, %v", kinds(w.outs), kinds(n.outs), ep.rxSeq, s.to, s.state, n.pac.State())
	}
	works(t, w, n, s)
}

func works(t *testing.T, w *world, n *node, s *session) {
	t.Helper()
	s.rxSeq, n.pac.rxSeq = n.pac.txSeq, s.txSeq
	s.rxKnown = true
	w.now = w.now.Add(time.Minute) // whatever limit there is
	notify(w, n, "PaC", "still")
	notify(w, n, "PAA", "here")
	w.pass(time.Second)
	if got := append(texts(w.outs), texts(n.outs)...); len(got) != 2 {
		t.Errorf("told %v: the session does not work", got)
	}
}

// TestSurvives: what an attacker can do to an open session without its key: nothing,
// and the counter of the reason says how often he tried.
func TestSurvives(t *testing.T) {
	type attack struct {
		name string
		want Discard
		run  func(w *world, n *node, s *session, side string, ep *endpoint) (times int)
	}
	forge := func(m Message, s *session, auth int) []byte {
		m.SID = s.sid
		m.AVPs = append(m.AVPs[:len(m.AVPs):len(m.AVPs)], AVP{Code: CodeAUTH, Data: make([]byte, auth)})
		return encode(&m, nil)
	}
	for _, a := range []attack{
		{"ping flood", DiscardRate, func(w *world, n *node, s *session, side string, ep *endpoint) int {
			const pings = 1000 // by somebody who has the key: the peer
			for i := range pings {
				m := Message{Type: TypeNtfy, Flags: FlagR | FlagP, SID: s.sid, Seq: ep.rxSeq}
				if !ep.rxKnown {
					m.Seq = uint32(i)
				}
				give(w, n, side, encode(&m, n.pac.sa))
			}
			return pings - heedRate
		}},
		{"wrong AUTH of every length", DiscardAUTH, func(w *world, n *node, s *session, side string, ep *endpoint) int {
			for length := range 66 {
				give(w, n, side, forge(Message{Type: TypeNtfy, Flags: FlagR | FlagP, Seq: ep.rxSeq}, s, length))
			}
			return 66
		}},
		{"unknown AVP of odd length without AUTH", DiscardAUTH, func(w *world, n *node, s *session, side string, ep *endpoint) int {
			for length := range 64 {
				m := Message{Type: TypeNtfy, Flags: FlagR | FlagP, SID: s.sid, Seq: ep.rxSeq, AVPs: []AVP{{Code: 0x7777, Data: make([]byte, length)}}}
				give(w, n, side, encode(&m, nil))
			}
			return 64
		}},
		{"unknown AVP that is cut", DiscardMalformed, func(w *world, n *node, s *session, side string, ep *endpoint) int {
			for length := range 8 {
				m := Message{Type: TypeNtfy, Flags: FlagR | FlagP, SID: s.sid, Seq: ep.rxSeq, AVPs: []AVP{{Code: 0x7777, Data: make([]byte, 8)}}}
				b := encode(&m, nil)[:HeaderLen+8+length]
				b[3] = byte(len(b))
				give(w, n, side, b)
			}
			return 8
		}},
		{"Key-Id swapped", DiscardInvalid, func(w *world, n *node, s *session, side string, ep *endpoint) int {
			m := Message{Type: TypeNtfy, Flags: FlagR | FlagP, SID: s.sid, Seq: ep.rxSeq, AVPs: []AVP{avp32(CodeKeyID, 9)}}
			give(w, n, side, encode(&m, n.pac.sa)) // no PNR has one
			return 1
		}},
	} {
		for _, side := range []string{"PaC", "PAA"} {
			t.Run(a.name+" at the "+side, func(t *testing.T) {
				w, n, s := opened(t, PAAConfig{}, PaCConfig{})
				ep := &s.endpoint
				if side == "PaC" {
					ep = &n.pac.endpoint
				}
				times := a.run(w, n, s, side, ep)
				if got := ep.counts.snapshot(); len(got) != 1 || got[a.want] != uint64(times) {
					t.Errorf("counters %v, expected %d of %v", got, times, a.want)
				}
				works(t, w, n, s)
			})
		}
	}
	t.Run("PCI spoofed against an open session", func(t *testing.T) {
		w, n, s := opened(t, PAAConfig{}, PaCConfig{PingInterval: time.Minute, PingTimeout: time.Minute})
		for range 50 {
			w.paa.HandlePacket(w.now, addrOld, encode(&Message{Type: TypePCI}, nil))
		}
		w.flush()
		w.pass(10 * time.Second)
		burst := uint64(2*defaultPCIRatePerSource) - 1 // the session's own took one
		if n.closed() != nil || w.paa.Sessions() != 1 || w.paa.Counters()[DiscardRate] != 50-burst || n.pac.Counters()[DiscardUnexpected] != burst {
			t.Errorf("closed with %v, %d sessions, counters %v and %v", n.closed(), w.paa.Sessions(), w.paa.Counters(), n.pac.Counters())
		}
		works(t, w, n, s)
	})
	t.Run("an algorithm that was not offered", func(t *testing.T) {
		w := newWorld(t, 1, PAAConfig{PRFs: defaultPRFs[:1], Integrities: defaultIntegrities[:1]})
		n := w.node(addrOld, PaCConfig{})
		w.tap = func(from, _ netip.AddrPort, b []byte) bool {
			if m, _ := ParseMessage(b); m.Name() == "PAN[S]" { // an attacker on the path is faster
				for _, avps := range [][]AVP{
					{avp32(CodePRF, 2), avp32(CodeIntegrity, 12)},
					{avp32(CodePRF, 5), avp32(CodeIntegrity, 7)},
					{avp32(CodePRF, 99), avp32(CodeIntegrity, 99)},
					nil,
				} {
					m.AVPs = avps
					w.paa.HandlePacket(w.now, from, encode(m, nil))
				}
			}
			return true
		}
		n.do(func(now time.Time, p *PaC) { p.Start(now) })
		if !w.run(time.Second, func() bool { return count[Opened](w.outs) == 1 }) || w.paa.Counters()[DiscardAlgorithms] != 4 {
			t.Errorf("PaC %v, counters %v", n.pac.State(), w.paa.Counters())
		}
	})
	t.Run("Key-Id swapped in PAR[C] and PAN[C]", func(t *testing.T) {
		w := newWorld(t, 1, PAAConfig{})
		n := w.node(addrOld, PaCConfig{})
		first := map[string]bool{}
		w.tap = func(from, _ netip.AddrPort, b []byte) bool {
			m, _ := ParseMessage(b)
			if !m.Flags.Has(FlagC) || first[m.Name()] {
				return true
			}
			first[m.Name()] = true
			bad := bytes.Clone(b)
			at := bytes.Index(bad, []byte{0, 4, 0, 0, 0, 4, 0, 0})
			bad[at+11] ^= 5
			if m.request() {
				n.pac.HandlePacket(w.now, bad)
			} else {
				w.paa.HandlePacket(w.now, from, bad)
			}
			return true
		}
		n.do(func(now time.Time, p *PaC) { p.Start(now) })
		if !w.run(time.Second, func() bool { return count[Opened](w.outs) == 1 && count[Opened](n.outs) == 1 }) {
			t.Fatalf("no session: %v, %v", n.pac.Counters(), w.paa.Counters())
		}
		if n.pac.Counters()[DiscardAUTH] != 1 || w.paa.Counters()[DiscardAUTH] != 1 {
			t.Errorf("counters %v and %v", n.pac.Counters(), w.paa.Counters())
		}
	})
}

// TestReplay: every message of a session that has opened, re-authenticated and spoken,
// again, to both sides: nothing comes of it but a count for each.
func TestReplay(t *testing.T) {
	w := newWorld(t, 1, PAAConfig{PCIRatePerSource: 1000})
	n := w.node(addrOld, PaCConfig{})
	list := w.record()
	w.open(n)
	for _, side := range []string{"PaC", "PAA"} {
		notify(w, n, side, "x")
		reauthenticate(w, n, side)
		w.pass(time.Second)
		notify(w, n, side, "y")
		w.pass(time.Second)
	}
	s := w.paa.sessions[n.pac.SID()]
	key, sid := s.sa.key.Clone(), s.sid
	w.tap = nil
	for i, m := range *list {
		t.Run(fmt.Sprintf("%d %s", i, m.m.Name()), func(t *testing.T) {
			w.outs, n.outs = nil, nil
			to, side := &s.endpoint, "PAA"
			if m.to != w.paaAddr {
				to, side = &n.pac.endpoint, "PaC"
			}
			before := uint64(0)
			for _, v := range to.counts.snapshot() {
				before += v
			}
			w.wire = nil
			give(w, n, side, m.raw)
			after := uint64(0)
			for _, v := range to.counts.snapshot() {
				after += v
			}
			last := m.m.request() && m.m.Seq == to.last.of.Seq && m.m.Type == to.last.of.Type
			answered := m.m.Type == TypePCI || last && s.sa.verify(m.raw, m.f.auth) // the old key is gone
			if answered && (after != before || len(w.wire) != 1) || !answered && (after != before+1 || len(w.wire) != 0) {
				t.Errorf("%d counted, sent %v", after-before, w.wire)
			}
			w.pass(100 * time.Millisecond)
			if len(w.outs)+len(n.outs) != 0 || !s.sa.key.Equal(key) || n.pac.State() != PaCOpen || s.state != paaOpen || w.paa.sessions[sid] != s {
				t.Errorf("outputs %v and %v, PaC %v, PAA %v", kinds(w.outs), kinds(n.outs), n.pac.State(), s.state)
			}
		})
	}
	works(t, w, n, s)
}
