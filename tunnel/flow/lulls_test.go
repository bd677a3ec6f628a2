package flow

import (
	"slices"
	"testing"
	"time"
)

// TestLulls: what is told of pauses by what they were before.
func TestLulls(t *testing.T) {
	const us, ms = time.Microsecond, time.Millisecond
	play := func(pauses ...time.Duration) (l Lulls) {
		now := time.Unix(0, 0)
		for range 300 {
			for _, p := range pauses {
				l.Came(now)
				now = now.Add(p)
			}
		}
		return l
	}
	for name, c := range map[string]struct {
		pauses       []time.Duration
		silent, more time.Duration
		least, most  float64
	}{
		"speech":                      {[]time.Duration{20 * ms}, 100 * us, ms, 1, 1},
		"speech, before the next one": {[]time.Duration{20 * ms}, 15 * ms, 10 * ms, 0, 0},
		"as fast as the link":         {[]time.Duration{120 * us}, 10 * us, 200 * us, 0, 0},
		"in a burst":                  {[]time.Duration{10 * us, 10 * us, 10 * us, 5 * ms}, us, 300 * us, 0.2, 0.3},
		"behind a burst":              {[]time.Duration{10 * us, 10 * us, 10 * us, 5 * ms}, 50 * us, 300 * us, 1, 1},
		"behind a burst, late":        {[]time.Duration{10 * us, 10 * us, 10 * us, 5 * ms}, 4 * ms, 2 * ms, 0, 0},
		"longer than ever":            {[]time.Duration{ms}, 10 * ms, 2 * ms, 1, 1},
		"longer than ever, not yet":   {[]time.Duration{ms}, 2 * ms, 2 * ms, 0, 0},
		"ages":                        {[]time.Duration{time.Hour}, time.Second, time.Second, 1, 1},
		"at once":                     {[]time.Duration{0}, 0, us, 0, 0},
	} {
		l := play(c.pauses...)
		if got := l.Lasts(c.silent, c.more, 3*ms); got < c.least || got > c.most {
			t.Errorf("%s: %v, expected %v to %v", name, got, c.least, c.most)
		}
		if l.total > lullMemory {
			t.Errorf("%s: %d remembered", name, l.total)
		}
	}
	var none Lulls
	if none.Lasts(2*ms, ms, 3*ms) != 0 || none.Lasts(3*ms, ms, 3*ms) != 1 {
		t.Error("of one who knows nothing")
	}
	now := time.Unix(0, 0)
	if n := testing.AllocsPerRun(100, func() { none.Came(now); none.Lasts(ms, ms, ms) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestLullsApart: how likely nothing comes for a time depends on the time between bursts, and
// not on how many packets one has.
func TestLullsApart(t *testing.T) {
	const us, ms = time.Microsecond, time.Millisecond
	for name, c := range map[string]struct {
		pauses      []time.Duration
		least, most float64
	}{
		"speech":              {[]time.Duration{20 * ms}, 0.99, 1},
		"a thousand a second": {[]time.Duration{1060 * us}, 0.9, 0.96},
		"that, in bunches":    {[]time.Duration{5 * us, 5 * us, 5 * us, 5 * us, 5 * us, 6 * ms}, 0.95, 1},
		"100 Mb/s":            {[]time.Duration{120 * us}, 0.4, 0.6},
		"that, after an hour": {append([]time.Duration{time.Hour}, slices.Repeat([]time.Duration{120 * us}, 200)...), 0.4, 0.85},
		"at once":             {[]time.Duration{0}, 0, 0},
	} {
		var l Lulls
		now := time.Unix(0, 0)
		for range 2000 / len(c.pauses) {
			for _, p := range c.pauses {
				now = now.Add(p)
				l.Came(now)
			}
		}
		if got := l.Apart(50*us, 20*ms); got < c.least || got > c.most {
			t.Errorf("%s: %v, expected %v to %v", name, got, c.least, c.most)
		}
	}
	var none Lulls
	if none.Apart(ms, ms) != 1 {
		t.Error("of one who knows nothing")
	}
}

// TestLullsForget: who changes from bursts to a stream is soon known by that.
func TestLullsForget(t *testing.T) {
	var l Lulls
	now := time.Unix(0, 0)
	for range 1000 {
		now = now.Add(10 * time.Millisecond)
		l.Came(now)
	}
	for range 3000 {
		now = now.Add(100 * time.Microsecond)
		l.Came(now)
	}
	if p := l.Lasts(0, time.Millisecond, time.Second); p > 0.01 {
		t.Errorf("a pause of 1 ms has a chance of %v", p)
	}
}
