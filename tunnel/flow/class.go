package flow

import "fmt"

// Handling is what a move means for the packets of a class.
type Handling uint8

// The handlings.
const (
	HandleHold   Handling = iota // held while the node is away: bulk
	HandleBicast                 // sent to both places around the move, else as held: voice
	HandlePass                   // neither: dropped while the node is away
)

// String names the handling.
func (h Handling) String() string {
	switch h {
	case HandleHold:
		return "hold"
	case HandleBicast:
		return "bicast"
	case HandlePass:
		return "pass"
	}
	return fmt.Sprintf("Handling(%d)", uint8(h))
}

// Class is a class of traffic.
type Class struct {
	Name     string
	DSCP     []uint8 // 0 to 63; the last class has none: it takes the rest
	Handling Handling
	Limits   Limits // of what is held; MaxAge: a packet older than that is worthless
	Copies   Limits // of the copies kept against a cut
}

const numDSCP = 64

// Classes sorts packets into classes, in the order of their priority.
type Classes struct {
	list []Class
	of   [numDSCP]uint8
}

// NewClasses checks the classes of a policy. The first one goes out first.
func NewClasses(list ...Class) (*Classes, error) {
	if len(list) == 0 || len(list) > MaxReceipts { // what a node has come is told of in one message
		return nil, fmt.Errorf("flow: %d classes of traffic, expected 1 to %d", len(list), MaxReceipts)
	}
	c := &Classes{list: list}
	rest := uint8(len(list) - 1)
	for i := range c.of {
		c.of[i] = rest
	}
	for i, class := range list {
		switch {
		case uint8(i) == rest && len(class.DSCP) > 0:
			return nil, fmt.Errorf("flow: the last class of traffic, %q, takes the rest: give it no DSCP, or add a class behind it", class.Name)
		case uint8(i) < rest && len(class.DSCP) == 0:
			return nil, fmt.Errorf("flow: class of traffic %q has no DSCP: only the last one takes the rest", class.Name)
		case class.Handling > HandlePass:
			return nil, fmt.Errorf("flow: class of traffic %q: %v is not known", class.Name, class.Handling)
		}
		for _, d := range class.DSCP {
			if d >= numDSCP {
				return nil, fmt.Errorf("flow: class of traffic %q: DSCP %d, expected 0 to %d", class.Name, d, numDSCP-1)
			}
			if c.of[d] != rest {
				return nil, fmt.Errorf("flow: DSCP %d belongs to the classes %q and %q", d, list[c.of[d]].Name, class.Name)
			}
			c.of[d] = uint8(i)
		}
	}
	return c, nil
}

// Of returns the class of an IP packet, of either version; that of anything else is the last.
func (c *Classes) Of(pkt []byte) int {
	rest := len(c.list) - 1
	if len(pkt) < 20 {
		return rest
	}
	switch pkt[0] >> 4 {
	case 4:
		return int(c.of[pkt[1]>>2])
	case 6:
		return int(c.of[(pkt[0]&0x0F)<<2|pkt[1]>>6])
	}
	return rest
}

// Len is how many classes there are.
func (c *Classes) Len() int { return len(c.list) }

// Name is the name of a class.
func (c *Classes) Name(i int) string { return c.list[i].Name }
