package mn

import (
	"context"
	"maps"
	"time"

	"openmpa/internal/event"
	"openmpa/mn/decision"
)

// Wanted is a network that is to be prepared, as far as Depth (RFC 6252 appendix C.4).
type Wanted struct {
	Network string
	Depth   decision.Depth
}

// Standing is a network of which the node has something.
type Standing struct {
	Network string
	Depth   decision.Depth
	Held    bool          // the node was there
	Until   time.Time     // then it is given back, unless it is wanted meanwhile
	RTT     time.Duration // to its router, from here; 0: not known
}

// Preparations count, by the name of a depth.
type Preparations struct {
	Prepared map[string]uint64 `json:"prepared"` // stands that have come so far
	Used     map[string]uint64 `json:"used"`     // moves to what stood so far
	Vain     map[string]uint64 `json:"vain"`     // stands that had come so far and were given back, but those the node was at before
}

// ladder is which networks are wanted how deep. Its fields but wake are guarded by Node.mu.
type ladder struct {
	wake   chan struct{} // the set, or what is wanted, has changed
	want   []Wanted
	rests  map[string]rest    // networks that could not be prepared
	moving string             // the network of which whoever has the turn sees to what stands; empty: none
	left   string             // likewise the one that was left just now, of which something may be kept
	busy   context.CancelFunc // of what has the turn to bind in the background; nil: nothing
	counts Preparations
}

// rest is for how long what has failed is not tried again.
type rest struct {
	until time.Time
	pause time.Duration
}

func newLadder() ladder {
	return ladder{
		wake: make(chan struct{}, 1), rests: map[string]rest{},
		counts: Preparations{Prepared: map[string]uint64{}, Used: map[string]uint64{}, Vain: map[string]uint64{}},
	}
}

// Want says which networks are to stand by, and how deep, in the place of what was wanted before; the
// likeliest first. It does not wait: what is missing is prepared in the background, several at once, and
// what is not wanted any more is given back, unless a person has asked for it, or it is held. What is
// wanted stands for Timers.Prepared from the last Want that names it. One network only is bound: the first
// that is wanted so deep. More than there is room for are left out, and so is everything while the
// configuration says to break before make.
func (n *Node) Want(list []Wanted) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closing || !n.cfg.Prepare {
		return
	}
	var want []Wanted
	depths := map[string]decision.Depth{}
	bound := false
	for _, w := range list {
		if _, twice := depths[w.Network]; twice || w.Depth == decision.None || w.Depth > decision.Bind || len(want) == mostStanding {
			continue
		}
		if w.Depth == decision.Bind {
			if bound {
				w.Depth = decision.Tunnel
			}
			bound = true
		}
		depths[w.Network] = w.Depth
		want = append(want, w)
	}
	changed := len(want) != len(n.ladder.want)
	for i := range want {
		changed = changed || want[i] != n.ladder.want[i]
	}
	n.ladder.want = want
	until := time.Now().Add(n.cfg.Timers.Prepared)
	for _, st := range n.stands {
		if st.want = depths[st.net]; st.want != decision.None && st.until.Before(until) {
			st.until = until
		}
	}
	if changed {
		poke(n.ladder.wake)
	}
}

// unboundHere has nothing be bound, where the node has just come, before that is wanted anew: it was for a move from
// elsewhere. The caller holds n.mu.
func (n *Node) unboundHere() {
	for i, w := range n.ladder.want {
		n.ladder.want[i].Depth = min(w.Depth, decision.Tunnel)
	}
	for _, st := range n.stands {
		st.want = min(st.want, decision.Tunnel)
	}
}

// Standing is what the node has of other networks than the one that serves, the deepest first.
func (n *Node) Standing() (list []Standing) {
	var sessions []*session
	n.mu.Lock()
	for _, st := range n.sorted() {
		if st.depth == decision.None || st.c == nil {
			continue
		}
		list = append(list, Standing{Network: st.net, Depth: st.depth, Held: st.held, Until: st.until})
		sessions = append(sessions, st.c.session.Load())
	}
	n.mu.Unlock()
	for i, s := range sessions { // whose goroutine may want Node.mu
		if s != nil {
			list[i].RTT = s.rtt()
		}
	}
	return list
}

// Preparations are the counters.
func (n *Node) Preparations() Preparations {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.ladder.counts
	return Preparations{Prepared: maps.Clone(c.Prepared), Used: maps.Clone(c.Used), Vain: maps.Clone(c.Vain)}
}

// reached notes that st has come to a depth.
func (n *Node) reached(st *stand, d decision.Depth) {
	n.mu.Lock()
	defer n.mu.Unlock()
	st.depth = d
	n.ladder.counts.Prepared[d.String()]++
}

// movedWith notes that the node has moved to st, which stood at that depth.
func (n *Node) movedWith(d decision.Depth) {
	if d == decision.None {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ladder.counts.Used[d.String()]++
}

// keepStanding has what is wanted stand, and no more, until the node is about to end. One goroutine runs it.
func (n *Node) keepStanding() {
	ctx, cancel := context.WithCancel(n.ctx)
	defer cancel()
	go func() {
		select {
		case <-n.ending:
			cancel()
		case <-ctx.Done():
		}
	}()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if next := n.reconcile(ctx); next > 0 {
			timer.Reset(next)
		} else {
			timer.Stop()
		}
		select {
		case <-ctx.Done():
			return
		case <-n.ladder.wake:
		case <-timer.C:
		}
	}
}

