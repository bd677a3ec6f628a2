package scenario

import (
	"context"
	"strings"
	"time"

	"openmpa/internal/control"
	"openmpa/internal/event"
	"openmpa/testbed/bed"
	"openmpa/testbed/impair"
	"openmpa/testbed/topo"
	"openmpa/testbed/traffic"
)

// cutOff has the link cut and come up at the other network while the serving
// router, or the prepared one, keeps copies. Every other time that network is
// prepared.
func cutOff(ctx context.Context, r *run, b *bed.Bed, n int, to string) (order, error) {
	network, _ := topo.NetworkByName(to)
	s := &shover{b: b}
	kept, err := s.ready(ctx, to, n%2 == 1)
	if err != nil {
		return nil, err
	}
	if err := awaitNode(ctx, b, "no router keeps copies", func(s moveStatus) bool { return s.Guard != nil && s.Guard.By != "" }); err != nil {
		return nil, err
	}
	from := r.at
	return func(ctx context.Context) (control.HandoverResult, error) {
		return s.follow(ctx, from, to, kept, func(ctx context.Context, _ string) error {
			_, err := b.Link.Attach(ctx, network.Points[0])
			return err
		})
	}, nil
}

// judgeCut holds a move to its promise in which the link was cut.
func (r *run) judgeCut(name string, m measured) {
	r.expectOutcome(name, m, event.Completed)
	r.expectFlaws(name, m, tolerance{}, tolerance{onAir: m.onAir.up, refused: m.onAir.refused})
	if fast := r.opt.Direction == Down; (fast || r.sentAway(m) > 1) && m.onAir.down == 0 {
		r.problem("%s: no packet to the mobile node was lost on the air, so nothing was shown", name)
	}
}

// judgeCutStream is the same with a TCP connection, in which time-outs are nobody's fault: its acknowledgements are lost.
func (r *run) judgeCutStream(name string, m measured) {
	r.expectOutcome(name, m, event.Completed)
	r.expectNothingDropped(name, m)
}

// sentAway is how many packets to the node came to the router of its old link while it had none.
func (r *run) sentAway(m measured) (n int) {
	if len(m.moves) == 0 || m.moves[0].Up.IsZero() {
		return 0
	}
	return r.sentTo(m, m.From, m.moves[0].Lost, m.moves[0].Up)
}

// sentTo is how many packets to the node came to the router of a network in this time.
func (r *run) sentTo(m measured, network string, begin, end time.Time) (n int) {
	way := time.Duration(0)
	if delayedAt(network) {
		way = r.opt.Links[delayed].In.Delay
	}
	from, to := begin.Add(-way).UnixNano(), end.Add(-way).UnixNano()
	for _, at := range m.strips.Down.Sent {
		if at > from && at < to {
			n++
		}
	}
	return n
}

// delayedAt says whether the link with the delay is on the way to a network.
func delayedAt(network string) bool {
	n, _ := topo.NetworkByName(network)
	return n.Link == delayed
}

// judgeBicast holds a move to its promise in which packets to the node go both ways: lost is what came out of neither
// link, and reached each while the node was not there. A copy to the old place may go by the new router, and back.
func (r *run) judgeBicast(name string, m measured) {
	r.expectOutcome(name, m, event.Completed)
	r.expectFlaws(name, m, tolerance{onAir: m.neither}, tolerance{onAir: m.onAir.up})
	if !m.both && r.mayGoBoth(m) {
		r.problem("%s: no packet went both ways, so nothing was shown", name)
	}
	if m.missed > 0 {
		r.problem("%s: %d packets did not come out of the link on which they were sent, and there the node was%s", name, m.missed, where(m, m.down))
	}
}

// mayGoBoth says whether packets to the node came to the new router after that had said that it sends both ways, and before
// the node was there: one may be on either side of these instants, two not. Who does not know must take it that they did.
func (r *run) mayGoBoth(m measured) bool {
	for _, e := range ofNode(m.records, topo.MN) {
		if e.Phase == event.PhaseDepart && e.Kind == event.KindEnd && e.Outcome == event.OK && len(m.moves) > 0 {
			return r.sentTo(m, m.To, e.Time, m.moves[len(m.moves)-1].Up) > 1
		}
	}
	return true
}

// expectCounted checks a move in which a link was lost without warning, and no router kept copies: lost is what was on it,
// both ways, and nothing else.
func (r *run) expectCounted(name string, m measured) {
	r.expectFlaws(name, m, tolerance{onAir: m.onAir.down}, tolerance{onAir: m.onAir.up, refused: m.onAir.refused})
}

// countBoth notes whether packets to the node were sent on two links, how many came out of neither, and how many
// not where the node had a link.
func (m *measured) countBoth(b *bed.Bed) {
	said, now := 0, time.Now()
	for _, name := range []string{m.From, m.To} {
		n, _ := topo.NetworkByName(name)
		said += b.Air.Said(n.Router, impair.KindDown, m.begun, now)
	}
	m.both = said > m.down.Sent
	// One that came out twice makes this less than it is: then more is lost than there may.
	m.neither = max(0, m.down.Sent-b.Air.Heard(topo.MN, impair.KindDown, m.begun, now))
	if n := len(m.moves); n > 0 && !m.moves[n-1].Up.IsZero() {
		old, _ := topo.NetworkByName(m.From)
		next, _ := topo.NetworkByName(topo.NetworkOf(m.moves[n-1].To))
		// The ends of the time without a link are when the last one came through, and the first one again: a busy machine
		// needs a while from one end to the other, and to do as it is told.
		_, _, last := b.Air.Missed(old.Router, topo.MN, impair.KindDown, m.begun, m.moves[0].Lost)
		before, _, _ := b.Air.Missed(old.Router, topo.MN, impair.KindDown, m.begun, last)
		_, first, _ := b.Air.Missed(next.Router, topo.MN, impair.KindDown, m.moves[n-1].Up, now)
		m.missed = before
		if !first.IsZero() {
			after, _, _ := b.Air.Missed(next.Router, topo.MN, impair.KindDown, first, now)
			m.missed += after
		}
	}
}

// expectFlaws checks both directions.
func (r *run) expectFlaws(name string, m measured, down, up tolerance) {
	for _, d := range []struct {
		word   string
		s      traffic.Stats
		t      tolerance
		forced int // the uplink has no flips
	}{{"to", m.down, down, m.forced()}, {"from", m.up, up, 0}} {
		if flaws := d.t.flaws(d.s, 0, d.forced); len(flaws) > 0 {
			r.problem("%s: of %d packets %s the mobile node %s%s", name, d.s.Sent, d.word, strings.Join(flaws, ", "), where(m, d.s))
		}
	}
}
