package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"openmpa/internal/control"
	"openmpa/internal/event"
	"openmpa/par"
	"openmpa/testbed/bed"
	"openmpa/testbed/dhcpd"
	"openmpa/testbed/impair"
	"openmpa/testbed/linkctl"
	"openmpa/testbed/report"
	"openmpa/testbed/topo"
	"openmpa/testbed/traffic"
)

const (
	flowPort  = 20000 // flows: 20000 to 20003
	probePort = 21000
	floorPort = 22000

	handoverLimit = 2 * time.Minute
	cleanLimit    = 15 * time.Second // until a router has forgotten the node
	// stragglers is how long a receiver waits for more: the handover is over
	// for a while then, and nobody holds anything back any more.
	stragglers = time.Second
)

// Strips are both directions of a flow around a move, for the picture.
type Strips struct {
	Down, Up report.Strip
}

// measured is a handover with everything that was seen of it.
type measured struct {
	report.Handover
	records []event.Event // of the mobile node and of both routers
	down    traffic.Stats
	up      traffic.Stats
	end     time.Time // of the handover, by the mobile node's timeline
	moves   []linkctl.Move
	strips  Strips
	onLinks lostOnLinks
	onAir   lostOnLinks
	begun   time.Time // before any traffic
	// dropped is what all routers have dropped meanwhile, by where and why, and kernel what the kernel has.
	dropped map[string]int
	kernel  []string
	// Where the packets on the cable are counted: that some to the node were sent on
	// two links, how many came out of neither, and how many were sent on a link of the
	// node's and did not come out.
	both            bool
	neither, missed int
	// With address translation: whom the new router authenticated, and the
	// translator's address on the path to it.
	authPeer   netip.AddrPort
	translator netip.Addr
}

// move measures the floor where it is wanted, waits until nothing of the
// node is at the target, and measures a move to it.
func (r *run) move(ctx context.Context, b *bed.Bed, from, to string) (measured, error) {
	var floor time.Duration
	if r.opt.Probe && b.Bare != nil {
		var err error
		if floor, err = r.floor(ctx, b); err != nil {
			return measured{}, err
		}
	}
	if err := r.awaitClean(ctx, b, to); err != nil {
		return measured{}, err
	}
	if r.opt.AAADown > 0 {
		if err := r.serversBack(ctx, b, r.res.Scenario); err != nil {
			return measured{}, err
		}
	}
	m, err := r.attempt(ctx, b, from, to)
	if err == nil && floor > 0 {
		m.SetFloor(floor)
	}
	return m, err
}

// An order has the mobile node move, and answers when that is over. The
// answer is without an id when it was no handover.
type order func(ctx context.Context) (control.HandoverResult, error)

// ordered is the order to mpa-mn for a handover.
func ordered(b *bed.Bed, to string) order {
	return func(ctx context.Context) (result control.HandoverResult, err error) {
		err = b.Client(topo.MN).Command(ctx, control.CommandHandover, control.HandoverArgs{Network: to, Wait: true}, &result)
		if err != nil {
			err = fmt.Errorf("scenario: order for a handover to %s: %w", to, err)
		}
		return result, err
	}
}

// attempt has the mobile node move to a network, with traffic before, during
// and after, and measures. The outcome is not judged here.
func (r *run) attempt(ctx context.Context, b *bed.Bed, from, to string) (measured, error) {
	return r.attemptBy(ctx, b, from, to, ordered(b, to))
}

