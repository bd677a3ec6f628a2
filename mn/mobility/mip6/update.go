package mip6

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"openmpa/internal/inet"
)

// update processes a home registration (RFC 6275 sections 9.5.1, 10.3.1 and 10.3.2).
func (a *Agent) update(now time.Time, p *Packet, u *Update) error {
	q := &request{Update: u, src: p.Src, routed: p.Home.IsValid()}
	home := p.Source()
	var err error
	if q.careOf, err = u.CareOf(p.Src); err != nil {
		return err
	}
	_, indexed := u.Options.find(OptNonceIndices)
	switch {
	case !Unicast(p.Src) || !Unicast(q.careOf):
		return fmt.Errorf("mip6: %w: from %v, care-of address %v: both must be routable", ErrRefused, p.Src, q.careOf)
	case !q.routed && u.Lifetime != 0:
		return fmt.Errorf("mip6: %w: a registration from %v without a Home Address option", ErrRefused, p.Src)
	case indexed:
		return fmt.Errorf("mip6: %w: nonce indices in a home registration", ErrRefused)
	}
	n := a.nodes[home]
	if n == nil {
		if !a.cfg.onLink(home) && a.errors.allow(now) {
			a.answer(&node{Node: Node{Home: home}}, q, Ack{Status: StatusNotHomeSubnet, Sequence: u.Sequence})
			return nil
		}
		return fmt.Errorf("mip6: %w: there is no security association for home address %v", ErrRefused, home)
	}
	if err := u.Verify(n.Security, q.careOf, home); err != nil {
		if errors.Is(err, ErrAuthenticator) && now.Sub(n.refused) >= time.Second {
			n.refused = now
			a.deny(n, q, StatusAuthentication)
			return nil
		}
		return err
	}
	if q.stamp, q.timed, err = u.Options.Replay(); err != nil {
		return err
	}
	if s := a.replayed(now, n, q); s != StatusAccepted {
		a.deny(n, q, s)
		return nil
	}
	if q.ids, err = u.Options.BindingIDs(); err != nil {
		a.deny(n, q, StatusBindingMalformed)
		return nil
	}
	switch s := a.admit(n, q); {
	case s != StatusAccepted:
		a.deny(n, q, s)
	case u.Lifetime == 0:
		a.unbind(now, n, q)
	case len(n.bindings) == 0:
		if n.tested == nil {
			a.put(DAD{Home: home, LinkLocal: u.Flags&FlagL != 0})
		}
		n.tested = q // in place of an older one: only the newest is answered
	default:
		a.bind(now, n, q)
	}
	return nil
}

// replayed checks that q is newer than all before: by its time stamp (RFC 4285 section
// 6), or by its sequence number (RFC 6275 section 9.5.1).
func (a *Agent) replayed(now time.Time, n *node, q *request) Status {
	if !n.Security.Sequence {
		wall := a.wall(now)
		if !q.timed {
			return StatusNoIdentification
		}
		skew := inet.Skew(q.stamp, inet.NTP(wall))
		if skew > a.cfg.ClockWindow || skew < -a.cfg.ClockWindow || n.hasStamp && !inet.Newer(q.stamp, n.stamp) {
			q.stamp = inet.NTP(wall)>>32<<32 | q.stamp&0xffffffff
			return StatusIdentification
		}
		n.stamp, n.hasStamp = q.stamp, true
	} else if n.hasSequence && !sequenceAfter(q.Sequence, n.sequence) {
		return StatusSequence
	}
	n.sequence, n.hasSequence = q.Sequence, true
	return StatusAccepted
}

// sequenceAfter reports whether sequence number a is greater than b, modulo 2^16 (RFC
// 6275 section 9.5.1).
func sequenceAfter(a, b uint16) bool {
	d := a - b
	return d != 0 && d < 0x8000
}

func (a *Agent) wall(now time.Time) time.Time {
	if a.cfg.Now != nil {
		return a.cfg.Now()
	}
	return now
}

// admit makes the checks that concern the whole of a valid request.
func (a *Agent) admit(n *node, q *request) Status {
	seen := make(map[uint16]bool)
	for _, id := range q.ids {
		if id.AtHome {
			return StatusHomeAndAwayRefused
		}
		if seen[id.ID] || id.ID == 0 {
			return StatusBindingMalformed
		}
		seen[id.ID] = true
	}
	if q.Lifetime == 0 {
		for _, id := range q.ids {
			if _, ok := n.find(id.ID); !ok {
				return StatusNotHomeAgent
			}
		}
		if len(n.bindings) == 0 {
			n.tested = nil // a registration that waits has been taken back
			return StatusNotHomeAgent
		}
		return StatusAccepted
	}
	switch {
	case len(q.ids) > 0 && a.cfg.MaxCareOf == 1:
		return StatusSeveralProhibited
	case len(q.ids) > a.cfg.MaxCareOf:
		return StatusResources
	case len(q.ids) == 0 && (q.careOf == n.Home || q.careOf == a.cfg.Address):
		return StatusInvalidCareOf
	case len(q.ids) > 0 && q.Flags&FlagO == 0:
		if _, plain := n.find(0); plain {
			return StatusPlainBindingExists
		}
	}
	return StatusAccepted
}

// find returns the binding with an identifier.
func (n *node) find(id uint16) (Binding, bool) {
	i := slices.IndexFunc(n.bindings, func(b Binding) bool { return b.ID == id })
	if i < 0 {
		return Binding{}, false
	}
	return n.bindings[i], true
}

