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

// meet takes a connection as a server, and reads its CER.
func (w *world) meet(d *door, identity string) (s *stranger, cer *diam.Message) {
	w.t.Helper()
	c, err := d.Accept()
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	_, realm, _ := strings.Cut(identity, ".")
	s = &stranger{w.t, c, self{identity: identity, realm: realm, state: 7, auth: []uint32{appEAP}, dict: dictionary()}}
	if cer = s.next(time.Second); cer == nil || cer.Header.CommandCode != cmdCapabilities {
		w.t.Fatalf("got %v, expected a CER", cer)
	}
	return s, cer
}

func (s *stranger) accept(cer *diam.Message) {
	s.t.Helper()
	a := s.self.answer(cer, diam.Success)
	s.self.capabilities(a, netipLoopback)
	s.send(a)
}

func TestServersThatAreNotWhatTheyShouldBe(t *testing.T) {
	for _, c := range []struct {
		name, says string
		who        string
		change     func(*self)
		answer     func(*diam.Message)
		hangUp     bool
	}{
		{name: "hangs up", who: "aaa.home.example", hangUp: true, says: "does it know ar-a.visited.example"},
		{name: "another name", who: "other.home.example", says: "calls itself other.home.example"},
		{name: "another realm", who: "aaa.home.example", change: func(s *self) { s.realm = "other.example" }, says: "realm other.example"},
		{name: "no application", who: "aaa.home.example", change: func(s *self) { s.auth = []uint32{4} }, says: "no common application"},
		{name: "refuses us", who: "aaa.home.example", answer: func(m *diam.Message) {
			m.DeleteAVP(avp.ResultCode, 0)
			builder{m}.number(avp.ResultCode, diam.UnknownPeer)
			builder{m}.text(avp.ErrorMessage, "who is that?")
		}, says: "our identity must be among its peers: \"who is that?\""},
		{name: "no Result-Code", who: "aaa.home.example", answer: func(m *diam.Message) { m.DeleteAVP(avp.ResultCode, 0) }, says: "Result-Code is missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				d := w.listen("home:1")
				n, _ := w.start(Config{Identity: "ar-a.visited.example", Peers: []Peer{{Identity: "aaa.home.example", Realm: homeRealm, Addr: "home:1"}}}, "")
				s, cer := w.meet(d, c.who)
				if c.change != nil {
					c.change(&s.self)
				}
				a := s.self.answer(cer, diam.Success)
				s.self.capabilities(a, netipLoopback)
				if c.answer != nil {
					c.answer(a)
				}
				if c.hangUp {
					s.conn.Close()
				} else {
					s.send(a)
					if m := s.next(time.Second); m != nil {
						t.Errorf("goes on: %v", m)
					}
				}
				synctest.Wait()
				if p := n.Peers()[0]; p.State != "initial" || !strings.Contains(p.Error, c.says) {
					t.Errorf("%+v, expected %q", p, c.says)
				}
			})
		})
	}
}

// RFC 6733 section 5.6.4: who has the greater name keeps the connection it has accepted.
func TestElectionByName(t *testing.T) {
	for _, c := range []struct {
		them string
		win  bool // we do
	}{{"a.home.example", true}, {"z.home.example", false}} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			d := w.listen("them:1")
			n, _ := w.start(Config{Identity: "m.home.example", Peers: []Peer{{Identity: c.them, Addr: "them:1"}}}, "us:1")
			ours, cer := w.meet(d, c.them) // which has our CER, and is not answered yet
			theirs := w.call("us:1", c.them)
			theirs.send(theirs.self.cer(netipLoopback))
			if c.win {
				if m := theirs.next(time.Second); m == nil || resultCode(m) != diam.Success {
					t.Errorf("their connection: %v", m)
				}
				if m := ours.next(time.Second); m != nil {
					t.Errorf("our connection: %v", m)
				}
			} else {
				if m := theirs.next(time.Second); m != nil {
					t.Errorf("their connection: %v", m)
				}
				ours.accept(cer)
			}
			synctest.Wait()
			if s := n.Peers()[0]; s.State != "okay" {
				t.Errorf("%+v", s)
			}
		})
	}
}

