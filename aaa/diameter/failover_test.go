package diameter

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/avp"
	"github.com/fiorix/go-diameter/v4/diam/datatype"
)

var arPeer = []Peer{{Identity: "ar-a.visited.example"}}

// two servers, and a router that prefers the first.
func (w *world) pair(first, second Config, change func(*Config)) *Node {
	first.Identity, first.Peers = "aaa1.home.example", arPeer
	second.Identity, second.Peers = "aaa2.home.example", arPeer
	w.start(first, "one:1")
	w.start(second, "two:1")
	cfg := Config{Identity: "ar-a.visited.example", Peers: []Peer{{Identity: "aaa1.home.example", Addr: "one:1"}, {Identity: "aaa2.home.example", Addr: "two:1"}}}
	if change != nil {
		change(&cfg)
	}
	ar, _ := w.start(cfg, "")
	time.Sleep(time.Second)
	return ar
}

func never(ctx context.Context, _ string, _ *diam.Message) *diam.Message {
	<-ctx.Done()
	return nil
}

func always(code uint32, count *atomic.Int64) func(context.Context, string, *diam.Message) *diam.Message {
	return func(_ context.Context, _ string, m *diam.Message) *diam.Message {
		count.Add(1)
		return reply(m, code)
	}
}

// A server that is there and does not answer: after a while the other one is asked, if
// there is one for that request.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var second atomic.Int64
		ar := w.pair(Config{Handler: never}, Config{Handler: always(diam.Success, &second)}, nil)
		began := time.Now()
		_, peer, err := ar.Send(within(t, 20*time.Second), der("s;1"), Target{Realm: homeRealm})
		if err != nil || peer != "aaa2.home.example" || ar.Counters().Retransmitted != 1 {
			t.Errorf("%s, %v, %+v", peer, err, ar.Counters())
		}
		if d := time.Since(began); d != 3*time.Second {
			t.Errorf("after %v, expected the default patience", d)
		}
		// Whom no other can stand in for is waited for.
		began = time.Now()
		_, _, err = ar.Send(within(t, 10*time.Second), der("s;1"), Target{Realm: homeRealm, Host: "aaa1.home.example"})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if second.Load() != 1 {
			t.Errorf("the second server had %d requests, expected 1", second.Load())
		}
	})
}

func TestBusyGoesElsewhere(t *testing.T) {
	for _, code := range []uint32{diam.TooBusy, diam.UnableToDeliver} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			var first, second atomic.Int64
			var flags uint8
			ar := w.pair(Config{Handler: always(code, &first)}, Config{Handler: func(_ context.Context, _ string, m *diam.Message) *diam.Message {
				second.Add(1)
				flags = m.Header.CommandFlags
				return reply(m, diam.Success)
			}}, nil)
			_, peer, err := ar.Send(within(t, 10*time.Second), der("s;1"), Target{Realm: homeRealm})
			if err != nil || peer != "aaa2.home.example" || first.Load() != 1 || flags&diam.RetransmittedFlag != 0 {
				t.Errorf("%s, %v, flags %x", peer, err, flags)
			}
			// Nobody else: the answer is the answer.
			a, peer, err := ar.Send(within(t, 10*time.Second), der("s;1"), Target{Realm: homeRealm, Not: []string{"AAA2.home.example"}})
			if err != nil || resultCode(a) != code || peer != "aaa1.home.example" || a.Header.CommandFlags&diam.ErrorFlag == 0 {
				t.Errorf("%v of %s, %v", a, peer, err)
			}
		})
	}
}

