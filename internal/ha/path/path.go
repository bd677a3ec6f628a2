package path

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"openmpa/tunnel/flow"
	"openmpa/tunnel/ipip"
)

// Defaults of Times.
const (
	DefaultMarkerWait  = 500 * time.Millisecond
	DefaultOldPath     = 5 * time.Second
	DefaultHoldPackets = 4096
	DefaultHoldBytes   = 8 << 20
)

// World is what a path acts on. It is called with a lock of the path held: it must not
// call the same path, and should not block for long.
type World interface {
	// To sends an inner packet, with Config.Headroom octets in front of it, to a care-of
	// address. An error that matches ipip.ErrFormat says that it must not enter a tunnel.
	To(careOf netip.Addr, buf []byte) error
	// From gives an inner packet of the mobile node to the network.
	From(inner []byte) error
	// Wake says that Deadline may be earlier than it was. It must not block.
	Wake()
}

// Markers are the path-end markers of one mobile node.
type Markers interface {
	// AppendDown appends the inner packet that ends the path to the mobile node.
	AppendDown(dst []byte, id uint64) ([]byte, error)
	// Is says that an inner packet looks like a marker.
	Is(inner []byte) bool
	// Up returns the identification of a marker of the mobile node, and false when it is
	// not genuine.
	Up(inner []byte) (id uint64, ok bool)
}

// Limits say for how long, and how much.
type Limits struct {
	MarkerWait time.Duration // how long packets of a new path wait for the marker on the old one
	OldPath    time.Duration // how long packets are taken from the just-previous care-of address
	Hold       flow.Limits   // of packets that wait, for each mobile node
}

// Check completes the defaults and says what is wrong, or nil.
func (l *Limits) Check() error {
	if l.MarkerWait == 0 {
		l.MarkerWait = DefaultMarkerWait
	}
	if l.OldPath == 0 {
		l.OldPath = DefaultOldPath
	}
	if l.Hold.Packets == 0 {
		l.Hold.Packets = DefaultHoldPackets
	}
	if l.Hold.Bytes == 0 {
		l.Hold.Bytes = DefaultHoldBytes
	}
	if l.MarkerWait < 0 || l.OldPath < 0 {
		return fmt.Errorf("marker-wait and old-path must be positive, they are %v and %v", l.MarkerWait, l.OldPath)
	}
	return nil
}

// Config is fixed after New.
type Config struct {
	Limits
	World    World
	Markers  Markers
	Headroom int       // octets in front of a packet that Down takes
	Counters *Counters // begins with Names
}

// Target is where a mobile node is.
type Target struct {
	CareOf  netip.Addr
	Reverse bool // it may send through the tunnel
	// Ends is the identification of the change that brought it there, when markers end the
	// path before; 0: they do not.
	Ends uint64
}

// Path is where one mobile node is. Its methods may be called concurrently, those that
// change it one after the other.
type Path struct {
	// fixed after New
	cfg Config

	// downlink, guarded by down
	down sync.Mutex
	to   netip.Addr // not valid: nowhere
	end  end

	// uplink, guarded by up
	up      sync.Mutex
	current netip.Addr // care-of address; not valid: none
	reverse bool
	old     netip.Addr // just-previous care-of address; not valid: none
	ended   netip.Addr // was old until the marker came
	oldEnd  time.Time  // until when
	ends    uint64     // Target.Ends of the change from old to current
	gate    *flow.Gate
}

// New returns the path of a mobile node that is not away.
func New(cfg Config) *Path { return &Path{cfg: cfg, gate: flow.NewGate(cfg.Hold)} }

// markerAgain is when a marker is sent again, each after the one before: one that is lost
// costs the mobile node a wait.
var markerAgain = [...]time.Duration{20 * time.Millisecond, 40 * time.Millisecond}

// end is the marker that ends an old path, until it has been sent often enough.
type end struct {
	careOf netip.Addr
	marker []byte    // behind the headroom
	due    time.Time // zero: no more
	sent   int
}

// CareOf is where the mobile node is; not valid: not away.
func (p *Path) CareOf() netip.Addr {
	p.down.Lock()
	defer p.down.Unlock()
	return p.to
}

// Old is the care-of address before, from which packets are taken until end.
func (p *Path) Old() (careOf netip.Addr, end time.Time) {
	p.up.Lock()
	defer p.up.Unlock()
	return p.old, p.oldEnd
}

