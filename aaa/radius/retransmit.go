package radius

import "time"

// Timing holds the variables of RFC 5080 section 2.2.1. Zero values take its defaults.
type Timing struct {
	IRT time.Duration // initial retransmission time; default 2 s
	MRT time.Duration // maximum retransmission time; default 16 s
	MRD time.Duration // maximum retransmission duration; default 30 s
	MRC int           // transmissions to one server; default 5, but 2 where another server can be asked
}

func (t Timing) withDefaults() Timing {
	if t.IRT <= 0 {
		t.IRT = 2 * time.Second
	}
	if t.MRT <= 0 {
		t.MRT = 16 * time.Second
	}
	if t.MRD <= 0 {
		t.MRD = 30 * time.Second
	}
	return t
}

// tries is MRC for a server that has alternatives or none.
func (t Timing) tries(alternatives bool) int {
	switch {
	case t.MRC > 0:
		return t.MRC
	case alternatives:
		return 2
	}
	return 5
}

// next is the retransmission timeout after prev, 0 for the first. rnd is RAND, from
// -0.1 to +0.1.
func (t Timing) next(prev time.Duration, rnd float64) time.Duration {
	jitter := func(d time.Duration) time.Duration { return time.Duration(rnd * float64(d)) }
	if prev == 0 {
		return t.IRT + jitter(t.IRT)
	}
	rt := 2*prev + jitter(prev)
	if rt > t.MRT {
		rt = t.MRT + jitter(t.MRT)
	}
	return rt
}
