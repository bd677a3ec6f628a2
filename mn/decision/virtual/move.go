package virtual

import (
	"time"

	"openmpa/mn/decision"
)

// depart begins a move.
func (n *Node) depart(a *Air, d *decision.Decision, chosen bool) {
	target := n.world.NetworkOf(d.To)
	depth := n.depth(target)
	if target == n.world.NetworkOf(n.here) {
		depth = decision.Bind // what it has there is good for all points of it
	}
	n.move = Moving{Move: decision.Move{From: n.here, To: d.To, Depth: depth, Chosen: chosen}}
	n.why = *d
	n.why.Ladder = nil
	n.began = a.At
	n.until = a.At + n.long(n.world.takes[target].Switch)
	if n.late > a.At { // what had yet to be done here is not done any more
		n.counts.Late -= n.late - a.At
		n.late = a.At
	}
	n.phase = moving
}

// arrive ends a move: at its point, or where it was, or nowhere.
func (n *Node) arrive(a *Air) {
	m := n.move
	m.At, m.Signal = a.At, heard(a.Heard, m.To)
	from, to := n.world.NetworkOf(m.From), n.world.NetworkOf(m.To)
	took := a.At - n.began
	if m.Failed = m.Signal < n.world.Lost; m.Failed {
		n.counts.Failed++
		if n.phase = nowhere; heard(a.Heard, m.From) >= n.world.Lost {
			n.phase = attached
		}
		n.isMute, n.since = false, a.At
		n.eng.Failed(a.At, n.why)
		n.log(m)
		return
	}
	n.leave(a.At, m)
	n.eng.Took(a.At, to, decision.None, took, true)
	if m.From != 0 {
		n.count(a.At, m, took)
	}
	if from != to {
		n.settle(a.At, from, to)
	}
	n.phase, n.before, n.beforeGood = attached, m.From, true
	n.here, n.since, n.isMute = m.To, a.At, false
	n.learn(m.From, m.To)
	n.eng.Moved(a.At, m.Move)
	n.log(m)
}

// count counts a move from one point to another.
func (n *Node) count(now time.Duration, m Moving, took time.Duration) {
	n.counts.Moves++
	if !m.Chosen {
		n.counts.Alone++
	}
	to := n.world.NetworkOf(m.To)
	if to == n.world.NetworkOf(m.From) {
		return
	}
	n.counts.Handovers++
	n.counts.ByDepth[m.Depth]++
	if m.Depth < decision.Tunnel {
		late := n.long(n.world.takes[to].To(m.Depth, decision.Bind))
		n.late = now + late
		n.counts.Late += took + late
	}
}

func (n *Node) log(m Moving) {
	if n.Log != nil {
		n.Log(m)
	}
}

// leave judges the stay that ends.
func (n *Node) leave(now time.Duration, m Moving) {
	stay := now - n.since
	switch {
	case n.before == 0 || m.From == 0:
	case m.To == n.before && stay <= n.world.Within:
		n.counts.PingPong++
		n.counts.Needless++
	case stay < n.world.Short && n.beforeGood:
		n.counts.Needless++
	}
}

// learn counts a move from one point to another, and has the engine told what comes after the present one.
func (n *Node) learn(from, to decision.PointID) {
	if n.followed == nil {
		return
	}
	row := len(n.points) + 1
	if from != 0 && n.followed[int(from)*row+int(to)] < 1<<15 {
		n.followed[int(from)*row+int(to)]++
	}
	sum := 0
	next := n.followed[int(to)*row : (int(to)+1)*row]
	for _, c := range next {
		sum += int(c)
	}
	for i := range n.points {
		if n.points[i].Follows = -1; sum > 0 {
			n.points[i].Follows = float32(next[i+1]) / float32(sum)
		}
	}
	// What was right at the beginning is right with another history.
	_ = n.eng.Know(n.world.Networks, n.points)
}

// judge counts what the time since the last step was like, from the first attachment on.
func (n *Node) judge(a *Air, took time.Duration, carries bool) {
	if n.phase == moving || n.here == 0 {
		return
	}
	if n.phase == attached && n.beforeGood && n.before != 0 && heard(a.Heard, n.before) < n.world.Serves {
		n.beforeGood = false
	}
	if carries {
		if n.wet += took; n.wet >= n.world.Drop {
			n.dry, n.dropped = 0, false
		}
		return
	}
	other := false
	for i := range a.Heard {
		if a.Heard[i].Signal >= n.world.Serves && a.Heard[i].Point != n.here {
			other = true
		}
	}
	n.wet = 0
	n.dry += took
	if n.phase == attached {
		n.counts.Below += took
	} else {
		n.counts.Out += took
	}
	if other {
		n.counts.Without += took
	}
	if n.dry >= n.world.Drop && !n.dropped {
		n.dropped = true
		n.counts.Drops++
		if other {
			n.counts.Avoidable++
		}
	}
}
