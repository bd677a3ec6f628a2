package par

import (
	"net/netip"
	"time"

	"openmpa/tunnel"
	"openmpa/tunnel/flow"
)

// Where the tunnel leads is adopted under the visitor's lock, in one step with what that
// means for the delivery:
//
//	copies kept   the node's link may have been cut. It says so by Resume, and what it has
//	              not got goes to the new address before anything else. Until then what
//	              comes goes on to the old one, with a copy
//	otherwise     at once: nothing is under way that has to go first, or nobody knows

// strayed is an address from which a node's packets come that has not said it is there.
type strayed struct {
	at    netip.AddrPort
	since time.Time
}

// remapped is how long packets come from another address until it is clear that the node
// is where it was, and a NAT sends them from there: one that has moved repeats Resume
// three times a second.
const remapped = time.Second

// movedTo takes where the newest packet of the tunnel came from, when that is another
// address than it leads to. It runs on the reader of all tunnels.
func (v *visitor) movedTo(o tunnel.Origin) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed || !o.Of(v.tunnel) {
		return
	}
	if !v.group.Has(flow.Copy) {
		v.adopt(o)
		return
	}
	now := time.Now()
	if v.stray.at != o.Addr() {
		v.stray = strayed{at: o.Addr(), since: now}
	}
	if now.Sub(v.stray.since) < remapped {
		return
	}
	// What went to the old address since then is lost, and which of the rest nobody says:
	// all of it goes again, by its numbers.
	if v.apply(flow.Create) && v.apply(flow.Guard) {
		v.adopt(o)
		v.r.wg.Go(v.flush)
	}
}

// adopt sends there from now on, and what waited for an address. The caller holds mu.
func (v *visitor) adopt(o tunnel.Origin) {
	known := v.tunnel.Peer().IsValid()
	o.Adopt()
	v.stray = strayed{}
	if !known {
		v.advertise()
	}
	if v.ask != nil {
		v.r.wg.Go(v.ledNow)
	}
	if !v.unreached || !v.tunnel.Peer().IsValid() {
		return
	}
	v.unreached = false
	if v.left.IsZero() && !v.here && v.apply(flow.SwitchBack) {
		v.r.wg.Go(v.flush)
	}
}
