package pana

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// TestMoves: the address of the PaC changes (RFC 5191 section 5.6).
func TestMoves(t *testing.T) {
	t.Run("the address and port of the next valid message count", func(t *testing.T) {
		for _, to := range []netip.AddrPort{addrNew, netip.AddrPortFrom(addrOld.Addr(), 5000)} {
			w, n, s := opened(t, PAAConfig{}, PaCConfig{})
			n.move(to)
			n.do(func(now time.Time, p *PaC) { _, _ = p.Notify(now, nil, NotifyOptions{}) })
			w.pass(time.Second)
			if s.to != to || count[AddressChanged](w.outs) != 1 {
				t.Errorf("session at %v, expected %v", s.to, to)
			}
			notify(w, n, "PAA", "there")
			w.pass(time.Second)
			if !slices.Equal(texts(n.outs), []string{"there"}) {
				t.Errorf("told %v", texts(n.outs))
			}
		}
	})
	t.Run("any request and any answer will do", func(t *testing.T) {
		for name, say := range map[string]func(w *world, n *node){
			"PNR[A]": func(w *world, n *node) { reauthenticate(w, n, "PaC") },
			"PNA[P]": func(w *world, n *node) { notify(w, n, "PAA", "x") },
			"PAN":    func(w *world, n *node) { reauthenticate(w, n, "PAA") },
		} {
			w, n, s := opened(t, PAAConfig{}, PaCConfig{})
			delete(w.nodes, n.addr)
			n.addr = addrNew // the PaC has not noticed
			w.nodes[addrNew], w.nodes[addrOld] = n, n
			say(w, n)
			w.pass(100 * time.Millisecond)
			if s.to != addrNew {
				t.Errorf("%s: session at %v", name, s.to)
			}
		}
	})
	t.Run("with an SA it must carry AUTH", func(t *testing.T) {
		w, n, s := opened(t, PAAConfig{}, PaCConfig{})
		s.rxSeq, s.rxKnown = 10, true
		m := Message{Type: TypeNtfy, Flags: FlagR | FlagP, SID: s.sid, Seq: 10}
		w.paa.HandlePacket(w.now, addrNew, encode(&m, nil))
		forged := *n.pac.sa
		forged.integ = 7
		w.paa.HandlePacket(w.now, addrNew, encode(&m, &forged))
		m.Seq = 11 // right, and too early
		w.paa.HandlePacket(w.now, addrNew, encode(&m, n.pac.sa))
		if c := w.paa.Counters(); s.to != addrOld || c[DiscardAUTH] != 2 || c[DiscardSequence] != 1 {
			t.Errorf("session at %v, counters %v", s.to, c)
		}
	})
	t.Run("sessions are found by identifier", func(t *testing.T) {
		w, n, s := opened(t, PAAConfig{}, PaCConfig{})
		other := w.node(addrNew, PaCConfig{})
		w.open(other)
		n.move(addrOther)
		other.move(addrOld) // where the first one was
		for _, n := range []*node{n, other} {
			n.do(func(now time.Time, p *PaC) { _, _ = p.Notify(now, nil, NotifyOptions{}) })
		}
		w.pass(time.Second)
		if s.to != addrOther || w.paa.sessions[other.pac.sid].to != addrOld {
			t.Errorf("sessions at %v and %v", s.to, w.paa.sessions[other.pac.sid].to)
		}
	})
	t.Run("a duplicate moves nothing", func(t *testing.T) {
		w, n, s := opened(t, PAAConfig{}, PaCConfig{})
		list := w.record()
		notify(w, n, "PaC", "x")
		w.pass(time.Second)
		w.paa.HandlePacket(w.now, addrNew, (*list)[0].raw)
		if s.to != addrOld {
			t.Errorf("session at %v", s.to)
		}
	})
	t.Run("whoever was first with a ping has the session until the PaC speaks again", func(t *testing.T) {
		w, n, s := opened(t, PAAConfig{}, PaCConfig{PingInterval: 15 * time.Second, PingTimeout: 15 * time.Second})
		thief := addrOther
		raced := false
		w.tap = func(from, _ netip.AddrPort, b []byte) bool {
			if m, _ := ParseMessage(b); m.Name() == "PNR[P]" && from == addrOld && !raced {
				raced = true
				w.paa.HandlePacket(w.now, thief, slices.Clone(b))
			}
			return true
		}
		n.do(func(now time.Time, p *PaC) { _, _ = p.Notify(now, nil, NotifyOptions{}) })
		w.run(time.Second, func() bool { return s.to == thief })
		since := w.now
		if !w.run(time.Minute, func() bool { return s.to == addrOld }) || w.now.Sub(since) > 16*time.Second {
			t.Errorf("session at %v for %v, expected at %v after the next ping, within 15 s", s.to, w.now.Sub(since), addrOld)
		}
		if count[AddressChanged](w.outs) != 2 || n.closed() != nil {
			t.Errorf("outputs %v, closed with %v", kinds(w.outs), n.closed())
		}
	})
	t.Run("the I bit asks for another address after success", func(t *testing.T) {
		for _, on := range []bool{false, true} {
			for _, e := range []bool{false, true} {
				w := newWorld(t, 1, PAAConfig{Reconfigure: on})
				n := w.node(addrOld, PaCConfig{Preauth: e})
				list := w.record()
				w.open(n)
				reauthenticate(w, n, "PAA")
				w.run(time.Second, func() bool { return count[Opened](n.outs) == 2 })
				for i, m := range *list { // of the PAA, in PARs of the first authentication
					first := i <= slices.IndexFunc(*list, func(s seen) bool { return s.m.Flags.Has(FlagC) })
					if m.m.Flags.Has(FlagI) != (on && first && m.m.Type == TypeAuth && m.m.request()) {
						t.Errorf("message %d is %s", i, m.m.Name())
					}
				}
				o := n.outs[slices.IndexFunc(n.outs, func(o Output) bool { _, ok := o.(Opened); return ok })].(Opened)
				if o.Reconfigure != on {
					t.Errorf("%+v", o)
				}
			}
		}
	})
}

