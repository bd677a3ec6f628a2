package traffic

import (
	"slices"
	"time"
)

// An Arrival is one datagram as it came in.
type Arrival struct {
	Seq  uint64
	Sent int64 // ns of the wall clock, as the sender wrote it
	At   int64 // ns of the wall clock, by the kernel when it could
}

// Stats are the figures of one direction of a flow.
type Stats struct {
	Sent       int // numbers used
	Received   int // different numbers that arrived
	Lost       int // numbers that did not arrive
	Duplicated int // arrivals of a number that had arrived before
	Reordered  int // arrivals after one with a higher number (RFC 4737, section 3.3)
	// Interval is the median time between arrivals.
	Interval time.Duration
	// MaxGap is the longest silence at the receiver, from its first arrival
	// on; when the last datagrams were lost it lasts until the last one was
	// sent.
	MaxGap time.Duration
	// MaxGapAt is when that silence began; zero without one.
	MaxGapAt time.Time
	// Jitter is the largest value that the running estimate of RFC 3550,
	// section 6.4.1, took.
	Jitter time.Duration
	// MedianDelay, P99Delay and MaxDelay are of the times from sending to
	// arrival: percentiles by the nearest rank, and the longest.
	MedianDelay, P99Delay, MaxDelay time.Duration
	// MedianLate and P99Late say how long after it was due a datagram was sent.
	MedianLate, P99Late time.Duration
	// SendErrors are those of Lost that the sender's kernel refused.
	SendErrors int
	// Losses are the runs of lost numbers, in order.
	Losses []Run
	// Duplicates and Reorderings are the arrivals that were counted as such,
	// the first [maxNoted] of each.
	Duplicates, Reorderings []Arrival
}

// maxNoted bounds what is noted of a flow that went badly wrong.
const maxNoted = 100

// A Run is a run of consecutive lost numbers.
type Run struct {
	First, Last uint64
	// At is when the first of them was sent.
	At time.Time
}

// Analyze compares what was sent (the time of sending by number, in ns of
// the wall clock) with what arrived, in the order of arrival.
func Analyze(sent []int64, arrivals []Arrival) Stats {
	s := Stats{Sent: len(sent)}
	seen := make([]bool, len(sent))
	var (
		gaps     []int64
		delays   []time.Duration
		highest  uint64
		jitter   float64
		previous *Arrival
	)
	for i := range arrivals {
		a := &arrivals[i]
		if a.Seq >= uint64(len(sent)) {
			continue // not a number of ours: the sender never used it
		}
		if seen[a.Seq] {
			s.Duplicated++
			s.Duplicates = note(s.Duplicates, *a)
			continue
		}
		seen[a.Seq] = true
		s.Received++
		delays = append(delays, time.Duration(a.At-a.Sent))
		if previous != nil {
			if a.Seq < highest {
				s.Reordered++
				s.Reorderings = note(s.Reorderings, *a)
			}
			gap := a.At - previous.At
			gaps = append(gaps, gap)
			s.gap(previous.At, gap)
			d := float64((a.At - a.Sent) - (previous.At - previous.Sent))
			if d < 0 {
				d = -d
			}
			jitter += (d - jitter) / 16
			s.Jitter = max(s.Jitter, time.Duration(jitter))
		}
		highest = max(highest, a.Seq)
		previous = a
	}
	s.Lost = s.Sent - s.Received
	if previous != nil && highest+1 < uint64(len(sent)) {
		s.gap(previous.At, sent[len(sent)-1]-previous.At)
	}
	if len(gaps) > 0 {
		slices.Sort(gaps)
		s.Interval = time.Duration(gaps[len(gaps)/2])
	}
	if len(delays) > 0 {
		slices.Sort(delays)
		s.MedianDelay, s.P99Delay, s.MaxDelay = nearestRank(delays, 50), nearestRank(delays, 99), nearestRank(delays, 100)
	}
	s.Losses = losses(sent, seen)
	return s
}

// Silence is the longest time without an arrival that has a part in the time
// from one moment to another, such as that without a link: it reaches from the
// last arrival before to the first one after. When nothing comes any more it
// lasts until the last datagram was sent. It is 0 when nothing came before.
func Silence(sent []int64, arrivals []Arrival, from, to time.Time) time.Duration {
	longest := int64(0)
	overlap := func(begin, end int64) {
		if begin <= to.UnixNano() && end >= from.UnixNano() {
			longest = max(longest, end-begin)
		}
	}
	for i := 1; i < len(arrivals); i++ {
		overlap(arrivals[i-1].At, arrivals[i].At)
	}
	if len(arrivals) > 0 && len(sent) > 0 {
		overlap(arrivals[len(arrivals)-1].At, sent[len(sent)-1])
	}
	return time.Duration(longest)
}

// nearestRank is a percentile of sorted values, of which there is one at least.
func nearestRank(sorted []time.Duration, percent int) time.Duration {
	return sorted[max((len(sorted)*percent+99)/100, 1)-1]
}

func note(list []Arrival, a Arrival) []Arrival {
	if len(list) >= maxNoted {
		return list
	}
	return append(list, a)
}

func (s *Stats) gap(at, gap int64) {
	if d := time.Duration(gap); d > s.MaxGap {
		s.MaxGap, s.MaxGapAt = d, time.Unix(0, at)
	}
}

func losses(sent []int64, seen []bool) []Run {
	var runs []Run
	for i := 0; i < len(sent); i++ {
		if seen[i] {
			continue
		}
		first := i
		for i+1 < len(sent) && !seen[i+1] {
			i++
		}
		runs = append(runs, Run{First: uint64(first), Last: uint64(i), At: time.Unix(0, sent[first])})
	}
	return runs
}
