package paa

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"openmpa/aaa"
	"openmpa/aaa/aaatest"
	"openmpa/paa/notify"
	"openmpa/paa/pana"
)

// ends waits for the next end that AAA is told.
func ends(t *testing.T, b *aaatest.Backend, n int) []aaatest.Ended {
	t.Helper()
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		_, all := b.Books()
		if len(all) >= n {
			return all
		}
		if time.Since(began) > patience {
			t.Fatalf("AAA was told %+v, expected %d ends", all, n)
		}
	}
}

// TestGrants: AAA hears once that a session is in use, again with each authentication, and
// once that it is over, and why.
func TestGrants(t *testing.T) {
	b := &aaatest.Backend{Infos: make(chan aaa.SessionInfo, 2)}
	s, h, n, o := open(t, b, nil)
	if info := <-b.Infos; info.Again != nil || info.NASPort != fmt.Sprintf("%08x", o.sid) {
		t.Errorf("told %+v", info)
	}
	if k := s.Again(aaa.Match{Session: "session-1"}); k != 1 {
		t.Errorf("%d sessions authenticate again", k)
	}
	if again := want[pana.Opened](n); !again.Rekeyed {
		t.Errorf("%+v", again)
	}
	next[opened](t, h)
	if info := <-b.Infos; info.Again == nil || info.Again.Session != "session-1" {
		t.Errorf("told %+v", info)
	}
	n.do(func(now time.Time, p *pana.PaC) { p.Terminate(now) })
	next[closed](t, h)
	ended := ends(t, b, 1)
	granted, _ := b.Books()
	if len(granted) != 2 || granted[0].Session != "session-1" || granted[1].Session != "session-1" {
		t.Errorf("granted %+v", granted)
	}
	if len(ended) != 1 || ended[0].Grant.Session != "session-1" || ended[0].Cause != aaa.CauseUser {
		t.Errorf("ended %+v", ended)
	}
	if k := s.End(aaa.Match{Session: "session-1"}, ""); k != 0 {
		t.Errorf("%d sessions of that name", k)
	}
}

// TestShutdown: what the service ends with is told, too.
func TestShutdown(t *testing.T) {
	b := &aaatest.Backend{}
	s, h, _, _ := open(t, b, nil)
	s.Close()
	next[closed](t, h)
	if e := ends(t, b, 1); e[0].Cause != aaa.CauseShutdown {
		t.Errorf("%+v", e)
	}
}

// TestEnd: whom the AAA server throws out has nothing left when it is told, also where it does
// not answer.
func TestEnd(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		b := &aaatest.Backend{}
		s, h, n, o := open(t, b, nil)
		if deaf {
			n.client.Close()
		}
		if k := s.End(aaa.Match{Identity: "other@home.example"}, "x") + s.End(aaa.Match{}, "x"); k != 0 {
			t.Errorf("%d others were ended", k)
		}
		if k := s.End(aaa.Match{Identity: aaatest.Identity}, "unpaid"); k != 1 {
			t.Errorf("%d were ended", k)
		}
		c := next[closed](t, h)
		var order *OrderError
		if c.sid != o.sid || !errors.As(c.reason, &order) || order.Why != "unpaid" {
			t.Errorf("closed with %v", c.reason)
		}
		if !deaf {
			var told *pana.ErrPeerTerminated
			if c := want[pana.Closed](n); !errors.As(c.Reason, &told) || told.Cause != pana.CauseAdministrative {
				t.Errorf("the node was told %v", c.Reason)
			}
		}
		s.Close()
		quietAfter(t, h)
		if e := ends(t, b, 1); len(e) != 1 || e[0].Cause != aaa.CauseAdmin {
			t.Errorf("%+v", e)
		}
	}
}

// quietAfter checks that a handler has been told nothing more, of a service that has ended.
func quietAfter(t *testing.T, h *handler) {
	t.Helper()
	select {
	case v := <-h.calls:
		t.Errorf("told %T %+v", v, v)
	default:
	}
}

