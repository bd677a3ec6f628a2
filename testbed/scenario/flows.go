package scenario

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"openmpa/testbed/bed"
	"openmpa/testbed/report"
	"openmpa/testbed/topo"
	"openmpa/testbed/traffic"
)

// flows are the measured traffic: one direction each.
type flows struct {
	down, up *traffic.Flow
}

// openFlows opens both directions between the correspondent and the mobile
// node's home address.
func (r *run) openFlows(b *bed.Bed) (*flows, error) {
	downRate, upRate := r.opt.rates()
	cn, mn := b.Endpoint(topo.CN), b.Endpoint(topo.MN)
	r.flowID += 2
	down, err := traffic.Open(traffic.Spec{Name: "down", ID: r.flowID, From: cn, To: mn, Port: flowPort, Rate: downRate})
	if err != nil {
		return nil, err
	}
	up, err := traffic.Open(traffic.Spec{Name: "up", ID: r.flowID + 1, From: mn, To: cn, Port: flowPort, Rate: upRate})
	if err != nil {
		return nil, errors.Join(err, down.Close())
	}
	return &flows{down: down, up: up}, nil
}

func (f *flows) start() {
	f.down.Start()
	f.up.Start()
}

// stop ends both directions and waits for what is under way.
func (f *flows) stop() {
	var both sync.WaitGroup
	both.Go(func() { f.down.Stop(stragglers) })
	both.Go(func() { f.up.Stop(stragglers) })
	both.Wait()
}

func (f *flows) stats() (down, up traffic.Stats, err error) {
	down, err1 := f.down.Stats()
	up, err2 := f.up.Stats()
	return down, up, errors.Join(err1, err2)
}

func (f *flows) close() error { return errors.Join(f.down.Close(), f.up.Close()) }

// heldUp is the delay from which the picture shows a packet as held up.
const heldUp = 3 * time.Millisecond

func (f *flows) strips(lost time.Time) Strips {
	return Strips{
		Down: report.Strip{Sent: f.down.SentTimes(), Arrivals: f.down.Arrivals(), Lost: lost, Held: heldUp},
		Up:   report.Strip{Sent: f.up.SentTimes(), Arrivals: f.up.Arrivals(), Lost: lost, Held: heldUp},
	}
}

// floor measures what the kernel alone takes from link up to the first
// packet: a host with a static address moves from one point of attachment
// to the other in the same network, with the same gap and the same probe,
// and nothing of ours has a part in it.
func (r *run) floor(ctx context.Context, b *bed.Bed) (d time.Duration, err error) {
	a, _ := topo.NetworkByName("a")
	from, to := a.Points[0], a.Points[1]
	if b.Bare.Point() == to {
		from, to = to, from
	}
	if b.Bare.Point() != from {
		if _, err := b.Bare.Attach(ctx, from); err != nil {
			return 0, err
		}
	}
	r.flowID += 2
	p, err := traffic.OpenProbe(b.Plain(topo.CN, topo.Correspondent), b.Endpoint(topo.Bare), floorPort, r.flowID, r.opt.probeRate())
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	p.Start()
	if err := await(ctx, 5*time.Second, func() bool { down, up := p.Seen(); return down > 50 && up > 50 }); err != nil {
		return 0, fmt.Errorf("scenario: the bare host has no connection before its move: %w", err)
	}
	m, err := b.Bare.Attach(ctx, to)
	if err != nil {
		return 0, err
	}
	p.LinkUp(m.Up)
	if err := await(ctx, 5*time.Second, p.Done); err != nil {
		return 0, fmt.Errorf("scenario: the bare host has no connection after its move: %w", err)
	}
	if d, _, ok := p.First(); ok {
		return d, nil
	}
	return 0, errors.New("scenario: no packet after the bare host's move")
}

// await polls until cond holds.
func await(ctx context.Context, limit time.Duration, cond func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for !cond() {
		if err := bed.Sleep(ctx, time.Millisecond); err != nil {
			return fmt.Errorf("not within %v: %w", limit, err)
		}
	}
	return nil
}