// TestCandidates: pre-authentication (RFC 5873 section 3). TestActivation has the rest.
func TestCandidates(t *testing.T) {
	t.Run("E is on every message until the candidate serves, and on none after", func(t *testing.T) {
		w := newWorld(t, 1, PAAConfig{})
		n := w.node(addrOld, PaCConfig{Preauth: true})
		list := w.record()
		w.open(n)
		for _, side := range []string{"PaC", "PAA"} {
			notify(w, n, side, "x")
			reauthenticate(w, n, side)
			w.pass(time.Second)
		}
		before := len(*list)
		n.move(addrNew)
		n.do(func(now time.Time, p *PaC) { _, _ = p.Notify(now, nil, NotifyOptions{Activate: true}) })
		w.pass(time.Second)
		for _, side := range []string{"PaC", "PAA"} {
			notify(w, n, side, "x")
			reauthenticate(w, n, side)
			w.pass(time.Second)
		}
		terminate(w, n, "PaC")
		w.pass(time.Second)
		for i, m := range *list {
			if m.m.e() != (i < before) {
				t.Errorf("message %d of %d is %s", i, before, m.m.Name())
			}
		}
		if count[Opened](n.outs) != 5 || len(*list) < before+20 {
			t.Errorf("opened %d times, %d messages", count[Opened](n.outs), len(*list))
		}
	})
	t.Run("PTR and PTA of a candidate have E", func(t *testing.T) {
		both(t, func(t *testing.T, side string) {
			w, n, _ := opened(t, PAAConfig{}, PaCConfig{Preauth: true})
			terminate(w, n, side)
			w.pass(time.Second)
			if !slices.Equal(w.wire, []string{"PTR[E]", "PTA[E]"}) || n.pac.State() != PaCClosed {
				t.Errorf("messages %v", w.wire)
			}
		})
	})
	t.Run("an answer without E is no session, whoever asked with it", func(t *testing.T) {
		w := newWorld(t, 1, PAAConfig{})
		w.tap = func(_, to netip.AddrPort, b []byte) bool { // a PAA that does not know E
			b[4] &^= byte(FlagE >> 8)
			return true
		}
		n := w.node(addrOld, PaCConfig{Preauth: true, AuthTimeout: 10 * time.Second})
		n.do(func(now time.Time, p *PaC) { p.Start(now) })
		w.pass(time.Minute)
		var e *ErrAuthTimeout
		if !errors.As(n.closed(), &e) || e.State != "the PAA does not offer pre-authentication" || n.pac.Counters()[DiscardPreauth] == 0 || slices.Contains(w.wire, "PAN[S]") {
			t.Errorf("closed with %v, messages %v", n.closed(), w.wire)
		}
	})
	t.Run("it needs keys", func(t *testing.T) {
		w := newWorld(t, 1, PAAConfig{AllowKeyless: true})
		w.newEAP = func() *fakeServer { return &fakeServer{rounds: 1, keyless: true} }
		n := w.node(addrOld, PaCConfig{Preauth: true})
		n.do(func(now time.Time, p *PaC) { p.Start(now) })
		w.pass(10 * time.Second)
		if count[Opened](w.outs)+count[Opened](n.outs) != 0 {
			t.Error("a pre-authentication without keys has opened")
		}
	})
	t.Run("without keys nothing activates", func(t *testing.T) { // section 3: a PANA SA is required
		w := newWorld(t, 1, PAAConfig{AllowKeyless: true})
		w.newEAP = func() *fakeServer { return &fakeServer{rounds: 1, keyless: true} }
		tried := map[paaState]bool{}
		n := w.node(addrOld, PaCConfig{Preauth: true})
		w.tap = func(from, to netip.AddrPort, _ []byte) bool {
			for sid, s := range w.paa.sessions {
				tried[s.state] = true
				for seq := range uint32(2) {
					w.paa.HandlePacket(w.now, addrOld, encode(&Message{Type: TypeNtfy, Flags: FlagR | FlagP, SID: sid, Seq: s.rxSeq + seq}, nil))
				}
			}
			return true
		}
		n.do(func(now time.Time, p *PaC) { p.Start(now) })
		w.pass(10 * time.Second)
		if count[Activated](w.outs) != 0 || !tried[paaWaitPAN] || !tried[paaWaitFail] {
			t.Errorf("outputs %v, tried in %v", kinds(w.outs), tried)
		}
	})
	t.Run("several candidates at once", func(t *testing.T) {
		worlds, nodes := []*world{}, []*node{}
		for seed := range uint64(3) {
			w := newWorld(t, seed, PAAConfig{Lifetime: time.Minute})
			n := w.node(addrOld, PaCConfig{Preauth: true})
			w.open(n)
			worlds, nodes = append(worlds, w), append(nodes, n)
		}
		nodes[0].move(addrNew)
		nodes[0].do(func(now time.Time, p *PaC) { _, _ = p.Notify(now, nil, NotifyOptions{Activate: true}) })
		terminate(worlds[1], nodes[1], "PaC")
		for i, want := range []struct {
			activated int
			closed    error
		}{{1, nil}, {0, ErrTerminated}, {0, nil}} {
			worlds[i].pass(time.Second)
			if count[Activated](worlds[i].outs) != want.activated || !errors.Is(nodes[i].closed(), want.closed) {
				t.Errorf("candidate %d: outputs %v, closed with %v", i, kinds(worlds[i].outs), nodes[i].closed())
			}
		}
		worlds[2].pass(time.Minute) // one that is not used ends with its lifetime
		var e *ErrLifetime
		if !errors.As(nodes[2].closed(), &e) {
			t.Errorf("closed with %v", nodes[2].closed())
		}
	})
	t.Run("one ping moves the address and activates, and once is enough", func(t *testing.T) {
		w, n, s := opened(t, PAAConfig{}, PaCConfig{Preauth: true})
		list := w.record()
		n.move(addrNew)
		n.do(func(now time.Time, p *PaC) { _, _ = p.Notify(now, nil, NotifyOptions{Activate: true}) })
		w.pass(time.Second)
		w.arrive((*list)[0].from, (*list)[0].to, slices.Clone((*list)[0].raw))
		w.pass(time.Second)
		if !slices.Equal(kinds(w.outs), []string{"AddressChanged", "Activated"}) || s.to != addrNew {
			t.Errorf("outputs %v", kinds(w.outs))
		}
		if len(*list) != 3 || !slices.Equal((*list)[1].raw, (*list)[2].raw) {
			t.Errorf("messages %v", names(*list))
		}
	})
}
