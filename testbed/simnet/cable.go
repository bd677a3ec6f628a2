package simnet

import (
	"encoding/binary"
	"math/rand/v2"
	"time"

	"openmpa/internal/acd"
	"openmpa/tunnel/ipip"
)

// Impairment is what one direction of a cable does to frames.
type Impairment struct {
	Delay     time.Duration
	Jitter    time.Duration // up to that much more, order kept
	Loss      float64       // share lost
	Duplicate float64       // share delivered twice
	Reorder   float64       // share that others may overtake
	Late      time.Duration // how much later these come at most
}

// shortest keeps two machines from exchanging frames for ever in one instant.
const shortest = 5 * time.Microsecond

type etherType uint16

const (
	typeIPv4 etherType = 0x0800
	typeARP  etherType = 0x0806
)

// frame is immutable once it is sent.
type frame struct {
	dst, src acd.MAC
	typ      etherType
	data     []byte
}

var broadcastMAC = acd.MAC{255, 255, 255, 255, 255, 255}

// Station is what a cable ends at: an *Interface or a *Bridge.
type Station interface {
	arrive(from *end, f frame)
	carrier(e *end)
	name() string
	attach(e *end)
	detach(e *end)
}

// end is one end of a cable.
type end struct {
	cable *Cable
	side  int
	at    Station // nil: unplugged
}

// Cable joins two stations. The second may be unplugged and plugged in elsewhere.
type Cable struct {
	w        *World
	label    string
	key      uint64
	ends     [2]*end
	imp      [2]Impairment
	cut      func(back bool, ipv4 []byte) bool // nil: nothing is lost but by imp
	last     [2]time.Time                      // delivery of the last frame sent that keeps order
	numbers  [2]map[uint64]uint64
	plugging uint64 // counts changes of plugs
}

// Connect joins a and b, which may be nil: unplugged. The label keys the cable's
// draws.
func (w *World) Connect(label string, a, b Station) *Cable {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := &Cable{w: w, label: label}
	for _, r := range label {
		c.key = mix(c.key, uint64(r))
	}
	for i := range c.ends {
		c.ends[i] = &end{cable: c, side: i}
		c.numbers[i] = map[uint64]uint64{}
	}
	w.cables = append(w.cables, c)
	c.ends[0].plug(a)
	c.ends[1].plug(b)
	return c
}

// Impair sets what the cable does: from its first station to its second, and back.
func (c *Cable) Impair(there, back Impairment) {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	c.imp = [2]Impairment{there, back}
}

// Cut has the cable lose every IPv4 packet for which lost says so; back is its direction,
// towards the first station. lost must not block. Nil ends it.
func (c *Cable) Cut(lost func(back bool, ipv4 []byte) bool) {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	c.cut = lost
}

// Plug moves the second end to s, or unplugs it (nil). What is under way is lost.
func (c *Cable) Plug(s Station) {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	c.ends[1].plug(s)
}

func (e *end) plug(s Station) {
	if e.at == s {
		return
	}
	c := e.cable
	c.plugging++
	if old := e.at; old != nil {
		e.at = nil
		c.w.note(c.label, "unplugged from "+old.name(), nil)
		c.tell()
		old.detach(e)
	}
	if e.at = s; s != nil {
		c.w.note(c.label, "plugged into "+s.name(), nil)
		s.attach(e)
		c.tell()
	}
}

func (c *Cable) tell() {
	for _, e := range c.ends {
		if e.at != nil {
			e.at.carrier(e)
		}
	}
}

// up says whether the cable has a station at both ends.
func (c *Cable) up() bool { return c.ends[0].at != nil && c.ends[1].at != nil }

func (e *end) other() *end { return e.cable.ends[1-e.side] }