// A server whose machine is gone without a word: silent after 2 Tw, closed after 3, and
// back in service after three watchdogs.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var second atomic.Int64
		w.start(Config{Identity: "aaa2.home.example", Peers: arPeer, Handler: always(diam.Success, &second)}, "two:1")
		d := w.listen("one:1")
		ar, _ := w.start(Config{Identity: "ar-a.visited.example", Watchdog: 10 * time.Second, Patience: time.Hour, Peers: []Peer{
			{Identity: "aaa1.home.example", Addr: "one:1"}, {Identity: "aaa2.home.example", Addr: "two:1"},
		}}, "")
		// The first server is played here, and says nothing after its CEA.
		play := func(answers bool) (closed chan struct{}) {
			c, err := d.Accept()
			if err != nil {
				t.Fatal(err)
			}
			s := &stranger{t, c, self{identity: "aaa1.home.example", realm: homeRealm, auth: []uint32{appEAP}, dict: dictionary()}}
			t.Cleanup(func() { c.Close() })
			cer := s.next(time.Second)
			a := s.self.answer(cer, diam.Success)
			s.self.capabilities(a, netipLoopback)
			s.send(a)
			closed = make(chan struct{})
			go func() {
				defer close(closed)
				for {
					m := s.next(time.Hour)
					if m == nil {
						return
					}
					if answers && m.Header.CommandFlags&diam.RequestFlag != 0 {
						s.send(s.self.answer(m, diam.Success))
					}
				}
			}()
			return closed
		}
		state := func() string { return ar.Peers()[0].State }
		closed := play(false)
		time.Sleep(time.Second)
		if state() != "okay" {
			t.Fatal(ar.Peers())
		}
		began := time.Now()
		_, peer, err := ar.Send(within(t, time.Minute), der("s;1"), Target{Realm: homeRealm})
		if took := time.Since(began); err != nil || peer != "aaa2.home.example" || took < 14*time.Second || took > 26*time.Second {
			t.Errorf("%s, %v after %v, expected the second server after 2 Tw", peer, err, took)
		}
		if state() != "suspect" {
			t.Errorf("it is %s", state())
		}
		// Nothing new goes there.
		began = time.Now()
		if _, peer, err = ar.Send(within(t, time.Minute), der("s;2"), Target{Realm: homeRealm}); peer != "aaa2.home.example" || time.Since(began) != 0 {
			t.Errorf("%s, %v after %v", peer, err, time.Since(began))
		}
		<-closed
		if took := time.Since(began); state() == "suspect" || took > 13*time.Second {
			t.Errorf("closed after %v, and it is %s", took, state())
		}
		// It comes back: on probation until its third watchdog, then first choice again.
		began = time.Now()
		play(true)
		time.Sleep(time.Second)
		if state() != "reopen" {
			t.Errorf("it is %s", state())
		}
		if _, peer, _ = ar.Send(within(t, time.Minute), der("s;3"), Target{Realm: homeRealm}); peer != "aaa2.home.example" {
			t.Errorf("%s while the first is on probation", peer)
		}
		for state() != "okay" && time.Since(began) < time.Minute {
			time.Sleep(time.Second)
		}
		if took := time.Since(began); took < 15*time.Second || took > 27*time.Second {
			t.Errorf("back after %v, expected two intervals of 10 s", took)
		}
		if p, ok := ar.Reaches(homeRealm); p != "aaa1.home.example" || !ok {
			t.Errorf("%s would be asked", p)
		}
	})
}

// Where there is but one server, it is asked while on probation, too.
func TestOneServerThatWasRestarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var served atomic.Int64
		home := Config{Identity: "aaa.home.example", Peers: arPeer, Handler: success(&served)}
		_, stop := w.start(home, "home:1")
		var restarted []string
		ar, _ := w.start(Config{Identity: "ar-a.visited.example", Peers: []Peer{{Identity: "aaa.home.example", Addr: "home:1"}}, Restarted: func(h string) { restarted = append(restarted, h) }}, "")
		time.Sleep(time.Second)
		stop() // with a goodbye
		synctest.Wait()
		if s := ar.Peers()[0]; s.State != "down" || !strings.Contains(s.Error, "rebooting") {
			t.Errorf("%+v", s)
		}
		time.Sleep(2 * time.Second)
		w.start(home, "home:1")
		time.Sleep(time.Second)
		if _, _, err := ar.Send(within(t, time.Second), der("s;1"), Target{Realm: homeRealm}); err != nil {
			t.Error(err)
		}
		if len(restarted) != 1 || restarted[0] != "aaa.home.example" {
			t.Errorf("restarted: %v", restarted)
		}
	})
}