// What waits for a peer that says goodbye goes elsewhere at once, not when it has gone.
func TestGoodbyeWithoutGoing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d := w.listen("one:1")
		var second atomic.Int64
		w.start(Config{Identity: "aaa2.home.example", Peers: arPeer, Handler: always(diam.Success, &second)}, "two:1")
		ar, _ := w.start(Config{Identity: "ar-a.visited.example", Patience: time.Hour, Peers: []Peer{
			{Identity: "aaa1.home.example", Addr: "one:1"}, {Identity: "aaa2.home.example", Addr: "two:1"},
		}}, "")
		s, cer := w.meet(d, "aaa1.home.example")
		s.accept(cer)
		synctest.Wait()
		go func() {
			s.next(time.Minute) // the request
			s.send(s.self.dpr(causeRebooting))
			for s.next(time.Hour) != nil {
			}
		}()
		began := time.Now()
		if _, peer, err := ar.Send(within(t, time.Minute), der("s;1"), Target{Realm: homeRealm}); err != nil || peer != "aaa2.home.example" || time.Since(began) != 0 {
			t.Errorf("%s, %v after %v", peer, err, time.Since(began))
		}
		// And what is new does not go there any more, even where it is the only one.
		_, _, err := ar.Send(within(t, time.Minute), der("s;1"), Target{Realm: homeRealm, Not: []string{"aaa2.home.example"}})
		if !errors.Is(err, ErrNoPeer) || !strings.Contains(err.Error(), "leaving") {
			t.Errorf("got %v", err)
		}
	})
}

// The first falls away, the second is busy: the third is asked, as a repetition; without
// a third, busy is the answer.
func TestLostThenBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var busy, third atomic.Int64
		var flags uint8
		w.start(Config{Identity: "aaa1.home.example", Peers: arPeer, Handler: never}, "one:1")
		w.start(Config{Identity: "aaa2.home.example", Peers: arPeer, Handler: always(diam.TooBusy, &busy)}, "two:1")
		w.start(Config{Identity: "aaa3.home.example", Peers: arPeer, Handler: func(_ context.Context, _ string, m *diam.Message) *diam.Message {
			flags = m.Header.CommandFlags
			third.Add(1)
			return reply(m, diam.Success)
		}}, "three:1")
		ar, _ := w.start(Config{Identity: "ar-a.visited.example", Peers: []Peer{
			{Identity: "aaa1.home.example", Addr: "one:1"}, {Identity: "aaa2.home.example", Addr: "two:1"}, {Identity: "aaa3.home.example", Addr: "three:1"},
		}}, "")
		time.Sleep(time.Second)
		_, peer, err := ar.Send(within(t, time.Minute), der("s;1"), Target{Realm: homeRealm})
		if err != nil || peer != "aaa3.home.example" || flags&diam.RetransmittedFlag == 0 {
			t.Errorf("%s, %v, flags %x", peer, err, flags)
		}
		a, peer, err := ar.Send(within(t, time.Minute), der("s;1"), Target{Realm: homeRealm, Not: []string{"aaa3.home.example"}})
		if err != nil || peer != "aaa2.home.example" || resultCode(a) != diam.TooBusy {
			t.Errorf("%v of %s, %v", a, peer, err)
		}
	})
}

func TestRoutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		names := map[string]string{"home": "aaa.home.example", "relay": "relay.example", "sub": "sub.example", "acct": "acct.example"}
		var last atomic.Pointer[diam.Message]
		for addr, name := range names {
			cfg := Config{Identity: name, Realm: homeRealm, Peers: arPeer, Handler: func(_ context.Context, _ string, m *diam.Message) *diam.Message {
				last.Store(m)
				return reply(m, diam.Success)
			}}
			switch addr {
			case "acct":
				cfg.Acct = []uint32{appAccounting} // and no EAP
			case "relay":
				cfg.Auth = []uint32{appRelay, appEAP}
			}
			w.start(cfg, addr+":1")
		}
		ar, _ := w.start(Config{Identity: "ar-a.visited.example", Peers: []Peer{
			{Identity: names["acct"], Addr: "acct:1", Priority: -1},
			{Identity: names["relay"], Addr: "relay:1", Realms: []string{"*"}, Priority: 1},
			{Identity: names["sub"], Addr: "sub:1", Realms: []string{"*.campus.example", "exact.example"}, Priority: 3},
			{Identity: names["home"], Addr: "home:1", Realms: []string{homeRealm}, Priority: 2},
		}}, "")
		time.Sleep(time.Second)
		for _, c := range []struct {
			to   Target
			want string
		}{
			{Target{Realm: homeRealm}, "home"},
			{Target{Realm: "HOME.example"}, "home"},
			{Target{Realm: "other.example"}, "relay"},
			{Target{Realm: "a.campus.example"}, "sub"},
			{Target{Realm: "campus.example"}, "relay"},
			{Target{Realm: "exact.example"}, "sub"},
			{Target{Realm: homeRealm, Not: []string{names["home"]}}, "relay"},
			{Target{Realm: "other.example", Host: names["home"]}, "home"},
			{Target{Realm: homeRealm, Host: "far.home.example"}, "home"},
			{Target{Realm: "exact.example", Host: names["home"], Not: []string{names["home"]}}, "relay"}, // not sub: it is no relay
		} {
			if got, _ := ar.Reaches(c.to.Realm, c.to.Not...); c.to.Host == "" && got != names[c.want] {
				t.Errorf("%v: would go to %s, expected %s", c.to, got, names[c.want])
			}
			c.to.Realm = strings.ToLower(c.to.Realm) // as Send does
			tried := map[string]bool{}
			for _, x := range c.to.Not {
				tried[x] = true
			}
			con, err := ar.pick(within(t, time.Second), appEAP, c.to, tried, false)
			if err != nil || con.peer.name != names[c.want] {
				t.Errorf("%v: %v, expected %s", c.to, err, names[c.want])
			}
		}
		// A request that is passed on keeps its identifier, says where it has been, and does not go back there.
		m := der("s")
		b := builder{m}
		b.identity(avp.OriginHost, "ar-x.example")
		b.identity(avp.OriginRealm, "example")
		b.identity(avp.RouteRecord, names["sub"])
		m.Header.EndToEndID = 0xabcdef
		if _, peer, err := ar.Send(within(t, time.Second), m, Target{Realm: "exact.example", From: "ar-x.example"}); err != nil || peer != names["relay"] {
			t.Errorf("%s, %v", peer, err)
		}
		got := last.Load()
		f := fields(got.AVP)
		records := f.all(avp.RouteRecord)
		if got.Header.EndToEndID != 0xabcdef || len(records) != 2 || string(records[1]) != "ar-x.example" || f.text(avp.OriginHost) != "ar-x.example" {
			t.Errorf("passed on as %v", got)
		}
		if _, ok := f.number(avp.OriginStateID); ok {
			t.Error("with a state of ours")
		}
		// Requests of ours have identifiers of their own.
		seen := map[uint32]bool{}
		for range 3 {
			if _, _, err := ar.Send(within(t, time.Second), m, Target{Realm: homeRealm, Host: names["home"]}); err != nil {
				t.Fatal(err)
			}
			seen[last.Load().Header.EndToEndID] = true
		}
		if len(seen) != 3 || seen[0xabcdef] {
			t.Errorf("identifiers %v", seen)
		}
	})
}

// Answers that are none: nobody gets them, or whoever waits gets an error.
func TestAnswersThatAreNone(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*diam.Message)
		drop   bool
		says   string
	}{
		{"another identifier end to end", func(m *diam.Message) { m.Header.EndToEndID++ }, true, ""},
		{"another identifier hop by hop", func(m *diam.Message) { m.Header.HopByHopID += 7 }, true, ""},
		{"another command", func(m *diam.Message) { m.Header.CommandCode = cmdSessionTermination }, true, ""},
		{"another application", func(m *diam.Message) { m.Header.ApplicationID = appAccounting }, true, ""},
		{"no Result-Code", func(m *diam.Message) { m.DeleteAVP(avp.ResultCode, 0) }, false, "Result-Code is missing"},
		{"an error without Result-Code", func(m *diam.Message) {
			m.DeleteAVP(avp.ResultCode, 0)
			m.Header.CommandFlags |= diam.ErrorFlag
		}, false, "Result-Code is missing"},
		{"two Session-Timeouts", func(m *diam.Message) {
			builder{m}.number(avp.SessionTimeout, 1)
			builder{m}.number(avp.SessionTimeout, 2)
		}, false, "Session-Timeout"},
		{"a cut AVP", func(m *diam.Message) {
			m.AddAVP(diam.NewAVP(avp.ProxyInfo, avp.Mbit, 0, datatype.OctetString("abcd")))
		}, false, "Proxy-Info"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				d := w.listen("home:1")
				n, _ := w.start(Config{Identity: "ar-a.visited.example", Peers: []Peer{{Identity: "aaa.home.example", Addr: "home:1"}}}, "")
				s, cer := w.meet(d, "aaa.home.example")
				s.accept(cer)
				go func() {
					a := reply(s.next(time.Minute), diam.Success)
					s.self.origin(a)
					c.change(a)
					s.send(a)
				}()
				_, _, err := n.Send(within(t, 5*time.Second), der("s"), Target{Realm: homeRealm})
				if c.drop {
					if !errors.Is(err, context.DeadlineExceeded) || n.Counters().Unsolicited != 1 {
						t.Errorf("%v, %+v", err, n.Counters())
					}
					return
				}
				var f *Fault
				if !errors.As(err, &f) || !strings.Contains(err.Error(), c.says) || n.Counters().BadAnswers != 1 {
					t.Errorf("got %v, expected %q", err, c.says)
				}
			})
		})
	}
}

