package path

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"openmpa/tunnel/flow"
)

// Defaults of Times.
const (
	DefaultMarkerWait  = 500 * time.Millisecond
	DefaultOldPath     = 5 * time.Second
	DefaultCopies      = 10 * time.Second
	DefaultHoldPackets = 4096
	DefaultHoldBytes   = 8 << 20
)

// World is what a path acts on. It is called with a lock of the path held: it must not
// call the same path, and should not block for long.
type World interface {
	// To sends an inner packet, with Config.Outer octets in front of it, to a care-of
	// address. An error that matches ipip.ErrFormat says that it must not enter a tunnel.
	To(careOf netip.Addr, buf []byte) error
	// Wrap makes an inner packet of what is behind a header's room in buf, with Config.Outer
	// octets in front of all.
	Wrap(buf []byte, tos uint8) error
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
	Copies     time.Duration // how long packets are sent to all of several care-of addresses
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
	if l.Copies == 0 {
		l.Copies = DefaultCopies
	}
	if l.Hold.Packets == 0 {
		l.Hold.Packets = DefaultHoldPackets
	}
	if l.Hold.Bytes == 0 {
		l.Hold.Bytes = DefaultHoldBytes
	}
	if l.MarkerWait < 0 || l.OldPath < 0 || l.Copies < 0 {
		return fmt.Errorf("marker-wait, old-path and copies must be positive, they are %v, %v and %v", l.MarkerWait, l.OldPath, l.Copies)
	}
	return nil
}

// Config is fixed after New.
type Config struct {
	Limits
	World    World
	Markers  Markers
	Outer    int       // octets that World.To needs in front of a packet
	Header   int       // octets of an inner header
	Counters *Counters // begins with Names
}

// Headroom is how many octets must be in front of a packet that Down takes: for the outer header,
// and where copies are made for an inner one and the number.
func (c *Config) Headroom() int { return c.Outer + c.Header + flow.ShimLen }

// Target is where a mobile node is.
type Target struct {
	// CareOf are its care-of addresses, the first where it is; the others are where it may be soon.
	CareOf  []netip.Addr
	Reverse bool // it may send through the tunnel
	// Numbers says that it knows copies by their numbers: packets go to all care-of addresses
	// then, for a time, else to the first.
	Numbers bool
	// Ends is the identification of the change that brought it there, when markers end the
	// path before; 0: they do not.
	Ends uint64
}

// Path is where one mobile node is. Its methods may be called concurrently, those that
// change it one after the other.
type Path struct {
	// fixed after New
	cfg      Config
	headroom int

	// downlink, guarded by down
	down  sync.Mutex
	bound []netip.Addr // none: not away
	to    []netip.Addr // of those, where packets go
	until time.Time    // to all of them; zero: for ever
	ends  []end
	// of the last change, as they were to be sent at first, and until when that is done again
	last      []end
	lastUntil time.Time
	// while packets may be copied they have numbers
	numbered bool
	epoch    uint16
	number   uint32 // of the next

	// uplink, guarded by up
	up      sync.Mutex
	current []netip.Addr // care-of addresses; none: not away
	reverse bool
	old     []netip.Addr // just-previous ones that are none any more
	ended   []netip.Addr // were old until the marker came
	oldEnd  time.Time    // until when
	change  uint64       // Target.Ends of the change from old to current
	gate    *flow.Gate
	leaves  []leave
}

// leave is a change away from a care-of address, whose marker has not come from there. What comes from there before it
// was sent before the change, also where the mobile node has returned there meanwhile.
type leave struct {
	careOf netip.Addr
	id     uint64
}

// New returns the path of a mobile node that is not away.
func New(cfg Config) *Path {
	return &Path{cfg: cfg, headroom: cfg.Headroom(), gate: flow.NewGate(cfg.Hold)}
}

// CareOf is where the mobile node is; not valid: not away.
func (p *Path) CareOf() netip.Addr {
	p.down.Lock()
	defer p.down.Unlock()
	if len(p.bound) == 0 {
		return netip.Addr{}
	}
	return p.bound[0]
}

// Bound reports whether careOf is one of the mobile node's.
func (p *Path) Bound(careOf netip.Addr) bool {
	p.down.Lock()
	defer p.down.Unlock()
	return slices.Contains(p.bound, careOf)
}

// Same reports whether the mobile node is bound to list, in this order.
func (p *Path) Same(list []netip.Addr) bool {
	p.down.Lock()
	defer p.down.Unlock()
	return slices.Equal(p.bound, list)
}

// Gone are the care-of addresses that would be none any more with those of next.
func (p *Path) Gone(next []netip.Addr) []netip.Addr {
	p.up.Lock()
	defer p.up.Unlock()
	return missing(p.current, next)
}