// A goodbye takes what waits elsewhere at once.
func TestGoodbye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		_, stop := w.start(Config{Identity: "aaa1.home.example", Peers: arPeer, Handler: never}, "one:1")
		var second atomic.Int64
		w.start(Config{Identity: "aaa2.home.example", Peers: arPeer, Handler: always(diam.Success, &second)}, "two:1")
		ar, _ := w.start(Config{Identity: "ar-a.visited.example", Patience: time.Hour, Peers: []Peer{
			{Identity: "aaa1.home.example", Addr: "one:1"}, {Identity: "aaa2.home.example", Addr: "two:1"},
		}}, "")
		time.Sleep(time.Second)
		began := time.Now()
		go func() {
			time.Sleep(time.Second)
			stop()
		}()
		if _, peer, err := ar.Send(within(t, time.Minute), der("s;1"), Target{Realm: homeRealm}); err != nil || peer != "aaa2.home.example" || time.Since(began) != time.Second {
			t.Errorf("%s, %v after %v", peer, err, time.Since(began))
		}
	})
}

// A peer that wants nothing of us is left alone for a while.
func TestUnloved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d := w.listen("home:1")
		w.start(Config{Identity: "ar-a.visited.example", Peers: []Peer{{Identity: "aaa.home.example", Addr: "home:1"}}}, "")
		accept := func(cause disconnectCause) {
			c, err := d.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			s := &stranger{t, c, self{identity: "aaa.home.example", realm: homeRealm, auth: []uint32{appEAP}, dict: dictionary()}}
			a := s.self.answer(s.next(time.Second), diam.Success)
			s.self.capabilities(a, netipLoopback)
			s.send(a)
			s.send(s.self.dpr(cause))
			for {
				m := s.next(time.Second)
				if m == nil || m.Header.CommandCode == cmdDisconnect && resultCode(m) == diam.Success {
					return
				}
			}
		}
		accept(causeBusy)
		began := time.Now()
		accept(causeNoTalk)
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("connected again %v after a busy peer's goodbye", took)
		}
		began = time.Now()
		accept(causeBusy)
		if took := time.Since(began); took < 4*time.Minute {
			t.Errorf("connected again %v after DO_NOT_WANT_TO_TALK_TO_YOU", took)
		}
	})
}

// Both connect to each other at once: one connection stays, of those that the one with
// the greater name accepted.
func TestElection(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			var served atomic.Int64
			a, _ := w.start(Config{Identity: "a.home.example", Peers: []Peer{{Identity: "b.home.example", Addr: "b:1"}}, Handler: success(&served)}, "a:1")
			b, _ := w.start(Config{Identity: "b.home.example", Peers: []Peer{{Identity: "a.home.example", Addr: "a:1"}}, Handler: success(&served)}, "b:1")
			time.Sleep(10 * time.Second)
			for _, n := range []*Node{a, b} {
				if s := n.Peers(); len(s) != 1 || s[0].State != "okay" && s[0].State != "reopen" {
					t.Errorf("%+v", s)
				}
				if _, _, err := n.Send(within(t, time.Second), der("s"), Target{Realm: homeRealm}); err != nil {
					t.Error(err)
				}
			}
			if o, c := a.Counters().Opened, a.Counters().Closed; o-c != 1 {
				t.Errorf("%d opened, %d closed", o, c)
			}
		})
	}
}

// A second connection of a peer: refused while the first is alive, unless the peer says
// that it has restarted.
func TestSecondConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start(Config{Identity: "aaa.home.example", Peers: []Peer{{Identity: "*.visited.example"}}}, "home:1")
		synctest.Wait()
		one := w.call("home:1", "ar-a.visited.example")
		one.hello()
		two := w.call("home:1", "ar-a.visited.example")
		two.send(two.self.cer(netipLoopback))
		if m := two.next(time.Second); m != nil {
			t.Errorf("got %v", m)
		}
		// The first is asked for a sign of life.
		if m := one.next(time.Second); m == nil || m.Header.CommandCode != cmdWatchdog {
			t.Fatalf("got %v", m)
		} else {
			one.send(one.self.answer(m, diam.Success))
		}
		three := w.call("home:1", "ar-a.visited.example")
		three.self.state++
		three.hello()
		if m := one.next(time.Second); m != nil {
			t.Errorf("the old one lives: %v", m)
		}
		// If the first gives none, the next one to come is let in.
		go func() {
			for three.next(time.Hour) != nil { // reads, and says nothing
			}
		}()
		time.Sleep(2*32*time.Second + time.Second)
		four := w.call("home:1", "ar-a.visited.example")
		four.self.state = three.self.state
		four.hello()
	})
}

