package crash

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"openmpa/testbed/bed"
	"openmpa/testbed/report"
	"openmpa/testbed/topo"
	"openmpa/testbed/traffic"
)

const (
	flowPort = 20000
	// flowRate is that of each direction, in packets a second: it bounds how
	// exactly a silence is known.
	flowRate = 100
	// late is the delay after which a packet counts as lost, as long as the
	// cell goes on.
	late = 300 * time.Millisecond
)

// A direction is a flow one way with what can be said of it while it runs.
type direction struct {
	flow *traffic.Flow

	mu    sync.Mutex
	seen  []bool // by number; guarded by mu
	marks []mark // owner: who calls lossless
}

// A mark says how many packets were sent at a time.
type mark struct {
	at   time.Time
	sent int64
}

func openDirection(name string, id uint32, from, to traffic.Endpoint) (d *direction, err error) {
	d = &direction{}
	d.flow, err = traffic.Open(traffic.Spec{
		Name: name, ID: id, From: from, To: to, Port: flowPort, Rate: traffic.PerSecond(flowRate), OnArrival: d.arrived,
	})
	return d, err
}

func (d *direction) arrived(a traffic.Arrival) {
	const most = 1 << 20 // of what a datagram may claim to be
	if a.Seq >= most {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for uint64(len(d.seen)) <= a.Seq {
		d.seen = append(d.seen, false)
	}
	d.seen[a.Seq] = true
}

// lossless is the time since when no packet was lost, as far as that can be
// said now, looking back no further than the first call.
func (d *direction) lossless(now time.Time) time.Time {
	d.marks = append(d.marks, mark{now, d.flow.Sent()})
	d.mu.Lock()
	defer d.mu.Unlock()
	return since(d.marks, d.seen, now)
}

// since is the first mark after which every packet came that was sent at
// least late ago.
func since(marks []mark, seen []bool, now time.Time) time.Time {
	due := int64(0)
	for _, m := range marks {
		if now.Sub(m.at) >= late {
			due = m.sent
		}
	}
	lost := int64(-1)
	for n := due - 1; n >= marks[0].sent; n-- {
		if n >= int64(len(seen)) || !seen[n] {
			lost = n
			break
		}
	}
	for _, m := range marks {
		if m.sent > lost {
			return m.at
		}
	}
	return now
}

// traffics are both directions between the correspondent and the node.
type traffics struct{ down, up *direction }

func openTraffic(b *bed.Bed) (*traffics, error) {
	cn, mn := b.Endpoint(topo.CN), b.Endpoint(topo.MN)
	down, err := openDirection("down", 1, cn, mn)
	if err != nil {
		return nil, err
	}
	up, err := openDirection("up", 2, mn, cn)
	if err != nil {
		return nil, errors.Join(err, down.flow.Close())
	}
	down.flow.Start()
	up.flow.Start()
	return &traffics{down, up}, nil
}

// lossless is the time since when nothing was lost either way.
func (t *traffics) lossless(now time.Time) time.Time {
	down, up := t.down.lossless(now), t.up.lossless(now)
	if down.After(up) {
		return down
	}
	return up
}

// end stops the traffic and returns its figures; what was lost from second on
// is counted apart.
func (t *traffics) end(second time.Time) (down, up *Flow, err error) {
	var both sync.WaitGroup
	for _, d := range []*direction{t.down, t.up} {
		both.Go(func() { d.flow.Stop(time.Second) })
	}
	both.Wait()
	down, err1 := figures(t.down.flow, second)
	up, err2 := figures(t.up.flow, second)
	return down, up, errors.Join(err1, err2, t.down.flow.Close(), t.up.flow.Close())
}

func figures(f *traffic.Flow, second time.Time) (*Flow, error) {
	s, err := f.Stats()
	if err != nil {
		return nil, fmt.Errorf("crash: %w", err)
	}
	out := &Flow{Sent: s.Sent, Lost: s.Lost, Duplicated: s.Duplicated, Reordered: s.Reordered, SilenceMS: report.MS(s.MaxGap)}
	for _, run := range s.Losses {
		if !second.IsZero() && !run.At.Before(second) {
			out.LostSecond += int(run.Last-run.First) + 1
		}
	}
	return out, nil
}