// Old are the care-of addresses before, from which packets are taken until end.
func (p *Path) Old() (careOf []netip.Addr, end time.Time) {
	p.up.Lock()
	defer p.up.Unlock()
	return p.old, p.oldEnd
}

// Bind has packets go to and come from t: the mobile node's first care-of addresses, others, or
// the same again.
func (p *Path) Bind(now time.Time, t Target) {
	p.bindUp(now, t)
	p.bindDown(now, t)
	p.cfg.World.Wake()
}

// bindUp is the uplink's side of Bind. A mobile node sends from the first of its care-of addresses:
// while that stays there is nothing to put in order, when it changes those before are an old path,
// also those that stay.
func (p *Path) bindUp(now time.Time, t Target) {
	p.up.Lock()
	defer p.up.Unlock()
	was := p.current
	p.current, p.reverse = t.CareOf, t.Reverse
	if len(was) == 0 {
		return
	}
	if was[0] == t.CareOf[0] { // nothing has been sent by the others for a while
		if gone := missing(was, t.CareOf); len(gone) > 0 {
			p.old, p.oldEnd = append(slices.Clip(p.old), gone...), now.Add(p.cfg.OldPath)
		}
		return
	}
	p.old, p.ended, p.change, p.oldEnd = missing(was, t.CareOf[:1]), nil, 0, now.Add(p.cfg.OldPath)
	if t.Ends != 0 {
		p.change = t.Ends
		p.gate.Arm(now, t.Ends, p.cfg.MarkerWait)
		p.leaves = append(p.leaves, leave{was[0], t.Ends})
	} else {
		p.flush() // of a change before this one
	}
}

// left is the first change away from a care-of address that waits for its marker; 0: there is none. p.up is held.
func (p *Path) left(careOf netip.Addr) uint64 {
	p.leaves = slices.DeleteFunc(p.leaves, func(l leave) bool { return !p.gate.Waits(l.id) })
	for _, l := range p.leaves {
		if l.careOf == careOf {
			return l.id
		}
	}
	return 0
}

// missing are those of was that are not in next.
func missing(was, next []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(was), func(a netip.Addr) bool { return slices.Contains(next, a) })
}

// RestoreOld has packets taken from the care-of addresses before, as Old told them when the
// home agent ended. Of a change that was under way nothing else is restored.
func (p *Path) RestoreOld(now time.Time, old []netip.Addr, end time.Time) {
	p.up.Lock()
	defer p.up.Unlock()
	if len(old) > 0 && now.Before(end) {
		p.old, p.oldEnd = old, end
	}
}

// Clear says that the mobile node is not away any more. What waits is delivered.
func (p *Path) Clear() {
	p.down.Lock()
	p.bound, p.to, p.ends, p.last, p.numbered = nil, nil, nil, nil, false
	p.down.Unlock()
	p.up.Lock()
	defer p.up.Unlock()
	p.flush()
	p.current, p.old, p.ended, p.reverse, p.change = nil, nil, nil, false, 0
}

// Deadline returns when OnDeadline must be called; zero: not at all.
func (p *Path) Deadline() (d time.Time) {
	earlier := func(t time.Time) {
		if !t.IsZero() && (d.IsZero() || t.Before(d)) {
			d = t
		}
	}
	p.down.Lock()
	for _, e := range p.ends {
		earlier(e.due)
	}
	if len(p.to) > 1 {
		earlier(p.until)
	}
	p.down.Unlock()
	p.up.Lock()
	defer p.up.Unlock()
	if at, ok := p.gate.Deadline(); ok {
		earlier(at)
	}
	if len(p.old) > 0 {
		earlier(p.oldEnd)
	}
	return d
}

// OnDeadline does what is due at now, and returns what came of it. Calling it early does
// nothing.
func (p *Path) OnDeadline(now time.Time) (o Opened, ok bool) {
	p.up.Lock()
	if len(p.old) > 0 && !now.Before(p.oldEnd) {
		p.old = nil
		if p.gate.Armed() { // no marker, and nobody waits yet: nobody has to
			p.flush()
		}
	}
	if at, due := p.gate.Deadline(); due && !now.Before(at) {
		p.gate.OnDeadline(now)
		o, ok = Opened{CareOf: p.current[0], ID: p.change, Released: p.drain()}, true
	}
	p.up.Unlock()

	p.down.Lock()
	defer p.down.Unlock()
	p.sendMarkers(now)
	if len(p.to) > 1 && !now.Before(p.until) {
		p.to = p.to[:1] // the numbers go on: nothing changes for the mobile node
	}
	return o, ok
}
