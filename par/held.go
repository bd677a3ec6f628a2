package par

import (
	"errors"
	"fmt"
	"time"

	"openmpa/internal/event"
	"openmpa/paa/notify"
	"openmpa/tunnel/flow"
)

// A node that has left for another network may be back before long (RFC 6252 appendix C.1 and C.2). So it has us keep
// its session, address and access points' keys, and makes another tunnel, from where it is, in the place of what stood by: from
// then on it is what a candidate is that has prepared to come, and comes as one. What it may do here ends with that:
//
//	served, authorised --Held, sealed, from elsewhere--> candidate, not authorised
//	      ^                                                    |
//	      +---------- departs to us, or arrives, sealed -------+
//
// It lasts as long as that of any candidate: until the node ends the session or is silent for the time that PANA's pings
// allow it; the tunnel, if nothing came by it for Config.Unused.

// holdable says why there is no tunnel to a node that has left us, if so. The caller holds mu.
func (v *visitor) holdable(m *notify.TunnelRequest) error {
	switch {
	case v.lease != nil && v.lease.Addr.Addr() != m.Inner:
		return fmt.Errorf("inner address %s is not the one leased, %s", m.Inner, v.lease.Addr.Addr())
	case v.lease == nil && v.loggedIn != m.Inner:
		return fmt.Errorf("inner address %s is neither leased in this session nor the one from which it began, %v", m.Inner, v.loggedIn)
	case v.lease != nil && v.expired(time.Now()):
		return fmt.Errorf("the lease of %s has expired: begin again with another session", m.Inner)
	case v.r.onLink(v.peer.Addr().Unmap()):
		return fmt.Errorf("the node speaks from %v, which is on this link: it has not left", v.peer.Addr())
	case v.superseded:
		return errors.New("another session of the node has begun in the place of this one")
	}
	return nil
}

// hold keeps what the node has for its return. What was queued for it here, where it is not, is counted as dropped: it
// asks for that before, by Resume. The caller holds mu.
func (v *visitor) hold(m *notify.TunnelRequest) error {
	v.pass(false)
	v.undrain(event.Cancelled, "the node has left, and may return")
	v.mac, v.guarded, v.missed = m.MAC, false, false
	if !v.group.Has(flow.Released) {
		v.room.ended()
	}
	return v.stand(m)
}
