package path

import (
	"net/netip"
	"slices"
	"time"

	"openmpa/tunnel/flow"
)

// Opened says that packets of a new path wait no longer.
type Opened struct {
	CareOf   netip.Addr // of the marker, or of the packets where none came
	ID       uint64     // of the change
	Released int        // packets that had waited
}

// Up takes an inner packet that came in the tunnel from careOf. It passes only if the
// mobile node is bound there. inner is not kept. ok: a marker has let others through.
func (p *Path) Up(now time.Time, careOf netip.Addr, inner []byte) (o Opened, ok bool) {
	p.up.Lock()
	defer p.up.Unlock()
	old := slices.Contains(p.old, careOf) && now.Before(p.oldEnd)
	isNew, isMarker := slices.Contains(p.current, careOf) && !old, p.cfg.Markers.Is(inner)
	switch {
	case isMarker && slices.Contains(p.ended, careOf) && p.reverse: // markers are sent more than once
		return p.marker(now, careOf, inner)
	case len(p.current) == 0, !isNew && !old:
		p.cfg.Counters.Add(UpNotBound)
		return o, false
	case !p.reverse:
		p.cfg.Counters.Add(UpNoReverse)
		return o, false
	case isMarker:
		return p.marker(now, careOf, inner)
	}
	_, waited := p.gate.Deadline()
	deliver := false
	switch left := p.left(careOf); {
	case !isNew:
		deliver = p.gate.Old(now, inner)
	case left != 0: // it has returned there
		deliver = p.gate.Before(now, left, inner)
	default:
		deliver = p.gate.New(now, inner)
	}
	if deliver {
		p.deliver(inner)
	}
	p.drain() // a full gate opens
	if _, waits := p.gate.Deadline(); waits && !waited {
		p.cfg.World.Wake()
	}
	return o, false
}

// marker takes what looks like a marker. p.up is held.
func (p *Path) marker(now time.Time, careOf netip.Addr, inner []byte) (Opened, bool) {
	id, ok := p.cfg.Markers.Up(inner)
	if !ok {
		p.cfg.Counters.Add(UpMarker)
		return Opened{}, false
	}
	p.cfg.Counters.Add(UpMarkers)
	if id == p.change && slices.Contains(p.old, careOf) {
		p.old, p.ended = nil, p.old // nothing but markers follows by this path, and nothing came by others
	}
	if !p.gate.Armed() || !p.gate.Marker(now, id) {
		return Opened{}, false // after the deadline, or twice
	}
	return Opened{CareOf: careOf, ID: id, Released: p.drain()}, true
}

// drain delivers what the gate has released. p.up is held.
func (p *Path) drain() int {
	for count := 0; ; count++ {
		pkt, ok := p.gate.Next()
		if !ok {
			return count
		}
		p.deliver(pkt)
		p.gate.Recycle(pkt)
	}
}

// flush delivers what waits in the gate and opens it for good. p.up is held.
func (p *Path) flush() {
	for {
		p.drain()
		at, ok := p.gate.Deadline()
		if !ok {
			break
		}
		p.gate.OnDeadline(at)
	}
	p.gate.Release() // nothing is held now: this forgets changes that nobody waited for
}

func (p *Path) deliver(inner []byte) {
	if err := p.cfg.World.From(inner); err != nil {
		p.cfg.Counters.Add(UpError)
		return
	}
	p.cfg.Counters.Add(UpDelivered)
}

// GateStatus counts packets from the mobile node at its gate, as status shows it.
type GateStatus struct {
	Packets    uint64                 `json:"packets"`
	Delivered  uint64                 `json:"delivered"`
	Waiting    uint64                 `json:"waiting"`
	Held       uint64                 `json:"held"` // ever
	HighWater  int                    `json:"high_water"`
	Dropped    map[flow.Reason]uint64 `json:"dropped,omitempty"`
	Changes    uint64                 `json:"changes"` // of path, with markers
	ByMarker   uint64                 `json:"opened_by_marker"`
	ByDeadline uint64                 `json:"opened_by_deadline"`
	ByLimit    uint64                 `json:"opened_by_limit"`
	Late       uint64                 `json:"late"` // came by an old path when nobody waited for it
}

// Gate is the state of the gate.
func (p *Path) Gate() GateStatus {
	p.up.Lock()
	defer p.up.Unlock()
	s := p.gate.Stats()
	return GateStatus{
		Packets: s.In, Delivered: s.Delivered, Waiting: s.Queued, Held: s.Held, HighWater: s.HighWater, Dropped: s.Dropped,
		Changes: s.Armed, ByMarker: s.ByMarker, ByDeadline: s.ByDeadline, ByLimit: s.ByLimit, Late: s.Late,
	}
}
