package ha

import (
	"fmt"
	"net/netip"
	"time"

	"openmpa/internal/inet"
	"openmpa/mn/mobility/mip4"
)

// Kept is what must be known of a home address after a crash.
type Kept struct {
	ID      uint64        `json:"id"`                // of the last request that was accepted: nothing older is
	Binding *KeptBinding  `json:"binding,omitempty"` // nil: deregistered
	Also    []KeptBinding `json:"also,omitempty"`    // beside it
	// The care-of addresses before, from which packets are still taken until OldEnd.
	Old    []netip.Addr `json:"old,omitempty"`
	OldEnd time.Time    `json:"old_end,omitzero"`
	Until  time.Time    `json:"-"` // nothing of it matters after; zero: for ever
}

// KeptBinding is an entry of the mobility binding list.
type KeptBinding struct {
	CareOf  netip.Addr `json:"care_of"`
	ID      uint64     `json:"id"`      // of its registration
	Granted uint16     `json:"granted"` // seconds, as in the reply
	Since   time.Time  `json:"since"`
	Expires time.Time  `json:"expires"` // zero: never
	Reverse bool       `json:"reverse_tunnel"`
	Offered bool       `json:"path_markers"`
	Path    uint64     `json:"path,omitempty"`
	Code    mip4.Code  `json:"code"`
}

// keep stores what a request that is about to be accepted makes of n; list is empty for
// a deregistration. n.registering is held, and no lock of the data path.
func (c *Core) keep(now time.Time, n *node, list bindings, id uint64) error {
	k := Kept{ID: id, Until: now.Add(inet.Skew(id, inet.NTP(now)) + c.cfg.ClockWindow + time.Second)} // the clock alone refuses it then
	for i, b := range list {
		kept := KeptBinding{
			CareOf: b.careOf, ID: b.id, Granted: b.granted, Since: b.since, Expires: b.expires,
			Reverse: b.reverse, Offered: b.offered, Path: b.markers.Path, Code: b.code,
		}
		if i == 0 {
			k.Binding = &kept
		} else {
			k.Also = append(k.Also, kept)
		}
		if !k.Until.IsZero() && (b.expires.IsZero() || b.expires.After(k.Until)) {
			k.Until = b.expires
		}
	}
	if len(list) > 0 {
		k.Old, k.OldEnd = n.path.Old()
		if gone := n.path.Gone(list.careOf()); len(gone) > 0 {
			k.Old, k.OldEnd = gone, now.Add(c.cfg.OldPath)
		}
	}
	return c.world.Keep(n.home, k)
}

// Restore takes back what was kept of a home address, before the first request and
// packet. Of a change of path that was under way only that packets are taken from the
// old one is restored: whatever waited is lost, and so may be its marker. The notice, if
// any, is for the timeline.
func (c *Core) Restore(now time.Time, home netip.Addr, k Kept) (notice Notice, ok bool, err error) {
	n := c.nodes[home]
	if n == nil {
		return notice, false, nil // no longer configured
	}
	n.registering.Lock()
	defer n.registering.Unlock()
	if inet.Skew(k.ID, inet.NTP(now)) <= c.cfg.ClockWindow {
		n.lastID, n.hasID = k.ID, true
	} // else our clock was set back: it would refuse the node until it has caught up
	if k.Binding == nil {
		return notice, false, nil
	}
	var list bindings
	for _, kept := range append([]KeptBinding{*k.Binding}, k.Also...) {
		b := kept.restored(now)
		if c.unfit(b.careOf) {
			return notice, false, fmt.Errorf("ha: the binding kept for %v has %v as its care-of address, which cannot be one: it is forgotten", home, b.careOf)
		}
		list = append(list, b)
	}
	list, _ = list.at(now)
	if len(list) == 0 {
		return notice, false, nil
	}
	b := list[0]
	if err := c.world.Bound(home); err != nil {
		return notice, false, fmt.Errorf("ha: the binding of %v to %v does not stand again: %w", home, b.careOf, err)
	}
	c.set(now, n, list, 0)
	n.path.RestoreOld(now, k.Old, k.OldEnd)
	c.world.Wake()
	notice = Notice{What: NoticeRestored, Home: home, CareOf: b.careOf, Also: list.careOf()[1:], Path: b.markers.Path}
	if !b.expires.IsZero() {
		notice.Lifetime = b.expires.Sub(now)
	} else {
		notice.Lifetime = mip4.Infinite
	}
	return notice, true, nil
}

// restored is the binding that was kept, for no longer than was granted.
func (k KeptBinding) restored(now time.Time) *binding {
	b := &binding{
		careOf: k.CareOf, id: k.ID, granted: k.Granted, since: k.Since, expires: k.Expires, reverse: k.Reverse,
		offered: k.Offered, markers: mip4.PathMarkers{Path: k.Path}, code: k.Code,
	}
	lifetime := mip4.LifetimeOf(b.granted)
	if lifetime != mip4.Infinite && (b.expires.IsZero() || b.expires.After(now.Add(lifetime))) {
		b.expires = now.Add(lifetime) // the clock was set back
	}
	return b
}