// What a CER says of its sender counts from the moment its connection is the peer's, and not only when the capabilities
// exchange is over: a second one may come in between.
func TestSecondConnectionAtOnce(t *testing.T) {
	n, err := New(Config{Identity: "aaa.home.example", Realm: homeRealm, Peers: []Peer{{Identity: "*.visited.example"}}})
	if err != nil {
		t.Fatal(err)
	}
	offered := func(state uint32) offer {
		return offer{host: "ar-a.visited.example", realm: "visited.example", state: state, auth: []uint32{appEAP}}
	}
	connection := func(of *peer) *conn {
		a, b := net.Pipe()
		t.Cleanup(func() { a.Close(); b.Close() })
		return n.newConn(a, nil, of)
	}
	for _, way := range []string{"accepted", "ours"} {
		first := connection(nil)
		p, f := n.admit(first, offered(7))
		if f != nil || p == nil || p.conn != first {
			t.Fatalf("%s: the first was not admitted: %v, %v", way, p, f)
		}
		if way == "ours" {
			n.lost(p, first)
			p = n.addLocked(Peer{Identity: "ar-a.visited.example"}, false)
			if first = connection(p); !n.keep(p, first, offered(7)) {
				t.Fatal("a connection of ours is not kept")
			}
		}
		if x, f := n.admit(connection(nil), offered(7)); x != nil || f != nil || p.conn != first || len(first.probe) != 1 {
			t.Errorf("%s: a second one of the same process was admitted: %v, %v", way, x, f)
		}
		third := connection(nil)
		if x, f := n.admit(third, offered(8)); x != p || f != nil || p.conn != third {
			t.Errorf("%s: one of a new process was not admitted: %v, %v", way, x, f)
		}
		// The first one's owner comes to the end of its capabilities exchange, and to what it has received, only now.
		if out := n.opened(p, first, offered(7)); out != 0 || p.offer.state != 8 || p.watch.status != healthInitial {
			t.Errorf("%s: a connection that was replaced counts: %b, state %d, %v", way, out, p.offer.state, p.watch.status)
		}
		if n.opened(p, third, offered(8)); p.watch.status != healthOkay {
			t.Errorf("%s: the new one is %v", way, p.watch.status)
		}
		p.watch.pending = true
		if out := n.watchReceived(p, first, time.Now(), true); out != 0 || !p.watch.pending {
			t.Errorf("%s: an answer that came by a connection that was replaced is one of the new one: %b", way, out)
		}
		if out := n.watchExpired(p, first, time.Now()); out != closeConnection || p.watch.status != healthOkay || n.watchProbe(p, first, time.Now()) {
			t.Errorf("%s: a connection that was replaced ends the new one: %b, %v", way, out, p.watch.status)
		}
		n.lost(p, third)
	}
}

