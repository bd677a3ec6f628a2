package decision

import "time"

// Sample is what is known at one moment.
type Sample struct {
	At      time.Duration // since whenever the caller's clock began; it never goes back
	Here    PointID       // where the node is; 0: nowhere
	Signal  float32       // of that point, dBm; 0: not known
	Loss    float32       // of frames, 0 to 1; less than 0: not known
	Rate    float32       // of the link, Mbit/s; 0: not known
	Place   Place
	Speed   float32 // m/s; less than 0: not known
	Heading float32 // radians, anticlockwise from east, where Speed is greater than 0
	Seen    []Sighting
	Stands  []Standing // what is prepared, or held since the node has left it
}

// Sighting is another point that was seen.
type Sighting struct {
	Point  PointID
	Signal float32       // dBm
	Age    time.Duration // since then
}

// Standing is how far a network is prepared.
type Standing struct {
	Network NetworkID
	Depth   Depth
	Held    bool // left over from when the node was there, for a return
}

// Action is what to do about the link.
type Action uint8

// The actions.
const (
	Stay     Action = iota
	Roam            // to another point of the same network
	Handover        // to a point of another network
)

// Decision is what to do.
type Decision struct {
	Action Action
	To     PointID // unless Action is Stay
	Now    bool    // a handover goes with what is prepared: there is no time for more
	Look   bool    // sightings are wanted
	// Ladder is what is to be prepared, how far, the likeliest first; what stands and is not in it, nor held, is to be
	// given back. It is the engine's, until its next Step.
	Ladder []Rung
	Both   bool          // moves go there and back: packets are wanted at the last place as well
	Left   time.Duration // expected in the present cell; less than 0: not known
	Reason Reason
}

// Rung is a network that is to be prepared.
type Rung struct {
	Network NetworkID
	Point   PointID // its best
	Depth   Depth
}

// Code is a ground of a decision; Engine.Words says it in words.
type Code uint8

// Reason is why, in numbers: to write it down costs nothing.
type Reason struct {
	Code   Code
	Here   float32       // dBm, averaged
	Level  float32       // dBm, that was passed, if one was
	Since  time.Duration // for how long
	Other  PointID       // that was looked at, best of all; 0: none
	There  float32       // dBm, averaged
	Age    time.Duration // of its last sighting
	Worth  float32       // dB that it is worth more or less by cost, load and history
	Gain   float32       // dB that it is better in all, when a move there would be over
	Margin float32       // dB that it must be better by
	Accept float32       // dBm that it must have
	Dwell  time.Duration // that Since must be
	Left   time.Duration // in the present cell; less than 0: not known
	Need   time.Duration // what is yet to be prepared takes
	Wanted Depth         // as far as that
}

// Move is a change of the point of attachment that has come about, by whomever.
type Move struct {
	From, To PointID
	Depth    Depth // as far as its network was prepared
	Chosen   bool  // by the engine
}
