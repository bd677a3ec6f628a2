package paa

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"openmpa/aaa"
	"openmpa/aaa/aaatest"
	"openmpa/paa/notify"
	"openmpa/paa/pana"
)

// TestDeadNode: a node that is gone without a word is given up after twice Ping, one that is there is not.
func TestDeadNode(t *testing.T) {
	const most = 5 * time.Second
	for ping := 200 * time.Millisecond; ; ping *= 3 {
		s, h, n, o := open(t, &aaatest.Backend{}, func(c *Config) { c.Ping = ping })
		if pause := idle(5 * ping); pause > ping/2 && ping < most {
			t.Logf("the machine had no time for %v: neither router nor node could say a word in it", pause)
			s.Close()
			continue
		}
		quiet(t, s, h)
		n.client.Close()
		began := time.Now()
		c := next[closed](t, h)
		var silent *pana.ErrSilent
		if c.sid != o.sid || !errors.As(c.reason, &silent) {
			t.Errorf("closed with %+v", c)
		}
		if d := time.Since(began); d > 2*ping+10*time.Second { // the machine may be busy; without Ping it takes minutes
			t.Errorf("after %v", d)
		}
		return
	}
}

// idle waits for d, and returns the longest pause in which this process had no time.
func idle(d time.Duration) (longest time.Duration) {
	const step = time.Millisecond
	for end, last := time.Now().Add(d), time.Now(); last.Before(end); {
		time.Sleep(step)
		now := time.Now()
		longest, last = max(longest, now.Sub(last)), now
	}
	return longest
}

// TestRestarted: a node learns in seconds that the router has forgotten it.
func TestRestarted(t *testing.T) {
	s, h, addr := serve(t, &aaatest.Backend{}, nil)
	n := dial(t, addr, pana.PaCConfig{Preauth: true, PingInterval: time.Minute})
	want[pana.Opened](n)
	o := next[opened](t, h)
	s.Close()
	next[closed](t, h)
	again, err := Open(s.cfg, newHandler(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(again.Close)
	if err := again.Invite(o.from); err != nil {
		t.Fatal(err)
	}
	var silent *pana.ErrSilent
	if c := want[pana.Closed](n); !errors.As(c.Reason, &silent) || silent.For > time.Minute {
		t.Errorf("closed with %v", c.Reason)
	}
}

// TestServerDies: the AAA server answers for a while and then no more. The node is
// given one reason, and the router keeps nothing.
func TestServerDies(t *testing.T) {
	gone := &aaa.SilentError{Servers: []string{"10.0.5.1:1812"}, Waited: 8 * time.Second, Err: errors.New("radius: silent")}
	b := &aaatest.Backend{Verdict: func(context.Context) (aaa.Result, error) { return aaa.Result{}, gone }}
	s, h, addr := serve(t, b, nil)
	n := dial(t, addr, pana.PaCConfig{Preauth: true})
	c := want[pana.Closed](n)
	var e *pana.ErrAuthRejected
	if !errors.As(c.Reason, &e) || len(e.AVPs) != 1 {
		t.Fatalf("closed with %v", c.Reason)
	}
	if text, err := notify.ParseReasonAVP(e.AVPs[0].Data); err != nil || !strings.Contains(text, "could not reach its AAA server (10.0.5.1:1812 silent for 8s)") {
		t.Errorf("the node was told %q, %v", text, err)
	}
	if c := next[closed](t, h); !errors.Is(c.reason, gone) {
		t.Errorf("the handler was told %v", c.reason)
	}
	quiet(t, s, h)
	if b.Open() != 0 {
		t.Error("the conversation with AAA was not closed")
	}
	if err := s.server.Do(func(_ time.Time, p *pana.PAA) {
		if p.Sessions() != 0 || len(s.sessions) != 0 {
			t.Errorf("%d sessions, %d here", p.Sessions(), len(s.sessions))
		}
	}); err != nil {
		t.Fatal(err)
	}
}