// reconcile does what is next, and says when to look again; 0: when it is told to. While the link is
// elsewhere, or down, nothing can be given back in order, and what stands may be what the node arrives at.
func (n *Node) reconcile(ctx context.Context) (next time.Duration) {
	n.mu.Lock()
	old := n.serving
	idle := len(n.stands) == 0 && len(n.ladder.want) == 0 && n.spread == nil
	n.mu.Unlock()
	if idle || old == nil || old.address == nil || n.away.Load() || ctx.Err() != nil {
		return 0
	}
	since := old.port.carrier.look()
	todo := n.due(old)
	if len(todo.back) == 0 && len(todo.climb) == 0 && !todo.rebind && !todo.spread {
		return todo.next
	}
	if since.known && !since.Up || old.port.awayFrom(ctx, old.net.Name) {
		return retryFirst // its return is told, mostly
	}
	if todo.spread && !n.respread(ctx) {
		return againSpread
	}
	for _, st := range todo.back {
		n.relinquish(st)
	}
	for _, st := range todo.climb {
		n.climb(old, st, since)
	}
	if todo.rebind && !n.rebind(ctx) {
		return retryFirst // the end of the turn is told, too
	}
	return todo.next
}

// agenda is what is due.
type agenda struct {
	back   []*stand // to be given back, or a part of it
	climb  []*stand // not as deep as wanted
	spread bool     // packets come to another place than they are to, beside the one that serves
	rebind bool     // the binding is not where it is wanted
	next   time.Duration
}

// goal is how deep st is to stand.
func (st *stand) goal() decision.Depth {
	goal := max(st.want, st.asked)
	if st.held {
		goal = max(goal, decision.Tunnel)
	}
	return goal
}

// end is when its time is over.
func (st *stand) end() time.Time {
	if st.c != nil && st.c.address != nil {
		if at := st.c.address.lease.Load().expires(); at.Before(st.until) { // its router renews nothing
			return at
		}
	}
	return st.until
}

// due compares what stands with what is wanted, while old serves.
func (n *Node) due(old *candidate) (a agenda) {
	now := time.Now()
	soon := func(at time.Time) {
		if d := max(at.Sub(now), time.Millisecond); a.next == 0 || d < a.next {
			a.next = d
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, w := range n.ladder.want {
		if st := n.stands[w.Network]; st != nil {
			st.want = w.Depth
			continue
		}
		if w.Network == old.net.Name || w.Network == n.ladder.moving || w.Network == n.ladder.left {
			continue
		}
		if until := n.ladder.rests[w.Network].until; now.Before(until) {
			soon(until)
			continue
		}
		if len(n.stands) >= mostStanding {
			if h := n.dispensable(); h != nil {
				a.back = append(a.back, h)
			}
			break // until that is given back
		}
		id, err := event.NewHandoverID(n.cfg.Rand)
		if err != nil {
			n.cfg.Log.Error("nothing is prepared", "err", err)
			break
		}
		n.stands[w.Network] = &stand{id: id, net: w.Network, want: w.Depth, until: now.Add(n.cfg.Timers.Prepared)}
	}
	for _, st := range n.stands {
		if st.job != nil {
			continue // its end is told
		}
		goal := st.goal()
		bound := st.c != nil && st.c.bindTried
		if goal < decision.Bind && !bound { // one that was complete where the previous router holds
			st.depth = min(st.depth, decision.Tunnel)
		}
		switch rests := n.ladder.rests[st.net].until; {
		case st.c == nil && goal == decision.None:
			delete(n.stands, st.net)
		case st.c != nil && st.spent() != "" || goal == decision.None:
			if !bound {
				a.back = append(a.back, st)
			}
		case st.depth == decision.Tunnel && goal < decision.Tunnel && !bound:
			a.back = append(a.back, st)
		case st.depth >= min(goal, decision.Tunnel):
			soon(st.end())
		case now.Before(rests):
			soon(rests)
		default:
			a.climb = append(a.climb, st)
		}
	}
	from, to := n.misbound()
	a.rebind, a.spread = from != nil || to != nil, n.spreads()
	return a
}

// misbound says which stand has the binding, or may have it, and is not to; and which is to have it, and
// has not. The caller holds n.mu.
func (n *Node) misbound() (from, to *stand) {
	asked := false
	for _, st := range n.sorted() {
		if st.job != nil || st.c == nil {
			continue
		}
		wanted := st.goal() == decision.Bind && st.spent() == ""
		asked = asked || st.asked == decision.Bind && wanted
		switch {
		case st.c.bindTried && !wanted:
			from = st
		case wanted && st.depth == decision.Tunnel && !time.Now().Before(n.ladder.rests[st.net].until):
			to = st
		}
	}
	if asked && to != nil && to.asked != decision.Bind { // a person's wish stands until its time is over
		to = nil
	}
	return from, to
}

// dispensable is what is given back where room is needed: of those that are held, the one whose time is over first;
// nil: none is. The caller holds n.mu.
func (n *Node) dispensable() (first *stand) {
	for _, st := range n.stands {
		if st.held && st.want == decision.None && st.job == nil && st.c != nil && !st.c.bindTried && (first == nil || st.until.Before(first.until)) {
			first = st
		}
	}
	return first
}

// StandingStatus is a network of which the node has something.
type StandingStatus struct {
	Network string  `json:"network"`
	Depth   string  `json:"depth"` // none while its first step goes on
	Wanted  string  `json:"wanted"`
	Held    bool    `json:"held"`
	Address string  `json:"address,omitempty"` // care-of
	Left    float64 `json:"left_s"`            // until it is given back, seconds
}

// standing is st's status; the caller holds n.mu.
func (st *stand) standing() StandingStatus {
	s := StandingStatus{Network: st.net, Depth: st.depth.String(), Wanted: st.goal().String(), Held: st.held}
	if st.depth >= decision.Configure {
		s.Address = st.c.address.prefix().String()
	}
	s.Left = max(0, time.Until(st.until).Round(100*time.Millisecond).Seconds())
	return s
}