// attemptBy is attempt by any order.
func (r *run) attemptBy(ctx context.Context, b *bed.Bed, from, to string, give order) (m measured, err error) {
	m.From, m.To, m.begun = from, to, time.Now()
	flows, err := r.openFlows(b)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, flows.close()) }()
	before := lostSoFar(b)
	airBefore, err := onAir(b)
	if err != nil {
		return m, err
	}
	eapBefore, err := authentications(b)
	if err != nil {
		return m, err
	}
	atHome, err := cameHome(b)
	if err != nil {
		return m, err
	}
	routers := askRouters(ctx, b)
	flows.start()
	if err := bed.Sleep(ctx, r.opt.Lead); err != nil {
		return m, err
	}
	since := uint64(0)
	if b.NAT != nil {
		m.translator = b.NAT[from].Outer()
		since = lastSeq(ctx, b.Client(to))
	}
	if b.Thief != nil {
		b.Thief.Begin(func(k impair.Kind) {
			if r.hooks.stolen != nil {
				r.hooks.stolen(&m, k)
			}
		}, r.hooks.steal...)
	}
	if r.opt.AAADown > 0 {
		if err := b.ArmAAADown(to, r.opt.AAADown); err != nil {
			return m, err
		}
	}
	m.moves, err = r.command(ctx, b, to, give, &m)
	if r.opt.AAADown > 0 {
		err = errors.Join(err, r.revive(ctx, b, &m))
	}
	if b.Thief != nil {
		for _, k := range b.Thief.End() {
			m.MarkersLost = append(m.MarkersLost, k.String())
		}
	}
	if err == nil && b.NAT != nil {
		m.authPeer, err = preauthenticated(ctx, b.Client(to), since)
	}
	if err != nil {
		return m, err
	}
	if err := bed.Sleep(ctx, r.opt.Lead); err != nil {
		return m, err
	}
	flows.stop()
	if m.down, m.up, err = flows.stats(); err != nil {
		return m, err
	}
	m.Flow = report.Flows{Down: report.FromStats(m.down), Up: report.FromStats(m.up)}
	if len(r.opt.Links) > 0 {
		m.onLinks = lostSoFar(b).since(before)
		m.Flow.Down.LostOnLinks, m.Flow.Up.LostOnLinks = &m.onLinks.down, &m.onLinks.up
	}
	if err := m.countRouters(ctx, b, routers); err != nil {
		return m, err
	}
	if b.AtHome != nil {
		n, err := cameHome(b)
		if err != nil {
			return m, err
		}
		n -= atHome
		m.ViaHome = &n
	}
	if b.Air != nil {
		airNow, err := onAir(b)
		if err != nil {
			return m, err
		}
		m.onAir = airNow.since(airBefore)
		m.Flow.Down.LostOnAir, m.Flow.Up.LostOnAir = &m.onAir.down, &m.onAir.up
		if b.Radio == nil {
			m.Flow.Up.Refused = &m.onAir.refused
		}
	}
	if b.Air != nil && b.Radio == nil {
		m.countBoth(b)
	}
	if err := m.noteRadio(b, eapBefore); err != nil {
		return m, err
	}
	lost := time.Time{}
	if len(m.moves) > 0 {
		lost = m.moves[0].Lost
	}
	m.strips = flows.strips(lost)
	r.strips = m.strips
	if last := len(m.moves) - 1; last >= 0 && !m.moves[last].Up.IsZero() {
		up := m.moves[last].Up
		m.Flow.Down.SetHandoverGap(traffic.Silence(m.strips.Down.Sent, m.strips.Down.Arrivals, lost, up))
		m.Flow.Up.SetHandoverGap(traffic.Silence(m.strips.Up.Sent, m.strips.Up.Arrivals, lost, up))
	}
	if r.opt.Tracks {
		m.Track = track(m)
	}
	return m, nil
}

// command gives the order, with the probe around the move of the link, and
// reads the timelines after.
func (r *run) command(ctx context.Context, b *bed.Bed, to string, give order, m *measured) (moves []linkctl.Move, err error) {
	ctx, cancel := context.WithTimeout(ctx, handoverLimit)
	defer cancel()
	w := &watch{early: len(r.opt.Links) > 0}
	if tell := r.hooks.event; tell != nil {
		w.tell = func(e event.Event) { tell(m, e) }
	}
	if r.opt.Probe {
		r.flowID += 2
		w.probe, err = traffic.OpenProbe(b.Endpoint(topo.CN), b.Endpoint(topo.MN), probePort, r.flowID, r.opt.probeRate())
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, w.probe.Close()) }()
	}
	b.OnMove(w.moved)
	defer b.OnMove(nil)
	client := b.Client(topo.MN)
	following := make(chan struct{})
	followed := make(chan struct{})
	fctx, stopFollowing := context.WithCancel(ctx)
	defer func() { stopFollowing(); <-followed }()
	go func() {
		defer close(followed)
		var once sync.Once
		ready := func() { once.Do(func() { close(following) }) }
		// It ends with an error when it is stopped; if it fails earlier, the
		// probe starts when the link goes.
		_ = client.Follow(fctx, lastSeq(fctx, client), ready, w.record)
		ready()
	}()
	<-following
	result, err := give(ctx)
	if err != nil {
		return nil, err
	}
	m.Outcome, m.Reason, m.end = string(result.Outcome), result.Reason, time.Now()
	if !result.ID.IsZero() {
		if err := m.read(ctx, b, result.ID); err != nil {
			return nil, err
		}
	}
	m.Phases = phases(m.records)
	if m.Buffer = buffer(ofNode(m.records, to)); m.Buffer != nil && r.opt.BufferOff {
		m.Buffer.HeldMS = nil // for that long it dropped
	}
	moves = w.done()
	if len(moves) > 0 && !moves[0].Up.IsZero() {
		m.Phases["l2_ms"] = report.MS(moves[0].Gap())
		if w.probe != nil {
			// What waits for a lost marker comes when the handover is long over.
			_ = await(ctx, stragglers, w.probe.Done)
			w.probe.Stop()
			if d, _, ok := w.probe.First(); ok {
				m.Phases["l3_ms"] = report.MS(d)
			}
		}
	}
	return moves, nil
}

