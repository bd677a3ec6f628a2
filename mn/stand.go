package mn

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"openmpa/internal/event"
	"openmpa/mn/decision"
)

// stand is another network than the one that serves, of which the node has something: it is
// prepared, as far as depth, or held since the node has left it. A move there takes it as it is.
//
//	none --> authenticate --> configure --> tunnel --> bind      by a climb, in the background, and by Prepare
//	 ^                                                   |
//	 +---- given back: not wanted, its time is over, <---+
//	       its session has ended, room is needed
//
// Many stand at once, and one of them is bound at most.
type stand struct {
	id   event.HandoverID // of its preparation, and of the move that takes it
	net  string
	span *event.Span // of the whole handover, from when that began: by a person's wish or a move; nil: it has not
	held bool        // the node was there: it is kept for a return

	// guarded by Node.mu while it is in the set; then of whoever has taken it
	c        *candidate // nil: there is nothing yet
	depth    decision.Depth
	want     decision.Depth // as far as it is wanted, see Node.Want
	asked    decision.Depth // for by a person
	wished   bool           // that was complete, for the move to come
	until    time.Time      // then it is given back
	departed bool           // the node has told its router to hold, and the link did not get there
	tried    bool           // an attachment elsewhere has failed, for which it was kept; it may be in the way
	back     bool           // whoever has taken it has put it back
	job      *job           // what goes on with it; nil: nothing
}

// job is what goes on with a stand in the background.
type job struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// mostStanding is how many networks stand at once: with the one that serves, and one that nobody
// has foreseen, they have a slot each.
const mostStanding = slots - 2

// usable says that a move may begin with it. It is not asked while something goes on with it.
func (st *stand) usable() bool { return st != nil && st.spent() == "" }

// spent says why it is of no use any more, empty if it is.
func (st *stand) spent() string {
	now := time.Now()
	switch {
	case st.c == nil:
		return "there is nothing of it"
	case st.c.session.Load().ended() != nil:
		return "the session with its router has ended: " + st.c.session.Load().reason.Error()
	case st.c.asking:
		return "what its router has leased is not known"
	case st.c.vanished.Load():
		return "its router does not answer, and the one that serves does"
	case st.c.voided.Load() != nil:
		return "its address is void: " + (*st.c.voided.Load()).Error()
	case !now.Before(st.until):
		return "its time is over"
	case st.c.address != nil && !now.Before(st.c.address.lease.Load().expires()): // its router renews nothing
		return "its lease is over"
	}
	return ""
}

// stoodBy returns what is in the set, the deepest first; of the same depth by name.
func (n *Node) stoodBy() (list []*stand) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.sorted()
}

// stoodWhere is those of stoodBy that ok is true of. It is called with n.mu held: what is looked at may be about to change.
func (n *Node) stoodWhere(ok func(*stand) bool) []*stand {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.DeleteFunc(n.sorted(), func(st *stand) bool { return !ok(st) })
}

// sorted is stoodBy; the caller holds n.mu.
func (n *Node) sorted() (list []*stand) {
	for _, st := range n.stands {
		list = append(list, st)
	}
	slices.SortFunc(list, func(a, b *stand) int { return cmp.Or(cmp.Compare(b.depth, a.depth), cmp.Compare(a.net, b.net)) })
	return list
}

// stoodStill ends what goes on with them, and returns them; they stay in the set. The caller has the
// turn, and the node is about to leave, or has left: nothing begins again before that is over.
func (n *Node) stoodStill() []*stand {
	list := n.stoodBy()
	for _, st := range list {
		n.halt(st)
	}
	return list
}

// endJobs has what goes on with them come to its end soon, and does not wait for that: the link is up.
func (n *Node) endJobs() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, st := range n.stands {
		if st.job != nil {
			st.job.cancel()
		}
	}
}

// stood looks at what there is of a network; nil: nothing.
func (n *Node) stood(network string) *stand {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stands[network]
}

// complete is the stand that waits for its move with everything there is, nil if none does. The caller
// holds n.mu.
func (n *Node) complete() *stand {
	for _, st := range n.sorted() {
		if st.depth == decision.Bind || st.asked == decision.Bind && st.depth == decision.Tunnel {
			return st
		}
	}
	return nil
}

// foremost is what the node goes on with where it has to leave: of the deepest stand, with a tunnel at least, that may be
// moved to; nil: none. ok says more of it; nil: nothing.
func (n *Node) foremost(ok func(*candidate) bool) (c *candidate) {
	n.stoodWhere(func(st *stand) bool {
		if c == nil && st.job == nil && st.depth >= decision.Tunnel && st.usable() && (ok == nil || ok(st.c)) {
			c = st.c
		}
		return false
	})
	return c
}

// carrierOf is by whose path packets come now, while old serves: that of a stand, if one is bound.
func (n *Node) carrierOf(old *candidate) *candidate {
	for _, st := range n.stoodBy() {
		n.mu.Lock()
		var p *path
		c := st.c
		if st.depth >= decision.Tunnel {
			p = c.path
		}
		n.mu.Unlock()
		if p != nil && n.home.isBound(p) {
			return c
		}
	}
	return old
}

// putStand adds st to the set; there is nothing of its network there.
func (n *Node) putStand(st *stand) {
	n.mu.Lock()
	n.stands[st.net], st.want = st, decision.None
	for _, w := range n.ladder.want {
		if w.Network == st.net {
			st.want = w.Depth
		}
	}
	n.mu.Unlock()
	n.reconsider()
	poke(n.ladder.wake)
}

