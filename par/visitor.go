package par

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/standstill"
	"openmpa/paa/keys"
	"openmpa/paa/notify"
	"openmpa/paa/pana"
	"openmpa/tunnel"
	"openmpa/tunnel/flow"
)

// visitor is one mobile node at this router, wherever it is at the moment.
type visitor struct {
	r   *Router
	sid uint32
	ctx context.Context // ends with the visitor
	end context.CancelFunc

	mu          sync.Mutex // taken before Router.mu, if both are
	lulls       flow.Lulls
	hurry       atomic.Int32 // of those who are in lock
	flipping    bool         // the host route is being deleted: see lock
	flipped     *sync.Cond   // signalled when it was
	identity    string       // as AAA has it
	keys        *keys.SessionKeys
	ends        time.Time      // of the keys
	peer        netip.AddrPort // where PANA found it
	loggedIn    netip.Addr     // from which it has logged in on our link; the zero Addr: it has not
	mac         net.HardwareAddr
	lease       *lease
	client      clientKey // under which the node has asked for it
	tenure      *tenure   // of the lease
	defended    bool      // the router answers for it, though there is no tunnel
	ready       bool      // its address was made ready before it asked
	stage       stage
	configuring bool                    // a configuration is under way
	linking     bool                    // link keys are under way
	asked       *notify.LinkKeysRequest // meanwhile; nil: nothing
	ask         *notify.Deliver         // waits until the tunnel leads to where the node is; nil: nothing does
	handover    event.HandoverID        // that is under way, or was last
	group       *flow.Group
	room        *room // what it may hold
	unsent      unsent
	chase       chase // of the queue behind what comes
	tunnel      *tunnel.Tunnel
	late        []late
	inner       netip.Addr // whose packets the group delivers; the zero Addr: nobody's
	numbered    bool       // the node takes packets with shim headers
	standby     bool       // the tunnel stays when the node has arrived
	here        bool       // the node is on our link, as far as is known
	served      bool       // or was, with this address
	held        bool       // it has left, and what it has here is kept for its return
	appeared    time.Time  // there
	guarded     bool       // it wants copies kept
	missed      bool       // it left the access points, and nothing was heard since
	pinned      bool       // its link-layer address
	passes      netip.Addr // that the enforcement point lets pass; the zero Addr: none
	entitled    bool       // it may pass where it is, and no more once it has left; see speaks
	unreached   bool       // what is for the tunnel is held until something has come through it
	stray       strayed
	outer       netip.AddrPort // of the other place, while packets go to both
	previous    netip.AddrPort // of the router whose packets come first, while they do
	heard       heard
	clear       time.Time                // from when on what the kernel has sent is ahead: see capture
	marks       uint64                   // set in the group so far
	resumed     map[uint64]tunnel.Marker // answers that wait for their mark
	left        event.HandoverID         // whose departure was answered, while it holds
	ways        []*standstill.Way        // of flips, until they are forgotten
	gen         uint64                   // of arrivals; another one ends what the one before has begun
	unused      *time.Timer
	await       *time.Timer
	spans       struct{ hold, drain, flip *event.Span }
	superseded  bool // another session of its node has begun in its place
	closed      bool
}

func newVisitor(r *Router, sid uint32) *visitor {
	v := &visitor{r: r, sid: sid, stage: stageLeased, room: r.buffers.open(), resumed: map[uint64]tunnel.Marker{}}
	v.flipped = sync.NewCond(&v.mu)
	v.group = r.newGroup(v.room)
	v.ctx, v.end = context.WithCancel(r.ctx)
	return v
}

// lock takes mu for what ends a drain, or sets or deletes the host route: while a flip
// is under way it waits for its end, which then comes as soon as order allows. It is not for
// the readers of the TUN and of tunnels.
func (v *visitor) lock() {
	v.hurry.Add(1)
	defer v.hurry.Add(-1)
	v.mu.Lock()
	for v.flipping {
		v.flipped.Wait()
	}
}

// hurried says whether somebody waits for the end of a flip.
func (v *visitor) hurried() bool { return v.hurry.Load() > 0 }

func (v *visitor) opened(identity string, from netip.AddrPort, k *keys.SessionKeys, life time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.keys != nil {
		v.keys.Clear()
	}
	v.identity, v.peer, v.keys, v.ends = identity, from, k, time.Now().Add(life)
}

func (v *visitor) moved(to netip.AddrPort) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.peer = to
	v.speaks(to.Addr().Unmap())
}

// attached: the node has logged in from our link.
func (v *visitor) attached(at netip.Addr) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.loggedIn = at
}

// activated: the node has said from the link that it has come (RFC 5873 section 3).
func (v *visitor) activated() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.pass(true)
}

// who is the node, and where.
func (v *visitor) who() (identity string, peer netip.AddrPort) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.identity, v.peer
}

// where says how far the node has come.
func (v *visitor) where() (stage, netip.AddrPort) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.stage, v.peer
}

// reached has it written down that the node has come to s, while packets go on; the
// caller holds mu.
func (v *visitor) reached(s stage) {
	v.stage = s
	if t := v.tenure; t != nil {
		v.r.wg.Go(func() { t.note(v) })
	}
}

// address returns the visitor's care-of address, leased or served; the zero Addr before
// there is one.
func (v *visitor) address() netip.Addr {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.own()
}

// close gives back all the router holds for the visitor.
func (v *visitor) close(reason error) {
	v.end()
	v.lock()
	defer v.mu.Unlock()
	v.closed = true
	if !errors.Is(reason, context.Canceled) { // else the router ends: whoever ends the access points takes all keys, and the gate stays
		v.r.links.release(v)
		v.pass(false)
	}
	v.dropTunnel(reason.Error())
	v.deliverAnew()
	v.room.close()
	if v.keys != nil {
		v.keys.Clear()
	}
	if v.lease == nil {
		return
	}
	v.undefend()
	_ = v.r.host.DelNeighbour(v.r.cfg.Access, v.lease.Addr.Addr())
	var goodbye *pana.ErrPeerTerminated
	if v.tenure != nil {
		v.tenure.free(v, errors.As(reason, &goodbye))
	}
	v.lease, v.tenure = nil, nil
}