// bind makes the bindings q asks for (RFC 6275 section 10.3.1, RFC 5648 section 6.2) and
// accepts it.
func (a *Agent) bind(now time.Time, n *node, q *request) {
	granted := min(q.Lifetime, LifetimeField(a.cfg.Lifetime))
	ids := q.ids
	if len(ids) == 0 {
		ids = []BindingID{{CareOf: q.careOf}}
	}
	var next []Binding
	if len(q.ids) > 0 && q.Flags&FlagO == 0 {
		next = slices.Clone(n.bindings)
	}
	status, failed := make([]Status, len(ids)), 0
	for i, id := range ids {
		old, bound := n.find(id.ID)
		if !id.CareOf.IsValid() && bound {
			id.CareOf = old.Addr
		}
		if status[i] = a.place(n, &next, id, Binding{
			CareOf: CareOf{Addr: id.CareOf, ID: id.ID}, Since: now, Expires: now.Add(LifetimeOf(granted)),
		}); status[i] != StatusAccepted {
			failed++
		}
	}
	if failed < len(ids) {
		n.mark(next, q)
		if err := a.commit(now, n, next); err != nil {
			a.deny(n, q, StatusResources)
			return
		}
		n.bindings = next
		a.put(Changed{Home: n.Home, Bindings: next})
	}
	ack := Ack{Sequence: q.Sequence, Lifetime: granted}
	switch {
	case failed > 0 && len(ids) == 1:
		a.deny(n, q, status[0])
		return
	case failed > 0:
		ack.Status = StatusNotComplete
	}
	a.stats.Accepted++
	for i := range q.ids {
		q.ids[i].Status = status[i]
	}
	if len(n.bindings) > 0 && n.bindings[0].Path != 0 {
		b := n.bindings[0]
		ack.Options = append(ack.Options, PathMarkers{Path: b.Path, OldPath: b.OldPath}.Option())
	}
	a.answer(n, q, ack)
}

// mark has the bindings next, of which there is one, carry what q offers, where it changes the path, else what made that.
// From several care-of addresses to several there is no path that ends.
func (n *node) mark(next []Binding, q *request) {
	offer, ok := q.Options.PathMarkers()
	if !ok {
		return
	}
	m := PathMarkers{Path: offer.Path, OldPath: len(n.bindings) > 0 && (len(n.bindings) == 1 || len(next) == 1)}
	if slices.EqualFunc(n.bindings, next, func(a, b Binding) bool { return a.Addr == b.Addr }) {
		m = PathMarkers{Path: n.bindings[0].Path, OldPath: n.bindings[0].OldPath}
	}
	for i := range next {
		next[i].Path, next[i].OldPath = m.Path, m.OldPath
	}
}

// place puts one binding in next, or says why not.
func (a *Agent) place(n *node, next *[]Binding, id BindingID, b Binding) Status {
	switch {
	case !b.Addr.IsValid():
		return StatusUnknownCareOf
	case b.Addr.Is4():
		return StatusProhibited // RFC 5555 is not implemented
	case !Unicast(b.Addr):
		return StatusBindingMalformed
	case b.Addr == n.Home || b.Addr == a.cfg.Address:
		return StatusInvalidCareOf
	}
	if old, ok := n.find(id.ID); ok && old.Addr == b.Addr {
		b.Since = old.Since
	}
	i := slices.IndexFunc(*next, func(o Binding) bool { return o.ID == id.ID })
	switch {
	case i >= 0:
		(*next)[i] = b
	case len(*next) >= a.cfg.MaxCareOf:
		return StatusResources
	default:
		*next = append(*next, b)
	}
	return StatusAccepted
}

// unbind removes the bindings q names, all if it names none (RFC 6275 section 10.3.2, RFC
// 5648 section 6.2), and accepts it.
func (a *Agent) unbind(now time.Time, n *node, q *request) {
	var left []Binding
	for _, b := range n.bindings {
		if len(q.ids) > 0 && !slices.ContainsFunc(q.ids, func(id BindingID) bool { return id.ID == b.ID }) {
			left = append(left, b)
		}
	}
	// A node at home is worse off with a binding than with one that might come back after a crash.
	_ = a.commit(now, n, left)
	n.bindings = left
	a.put(Changed{Home: n.Home, Bindings: left})
	a.stats.Accepted++
	a.answer(n, q, Ack{Sequence: q.Sequence})
}

func (a *Agent) deny(n *node, q *request, s Status) {
	ack := Ack{Status: s, Sequence: q.Sequence}
	if s == StatusSequence {
		ack.Sequence = n.sequence
	}
	a.answer(n, q, ack)
}

// answer sends an acknowledgement to where q came from (RFC 6275 section 9.5.4).
func (a *Agent) answer(n *node, q *request, ack Ack) {
	if !ack.Status.Accepted() {
		a.stats.Denied[ack.Status]++
	}
	for _, id := range q.ids {
		if !ack.Status.Accepted() {
			id.Status = 0 // that of the message counts
		}
		ack.Options = append(ack.Options, BindingID{ID: id.ID, Status: id.Status, AtHome: id.AtHome}.Option())
	}
	if q.timed {
		ack.Options = append(ack.Options, ReplayOption(q.stamp))
	}
	var sign *Signer
	if n.Security.Key != nil {
		sign = n.Security.Signer(q.careOf, n.Home)
	}
	a.put(acknowledgement(&ack, a.cfg.Address, n.Home, q.src, q.routed, sign))
}

// acknowledgement makes the packet of an Ack: to the source of the Update, with a type 2
// routing header when that had a Home Address option (RFC 6275 section 9.5.4). It cannot
// fail: an Ack of ours is small and its key was looked at before.
func acknowledgement(ack *Ack, from, home, to netip.Addr, routed bool, sign *Signer) Output {
	if !routed {
		to = netip.Addr{}
	}
	b, err := build(ack, from, home, netip.Addr{}, to, sign)
	if err != nil {
		return Failed{Err: err}
	}
	return Send{Packet: b}
}
