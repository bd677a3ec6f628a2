package virtual

import (
	"time"

	"openmpa/mn/decision"
)

// Counts are what became of a node.
type Counts struct {
	Time     time.Duration // that was simulated
	Attached time.Duration // with a link, whatever it carried

	Moves     int                    // handovers and roams that came about
	Handovers int                    // of them to another network
	ByDepth   [decision.Bind + 1]int // of those, by how far it was prepared
	Alone     int                    // moves that the engine had not chosen: the link was gone
	Failed    int                    // moves to a point that carried nothing when the node came
	PingPong  int                    // moves back to where the node was, within World.Within
	// Needless are moves to a point that the node left again for the one before (ping-pong), or within World.Short, while the one
	// before was at Serves or above all the time.
	Needless int
	Returns  int // handovers to a network that was held

	Drops     int           // times without service of World.Drop or longer
	Avoidable int           // of them with another point at Serves or above
	Below     time.Duration // attached, and the signal below Lost
	Out       time.Duration // attached nowhere
	Without   time.Duration // Below and Out while another point was at Serves or above
	// Late is how long after moves nothing was carried, since the network was not prepared as far as a tunnel: the switch, and what
	// had yet to be done.
	Late time.Duration
	Away time.Duration // without a link in moves; of those prepared to a tunnel packets wait and are not lost

	Prepared [decision.Bind + 1]int // preparations that ended, by the greatest depth
	Vain     [decision.Bind + 1]int // of them those that no move used
	Stood    time.Duration          // preparations stood, all together
	Scans    int
}

// Preparations is how many there were.
func (c *Counts) Preparations() (all, vain int) {
	for d := range c.Prepared {
		all, vain = all+c.Prepared[d], vain+c.Vain[d]
	}
	return all, vain
}

// Outage is all the time in which nothing was carried.
func (c *Counts) Outage() time.Duration { return c.Below + c.Out + c.Late }

// Add adds those of another node.
func (c *Counts) Add(o *Counts) {
	c.Time += o.Time
	c.Attached += o.Attached
	c.Moves += o.Moves
	c.Handovers += o.Handovers
	c.Alone += o.Alone
	c.Failed += o.Failed
	c.PingPong += o.PingPong
	c.Needless += o.Needless
	c.Returns += o.Returns
	c.Drops += o.Drops
	c.Avoidable += o.Avoidable
	c.Below += o.Below
	c.Out += o.Out
	c.Without += o.Without
	c.Late += o.Late
	c.Away += o.Away
	c.Stood += o.Stood
	c.Scans += o.Scans
	for d := range c.Prepared {
		c.ByDepth[d] += o.ByDepth[d]
		c.Prepared[d] += o.Prepared[d]
		c.Vain[d] += o.Vain[d]
	}
}
