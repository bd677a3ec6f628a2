package path

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"openmpa/tunnel/flow"
	"openmpa/tunnel/ipip"
)

// markerAgain is when a marker is sent again, each after the one before: one that is lost
// costs the mobile node a wait.
var markerAgain = [...]time.Duration{20 * time.Millisecond, 40 * time.Millisecond}

// end is the marker that ends an old path, until it has been sent often enough.
type end struct {
	careOf netip.Addr
	marker []byte // behind Config.Outer octets
	due    time.Time
	sent   int
}

// bindDown is the downlink's side of Bind. A marker ends what came without numbers before what has
// some, and the other way round; from numbers to numbers nothing has to be told.
func (p *Path) bindDown(now time.Time, t Target) {
	p.down.Lock()
	defer p.down.Unlock()
	if slices.Equal(p.bound, t.CareOf) {
		p.endAgain(now)
		return
	}
	was, numbered := p.to, p.numbered
	p.bound, p.to, p.until = t.CareOf, t.CareOf, now.Add(p.cfg.Copies)
	several := len(t.CareOf) > 1 && t.Numbers
	if !several {
		p.to = t.CareOf[:1]
	}
	if several && numbered {
		return
	}
	p.ends, p.last = nil, nil // of a change before this one
	if len(was) > 0 && t.Ends != 0 {
		p.end(now, t.Ends, was)
	}
	if p.numbered = several; !several {
		return
	}
	if p.number, p.epoch = 1, p.epoch+1; p.epoch == 1 {
		p.epoch = uint16(now.Unix()) //nolint:gosec // so that one home agent begins elsewhere than the one before
	}
}

// end sends the marker that ends paths: first by the one that stays, if one does. Behind packets with
// numbers it has the next: what the mobile node misses is before it. p.down is held.
func (p *Path) end(now time.Time, id uint64, was []netip.Addr) {
	room := p.cfg.Outer
	if p.numbered {
		room = p.headroom
	}
	marker, err := p.cfg.Markers.AppendDown(make([]byte, room), id)
	if err == nil && p.numbered {
		err = p.enumerate(marker)
	}
	if err != nil {
		p.cfg.Counters.Add(DownError) // cannot be; the mobile node's own deadline covers it
		return
	}
	if slices.Contains(was, p.to[0]) {
		p.ends = append(p.ends, end{careOf: p.to[0], marker: marker, due: now})
	}
	for _, a := range was {
		if a != p.to[0] {
			p.ends = append(p.ends, end{careOf: a, marker: marker, due: now})
		}
	}
	p.last, p.lastUntil = slices.Clone(p.ends), now.Add(againWithin)
	p.sendMarkers(now)
}

// againWithin is how long after a change of the binding who asks for the same once more has its markers once more.
const againWithin = 5 * time.Second

// endAgain sends the markers of the last change again: the mobile node has not heard of that, as where its link was cut while it
// asked, and the markers went there, too. Those that are being repeated are not. p.down is held.
func (p *Path) endAgain(now time.Time) {
	if len(p.ends) > 0 || now.After(p.lastUntil) {
		return
	}
	for _, e := range p.last {
		e.due = now
		p.ends = append(p.ends, e)
	}
	p.sendMarkers(now)
}

// sendMarkers sends the markers that are due. p.down is held.
func (p *Path) sendMarkers(now time.Time) {
	for i := range p.ends {
		e := &p.ends[i]
		if now.Before(e.due) {
			continue
		}
		if err := p.cfg.World.To(e.careOf, e.marker); err != nil {
			p.cfg.Counters.Add(DownError) // it is sent again, and the mobile node has a deadline
		} else {
			p.cfg.Counters.Add(DownMarkers)
		}
		if e.sent < len(markerAgain) {
			e.due = now.Add(markerAgain[e.sent])
		}
		e.sent++
	}
	p.ends = slices.DeleteFunc(p.ends, func(e end) bool { return e.sent > len(markerAgain) })
}

// enumerate gives the packet behind Config.Headroom octets of buf the next number. p.down is held.
func (p *Path) enumerate(buf []byte) error {
	tos := ipip.TOS(buf[p.headroom:])
	shim := flow.Shim{Epoch: p.epoch, Number: p.number}
	if _, err := shim.AppendBinary(buf[:p.headroom-flow.ShimLen]); err != nil {
		return err
	}
	if err := p.cfg.World.Wrap(buf, tos); err != nil {
		return err
	}
	p.number++
	return nil
}

// Down sends a packet, behind Config.Headroom octets, to where the mobile node is. buf
// is changed and not kept.
func (p *Path) Down(buf []byte) {
	p.cfg.Counters.Add(DownIn)
	p.down.Lock()
	defer p.down.Unlock()
	if len(p.to) == 0 {
		p.cfg.Counters.Add(DownUnbound)
		return
	}
	pkt := buf[p.headroom-p.cfg.Outer:]
	if p.numbered {
		if p.enumerate(buf) != nil {
			p.cfg.Counters.Add(DownError)
			return
		}
		pkt = buf
	}
	var failed error
	sent := 0
	for _, careOf := range p.to {
		if err := p.cfg.World.To(careOf, pkt); err != nil {
			failed = err
		} else if sent++; sent > 1 {
			p.cfg.Counters.Add(DownCopies)
		}
	}
	switch {
	case sent > 0:
		p.cfg.Counters.Add(DownSent)
	case errors.Is(failed, ipip.ErrFormat):
		p.cfg.Counters.Add(DownLoop)
	default:
		p.cfg.Counters.Add(DownError)
	}
}
