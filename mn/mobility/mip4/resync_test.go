package mip4

import (
	"errors"
	"testing"
	"time"

	"openmpa/internal/inet"
)

// TestResynchronisation with clocks apart either way, more than the home agent's window.
func TestResynchronisation(t *testing.T) {
	for _, skew := range []time.Duration{-3 * time.Hour, 90 * time.Second, 30 * 365 * 24 * time.Hour} {
		b := newBench(t, nil)
		b.peer = skew
		b.c.Register(b.now, careB)
		first := b.request()
		b.now = b.now.Add(10 * time.Millisecond)
		b.accept(b.answer(first, CodeIdentification))
		b.quiet()
		q := b.request()
		if len(b.sent) != 2 {
			t.Fatalf("%d requests: the second is due at once", len(b.sent))
		}
		if d := inet.Skew(q.ID, inet.NTP(b.now.Add(skew))); d > time.Second || d < -time.Second {
			t.Errorf("clock of the home agent %v away: identification off by %v", skew, d)
		}
		if pm, _ := q.PathMarkers(); pm.Path != first.ID {
			t.Errorf("path %#x, was %#x", pm.Path, first.ID)
		}
		b.accept(b.answer(q, CodeAccepted))
		next[Registered](b)
		// The clock is kept: a later registration needs no second lesson.
		b.run(10 * time.Second)
		b.c.Register(b.now, careA)
		if d := inet.Skew(b.request().ID, inet.NTP(b.now.Add(skew))); d > time.Second || d < -time.Second {
			t.Errorf("later identification off by %v", d)
		}
		if b.c.Stats().Resyncs != 1 {
			t.Errorf("%+v", b.c.Stats())
		}
	}
}

// TestResynchronisationNeverBelowAccepted: a home agent that refuses the identification
// as a replay names a time that may lie before what it accepted last.
func TestResynchronisationNeverBelowAccepted(t *testing.T) {
	b := newBench(t, nil)
	last := b.bind(false)
	b.peer = -3 * time.Second
	b.c.Register(b.now, careA)
	b.accept(b.answer(b.request(), CodeIdentification))
	if q := b.request(); q.ID != last.ID+1 {
		t.Errorf("identification %#x, accepted before was %#x", q.ID, last.ID)
	}
	// It does not help: then the clock is right, and no request follows at once.
	n := len(b.sent)
	b.accept(b.answer(b.request(), CodeIdentification))
	if len(b.sent) != n {
		t.Fatal("a loop of denials and requests without pause")
	}
	b.run(2 * time.Second)
	if d := inet.Skew(b.request().ID, inet.NTP(b.now.Add(b.peer))); d > time.Second || d < -time.Second {
		t.Errorf("identification off by %v", d)
	}
}

func TestResynchronisationForged(t *testing.T) {
	b := newBench(t, nil)
	b.peer = time.Hour
	b.c.Register(b.now, careB)
	r := b.answer(b.request(), CodeIdentification)
	if err := b.c.HandleReply(b.now, mustReply(t, r, md5SA)); !errors.Is(err, ErrAuthenticator) {
		t.Fatal(err)
	}
	if b.c.offset != 0 || b.c.Stats().Resyncs != 0 {
		t.Error("the clock was set by a forged reply")
	}
}
