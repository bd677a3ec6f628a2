package decision

import (
	"fmt"
	"slices"
	"time"
)

// Style is how a node roams.
type Style uint8

// The styles, after the names that makers of 802.11 clients use for them.
const (
	Sticky     Style = iota // SRA: stays as long as it hears anything
	Enterprise              // ERA: looks early and goes to the best
	Hybrid                  // HARA: between the two, by what it sees of its surroundings
	Predictive              // goes by the time left in the cell
)

var styles = [...]string{Sticky: "sra", Enterprise: "era", Hybrid: "hara", Predictive: "predictive"}

// Styles are all styles.
func Styles() []Style { return []Style{Sticky, Enterprise, Hybrid, Predictive} }

// String names the style as a configuration does.
func (s Style) String() string {
	if int(s) < len(styles) {
		return styles[s]
	}
	return fmt.Sprintf("Style(%d)", uint8(s))
}

// MarshalText implements encoding.TextMarshaler.
func (s Style) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Style) UnmarshalText(text []byte) error {
	i := slices.Index(styles[:], string(text))
	if i < 0 {
		return fmt.Errorf("%q: expected one of %v", text, Styles())
	}
	*s = Style(i)
	return nil
}

// Policy is what an operator sets. Signals are in dBm. Hybrid moves Look, Leave, Margin and Dwell by what it sees; Predictive finds
// its own levels between Lost and Look, and takes Leave only until it has a trend.
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

// MaxRungs bounds Policy.Rungs.
const MaxRungs = 8

// DefaultPolicy is what a style does where the operator sets nothing.
func DefaultPolicy(s Style) Policy {
	p := Policy{
		Style: s, Look: -65, Leave: -72, Accept: -65, Lost: -85, Margin: 6, Dwell: time.Second, Window: time.Second,
		Hold: 30 * time.Second, Within: 10 * time.Second, RestFirst: 5 * time.Second, RestMost: time.Minute, Rungs: 3,
	}
	switch s {
	case Sticky:
		p.Look, p.Leave, p.Accept, p.Dwell, p.Rungs = -80, -84, -78, 2*time.Second, 1
	case Hybrid:
		p.Look, p.Leave, p.Accept = -69, -75, -70
	case Predictive:
		p.Leave, p.Accept = -76, -74
	}
	return p
}

const (
	lowest   = -120 // dBm: no receiver hears that
	highest  = -1
	maxDB    = 40
	maxWait  = time.Minute
	maxKeep  = 10 * time.Minute
	maxSleep = time.Hour
)

// PolicyError names the field of a Policy that is wrong.
type PolicyError struct {
	Field string // in lower snake case, as in a configuration
	Text  string // what is there, and what is expected
}

// Error implements error.
func (e *PolicyError) Error() string { return e.Field + ": " + e.Text }

// Check says what cannot be as it is: a *PolicyError, or nil.
func (p Policy) Check() error {
	wrong := func(field, format string, more ...any) error {
		return &PolicyError{field, fmt.Sprintf(format, more...)}
	}
	if int(p.Style) >= len(styles) {
		return wrong("style", "%d: expected one of %v", p.Style, Styles())
	}
	for _, v := range []struct {
		name string
		dBm  float32
	}{{"look", p.Look}, {"leave", p.Leave}, {"accept", p.Accept}, {"lost", p.Lost}} {
		if !(v.dBm >= lowest && v.dBm <= highest) { // not a number is neither
			return wrong(v.name, "%v: expected a signal in dBm, %d to %d", v.dBm, lowest, highest)
		}
	}
	for _, v := range []struct {
		name        string
		is          time.Duration
		least, most time.Duration
	}{
		{"dwell", p.Dwell, 0, maxWait},
		{"window", p.Window, 0, maxWait},
		{"hold", p.Hold, 0, maxKeep},
		{"within", p.Within, 0, maxKeep},
		{"rest_first", p.RestFirst, time.Millisecond, maxSleep},
		{"rest_most", p.RestMost, p.RestFirst, maxSleep},
	} {
		if v.is < v.least || v.is > v.most {
			return wrong(v.name, "%v: expected %v to %v", v.is, v.least, v.most)
		}
	}
	switch {
	case p.Look < p.Leave:
		return wrong("look", "%v: expected at least that of leave, %v: what is prepared must be so before the node leaves", p.Look, p.Leave)
	case p.Accept <= p.Leave:
		return wrong("accept", "%v: expected more than leave, %v: a node would come to points that it leaves at once", p.Accept, p.Leave)
	case p.Lost > p.Leave:
		return wrong("lost", "%v: expected at most that of leave, %v: a link that carries nothing cannot be left in order", p.Lost, p.Leave)
	case !(p.Margin >= 0 && p.Margin <= maxDB):
		return wrong("margin", "%v: expected 0 to %d dB", p.Margin, maxDB)
	case p.Rungs < 0 || p.Rungs > MaxRungs:
		return wrong("rungs", "%d: expected 0 to %d networks", p.Rungs, MaxRungs)
	}
	return nil
}
