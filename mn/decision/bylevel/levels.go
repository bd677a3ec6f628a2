package bylevel

import (
	"fmt"
	"time"
)

// Levels are what an operator sets. All but Dwell are in dBm.
type Levels struct {
	Look   int           // below it other points are looked for, and prepared
	Leave  int           // below it the point is left
	Accept int           // what another point must have at least
	Dwell  time.Duration // how long the signal must be below a level before the node moves
}

// Default levels.
func Default() Levels { return Levels{Look: -65, Leave: -72, Accept: -65, Dwell: time.Second} }

const (
	lowest  = -120 // dBm: no receiver hears that
	highest = -1
	maxWait = time.Minute
)

// Margin in dB is what another point of the same network must be better by, and what the signal must be above Look before
// looking ends.
const Margin = 6

// LevelError names the level that is wrong.
type LevelError struct {
	Level string // look, leave, accept or dwell
	Text  string // what is expected
}

// Error implements error.
func (e *LevelError) Error() string { return e.Level + ": " + e.Text }

// Check says which level cannot be as it is: a *LevelError, or nil.
func (l Levels) Check() error {
	for _, v := range []struct {
		name string
		dBm  int
	}{{"look", l.Look}, {"leave", l.Leave}, {"accept", l.Accept}} {
		if v.dBm < lowest || v.dBm > highest {
			return &LevelError{v.name, fmt.Sprintf("%d: expected a signal in dBm, %d to %d", v.dBm, lowest, highest)}
		}
	}
	switch {
	case l.Look < l.Leave:
		return &LevelError{"look", fmt.Sprintf("%d: expected at least that of leave, %d: what is prepared must be so before the node leaves", l.Look, l.Leave)}
	case l.Accept <= l.Leave:
		return &LevelError{"accept", fmt.Sprintf("%d: expected more than leave, %d: a node would come to points that it leaves at once", l.Accept, l.Leave)}
	case l.Dwell < 0 || l.Dwell > maxWait:
		return &LevelError{"dwell", fmt.Sprintf("%v: expected 0s to %v", l.Dwell, maxWait)}
	}
	return nil
}
