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
	r.expectFlaws(name, m, tolerance{}, tolerance{onAir: m.onAir.up})
	if fast := r.opt.Direction == Down; fast && m.onAir.down == 0 {
		r.problem("%s: no packet to the mobile node was lost on the air, so nothing was shown", name)
	}
}

// judgeCutStream is the same with a TCP connection, in which time-outs are nobody's fault: its acknowledgements are lost.
func (r *run) judgeCutStream(name string, m measured) {
	r.expectOutcome(name, m, event.Completed)
	if m.Buffer != nil && m.Buffer.Dropped > 0 {
		r.problem("%s: the router dropped %d packets: %v", name, m.Buffer.Dropped, m.Buffer.Reasons)
	}
}

// judgeBicast holds a move to its promise in which packets to the node go both ways: lost is what came out of neither
// link, and reached each while the node was not there. A copy to the old place may go by the new router, and back.
func (r *run) judgeBicast(name string, m measured) {
	r.expectOutcome(name, m, event.Completed)
	r.expectFlaws(name, m, tolerance{onAir: m.neither}, tolerance{onAir: m.onAir.up})
	if !m.both {
		r.problem("%s: no packet went both ways, so nothing was shown", name)
	}
	if len(m.moves) == 0 {
		return
	}
	const slack = 30 * time.Millisecond // of a busy machine
	from, to := m.moves[0].Lost.Add(-2*r.opt.Links[delayed].In.Delay-slack), m.moves[0].Up.Add(slack)
	for _, run := range m.down.Losses {
		if run.At.Before(from) || run.At.After(to) {
			r.problem("%s: number %d is lost, which was sent while the node had a link%s", name, run.First, where(m, m.down))
			return
		}
	}
}

// countBoth notes whether packets to the node were sent on two links, and how many came out of neither.
func (m *measured) countBoth(b *bed.Bed) {
	said, now := 0, time.Now()
	for _, name := range []string{m.From, m.To} {
		n, _ := topo.NetworkByName(name)
		said += b.Air.Said(n.Router, impair.KindDown, m.begun, now)
	}
	m.both = said > m.down.Sent
	m.neither = max(0, m.down.Sent-b.Air.Heard(topo.MN, impair.KindDown, m.begun, now))
}

// expectFlaws checks both directions.
func (r *run) expectFlaws(name string, m measured, down, up tolerance) {
	forced := 0
	if m.Buffer != nil {
		forced = m.Buffer.ForcedFlips
	}
	for _, d := range []struct {
		word string
		s    traffic.Stats
		t    tolerance
	}{{"to", m.down, down}, {"from", m.up, up}} {
		if flaws := d.t.flaws(d.s, 0, forced); len(flaws) > 0 {
			r.problem("%s: of %d packets %s the mobile node %s%s", name, d.s.Sent, d.word, strings.Join(flaws, ", "), where(m, d.s))
		}
	}
}
