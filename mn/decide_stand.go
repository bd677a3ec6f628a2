package mn

import (
	"time"

	"openmpa/mn/decision"
)

// Wanted is a network that is to be prepared, and how far.
type Wanted struct {
	Network string
	Depth   decision.Depth
}

// Standing is how far a network is prepared.
type Standing struct {
	Network string
	Depth   decision.Depth
	Held    bool // left over from when the node was there
	Until   time.Time
	RTT     time.Duration // to its router; 0: not known
}

// Want prepares the first of a list, in the background.
func (n *Node) Want(list []Wanted) {
	for _, w := range list {
		if w.Depth < decision.Tunnel {
			continue
		}
		n.mu.Lock()
		stands := n.kept.usable(w.Network)
		n.mu.Unlock()
		if !stands {
			_, _ = n.Prepare(w.Network)
		}
		return
	}
}

// Standing returns what is prepared.
func (n *Node) Standing() []Standing {
	n.mu.Lock()
	defer n.mu.Unlock()
	if k := n.kept; k != nil && k.usable(k.c.net.Name) {
		return []Standing{{Network: k.c.net.Name, Depth: decision.Bind, Until: k.until}}
	}
	return nil
}

// HandoverNow is Handover.
func (n *Node) HandoverNow(network string) (*Handover, error) { return n.Handover(network) }

// SetBoth does nothing yet.
func (n *Node) SetBoth(bool) {}