// read takes a handover's records from the timelines.
func (m *measured) read(ctx context.Context, b *bed.Bed, id event.HandoverID) error {
	detail, err := b.Client(topo.MN).Handover(ctx, id)
	if err != nil {
		return fmt.Errorf("scenario: timeline of the handover: %w", err)
	}
	m.records = append(m.records, detail.Records...)
	// The routers' own records, where the mobile node has not got them.
	for _, name := range routersOf(b) {
		rctx, cancelRead := context.WithTimeout(ctx, askLimit)
		if theirs, err := b.Client(name).Handover(rctx, id); err == nil {
			m.records = append(m.records, theirs.Records...)
		}
		cancelRead()
	}
	m.ID, m.TLS = id.String(), tlsVersion(detail.Records)
	if e, ok := ending(detail.Records); ok {
		m.end = e.Time
		m.Outcome, m.Reason = string(e.Outcome), e.Reason
	}
	return nil
}

// ofNode are the records that a node wrote, or the ones it sent here, each
// once.
func ofNode(records []event.Event, node string) []event.Event {
	type key struct {
		at    int64
		phase event.Phase
		kind  event.Kind
	}
	seen := make(map[key]bool)
	var out []event.Event
	for _, e := range records {
		k := key{e.Time.UnixNano(), e.Phase, e.Kind}
		if e.Node == node && !seen[k] {
			seen[k] = true
			out = append(out, e)
		}
	}
	return out
}

func lastSeq(ctx context.Context, c *control.Client) (last uint64) {
	// Without an answer everything is followed, which is as good.
	_ = c.Events(ctx, 0, false, func(e event.Event) error {
		last = e.Seq
		return nil
	})
	return last
}

// watch follows one handover: it starts the probe and notes the moves.
type watch struct {
	probe *traffic.Probe
	early bool              // the probe has a long way: see record
	tell  func(event.Event) // of each record; nil: nobody

	mu    sync.Mutex
	moves []linkctl.Move // guarded by mu
}

// record starts the probe when the binding has moved. Where a packet needs
// longer for its way than the node for its departure, that is too late: the
// first one would not be there when the link comes up, and what is measured
// were the path. Then it is started when the address is being prepared.
func (w *watch) record(e event.Event) error {
	if w.tell != nil {
		w.tell(e)
	}
	bound := e.Phase == event.PhaseBind && e.Kind == event.KindEnd
	if bound || e.Phase == event.PhaseDepart || w.early && e.Phase == event.PhaseConf {
		w.start()
	}
	return nil
}

func (w *watch) start() {
	if w.probe != nil {
		w.probe.Start()
	}
}

// moved runs when the link goes and when it came up.
func (w *watch) moved(m linkctl.Move) {
	if m.Up.IsZero() && m.Failure == linkctl.Works {
		w.start()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case len(w.moves) > 0 && slices.Contains([]string{m.To, ""}, w.moves[len(w.moves)-1].To) && w.moves[len(w.moves)-1].Up.IsZero():
		w.moves[len(w.moves)-1] = m // the end of the move that was told of before
	default:
		w.moves = append(w.moves, m)
	}
	if !m.Up.IsZero() && w.probe != nil && len(w.moves) == 1 {
		w.probe.LinkUp(m.Up)
	}
}

func (w *watch) done() []linkctl.Move {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]linkctl.Move(nil), w.moves...)
}

// awaitClean waits until nothing of the node is left at a network: each handover starts
// without a session, a lease or a tunnel there. What the router has leased for nobody yet, and
// is ready, is none of the node's.
func (r *run) awaitClean(ctx context.Context, b *bed.Bed, network string) error {
	return r.awaitCleanWithin(ctx, b, network, cleanLimit)
}

// awaitCleanWithin gives it more time: a session that a node has begun anew ends
// when nobody answers in the old one any more.
func (r *run) awaitCleanWithin(ctx context.Context, b *bed.Bed, network string, limit time.Duration) error {
	deadline := time.Now().Add(limit)
	for {
		var status struct {
			Visitors []struct {
				Address string `json:"address"`
				Mode    string `json:"mode"`
			} `json:"visitors"`
			Ahead  par.AheadStatus `json:"ahead"`
			Ahead6 par.AheadStatus `json:"ahead_ipv6"`
		}
		if err := b.Client(network).Status(ctx, &status); err != nil {
			return fmt.Errorf("scenario: status of router %s: %w", network, err)
		}
		leases, err := b.Bound(network)
		if err != nil {
			return err
		}
		ready := slices.Concat(status.Ahead.Addresses, status.Ahead6.Addresses)
		leases = slices.DeleteFunc(leases, func(l dhcpd.Lease) bool {
			return slices.ContainsFunc(ready, func(a par.AheadAddress) bool { return a.Address.Addr() == l.Addr })
		})
		if len(status.Visitors) == 0 && len(leases) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("scenario: network %s still has something of an earlier handover after %v: visitors %v, leases %v",
				network, limit, status.Visitors, leases)
		}
		if err := bed.Sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}