// takeStand takes what there is of a network out of the set, nil if there is nothing, and ends what goes
// on with it: at once, or when ctx ends. The caller has the turn.
func (n *Node) takeStand(ctx context.Context, network string) *stand {
	n.mu.Lock()
	st := n.stands[network]
	delete(n.stands, network)
	var j *job
	if st != nil {
		j = st.job
	}
	n.mu.Unlock()
	if j != nil {
		select {
		case <-j.done:
		case <-ctx.Done():
			j.cancel()
			<-j.done
		}
	}
	return st
}

// atOnce is a context that is over: takeStand waits for nothing.
func atOnce() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// seesTo says that whoever has the turn sees to what stands of a network, or, empty, no longer.
func (n *Node) seesTo(network string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ladder.moving = network
}

// halt ends what goes on with st, which stays where it is.
func (n *Node) halt(st *stand) {
	n.mu.Lock()
	j := st.job
	n.mu.Unlock()
	if j != nil {
		j.cancel()
		<-j.done
	}
}

// takeAll takes all of them.
func (n *Node) takeAll() (list []*stand) {
	for _, st := range n.stoodBy() {
		if st = n.takeStand(atOnce(), st.net); st != nil {
			list = append(list, st)
		}
	}
	return list
}

// keep has what is in st wait for its move, as deep as a person has wished. st itself stays the caller's, who has the turn.
func (n *Node) keep(st *stand, to decision.Depth) {
	kept := *st
	kept.asked, kept.wished, kept.until = to, to == decision.Bind, n.keptUntil(st.c)
	n.putStand(&kept)
}

// keptUntil is how long what is prepared now is kept.
func (n *Node) keptUntil(c *candidate) time.Time {
	until := time.Now().Add(n.cfg.Timers.Prepared)
	if c.address == nil {
		return until
	}
	if l := c.address.lease.Load(); l.expires().Before(until) { // its router renews nothing
		until = l.expires()
	}
	return until
}

// keepDeparted keeps c, for which the node has departed and where it has not arrived:
// the link may still come up there, or elsewhere.
func (n *Node) keepDeparted(id event.HandoverID, old, c *candidate) {
	if c.session.Load().ended() != nil {
		n.giveUp(old, c)
		return
	}
	n.keep(&stand{id: id, net: c.net.Name, c: c, depth: decision.Bind, departed: true}, decision.Bind)
}

// returnStand has packets for next, which stands, come through its tunnel to c again, which is where it was prepared
// from: the node has departed for it, or was elsewhere.
func (n *Node) returnStand(id event.HandoverID, next, c *candidate) {
	n.announce(c)
	if err := n.net.AddRule(next.virtualRule()); err != nil {
		n.cfg.Log.Error("rule of the tunnel", "err", err)
	}
	n.carryOn(id, next, c)
}

// leaveStand gives back what was taken out of the set, in order, so that nothing is lost: the binding
// first, where it is there, for which the caller has the turn. nil: somebody else has given it back.
func (n *Node) leaveStand(st *stand, why string) {
	if st == nil {
		return
	}
	n.mu.Lock()
	old := n.serving
	n.mu.Unlock()
	if st.c != nil {
		n.abandon(st.id, old, st.c, packets)
	}
	n.inVain(st, why)
}

// forgetStand gives up what was taken out of the set, without a word to its router. nil: somebody else has given it back.
func (n *Node) forgetStand(old *candidate, st *stand, why string) {
	if st == nil {
		return
	}
	if st.c != nil {
		n.giveUp(old, st.c)
	}
	n.inVain(st, why)
}

// inVain notes that st was prepared and not used.
func (n *Node) inVain(st *stand, why string) {
	n.reconsider()
	st.span.EndOutcome(event.Cancelled, why)
	if st.depth == decision.None {
		return
	}
	if !st.held { // else it was of use before
		n.mu.Lock()
		n.ladder.counts.Vain[st.depth.String()]++
		n.mu.Unlock()
	}
	n.cfg.Recorder.Point(st.id, event.PhasePrepare, "given back", "network", st.net, "depth", st.depth.String(), "held", st.held, "why", why)
}

// Prepare makes a candidate of the network of that name complete and keeps it: a
// [Node.Handover] there is the move only, and so is an arrival of the link without us. It
// is given back after Timers.Prepared, with the end of its session, and when another
// network is bound; asked for again it is kept that long from then on. The outcome
// is event.OK or event.Failed.
func (n *Node) Prepare(network string) (*Handover, error) {
	return n.PrepareTo(network, decision.Bind)
}

// PrepareTo is Prepare to a depth. To less than the binding several may be prepared at once.
func (n *Node) PrepareTo(network string, to decision.Depth) (*Handover, error) {
	if to <= decision.None || to > decision.Bind {
		return nil, fmt.Errorf("mn: a preparation to %v: expected authenticate, configure, tunnel or bind", to)
	}
	return n.begin(network, errand{prepare: to})
}

// PreparedStatus is what waits for its move.
type PreparedStatus struct {
	Handover event.HandoverID `json:"handover"`
	Network  string           `json:"network"`
	Address  string           `json:"address"` // care-of
	Left     float64          `json:"left_s"`  // until it is given back, seconds
	Rekeyed  uint64           `json:"rekeyed"` // times its tunnel has had other keys
}

// status of st; the caller holds n.mu.
func (st *stand) status() *PreparedStatus {
	if st == nil {
		return nil
	}
	var rekeyed uint64
	if t := st.c.tunnel.Load(); t != nil {
		rekeyed = t.Stats().Rekeys
	}
	return &PreparedStatus{
		Rekeyed: rekeyed, Handover: st.id, Network: st.net, Address: st.c.address.prefix().String(),
		Left: max(0, time.Until(st.until).Round(100*time.Millisecond).Seconds()),
	}
}
