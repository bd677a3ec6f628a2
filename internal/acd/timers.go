package acd

import (
	"fmt"
	"time"
)

// Timers are the constants of RFC 5227 section 1.1. DefaultTimers has the RFC's
// values; shorter ones are for links known to be fast (sections 1.3 and 2.2).
type Timers struct {
	ProbeWait         time.Duration // initial random delay, at most
	ProbeNum          int           // probes sent
	ProbeMin          time.Duration // least time between probes
	ProbeMax          time.Duration // most time between probes
	AnnounceWait      time.Duration // listening after the last probe
	AnnounceNum       int           // announcements sent
	AnnounceInterval  time.Duration // time between announcements
	MaxConflicts      int           // conflicts on an interface before the rate is limited
	RateLimitInterval time.Duration // time between attempts then
	DefendInterval    time.Duration // least time between defences
}

// DefaultTimers returns the values of RFC 5227 section 1.1.
func DefaultTimers() Timers {
	return Timers{
		ProbeWait:         1 * time.Second,
		ProbeNum:          3,
		ProbeMin:          1 * time.Second,
		ProbeMax:          2 * time.Second,
		AnnounceWait:      2 * time.Second,
		AnnounceNum:       2,
		AnnounceInterval:  2 * time.Second,
		MaxConflicts:      10,
		RateLimitInterval: 60 * time.Second,
		DefendInterval:    10 * time.Second,
	}
}

// Bounds of ours, against typing errors in a configuration.
const (
	maxNum      = 100
	maxInterval = time.Hour
)

// Check says what is wrong with t, or nil.
func (t Timers) Check() error {
	for _, d := range []struct {
		name string
		v    time.Duration
	}{
		{"probe-wait", t.ProbeWait},
		{"probe-min", t.ProbeMin},
		{"probe-max", t.ProbeMax},
		{"announce-wait", t.AnnounceWait},
		{"announce-interval", t.AnnounceInterval},
		{"rate-limit-interval", t.RateLimitInterval},
		{"defend-interval", t.DefendInterval},
	} {
		if d.v < 0 || d.v > maxInterval {
			return fmt.Errorf("acd: %s: want 0 to %v, got %v", d.name, maxInterval, d.v)
		}
	}
	for _, n := range []struct {
		name string
		v    int
	}{
		{"probe-num", t.ProbeNum},
		{"announce-num", t.AnnounceNum},
		{"max-conflicts", t.MaxConflicts},
	} {
		if n.v < 1 || n.v > maxNum {
			return fmt.Errorf("acd: %s: want 1 to %d, got %d", n.name, maxNum, n.v)
		}
	}
	if t.ProbeMin > t.ProbeMax {
		return fmt.Errorf("acd: probe-min %v is more than probe-max %v", t.ProbeMin, t.ProbeMax)
	}
	if t.AnnounceWait == 0 {
		return fmt.Errorf("acd: announce-wait: want more than 0, or no answer to the last probe can be heard")
	}
	return nil
}

// Longest returns the most time probing takes when nobody answers.
func (t Timers) Longest() time.Duration {
	return t.ProbeWait + time.Duration(t.ProbeNum-1)*t.ProbeMax + t.AnnounceWait
}