// Repetitions are answered from memory, by whatever way they come.
func TestDuplicates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var served atomic.Int64
		n, _ := w.start(Config{Identity: "aaa.home.example", Peers: []Peer{{Identity: "*.visited.example"}}, Handler: func(_ context.Context, _ string, m *diam.Message) *diam.Message {
			served.Add(1)
			time.Sleep(time.Second)
			a := reply(m, diam.Success)
			builder{a}.number(avp.SessionTimeout, uint32(served.Load()))
			return a
		}}, "home:1")
		synctest.Wait()
		one, two := w.call("home:1", "one.visited.example"), w.call("home:1", "two.visited.example")
		one.hello()
		two.hello()
		request := func(flags uint8, hop, end uint32, proxy string) *diam.Message {
			m := withDestination(der("s;1"))
			m.Header.CommandFlags |= flags
			m.Header.HopByHopID, m.Header.EndToEndID = hop, end
			b := builder{m}
			b.identity(avp.OriginHost, "ar-a.visited.example")
			b.identity(avp.OriginRealm, "visited.example")
			b.put(avp.ProxyInfo, &diam.GroupedAVP{AVP: []*diam.AVP{
				diam.NewAVP(avp.ProxyHost, avp.Mbit, 0, datatype.DiameterIdentity(proxy)),
				diam.NewAVP(avp.ProxyState, avp.Mbit, 0, datatype.OctetString("x")),
			}})
			return m
		}
		check := func(m *diam.Message, hop uint32, proxy string, timeout uint32) {
			t.Helper()
			if m == nil {
				t.Fatal("closed")
			}
			f := fields(m.AVP)
			n, _ := f.number(avp.SessionTimeout)
			if m.Header.HopByHopID != hop || n != timeout || len(f.all(avp.ProxyInfo)) != 1 || !strings.Contains(string(f.octets(avp.ProxyInfo)), proxy) {
				t.Errorf("got %v, expected hop %d, %s, %d", m, hop, proxy, timeout)
			}
		}
		one.send(request(0, 1, 77, "p1.example"))
		synctest.Wait()
		two.send(request(diam.RetransmittedFlag, 2, 77, "p2.example")) // while it is being worked on
		check(one.next(5*time.Second), 1, "p1.example", 1)
		check(two.next(5*time.Second), 2, "p2.example", 1)
		check(two.ask(request(diam.RetransmittedFlag, 3, 77, "p2.example")), 3, "p2.example", 1) // and after
		if served.Load() != 1 || n.Counters().Duplicates != 2 {
			t.Errorf("served %d times, %+v", served.Load(), n.Counters())
		}
		// Without the T bit it is another request; with another identifier, too.
		check(two.ask(request(0, 4, 77, "p2.example")), 4, "p2.example", 2)
		check(two.ask(request(diam.RetransmittedFlag, 5, 78, "p2.example")), 5, "p2.example", 3)
		// It is remembered for a while.
		go func() { // its watchdogs
			for m := one.next(time.Hour); m != nil; m = one.next(time.Hour) {
				one.send(one.self.answer(m, diam.Success))
			}
		}()
		time.Sleep(20 * time.Second)
		check(two.ask(request(diam.RetransmittedFlag, 6, 78, "p2.example")), 6, "p2.example", 3)
	})
}

func TestSeenIsBounded(t *testing.T) {
	var s seen
	now := time.Unix(1, 0)
	m := der("s")
	m.Header.CommandFlags |= diam.RetransmittedFlag
	var kept *diam.Message
	for i := range uint32(2 * seenMax) {
		m.Header.EndToEndID = i
		e, again := s.begin(m, now)
		if again {
			t.Fatal("new, and known")
		}
		a := m.Answer(diam.Success)
		a.AddAVP(diam.NewAVP(codeEAPMasterSessionKey, 0, 0, key("secret")))
		s.finish(e, a)
		kept = a
	}
	if len(s.all) != seenMax || len(s.line) != seenMax {
		t.Errorf("%d, %d entries", len(s.all), len(s.line))
	}
	if s.size != seenMax*kept.Len() {
		t.Errorf("%d octets", s.size)
	}
	if _, again := s.begin(m, now.Add(seenTime)); !again {
		t.Error("forgotten too soon")
	}
	// Large answers are fewer.
	for i := range uint32(1000) {
		m.Header.EndToEndID = 1<<20 + i
		e, _ := s.begin(m, now.Add(seenTime))
		a := m.Answer(diam.Success)
		a.AddAVP(diam.NewAVP(avp.ProxyState, avp.Mbit, 0, datatype.OctetString(strings.Repeat("x", 60000))))
		s.finish(e, a)
	}
	if most := seenSize + 61000; s.size > most || len(s.all) > most/60000 || len(s.all) < 200 {
		t.Errorf("%d octets in %d entries", s.size, len(s.all))
	}
	m.Header.EndToEndID = 1 << 21
	s.begin(m, now.Add(2*seenTime+1))
	if len(s.all) != 1 || s.size != 0 {
		t.Errorf("%d octets in %d entries, expected what is new", s.size, len(s.all))
	}
	if k := fields(kept.AVP).octets(codeEAPMasterSessionKey); string(k) != "\x00\x00\x00\x00\x00\x00" {
		t.Errorf("a key is kept: %x", k)
	}
}
