package pana

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

// fuzzStep cuts one message off the input: a byte that says how to treat it, a
// length, and that many octets. Treatments make the header fit the session, so
// that the fuzzer gets past it.
func fuzzStep(in []byte) (how byte, msg, rest []byte) {
	if len(in) < 2 {
		return 0, nil, nil
	}
	n := min(int(in[1]), len(in)-2)
	return in[0], append([]byte(nil), in[2:2+n]...), in[2+n:]
}

const (
	fuzzHeader = 1 << iota // SID and expected sequence number
	fuzzAnswer             // the number of the outstanding request instead
	fuzzSign               // a right AUTH at the end
	fuzzLength             // Message Length
	fuzzTime               // let time pass first
	fuzzOther              // another source address (PAA)
	fuzzEAP                // an EAP reply first (PAA)
)

// fuzzPatch treats msg for an endpoint; it reports whether it is signed.
func fuzzPatch(how byte, msg []byte, ep *endpoint) ([]byte, bool) {
	if len(msg) < HeaderLen {
		return msg, false
	}
	if how&fuzzHeader != 0 {
		binary.BigEndian.PutUint32(msg[8:], ep.sid)
		binary.BigEndian.PutUint32(msg[12:], ep.rxSeq)
		if how&fuzzAnswer != 0 && ep.out != nil {
			binary.BigEndian.PutUint32(msg[12:], ep.out.msg.Seq)
		}
	}
	if how&fuzzLength != 0 {
		binary.BigEndian.PutUint16(msg[2:], uint16(len(msg)))
	}
	if how&fuzzSign != 0 && ep.sa != nil {
		if m, err := ParseMessage(msg); err == nil {
			if raw := encode(m, ep.sa); raw != nil {
				return raw, true
			}
		}
	}
	return msg, false
}

// fuzzSeeds: whole sessions of others, and one message of every kind.
func fuzzSeeds(f *testing.F) {
	for state := range byte(8) {
		for _, how := range []byte{0, fuzzHeader, fuzzHeader | fuzzSign, fuzzHeader | fuzzAnswer | fuzzSign, fuzzHeader | fuzzLength | fuzzTime, fuzzHeader | fuzzSign | fuzzOther | fuzzEAP} {
			in := []byte{state}
			for _, g := range goldens {
				raw := unhex(f, g.hex)
				in = append(append(in, how, byte(len(raw))), raw...)
			}
			f.Add(in)
		}
	}
	for name := range vectors(f) {
		in := []byte{2}
		for _, p := range pcapPayloads(f, "testdata/"+name) {
			if len(p) < 256 {
				in = append(append(in, fuzzHeader, byte(len(p))), p...)
			}
		}
		f.Add(in)
	}
}

// FuzzPaC brings a PaC into a state and feeds it messages. Nothing panics, time
// goes on, and under an SA what is not signed has no effect whatever.
func FuzzPaC(f *testing.F) {
	fuzzSeeds(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) == 0 {
			return
		}
		w := newWorld(t, 1, PAAConfig{})
		n := w.node(addrOld, PaCConfig{Preauth: in[0]&8 != 0, PingInterval: 20 * time.Second})
		start := func() { n.do(func(now time.Time, p *PaC) { p.Start(now) }) }
		deaf := func(_, _ netip.AddrPort, _ []byte) bool { return false }
		switch in[0] & 7 {
		case 0:
		case 1:
			w.tap = deaf
			start()
		case 2:
			w.aaa = time.Hour
			start()
			w.pass(10 * time.Millisecond)
		case 3:
			start()
			w.run(time.Second, func() bool { return n.pac.State() == PaCAuth })
		case 4:
			w.open(n)
		case 5:
			w.open(n)
			w.tap = deaf
			n.do(func(now time.Time, p *PaC) {
				_, _ = p.Notify(now, vendorAVP("x"), NotifyOptions{Activate: true})
				p.Reauthenticate(now)
			})
		case 6:
			w.open(n)
			n.do(func(now time.Time, p *PaC) { p.Reauthenticate(now) })
			w.run(time.Second, func() bool { return n.pac.State() == PaCReauth })
		case 7:
			w.open(n)
			w.tap = deaf
			n.do(func(now time.Time, p *PaC) { p.Terminate(now) })
		}
		c := n.pac
		for rest := in[1:]; len(rest) > 0; {
			var how byte
			var msg []byte
			how, msg, rest = fuzzStep(rest)
			if how&fuzzTime != 0 {
				fuzzClock(t, &w.now, c.Deadline, c.OnDeadline)
			}
			msg, signed := fuzzPatch(how, msg, &c.endpoint)
			state, sa, doubtAt := c.state, c.sa, c.doubtAt
			drain(c.Poll)
			replay := c.last.ok && len(msg) >= HeaderLen && string(msg) == string(c.lastRaw)
			c.HandlePacket(w.now, msg)
			outs := drain(c.Poll)
			if !c.doubtAt.Equal(doubtAt) { // what is outstanding is sent again, now and then
				outs--
			}
			if sa != nil && !signed && !replay && (c.state != state || outs > 0) {
				t.Fatalf("unsigned %x: state %v became %v, %d outputs", msg, state, c.state, outs)
			}
		}
		fuzzClock(t, &w.now, c.Deadline, c.OnDeadline)
	})
}

