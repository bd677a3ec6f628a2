package par

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Ahead says how many addresses are kept that are leased and past duplicate address
// detection before anybody asks. The zero Ahead keeps none.
type Ahead struct {
	Least int           // however little is asked for
	Most  int           // 0: none are kept
	Idle  time.Duration // what was not needed for so long is given back; 0: DefaultIdle
}

// DefaultIdle is the Idle of an Ahead that says none.
const DefaultIdle = 10 * time.Minute

// mostAhead bounds Ahead.Most: each is an address that nobody else can have.
const mostAhead = 256

// Check says what is wrong with a.
func (a Ahead) Check() error {
	switch {
	case a.Most < 0 || a.Most > mostAhead:
		return fmt.Errorf("at most %d addresses ahead: expected 0 to %d", a.Most, mostAhead)
	case a.Least < 0 || a.Least > a.Most:
		return fmt.Errorf("at least %d addresses ahead: expected 0 to %d, the most", a.Least, a.Most)
	case a.Idle < 0:
		return errors.New("addresses ahead cannot have been idle for less than no time")
	}
	return nil
}

// demand says how many addresses to keep ready: as many as were asked for, in the last
// Idle, while one was verified. One is taken, and the next is ready when it has been
// verified: so it is the busiest time of that length that empties the store.
//
//	asked    |  |||   |      |||||      |            now
//	         <--verify-->                <---- Idle --->
//
// One node, by its identity, counts and takes one in that time: what a node asks for in
// a hurry, again and again, it waits for as if nothing was kept. It is plain data: no
// clock and no lock inside.
type demand struct {
	cfg    Ahead
	verify time.Duration        // that it takes, smoothed
	took   map[string]time.Time // by identity, when one was taken last, for so long
	recent []time.Time          // of requests within verify, the last Most of them
	peaks  []peak               // how many there were, falling, from the oldest on
}

// peak is how many were asked for in the time up to at.
type peak struct {
	at time.Time
	n  int
}

// newDemand expects that verifying takes so long.
func newDemand(cfg Ahead, verify time.Duration) *demand {
	if cfg.Idle == 0 {
		cfg.Idle = DefaultIdle
	}
	return &demand{cfg: cfg, verify: verify, took: map[string]time.Time{}}
}

// asked counts a request, and says whether it may be served by what is ready.
func (d *demand) asked(now time.Time, identity string) bool {
	for id, at := range d.took {
		if now.Sub(at) >= d.verify {
			delete(d.took, id)
		}
	}
	if _, again := d.took[identity]; again {
		return false
	}
	d.took[identity] = now
	d.recent = append(d.recent, now)
	for len(d.recent) > d.cfg.Most || now.Sub(d.recent[0]) >= d.verify {
		d.recent = d.recent[1:]
	}
	n := len(d.recent)
	for len(d.peaks) > 0 && d.peaks[len(d.peaks)-1].n <= n {
		d.peaks = d.peaks[:len(d.peaks)-1]
	}
	d.peaks = append(d.peaks, peak{now, n})
	return true
}

// verified has learnt how long it takes, with the weight of RFC 6298's round trips.
func (d *demand) verified(took time.Duration) { d.verify += (took - d.verify) / 8 }

// want is how many are to be ready, and until when that holds if nobody asks; the zero
// Time is for ever.
func (d *demand) want(now time.Time) (n int, until time.Time) {
	for len(d.peaks) > 0 && now.Sub(d.peaks[0].at) >= d.cfg.Idle {
		d.peaks = d.peaks[1:]
	}
	if len(d.peaks) == 0 {
		return d.cfg.Least, time.Time{}
	}
	return max(d.cfg.Least, d.peaks[0].n), d.peaks[0].at.Add(d.cfg.Idle)
}

// AheadStatus are the addresses kept ready, in a Status.
type AheadStatus struct {
	Wanted   int     `json:"wanted"`
	Ready    int     `json:"ready"`
	Making   int     `json:"being_verified"`
	VerifyMS float64 `json:"verify_ms"` // that it takes, smoothed
	Again    float64 `json:"again_in_s,omitempty"`
	// Addresses are those that are ready.
	Addresses []AheadAddress `json:"addresses,omitempty"`
	AheadCounts
}

// AheadCounts count since the start.
type AheadCounts struct {
	Given     uint64 `json:"given"`    // to nodes, with no wait
	Missed    uint64 `json:"missed"`   // requests when none was ready
	Refused   uint64 `json:"refused"`  // requests of nodes that had one just before
	Verified  uint64 `json:"verified"` // made ready
	Conflicts uint64 `json:"conflicts"`
	Failed    uint64 `json:"failed"` // tries to make one ready
}

// AheadAddress is one of them.
type AheadAddress struct {
	Address netip.Prefix `json:"address"`
	Ready   float64      `json:"ready_s"`   // for so long
	Expires float64      `json:"expires_s"` // the lease, if it is not renewed
}