func TestStateID(t *testing.T) {
	now := time.Date(2026, 11, 22, 15, 0, 0, 0, time.UTC)
	if a, b := stateID(now), stateID(now.Add(250*time.Millisecond)); b != a+1 || a == 0 {
		t.Errorf("%d, then %d", a, b)
	}
	if stateID(now.AddDate(30, 0, 0)) < stateID(now) {
		t.Error("does not last")
	}
}

// Who is no relay speaks for itself only.
func TestRestartsOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var restarted []string
		n, _ := w.start(Config{
			Identity: "aaa.home.example", Peers: []Peer{{Identity: "*.visited.example"}}, Restarted: func(h string) { restarted = append(restarted, h) },
			Handler: func(_ context.Context, _ string, m *diam.Message) *diam.Message { return reply(m, diam.Success) },
		}, "home:1")
		synctest.Wait()
		say := func(s *stranger, host string, state uint32) {
			m := withDestination(der("s"))
			b := builder{m}
			b.identity(avp.OriginHost, host)
			b.identity(avp.OriginRealm, "visited.example")
			b.number(avp.OriginStateID, state)
			s.ask(m)
		}
		a := w.call("home:1", "ar-a.visited.example")
		a.hello()
		b := w.call("home:1", "ar-b.visited.example")
		b.hello()
		relay := w.call("home:1", "relay.visited.example")
		relay.self.auth = []uint32{appRelay}
		relay.hello()
		say(b, "ar-a.visited.example", 100)
		say(a, "ar-a.visited.example", 7)
		say(a, "ar-a.visited.example", 6)
		if len(restarted) != 0 {
			t.Errorf("%v", restarted)
		}
		say(a, "ar-a.visited.example", 8)
		say(relay, "ar-b.visited.example", 9)
		if len(restarted) != 2 || n.Counters().Restarts != 2 {
			t.Errorf("%v, expected ar-a and ar-b", restarted)
		}
		// Guests leave nothing behind.
		for _, s := range []*stranger{a, b, relay} {
			s.conn.Close()
		}
		synctest.Wait()
		if n.guests != 0 || len(n.byName) != 1 || len(n.peers) != 1 {
			t.Errorf("%d guests, %d names, %d peers", n.guests, len(n.byName), len(n.peers))
		}
	})
}

// A request that was not answered for lack of time is a new one when it comes again; and
// a handler that has copied Proxy-Info itself does not hand out another's.
func TestDuplicatesOfNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var calls int
		w.start(Config{Identity: "aaa.home.example", Peers: arPeer, Handler: func(_ context.Context, _ string, m *diam.Message) *diam.Message {
			if calls++; calls == 1 {
				return nil
			}
			a := reply(m, diam.Success)
			for _, x := range m.AVP {
				if x.Code == avp.ProxyInfo {
					a.AddAVP(x)
				}
			}
			return a
		}}, "home:1")
		synctest.Wait()
		s := w.call("home:1", "ar-a.visited.example")
		s.hello()
		again := func(proxy string) *diam.Message {
			m := withDestination(der("s"))
			m.Header.CommandFlags |= diam.RetransmittedFlag
			m.AddAVP(diam.NewAVP(avp.ProxyInfo, avp.Mbit, 0, &diam.GroupedAVP{AVP: []*diam.AVP{
				diam.NewAVP(avp.ProxyHost, avp.Mbit, 0, datatype.DiameterIdentity(proxy)),
				diam.NewAVP(avp.ProxyState, avp.Mbit, 0, datatype.OctetString("x")),
			}}))
			return s.ask(m)
		}
		if a := again("p1.example"); resultCode(a) != diam.TooBusy {
			t.Errorf("got %v", a)
		}
		if a := again("p1.example"); resultCode(a) != diam.Success {
			t.Errorf("got %v", a)
		}
		a := again("p2.example")
		if info := fields(a.AVP).all(avp.ProxyInfo); resultCode(a) != diam.Success || calls != 2 || len(info) != 1 || !strings.Contains(string(info[0]), "p2.example") {
			t.Errorf("%d calls, %v", calls, a)
		}
	})
}

// keeper is a socket that keeps what it was given.
type keeper struct {
	net.Conn
	got []byte
}

func (k *keeper) Write(b []byte) (int, error)        { k.got = b; return len(b), nil }
func (k *keeper) SetWriteDeadline(_ time.Time) error { return nil }

// Octets of messages, which may have keys, do not stay in memory once written.
func TestWrittenOctetsAreCleared(t *testing.T) {
	k := &keeper{}
	c := &conn{raw: k}
	if !c.put([]byte("secret"), time.Second) || string(k.got) != "\x00\x00\x00\x00\x00\x00" {
		t.Errorf("kept %q", k.got)
	}
}
