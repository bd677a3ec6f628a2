package mn

import (
	"context"
	"slices"
	"time"

	"openmpa/internal/neighbourhood"
	"openmpa/mn/decision"
	"openmpa/mn/link"
)

// surroundings is what is known of the networks around besides their names and points: package discover's Service.
type surroundings interface {
	Known() []neighbourhood.Known
	// Follows returns to which points moves away from one went, their shares; nil: there were none.
	Follows(point string) map[string]float64
	// Fix returns the newest position; false: there is none, or it is too old.
	Fix() (neighbourhood.Fix, bool)
	// Moved says that the point of attachment has changed.
	Moved(from, to string, at time.Time)
}

// unknown is what less than 0 says in a sample.
const unknown = -1

// sample asks the node and the link. What the link does not tell is left out.
func (d *decider) sample(ctx context.Context) (s decision.Sample, here spot, err error) {
	ctx, cancel := context.WithTimeout(ctx, sampleWithin)
	defer cancel()
	s = decision.Sample{Loss: unknown, Speed: unknown}
	if here, err = d.n.position(ctx); err != nil {
		s.At = d.at(time.Now())
		return s, here, err
	}
	networks := d.n.places()
	s.Here = d.register.pointID(here)
	if fix, ok := d.around.Fix(); ok {
		s.Place, s.Speed, s.Heading = d.onMap(fix.Where), float32(fix.Speed), float32(fix.Heading)
	}
	d.know(networks, here)
	for _, st := range d.n.Standing() {
		if id := d.register.networkID(st.Network); id != 0 {
			s.Stands = append(s.Stands, decision.Standing{Network: id, Depth: st.Depth, Held: st.Held})
			if st.RTT > 0 && d.rtts[id] != st.RTT {
				d.rtts[id] = st.RTT
				d.engine.RTT(id, st.RTT)
				d.cfg.Trace.RTT(d.at(time.Now()), id, st.RTT)
			}
		}
	}
	if s.Here != 0 {
		err = d.signals(ctx, &s, networks, here)
	}
	s.At = d.at(time.Now())
	d.feedback(s, here)
	return s, here, err
}

// signals asks the link how strong it is, and what it has seen.
func (d *decider) signals(ctx context.Context, s *decision.Sample, networks []Network, here spot) error {
	if err := d.quality(ctx, s); err != nil {
		return err
	}
	seen, err := d.scanner.Seen(ctx)
	for _, g := range seen {
		if g.Point == here.point || g.Signal >= 0 || len(s.Seen) == decision.MaxSeen {
			continue
		}
		if id := d.register.among(networks, g.Point); id != 0 {
			s.Seen = append(s.Seen, decision.Sighting{Point: id, Signal: float32(g.Signal), Age: g.Age})
		}
	}
	return err
}

// quality asks the link how the present point is received.
func (d *decider) quality(ctx context.Context, s *decision.Sample) error {
	m, ok := d.scanner.(link.Meter)
	if !ok {
		signal, err := d.scanner.Signal(ctx)
		s.Signal = float32(signal)
		return err
	}
	q, err := m.Measure(ctx)
	if err == nil {
		s.Signal, s.Loss, s.Rate = q.Signal, q.Loss, q.Rate
	}
	return err
}

// feedback tells the engine what has come about since the last sample.
func (d *decider) feedback(s decision.Sample, here spot) {
	d.mu.Lock()
	measures := d.measures
	d.measures = nil
	d.mu.Unlock()
	for _, m := range measures {
		if id := d.register.networkID(m.network); id != 0 {
			d.engine.Took(s.At, id, m.step, m.took, m.ok)
			d.cfg.Trace.Took(s.At, id, m.step, m.took, m.ok)
		}
	}
	if s.Here != 0 && s.Here != d.last {
		if d.last != 0 {
			move := decision.Move{From: d.last, To: s.Here, Chosen: d.register.spot(d.chosen).network == here.network}
			for _, st := range d.stood {
				if d.register.network(st.Network) == here.network {
					move.Depth = max(move.Depth, st.Depth)
				}
			}
			d.engine.Moved(s.At, move)
			d.cfg.Trace.Moved(s.At, move)
			d.around.Moved(d.register.spot(d.last).point, here.point, time.Now())
		}
		d.last, d.chosen = s.Here, 0
	}
	d.stood = append(d.stood[:0], s.Stands...)
}

// know tells the engine of the networks and points around.
func (d *decider) know(places []Network, here spot) {
	more := map[string]neighbourhood.Known{}
	for _, k := range d.around.Known() {
		more[k.Name] = k
	}
	follows := d.around.Follows(here.point)
	var (
		networks []decision.Network
		points   []decision.Point
	)
	for _, n := range places {
		known := decision.Network{ID: d.register.networkID(n.Name), Name: n.Name, Most: decision.Bind}
		if known.ID == 0 {
			continue
		}
		if !n.PAA.Addr().IsValid() {
			known.Most = decision.None
		}
		k := more[n.Name]
		if k.Cost != nil {
			known.Cost = *k.Cost
		}
		networks = append(networks, known)
		for _, name := range n.Points {
			p := decision.Point{ID: d.register.pointID(spot{n.Name, name}), Network: known.ID, Name: name, Load: unknown, Follows: unknown}
			if p.ID == 0 {
				continue
			}
			if follows != nil {
				p.Follows = float32(follows[name])
			}
			for _, q := range k.Points {
				if q.Name != name {
					continue
				}
				if p.Reach = q.Reach; q.Load != nil {
					p.Load = *q.Load
				}
				if q.Location != nil {
					p.Place = d.onMap(*q.Location)
				}
			}
			points = append(points, p)
		}
	}
	if slices.Equal(networks, d.networks) && slices.Equal(points, d.points) {
		return
	}
	d.networks, d.points = networks, points
	d.cfg.Trace.Know(d.at(time.Now()), networks, points)
	if err := d.engine.Know(networks, points); err != nil {
		d.log.Warn("not all that is known of the neighbourhood is used", "err", err)
	}
}

// onMap puts a location onto the engine's map, whose origin is the first location that there was; on another plan it has no
// place.
func (d *decider) onMap(l neighbourhood.Location) decision.Place {
	if d.origin == nil {
		d.origin = &l
	}
	x, y, ok := l.Metres(*d.origin)
	return decision.Place{X: float32(x), Y: float32(y), Known: ok}
}
