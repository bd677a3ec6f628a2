package ha

import (
	"fmt"
	"net/netip"
	"time"

	"openmpa/internal/ha/path"
	"openmpa/internal/inet"
	"openmpa/mn/mobility/mip4"
)

// Kept is what must be known of a home address after a crash.
type Kept struct {
	ID      uint64       `json:"id"`                // of the last request that was accepted: nothing older is
	Binding *KeptBinding `json:"binding,omitempty"` // nil: deregistered
	Until   time.Time    `json:"-"`                 // nothing of it matters after; zero: for ever
}

// KeptBinding is an entry of the mobility binding list.
type KeptBinding struct {
	CareOf  netip.Addr `json:"care_of"`
	Granted uint16     `json:"granted"` // seconds, as in the reply
	Since   time.Time  `json:"since"`
	Expires time.Time  `json:"expires"` // zero: never
	Reverse bool       `json:"reverse_tunnel"`
	Offered bool       `json:"path_markers"`
	Path    uint64     `json:"path,omitempty"`
	// The care-of address before, from which packets are still taken until OldEnd.
	Old    netip.Addr `json:"old_care_of"`
	OldEnd time.Time  `json:"old_end"`
}

// keep stores what a request that is about to be accepted makes of n; b is nil for a
// deregistration. n.registering is held, and no lock of the data path.
func (c *Core) keep(now time.Time, n *node, b *binding, id uint64) error {
	k := Kept{ID: id, Until: now.Add(inet.Skew(id, inet.NTP(now)) + c.cfg.ClockWindow + time.Second)} // the clock alone refuses it then
	if b != nil {
		k.Binding = &KeptBinding{
			CareOf: b.careOf, Granted: b.granted, Since: b.since, Expires: b.expires,
			Reverse: b.reverse, Offered: b.offered, Path: b.markers.Path,
		}
		k.Binding.Old, k.Binding.OldEnd = c.oldOf(now, n, b)
		if b.expires.IsZero() || b.expires.After(k.Until) {
			k.Until = b.expires
		}
	}
	return c.world.Keep(n.home, k)
}

// oldOf is the care-of address before b, and until when packets are taken from it.
func (c *Core) oldOf(now time.Time, n *node, b *binding) (netip.Addr, time.Time) {
	if was := n.binding; was != nil && was.careOf != b.careOf {
		return was.careOf, now.Add(c.cfg.OldPath)
	}
	old, end := n.path.Old()
	if len(old) == 0 {
		return netip.Addr{}, end
	}
	return old[0], end // there is one: a binding has one care-of address
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
	b := &binding{
		careOf: k.Binding.CareOf, id: k.ID, granted: k.Binding.Granted, since: k.Binding.Since, expires: k.Binding.Expires,
		reverse: k.Binding.Reverse, offered: k.Binding.Offered, markers: mip4.PathMarkers{Path: k.Binding.Path},
	}
	lifetime := mip4.LifetimeOf(b.granted)
	if lifetime != mip4.Infinite && (b.expires.IsZero() || b.expires.After(now.Add(lifetime))) {
		b.expires = now.Add(lifetime) // the same: never longer than granted
	}
	if !b.expires.IsZero() && !now.Before(b.expires) {
		return notice, false, nil
	}
	if c.unfit(b.careOf) {
		return notice, false, fmt.Errorf("ha: the binding kept for %v has %v as its care-of address, which cannot be one: it is forgotten", home, b.careOf)
	}
	if err := c.world.Bound(home); err != nil {
		return notice, false, fmt.Errorf("ha: the binding of %v to %v does not stand again: %w", home, b.careOf, err)
	}
	n.mu.Lock()
	n.binding = b
	n.mu.Unlock()
	n.path.Bind(now, path.Target{CareOf: []netip.Addr{b.careOf}, Reverse: b.reverse})
	if k.Binding.Old.IsValid() {
		n.path.RestoreOld(now, []netip.Addr{k.Binding.Old}, k.Binding.OldEnd)
	}
	c.world.Wake()
	notice = Notice{What: NoticeRestored, Home: home, CareOf: b.careOf, Path: b.markers.Path}
	if !b.expires.IsZero() {
		notice.Lifetime = b.expires.Sub(now)
	} else {
		notice.Lifetime = mip4.Infinite
	}
	return notice, true, nil
}
