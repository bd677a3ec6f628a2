package paa

import (
	"errors"
	"testing"
	"time"

	"openmpa/aaa"
	"openmpa/aaa/aaatest"
	"openmpa/paa/notify"
	"openmpa/paa/pana"
)

var (
	errLost   = &aaa.LostError{Server: "10.0.5.1:1812", Next: "10.0.5.2:1812", Err: aaa.ErrTimeout}
	errSilent = &aaa.SilentError{Servers: []string{"10.0.5.1:1812"}, Err: errors.New("radius: silent")}
)

// TestLostAgain: while a node authenticates again servers are lost: its session stands until one
// of them has given an answer.
func TestLostAgain(t *testing.T) {
	for _, c := range []struct {
		name  string
		fails int
		err   error
	}{
		{"another server stands by", 1, errLost},
		{"that one is lost, too", 2, errLost},
		{"nobody, for a while", 2, errSilent},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := &aaatest.Backend{Infos: make(chan aaa.SessionInfo, 10)}
			s, h, n, o := open(t, b, nil)
			<-b.Infos
			n.send(&notify.TunnelDelete{Header: header}, pana.NotifyOptions{})
			next[message](t, h)
			b.FailNext(c.fails, c.err)
			n.do(func(now time.Time, p *pana.PaC) { p.Reauthenticate(now) })
			again := want[pana.Opened](n)
			n.derive(again)
			second := next[opened](t, h) // and nothing before it
			if !again.Rekeyed || second.sid != o.sid || !second.keys.MNAR.Equal(n.keys.MNAR) {
				t.Errorf("%+v, %+v", again, second)
			}
			for range c.fails + 1 {
				if info := <-b.Infos; info.Again == nil || info.Again.Session != "session-1" {
					t.Errorf("AAA was told %+v", info)
				}
			}
			n.send(&notify.TunnelDelete{Header: header}, pana.NotifyOptions{})
			next[message](t, h)
			quiet(t, s, h)
			if granted, ended := b.Books(); len(granted) != 2 || granted[1].Session != "session-1" || len(ended) != 0 || b.Open() != 0 {
				t.Errorf("granted %+v, ended %+v, %d conversations left", granted, ended, b.Open())
			}
		})
	}
}

// TestLostForGood: the session ends, with one reason, when its node has been refused, when there is no
// time any more, and where the node may not know of beginning anew.
func TestLostForGood(t *testing.T) {
	rejected := &aaa.RejectError{Server: "10.0.5.1:1812", Bare: true}
	for _, c := range []struct {
		name    string
		foreign bool
		err     error
		time    time.Duration
		tries   int
	}{
		{"refused", false, rejected, 0, 1},
		{"a node of other make", true, errLost, 0, 1},
		{"no time", false, errSilent, 2 * time.Second, 1},
		{"time for one more", false, errSilent, 3500 * time.Millisecond, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := &aaatest.Backend{Infos: make(chan aaa.SessionInfo, 10)}
			s, h, n, o := open(t, b, func(cfg *Config) { cfg.AuthTimeout = c.time })
			<-b.Infos
			if !c.foreign {
				n.send(&notify.TunnelDelete{Header: header}, pana.NotifyOptions{})
				next[message](t, h)
			}
			b.Fail(c.err)
			n.do(func(now time.Time, p *pana.PaC) { p.Reauthenticate(now) })
			var told *pana.ErrAuthRejected
			if e := want[pana.Closed](n); !errors.As(e.Reason, &told) || len(told.AVPs) == 0 || told.AVPs[0].Code != notify.AVPReason {
				t.Errorf("the node's was closed with %v", e.Reason)
			}
			if e := next[closed](t, h); e.sid != o.sid || !errors.Is(e.reason, c.err) {
				t.Errorf("closed with %v", e.reason)
			}
			quiet(t, s, h)
			if tries := len(b.Infos); tries != c.tries {
				t.Errorf("%d conversations with AAA, expected %d", tries, c.tries)
			}
			if e := ends(t, b, 1); len(e) != 1 || b.Open() != 0 {
				t.Errorf("ended %+v, %d conversations left", e, b.Open())
			}
		})
	}
}

// TestLostAndOver: what ends while servers are left alone is not begun anew.
func TestLostAndOver(t *testing.T) {
	for _, how := range []string{"order", "node", "shutdown"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			b := &aaatest.Backend{Infos: make(chan aaa.SessionInfo, 10)}
			s, h, n, o := open(t, b, nil)
			n.send(&notify.TunnelDelete{Header: header}, pana.NotifyOptions{})
			next[message](t, h)
			b.Fail(errSilent)
			n.do(func(now time.Time, p *pana.PaC) { p.Reauthenticate(now) })
			for rests, began := false, time.Now(); !rests; time.Sleep(time.Millisecond) {
				if time.Since(began) > patience {
					t.Fatal("the session does not wait for servers")
				}
				if err := s.server.Do(func(time.Time, *pana.PAA) { rests = s.sessions[o.sid] != nil && s.sessions[o.sid].rest != nil }); err != nil {
					t.Fatal(err)
				}
			}
			switch how {
			case "order":
				s.End(aaa.Match{Session: "session-1"}, "unpaid")
			case "node":
				n.do(func(now time.Time, p *pana.PaC) { p.Terminate(now) })
			default:
				s.Close()
			}
			next[closed](t, h)
			begun := len(b.Infos)
			time.Sleep(restAfter + restAfter/2)
			if len(b.Infos) != begun || b.Open() != 0 {
				t.Error("begun anew")
			}
		})
	}
}
