package flow

import "time"

const (
	// maxStages bounds how many changes of path a Gate follows at once; a further
	// one opens the oldest.
	maxStages = 8
	// maxEarly bounds how many markers that came before their Arm are remembered.
	maxEarly = 8
	// mostWaits bounds how long packets wait for a path that carries others all the time, and
	// no marker: so many times what they would wait for a silent one.
	mostWaits = 10
)

// GateStats counts packets. In == Delivered + Queued + the sum of Dropped.
type GateStats struct {
	In         uint64            `json:"in"`          // came, by any path
	Delivered  uint64            `json:"delivered"`   // let through at once, or given out by Next
	Queued     uint64            `json:"queued"`      // held now
	Dropped    map[Reason]uint64 `json:"dropped"`     // reasons that occurred
	Held       uint64            `json:"held"`        // were ever held
	HighWater  int               `json:"high_water"`  // most held at a time
	Armed      uint64            `json:"armed"`       // changes of path
	ByMarker   uint64            `json:"by_marker"`   // gates opened by their marker
	ByDeadline uint64            `json:"by_deadline"` // gates opened because the marker did not come in time
	ByLimit    uint64            `json:"by_limit"`    // gates opened because the buffer was full, or too many were armed
	Late       uint64            `json:"late"`        // packets that came by an old path when no gate waited for it
}

// stage is one path: what came by it and waits. The first stage of a Gate is
// open, the others wait for the end of the path before them.
type stage struct {
	token    uint64
	wait     time.Duration
	deadline time.Time // zero: nothing waits for it yet
	latest   time.Time // how far packets of the path before may put off the deadline
	open     bool
	queue    fifo
}

// Gate puts the packets of an old path before those of the new one; doc.go draws
// it. It has no lock.
type Gate struct {
	limits Limits // fixed after NewGate

	// owner
	stages []stage // [0] is open; the last is the newest path
	spare  []fifo  // memory of stages gone
	pool   pool
	queued int
	bytes  int
	early  [maxEarly]uint64 // markers not armed yet, a ring
	earlyN uint64           // markers ever put into early

	in, delivered, held, armed          uint64
	byMarker, byDeadline, byLimit, late uint64
	highWater                           int
	drops                               drops
}

// NewGate makes a gate that is open: it lets everything through until armed.
// When limits are reached the gate opens instead of losing packets; Limits.Bytes may be
// exceeded by one packet for that. Limits.MaxAge is not used.
func NewGate(l Limits) *Gate {
	g := &Gate{limits: l, pool: pool{most: l.Packets}, stages: make([]stage, 0, maxStages+1)}
	g.stages = append(g.stages, stage{open: true})
	return g
}

// Arm announces a change of path: what comes by New from here on is held until
// the marker with this token came by the old path, or nothing has for as long as wait since
// the first packet by the new one: while the old path still carries packets its marker is
// behind them, as behind those that a router has held. Tokens must differ from each other. A marker that came
// before its Arm counts. Arming while a gate is still closed makes the new path
// of that one the old path of this one.
func (g *Gate) Arm(_ time.Time, token uint64, wait time.Duration) {
	g.armed++
	g.collapse()
	if len(g.stages) > maxStages {
		if !g.stages[1].open {
			g.byLimit++
		}
		g.merge()
	}
	s := stage{token: token, wait: wait, queue: g.memory()}
	if g.takeEarly(token) {
		s.open = true
		g.byMarker++
	}
	g.stages = append(g.stages, s)
	g.collapse()
}

// Armed says whether the newest path is held back.
func (g *Gate) Armed() bool { return len(g.stages) > 1 }

// Old takes a packet that came by a path older than the newest. True: the caller
// delivers pkt now. False: it waits behind an older path, or was dropped.
func (g *Gate) Old(now time.Time, pkt []byte) (deliver bool) {
	g.collapse()
	if len(g.stages) == 1 && g.armed > 0 {
		g.late++
	}
	return g.take(now, pkt, max(len(g.stages)-2, 0))
}