// send carries f to the other end. The caller holds mu.
func (e *end) send(f frame) {
	c, w, imp := e.cable, e.cable.w, e.cable.imp[e.side]
	if !c.up() {
		w.dropped(c.label, ReasonCarrier, f)
		return
	}
	if c.cut != nil && f.typ == typeIPv4 && c.cut(e.side == 1, f.data) {
		w.dropped(c.label, ReasonLoss, f)
		return
	}
	kind := class(f)
	number := c.numbers[e.side][kind]
	c.numbers[e.side][kind] = number + 1
	draw := rand.New(rand.NewPCG(mix(w.seed, c.key, uint64(e.side)), mix(kind, number)))
	lost, doubled, late := draw.Float64() < imp.Loss, draw.Float64() < imp.Duplicate, draw.Float64() < imp.Reorder
	jitter, extra, again := draw.Float64(), draw.Float64(), draw.Float64()
	if lost {
		w.dropped(c.label, ReasonLoss, f)
		return
	}
	at := time.Now().Add(max(imp.Delay, shortest) + time.Duration(jitter*float64(imp.Jitter)))
	if late {
		at = at.Add(time.Duration(extra * float64(imp.Late)))
	} else {
		if at.Before(c.last[e.side]) {
			at = c.last[e.side]
		}
		c.last[e.side] = at
	}
	c.deliver(e, f, at)
	if doubled {
		if w.note(c.label, "DOUBLED", f.data); w.watch != nil && f.typ == typeIPv4 {
			w.watch.Doubled(c.label, f.data)
		}
		c.deliver(e, f, at.Add(time.Duration(again*float64(imp.Late))))
	}
}

func (c *Cable) deliver(from *end, f frame, at time.Time) {
	plugging := c.plugging
	c.w.at(at, func() {
		if c.plugging != plugging {
			c.w.dropped(c.label, ReasonUnplugged, f)
			return
		}
		to := from.other()
		to.at.arrive(to, f)
	})
}

// dropped ends a frame. The caller holds mu.
func (w *World) dropped(where string, why Reason, f frame) {
	if f.typ == typeIPv4 {
		w.lost(where, why, f.data)
		return
	}
	w.note(where, "DROP "+string(why), f.data)
}

// class sorts frames into kinds whose draws do not depend on one another.
func class(f frame) uint64 {
	if f.typ != typeIPv4 {
		return uint64(f.typ)
	}
	_, _, proto, body, _, err := ipip.ParseIPv4(f.data)
	if err != nil {
		return 1
	}
	if proto == protoUDP && len(f.data) >= body+4 {
		sport, dport := binary.BigEndian.Uint16(f.data[body:]), binary.BigEndian.Uint16(f.data[body+2:])
		return 1<<32 | uint64(min(sport, dport)) // the other is mostly ephemeral
	}
	return 1<<40 | uint64(proto)
}

// Bridge is a learning switch, such as a point of attachment.
type Bridge struct {
	w     *World
	label string
	ends  []*end
	macs  map[acd.MAC]*end
}

// Bridge makes one without stations.
func (w *World) Bridge(label string) *Bridge {
	return &Bridge{w: w, label: label, macs: map[acd.MAC]*end{}}
}

func (b *Bridge) name() string { return b.label }
func (b *Bridge) carrier(*end) {}

func (b *Bridge) attach(e *end) { b.ends = append(b.ends, e) }

func (b *Bridge) detach(e *end) {
	for i := range b.ends {
		if b.ends[i] == e {
			b.ends = append(b.ends[:i], b.ends[i+1:]...)
			break
		}
	}
	for mac, at := range b.macs {
		if at == e {
			delete(b.macs, mac)
		}
	}
}

// arrive passes a frame on to where its destination is, or to everybody.
func (b *Bridge) arrive(from *end, f frame) {
	b.macs[f.src] = from
	if to := b.macs[f.dst]; to != nil && f.dst != broadcastMAC {
		if to == from {
			b.w.dropped(b.label, ReasonForeign, f)
			return
		}
		to.send(f)
		return
	}
	sent := 0
	for _, e := range b.ends {
		if e == from || !e.cable.up() {
			continue
		}
		if sent++; sent > 1 && f.typ == typeIPv4 && b.w.watch != nil {
			b.w.watch.Doubled(b.label, f.data) // those it is not for will drop it
		}
		e.send(f)
	}
	if sent == 0 {
		b.w.dropped(b.label, ReasonCarrier, f)
	}
}