// FuzzPAA does the same to a PAA with one session.
func FuzzPAA(f *testing.F) {
	fuzzSeeds(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) == 0 {
			return
		}
		w := newWorld(t, 1, PAAConfig{PingInterval: 20 * time.Second})
		n := w.node(addrOld, PaCConfig{Preauth: in[0]&8 != 0})
		start := func() { n.do(func(now time.Time, p *PaC) { p.Start(now) }) }
		deaf := func(_, _ netip.AddrPort, _ []byte) bool { return false }
		sid := func() uint32 { return n.pac.sid }
		switch in[0] & 7 {
		case 0:
		case 1:
			w.aaa = time.Hour
			start()
			w.pass(10 * time.Millisecond)
		case 2:
			start()
			w.run(time.Second, func() bool { return n.pac.State() == PaCAuth })
		case 3:
			w.tap = func(_, to netip.AddrPort, b []byte) bool {
				m, _ := ParseMessage(b)
				return to != w.paaAddr || !m.Flags.Has(FlagC)
			}
			start()
			w.run(time.Second, func() bool { return n.pac.State() == PaCOpen })
		case 4:
			w.open(n)
		case 5:
			w.open(n)
			w.tap = deaf
			_, _ = w.paa.Notify(w.now, sid(), vendorAVP("x"), NotifyOptions{Urgent: true})
		case 6:
			w.open(n)
			_ = w.paa.Reauthenticate(w.now, sid())
			w.flush()
			w.run(time.Second, func() bool { return w.paa.sessions[sid()].state == paaWaitPAN })
		case 7:
			w.open(n)
			w.tap = deaf
			w.paa.Terminate(w.now, sid())
		}
		p := w.paa
		none := &session{index: -1}
		for rest := in[1:]; len(rest) > 0; {
			var how byte
			var msg []byte
			how, msg, rest = fuzzStep(rest)
			s := p.sessions[sid()]
			if s == nil {
				s = none
			}
			if how&fuzzTime != 0 {
				fuzzClock(t, &w.now, p.Deadline, p.OnDeadline)
			}
			if how&fuzzEAP != 0 && len(msg) > 0 {
				_ = p.EAPReply(w.now, sid(), EAPReply{
					Packet: msg[1:], Done: msg[0]&1 != 0, Success: msg[0]&2 != 0, Unauthorized: msg[0]&4 != 0, MSK: fakeMSK(msg),
				})
			}
			from := addrOld
			if how&fuzzOther != 0 {
				from = addrNew
			}
			msg, signed := fuzzPatch(how, msg, &s.endpoint)
			state, sa, to, preauth := s.state, s.sa, s.to, s.preauth
			drain(p.Poll)
			replay := s.last.ok && string(msg) == string(s.lastRaw)
			p.HandlePacket(w.now, from, msg)
			drain(p.Poll)
			if sa != nil && !signed && !replay && (s.state != state || s.to != to || s.preauth != preauth) {
				t.Fatalf("unsigned %x: state %v became %v, address %v became %v", msg, state, s.state, to, s.to)
			}
			if p.live > p.cfg.MaxSessions || p.live < 0 {
				t.Fatalf("%d sessions", p.live)
			}
		}
		fuzzClock(t, &w.now, p.Deadline, p.OnDeadline)
	})
}

func drain(poll func() (Output, bool)) (n int) {
	for _, ok := poll(); ok; _, ok = poll() {
		n++
	}
	return n
}

// fuzzClock serves deadlines for a while; each must lead to a later one.
func fuzzClock(t *testing.T, now *time.Time, deadline func() (time.Time, bool), serve func(time.Time)) {
	same := 0
	for range 20 {
		d, ok := deadline()
		if !ok {
			return
		}
		if d.After(*now) {
			*now, same = d, 0
		} else if same++; same > 3 {
			t.Fatal("a deadline is not served")
		}
		serve(*now)
	}
}