// By is Old and New for a caller that knows more than two paths: path is the
// token with which the packet's path was armed, anything else means the path
// before the first. With it the order holds over all paths however quickly
// changes follow each other; Old takes what is older than the previous path for
// the previous path's.
func (g *Gate) By(now time.Time, path uint64, pkt []byte) (deliver bool) {
	g.collapse()
	i := g.index(path)
	if i == 0 && len(g.stages) == 1 && g.armed > 0 && g.stages[0].token != path {
		g.late++
	}
	return g.take(now, pkt, i)
}

// Before takes a packet of the path before the one armed with token, which waits for that path's end. Old takes such a packet
// for the newest path's where the path before it is the newest one again.
func (g *Gate) Before(now time.Time, token uint64, pkt []byte) (deliver bool) {
	g.collapse()
	return g.take(now, pkt, max(g.index(token)-1, 0))
}

// New takes a packet that came by the newest path. True: the caller delivers pkt
// now. False: it was copied and waits, or was dropped.
func (g *Gate) New(now time.Time, pkt []byte) (deliver bool) {
	g.collapse()
	return g.take(now, pkt, len(g.stages)-1)
}

// take delivers or holds a packet of stage i; stages are collapsed.
func (g *Gate) take(now time.Time, pkt []byte, i int) bool {
	g.in++
	for j := range g.stages[i+1:] {
		g.stages[i+1+j].putOff(now)
	}
	if i == 0 && g.stages[0].queue.n == 0 {
		g.delivered++
		return true
	}
	if reason, full := g.full(); full {
		// Only when nothing can be held at all, or the caller did not fetch what
		// was released: what fills the buffer opens the gates, see below.
		g.openAll()
		if len(g.stages) == 1 && g.queued == 0 {
			g.delivered++
			return true
		}
		g.drops.add(reason, 1)
		return false
	}
	g.stages[i].queue.push(entry{buf: g.pool.copyOf(pkt), at: now})
	for j := range g.stages[:i+1] {
		// A path before that never carries a packet must not wait for ever either.
		g.stages[j].expect(now)
	}
	g.queued++
	g.bytes += len(pkt)
	g.held++
	g.highWater = max(g.highWater, g.queued)
	if _, full := g.full(); full {
		g.openAll()
	}
	return false
}

// expect begins the wait for the end of the path before, if that has not begun.
func (s *stage) expect(now time.Time) {
	if s.deadline.IsZero() {
		s.deadline, s.latest = now.Add(s.wait), now.Add(mostWaits*s.wait)
	}
}

// putOff goes on with the wait: the path before is not silent.
func (s *stage) putOff(now time.Time) {
	if s.deadline.IsZero() {
		return
	}
	if s.deadline = now.Add(s.wait); s.deadline.After(s.latest) {
		s.deadline = s.latest
	}
}

// Expect begins to wait for the end of the older paths although nothing came by the newest
// one: they are about to be closed.
func (g *Gate) Expect(now time.Time) {
	for i := 1; i < len(g.stages); i++ {
		g.stages[i].expect(now)
	}
}

// ExpectTo begins the wait for the end of the path before the one armed with token although
// nothing came by that.
func (g *Gate) ExpectTo(now time.Time, token uint64) {
	if i := g.index(token); i > 0 {
		g.stages[i].expect(now)
	}
}

// Waits says whether the path armed with token waits for the end of the one before.
func (g *Gate) Waits(token uint64) bool {
	i := g.index(token)
	return i > 0 && !g.stages[i].open
}

// index is the place of the stage armed with token; 0 also where there is none any more.
func (g *Gate) index(token uint64) int {
	for i := range g.stages {
		if g.stages[i].token == token {
			return i
		}
	}
	return 0
}

func (g *Gate) full() (Reason, bool) {
	if g.queued >= g.limits.Packets {
		return ReasonPackets, true
	}
	if g.limits.Bytes > 0 && g.bytes >= g.limits.Bytes {
		return ReasonBytes, true
	}
	return "", false
}

// openAll opens every gate because of the limits.
func (g *Gate) openAll() {
	for i := range g.stages {
		if !g.stages[i].open {
			g.stages[i].open = true
			g.byLimit++
		}
	}
	g.collapse()
}

