package virtual

import (
	"time"

	"openmpa/mn/decision"
)

// mostStands bounds what stands at once, what is held included.
const mostStands = 16

// stand is a network that is prepared, or held.
type stand struct {
	network decision.NetworkID
	depth   decision.Depth // that it has
	wanted  decision.Depth // that it is to have
	most    decision.Depth // that it had
	held    bool
	until   time.Duration // while held

	busy  bool          // the next step is under way
	began time.Duration // it did
	ends  time.Duration // it does
}

func (n *Node) find(id decision.NetworkID) int {
	for i := range n.stands {
		if n.stands[i].network == id {
			return i
		}
	}
	return -1
}

// depth is how far a network stands.
func (n *Node) depth(id decision.NetworkID) decision.Depth {
	if i := n.find(id); i >= 0 {
		return n.stands[i].depth
	}
	return decision.None
}

// want has networks be prepared as a ladder says, and one as far as a move needs it; what is not wanted is given back.
func (n *Node) want(now time.Duration, ladder []decision.Rung, ahead decision.NetworkID) {
	for i := range n.stands {
		n.stands[i].wanted = decision.None
	}
	bound := ahead != 0 // one network only is bound to
	if bound {
		n.wish(ahead, decision.Bind)
	}
	for _, r := range ladder {
		if r.Network == ahead {
			continue
		}
		depth := r.Depth
		if depth >= decision.Bind {
			if bound {
				depth = decision.Tunnel
			}
			bound = true
		}
		n.wish(r.Network, depth)
	}
	for i := len(n.stands) - 1; i >= 0; i-- {
		s := &n.stands[i]
		switch {
		case s.held && s.wanted > s.depth: // it is prepared from there on
			s.held, n.staleLadder = false, true
		case s.held:
			if now >= s.until {
				n.drop(i, false)
			}
			continue
		case s.wanted == decision.None:
			n.drop(i, false)
			continue
		case s.depth > s.wanted:
			s.depth, n.staleLadder = s.wanted, true
		}
		switch {
		case s.wanted <= s.depth:
			s.busy = false
		case !s.busy:
			n.begin(now, s)
		}
	}
}

// wish notes that a network is wanted so deep.
func (n *Node) wish(id decision.NetworkID, depth decision.Depth) {
	if id == 0 || int(id) >= len(n.world.most) || n.phase == attached && id == n.world.NetworkOf(n.here) {
		return
	}
	depth = min(depth, n.world.most[id])
	if depth == decision.None {
		return
	}
	i := n.find(id)
	if i < 0 {
		if len(n.stands) == mostStands {
			return
		}
		n.stands = append(n.stands, stand{network: id})
		i, n.staleLadder = len(n.stands)-1, true
	}
	n.stands[i].wanted = depth
}

// begin begins the next step.
func (n *Node) begin(now time.Duration, s *stand) {
	s.busy, s.began = true, now
	s.ends = now + n.long(n.world.takes[s.network].To(s.depth, s.depth+1))
}

// long is how long something takes, of what it takes on average.
func (n *Node) long(d time.Duration) time.Duration {
	if n.world.Jitter == 0 {
		return d
	}
	return time.Duration(float64(d) * (1 + float64(n.world.Jitter)*(2*n.dice.Float64()-1)))
}

// raise has steps end that were under way. While nothing is carried, or what is here has yet to be set up, they stand still.
func (n *Node) raise(now, took time.Duration, carries bool) {
	for i := range n.stands {
		s := &n.stands[i]
		if !s.held || s.busy {
			n.counts.Stood += took
		}
		if !s.busy {
			continue
		}
		if !carries || now-took < n.late {
			s.ends += took
			continue
		}
		for s.busy && s.ends <= now {
			s.depth++
			s.most, n.staleLadder = max(s.most, s.depth), true
			n.eng.Took(now, s.network, s.depth, s.ends-s.began, true)
			if s.busy = s.depth < s.wanted; s.busy {
				n.begin(s.ends, s)
			}
		}
	}
}

// settle has the network of a move's end be no preparation any more, and the one of its beginning be held.
func (n *Node) settle(now time.Duration, from, to decision.NetworkID) {
	if i := n.find(to); i >= 0 {
		if n.stands[i].held {
			n.counts.Returns++
		}
		n.drop(i, true)
	}
	for i := range n.stands {
		if s := &n.stands[i]; s.depth == decision.Bind {
			s.depth, n.staleLadder = decision.Tunnel, true
		}
	}
	if from == 0 || n.world.Hold == 0 || n.find(from) >= 0 || len(n.stands) == mostStands {
		return
	}
	held := min(decision.Tunnel, n.world.most[from])
	if held == decision.None {
		return
	}
	n.stands = append(n.stands, stand{network: from, depth: held, held: true, until: now + n.world.Hold})
	n.staleLadder = true
}

// drop takes a network out of what stands.
func (n *Node) drop(i int, used bool) {
	s := n.stands[i]
	if !s.held && (s.most > decision.None || s.busy) {
		n.counts.Prepared[s.most]++
		if !used {
			n.counts.Vain[s.most]++
		}
	}
	n.stands = append(n.stands[:i], n.stands[i+1:]...)
	n.staleLadder = true
}

// tell writes down what stands, as the engine sees it.
func (n *Node) tell() {
	n.told = n.told[:0]
	for _, s := range n.stands {
		if s.depth > decision.None {
			n.told = append(n.told, decision.Standing{Network: s.network, Depth: s.depth, Held: s.held})
		}
	}
	n.staleLadder = false
}
