package report

import (
	"fmt"
	"strings"
	"time"

	"openmpa/testbed/traffic"
)

// Strip is one direction of a flow around a move, a character for each
// packet in the order of sending:
//
//	. arrived   h arrived, but was held up   x lost   | the link went
//
// A long run of losses is drawn as x(n).
type Strip struct {
	Sent     []int64 // ns of the wall clock, by number
	Arrivals []traffic.Arrival
	// Lost is when the link went, Held the delay from which a packet counts
	// as held up.
	Lost time.Time
	Held time.Duration
}

// Draw draws the strip in at most width characters: before packets from
// before the move, then what follows.
func (t Strip) Draw(before, width int) string {
	const (
		lost    = 'x'
		onTime  = '.'
		late    = 'h'
		longRun = 12 // from here on a run of losses is written as a number
	)
	marks := make([]rune, len(t.Sent))
	for i := range marks {
		marks[i] = lost
	}
	for _, a := range t.Arrivals {
		if a.Seq >= uint64(len(marks)) || marks[a.Seq] != lost {
			continue
		}
		marks[a.Seq] = onTime
		if time.Duration(a.At-a.Sent) >= t.Held {
			marks[a.Seq] = late
		}
	}
	move := 0
	for move < len(t.Sent) && t.Sent[move] < t.Lost.UnixNano() {
		move++
	}
	var b strings.Builder
	n := 0
	put := func(s string) {
		b.WriteString(s)
		n += len(s)
	}
	for i := max(0, move-before); i < len(marks) && n < width; i++ {
		if i == move {
			put("|")
		}
		run := 1
		for marks[i] == lost && i+run < len(marks) && marks[i+run] == lost && i+run != move {
			run++
		}
		if run >= longRun {
			put(fmt.Sprintf("x(%d)", run))
			i += run - 1
			continue
		}
		put(string(marks[i]))
	}
	return b.String()
}