// Marker takes a marker that came by an old path, in line with its packets, and
// returns whether a gate was waiting for it. One that nobody waits for yet is
// remembered for Arm. The caller fetches with Next what it released.
func (g *Gate) Marker(_ time.Time, token uint64) bool {
	if i := g.index(token); i > 0 {
		if !g.stages[i].open {
			g.stages[i].open = true
			g.byMarker++
		}
		g.collapse()
		return true
	}
	g.early[g.earlyN%maxEarly] = token
	g.earlyN++
	return false
}

// takeEarly removes token from the markers that came early, if it is there.
func (g *Gate) takeEarly(token uint64) bool {
	n := min(g.earlyN, maxEarly)
	for i := range n {
		if g.early[i] != token {
			continue
		}
		g.earlyN = n - 1
		g.early[i] = g.early[n-1]
		return true
	}
	return false
}

// Deadline returns when OnDeadline is to be called, if at all.
func (g *Gate) Deadline() (at time.Time, ok bool) {
	for i := range g.stages {
		s := &g.stages[i]
		if s.open || s.deadline.IsZero() {
			continue
		}
		if !ok || s.deadline.Before(at) {
			at, ok = s.deadline, true
		}
	}
	return at, ok
}

// OnDeadline opens the gates whose marker did not come in time. The caller
// fetches with Next what that released.
func (g *Gate) OnDeadline(now time.Time) {
	for i := range g.stages {
		s := &g.stages[i]
		if !s.open && !s.deadline.IsZero() && !now.Before(s.deadline) {
			s.open = true
			g.byDeadline++
		}
	}
	g.collapse()
}

// Next gives the next packet that was held and may go on; the caller delivers it
// before anything else of this gate, and then gives the buffer back with Recycle.
func (g *Gate) Next() (pkt []byte, ok bool) {
	g.collapse()
	if g.stages[0].queue.n == 0 {
		return nil, false
	}
	pkt = g.stages[0].queue.pop()
	g.queued--
	g.bytes -= len(pkt)
	g.delivered++
	g.collapse()
	return pkt, true
}

// Recycle takes back a packet that Next gave, once, when it has been delivered.
func (g *Gate) Recycle(pkt []byte) { g.pool.put(pkt) }

// Release drops what is held as "released" and opens the gate: nobody is there
// to deliver to any more.
func (g *Gate) Release() {
	g.drops.add(ReasonReleased, uint64(g.queued))
	g.stages = append(g.stages[:0], stage{open: true})
	g.spare, g.pool.free = nil, nil
	g.queued, g.bytes, g.earlyN = 0, 0, 0
}

// collapse removes paths that are over: all their packets gone, and the next one open.
func (g *Gate) collapse() {
	for len(g.stages) > 1 && g.stages[1].open && g.stages[0].queue.n == 0 {
		g.drop(0)
	}
}

// merge joins the second stage to the first, whether it is open or not.
func (g *Gate) merge() {
	q := &g.stages[1].queue
	for q.n > 0 {
		e := *q.first()
		q.pop()
		g.stages[0].queue.push(e)
	}
	g.drop(1)
}

// drop removes an empty stage and keeps its memory: stages and spare together
// are never more than maxStages+1.
func (g *Gate) drop(i int) {
	g.spare = append(g.spare, g.stages[i].queue)
	g.stages = append(g.stages[:i], g.stages[i+1:]...)
}

// memory returns an empty queue, a used one if there is one.
func (g *Gate) memory() fifo {
	n := len(g.spare)
	if n == 0 {
		return fifo{}
	}
	q := g.spare[n-1]
	g.spare = g.spare[:n-1]
	return q
}

// Stats returns the counters; it allocates.
func (g *Gate) Stats() GateStats {
	return GateStats{
		In: g.in, Delivered: g.delivered, Queued: uint64(g.queued), Dropped: g.drops.report(),
		Held: g.held, HighWater: g.highWater, Armed: g.armed,
		ByMarker: g.byMarker, ByDeadline: g.byDeadline, ByLimit: g.byLimit, Late: g.late,
	}
}
