package decision

import "time"

// Style is how a node roams.
type Style uint8

// The styles, after the names that makers of 802.11 clients use for them.
const (
	Sticky     Style = iota // SRA: stays as long as it hears anything
	Enterprise              // ERA: looks early and goes to the best
	Hybrid                  // HARA: between the two, by what it sees of its surroundings
	Predictive              // goes by the time left in the cell
)

// Policy is what an operator sets. Signals are in dBm.
type Policy struct {
	Style  Style
	Look   float32       // below it other points are looked for
	Leave  float32       // below it the point is left
	Accept float32       // another point must have at least
	Lost   float32       // below it the link carries nothing
	Margin float32       // dB that another point must be better by
	Dwell  time.Duration // how long the signal must be below a level before the node moves
	Window time.Duration // signals are averaged over
	Hold   time.Duration // how long what the node had in the last network is kept
	// Within is how soon after a move one back to where it was counts as ping-pong.
	Within time.Duration
	// What failed rests for RestFirst, twice as long each time, to RestMost.
	RestFirst, RestMost time.Duration
	// Rungs is how many networks are prepared at once at most.
	Rungs int
}
