package mip6

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"openmpa/internal/inet"
)

// Kept is what a home agent must know of a home address after a crash: the bindings, and
// what recognises replays, which outlives them.
type Kept struct {
	Bindings    []Binding `json:"bindings,omitempty"` // none: deregistered
	Sequence    uint16    `json:"sequence"`
	HasSequence bool      `json:"has_sequence"`
	Stamp       uint64    `json:"stamp"`
	HasStamp    bool      `json:"has_stamp"`
	Until       time.Time `json:"-"` // nothing of it matters after; zero: for ever
}

// commit has what is about to be confirmed made good, when somebody does that. A registration
// that cannot be kept is not accepted.
func (a *Agent) commit(now time.Time, n *node, next []Binding) error {
	if a.cfg.Commit == nil {
		return nil
	}
	k := Kept{Bindings: next, Sequence: n.sequence, HasSequence: n.hasSequence, Stamp: n.stamp, HasStamp: n.hasStamp}
	if !n.Security.Sequence { // the clock alone refuses the time stamp some time after
		wall := a.wall(now)
		k.Until = now.Add(inet.Skew(n.stamp, inet.NTP(wall)) + a.cfg.ClockWindow + time.Second)
		for _, b := range next {
			k.Until = latest(k.Until, b.Expires)
		}
	}
	return a.cfg.Commit(n.Home, k)
}

// Restore takes back what was kept of a home address, before the first packet, and reports
// whether it is bound: then Poll says so by Changed. A home address that is not served
// any more, and bindings that are over, are forgotten.
func (a *Agent) Restore(now time.Time, home netip.Addr, k Kept) (bound bool, err error) {
	n := a.nodes[home]
	if n == nil {
		return false, nil
	}
	n.sequence, n.hasSequence = k.Sequence, k.HasSequence
	if k.HasStamp && inet.Skew(k.Stamp, inet.NTP(a.wall(now))) <= a.cfg.ClockWindow {
		n.stamp, n.hasStamp = k.Stamp, true
	} // else our clock was set back: it would refuse the node until it has caught up
	var next []Binding
	for _, b := range k.Bindings {
		if longest := now.Add(a.cfg.Lifetime); b.Expires.After(longest) {
			b.Expires = longest // the same
		}
		if due(b.Expires, now) {
			continue
		}
		if s := a.place(n, &next, BindingID{ID: b.ID, CareOf: b.Addr}, b); s != StatusAccepted {
			return false, fmt.Errorf("mip6: the binding kept for %v to %v cannot be one (%v): all of %v are forgotten", home, b.Addr, s, home)
		}
	}
	if len(next) == 0 {
		return false, nil
	}
	n.bindings = slices.Clip(next)
	a.put(Changed{Home: home, Bindings: n.bindings})
	return true, nil
}