// Bind has packets go to and come from t: the mobile node's first care-of address,
// another one, or the same again.
func (p *Path) Bind(now time.Time, t Target) {
	p.bindUp(now, t)
	p.down.Lock()
	defer p.down.Unlock()
	if p.to == t.CareOf {
		return
	}
	p.end = end{} // of a change before this one
	if p.to.IsValid() && t.Ends != 0 {
		marker, err := p.cfg.Markers.AppendDown(make([]byte, p.cfg.Headroom), t.Ends)
		if err != nil {
			p.cfg.Counters.Add(DownError) // cannot be; the mobile node's own deadline covers it
		} else {
			p.end = end{careOf: p.to, marker: marker, due: now}
			p.sendMarker(now)
		}
	}
	p.to = t.CareOf
	p.cfg.World.Wake()
}

// bindUp is the uplink's side of Bind.
func (p *Path) bindUp(now time.Time, t Target) {
	p.up.Lock()
	defer p.up.Unlock()
	p.reverse = t.Reverse
	if p.current == t.CareOf {
		return
	}
	p.current, p.old, p.ended, p.ends = t.CareOf, p.current, netip.Addr{}, 0
	if !p.old.IsValid() {
		return
	}
	p.oldEnd = now.Add(p.cfg.OldPath)
	if t.Ends != 0 {
		p.ends = t.Ends
		p.gate.Arm(now, t.Ends, p.cfg.MarkerWait)
	} else {
		p.flush() // of a change before this one
	}
}

// RestoreOld has packets taken from the care-of address before, as Old told it when the
// home agent ended. Of a change that was under way nothing else is restored.
func (p *Path) RestoreOld(now time.Time, old netip.Addr, end time.Time) {
	p.up.Lock()
	defer p.up.Unlock()
	if old.IsValid() && now.Before(end) {
		p.old, p.oldEnd = old, end
	}
}

// Clear says that the mobile node is not away any more. What waits is delivered.
func (p *Path) Clear() {
	p.down.Lock()
	p.to, p.end = netip.Addr{}, end{}
	p.down.Unlock()
	p.up.Lock()
	defer p.up.Unlock()
	p.flush()
	p.current, p.old, p.ended, p.reverse, p.ends = netip.Addr{}, netip.Addr{}, netip.Addr{}, false, 0
}

// Down sends a packet, behind Config.Headroom octets, to where the mobile node is. buf
// may be changed and is not kept.
func (p *Path) Down(buf []byte) {
	p.cfg.Counters.Add(DownIn)
	p.down.Lock()
	defer p.down.Unlock()
	if !p.to.IsValid() {
		p.cfg.Counters.Add(DownUnbound)
		return
	}
	switch err := p.cfg.World.To(p.to, buf); {
	case err == nil:
		p.cfg.Counters.Add(DownSent)
	case errors.Is(err, ipip.ErrFormat):
		p.cfg.Counters.Add(DownLoop)
	default:
		p.cfg.Counters.Add(DownError)
	}
}

// sendMarker sends the marker that is due. p.down is held.
func (p *Path) sendMarker(now time.Time) {
	e := &p.end
	if err := p.cfg.World.To(e.careOf, e.marker); err != nil {
		p.cfg.Counters.Add(DownError) // it is sent again, and the mobile node has a deadline
	} else {
		p.cfg.Counters.Add(DownMarkers)
	}
	if e.sent < len(markerAgain) {
		e.due = now.Add(markerAgain[e.sent])
		e.sent++
	} else {
		*e = end{}
	}
}

// Deadline returns when OnDeadline must be called; zero: not at all.
func (p *Path) Deadline() (d time.Time) {
	earlier := func(t time.Time) {
		if !t.IsZero() && (d.IsZero() || t.Before(d)) {
			d = t
		}
	}
	p.down.Lock()
	earlier(p.end.due)
	p.down.Unlock()
	p.up.Lock()
	defer p.up.Unlock()
	if at, ok := p.gate.Deadline(); ok {
		earlier(at)
	}
	if p.old.IsValid() {
		earlier(p.oldEnd)
	}
	return d
}

// OnDeadline does what is due at now, and returns what came of it. Calling it early does
// nothing.
func (p *Path) OnDeadline(now time.Time) (o Opened, ok bool) {
	p.up.Lock()
	if p.old.IsValid() && !now.Before(p.oldEnd) {
		p.old = netip.Addr{}
		if p.gate.Armed() { // no marker, and nobody waits yet: nobody has to
			p.flush()
		}
	}
	if at, due := p.gate.Deadline(); due && !now.Before(at) {
		p.gate.OnDeadline(now)
		o, ok = Opened{CareOf: p.current, ID: p.ends, Released: p.drain()}, true
	}
	p.up.Unlock()

	p.down.Lock()
	defer p.down.Unlock()
	if !p.end.due.IsZero() && !now.Before(p.end.due) {
		p.sendMarker(now)
	}
	return o, ok
}