// TestExtend: the AAA server says how long a session lasts, and means it.
func TestExtend(t *testing.T) {
	b := &aaatest.Backend{}
	s, h, n, _ := open(t, b, func(c *Config) { c.Lifetime = 3 * time.Second })
	m := aaa.Match{Session: "session-1"}
	if k := s.Extend(m, time.Hour); k != 1 {
		t.Fatalf("%d extended", k)
	}
	if e := next[extended](t, h); e.life != time.Hour {
		t.Errorf("%+v", e)
	}
	select {
	case v := <-h.calls:
		t.Fatalf("told %T %+v within the time", v, v)
	case <-time.After(3500 * time.Millisecond): // its own time was over
	}
	s.Extend(m, 50*time.Millisecond)
	next[extended](t, h)
	c := next[closed](t, h)
	var order *OrderError
	if !errors.As(c.reason, &order) {
		t.Errorf("closed with %v", c.reason)
	}
	if e := ends(t, b, 1); len(e) != 1 || e[0].Cause != aaa.CauseExpired {
		t.Errorf("%+v", e)
	}
	_ = n
}

// TestExtendOnce: an authentication sets a life of its own.
func TestExtendOnce(t *testing.T) {
	b := &aaatest.Backend{}
	s, h, n, _ := open(t, b, nil)
	s.Extend(aaa.Match{Session: "session-1"}, time.Hour)
	next[extended](t, h)
	s.Again(aaa.Match{Session: "session-1"})
	want[pana.Opened](n)
	next[opened](t, h)
	if err := s.server.Do(func(time.Time, *pana.PAA) {
		for _, c := range s.sessions {
			if c.expiry != nil {
				t.Error("a timer of before is left")
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
}

// TestAcceptedForNothing: AAA hears of an accept that no session came of.
func TestAcceptedForNothing(t *testing.T) {
	waits, goOn := make(chan struct{}), make(chan struct{})
	b := &aaatest.Backend{Verdict: func(context.Context) (aaa.Result, error) {
		close(waits)
		<-goOn
		return aaa.Result{EAP: aaatest.Packet(3, 2), Decision: aaa.Accept, MSK: aaatest.MSK([]byte{7, 1}), Identity: aaatest.Identity, Grant: aaa.Grant{Session: "s"}}, nil
	}}
	s, _, addr := serve(t, b, nil)
	dial(t, addr, pana.PaCConfig{Preauth: true})
	<-waits
	if err := s.server.Do(func(now time.Time, p *pana.PAA) {
		for sid := range s.sessions {
			p.Terminate(now, sid)
		}
	}); err != nil {
		t.Fatal(err)
	}
	close(goOn)
	if e := ends(t, b, 1); e[0].Grant.Session != "s" || e[0].Cause != aaa.CauseError {
		t.Errorf("%+v", e)
	}
	if granted, _ := b.Books(); len(granted) != 0 {
		t.Errorf("granted %+v", granted)
	}
}

// TestLost: a node is told that another server would take it.
func TestLost(t *testing.T) {
	b := &aaatest.Backend{}
	b.Fail(&aaa.LostError{Server: "10.0.5.1:1812", Next: "10.0.5.2:1812", Err: aaa.ErrTimeout})
	_, _, addr := serve(t, b, nil)
	n := dial(t, addr, pana.PaCConfig{Preauth: true})
	c := want[pana.Closed](n)
	var e *pana.ErrAuthRejected
	if !errors.As(c.Reason, &e) || len(e.AVPs) != 2 || e.AVPs[1].Code != notify.AVPAgain || len(e.AVPs[1].Data) != 0 {
		t.Fatalf("closed with %v", c.Reason)
	}
	if text, err := notify.ParseReasonAVP(e.AVPs[0].Data); err != nil || text != "the AAA server 10.0.5.1:1812 was lost in the middle of the authentication; 10.0.5.2:1812 takes another one, from the start" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestCauses(t *testing.T) {
	for want, errs := range map[aaa.Cause][]error{
		aaa.CauseUser:     {&pana.ErrPeerTerminated{Cause: pana.CauseLogout}},
		aaa.CauseExpired:  {&pana.ErrLifetime{}},
		aaa.CauseLost:     {&pana.ErrSilent{}, &pana.ErrRetransmissions{}, &pana.ErrAuthTimeout{}},
		aaa.CauseAdmin:    {&pana.ErrAuthRejected{Err: &aaa.RejectError{}}},
		aaa.CauseMoved:    {pana.ErrSuperseded},
		aaa.CauseShutdown: {context.Canceled},
		aaa.CauseError:    {pana.ErrTerminated, &pana.ErrAuthRejected{Err: aaa.ErrTimeout}, errors.New("x")},
	} {
		for _, err := range errs {
			if got := causeOf(err); got != want {
				t.Errorf("%v: %v, expected %v", err, got, want)
			}
		}
	}
}
