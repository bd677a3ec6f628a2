package mip6

import (
	"fmt"
	"net/netip"
	"time"

	"openmpa/paa/keys"
)

// HandlePacket takes a packet with a mobility header for the correspondent's address. An
// error means that nothing was done for it but perhaps a Binding Error.
func (c *Correspondent) HandlePacket(now time.Time, pkt []byte) error {
	err := c.handle(now, pkt)
	if err != nil {
		c.stats.Discarded++
	}
	return err
}

func (c *Correspondent) handle(now time.Time, pkt []byte) error {
	p, m, err := open(pkt, func(p *Packet) bool { return p.Destination() == c.cfg.Address })
	if err != nil {
		return c.answerUnknown(now, &c.errors, &p, c.cfg.Address, err)
	}
	switch m := m.(type) {
	case *HomeTestInit:
		return c.tested(now, &p, tokenHome, m.Cookie)
	case *CareOfTestInit:
		return c.tested(now, &p, tokenCareOf, m.Cookie)
	case *Update:
		return c.update(now, &p, m)
	}
	return fmt.Errorf("mip6: %w: a %T is not for a correspondent", ErrUnexpected, m)
}

// tested answers a test init message, keeping nothing of it (RFC 6275 sections 9.4.1 to
// 9.4.4).
func (c *Correspondent) tested(now time.Time, p *Packet, which byte, cookie Cookie) error {
	if p.Home.IsValid() || !Unicast(p.Src) {
		return fmt.Errorf("mip6: %w: a test from %v must come from a routable address and without a Home Address option", ErrRefused, p.Src)
	}
	n, err := c.nonces.current(now, c.cfg.Rand)
	if err != nil {
		return err
	}
	var m Message = &HomeTest{Index: n.index, Cookie: cookie, Token: n.token(p.Src, which)}
	if which == tokenCareOf {
		m = &CareOfTest{Index: n.index, Cookie: cookie, Token: n.token(p.Src, which)}
	}
	b, err := build(m, c.cfg.Address, p.Src, netip.Addr{}, netip.Addr{}, nil)
	if err != nil {
		return err
	}
	c.stats.Tests++
	c.put(Send{Packet: b})
	return nil
}

// update processes a Binding Update (RFC 6275 sections 9.5.1 to 9.5.4).
func (c *Correspondent) update(now time.Time, p *Packet, u *Update) error {
	home := p.Source()
	careOf, err := u.CareOf(p.Src)
	if err != nil {
		return err
	}
	if !Unicast(home) || !Unicast(p.Src) || !Unicast(careOf) {
		return fmt.Errorf("mip6: %w: from %v, home address %v, care-of address %v: all must be routable", ErrRefused, p.Src, home, careOf)
	}
	e := c.cache[home]
	a := &authority{Correspondent: c, p: p, u: u, home: home, careOf: careOf}
	if u.Flags&FlagH != 0 {
		if !c.errors.allow(now) {
			return fmt.Errorf("mip6: %w: too many home registrations that are not for here", ErrRefused)
		}
		if e != nil && e.careOf.IsValid() {
			a.deny(StatusTypeChange, u.Sequence)
		} else {
			a.deny(StatusNoHomeRegistration, u.Sequence)
		}
		return nil
	}
	if answered, err := a.authorize(now); answered || err != nil {
		return err
	}
	ids, err := u.Options.BindingIDs()
	switch {
	case e != nil && !sequenceAfter(u.Sequence, e.sequence):
		a.deny(StatusSequence, e.sequence)
	case c.cfg.HomeAgentFor != nil && c.cfg.HomeAgentFor(home):
		a.deny(StatusTypeChange, u.Sequence)
	case err != nil:
		a.deny(StatusBindingMalformed, u.Sequence)
	case len(ids) > 1: // one is taken as if it had no identifier (RFC 5648 section 6.1)
		a.deny(StatusBulkProhibited, u.Sequence)
	case u.Lifetime == 0:
		if e != nil {
			e.sequence = u.Sequence
			c.end(now, home, false)
		}
		a.accept(0)
	case careOf == home:
		a.deny(StatusInvalidCareOf, u.Sequence)
	case e == nil && len(c.cache) >= c.cfg.MaxBindings:
		a.deny(StatusResources, u.Sequence)
	default:
		granted := min(u.Lifetime, LifetimeField(c.cfg.Lifetime))
		c.bind(now, home, entry{careOf: careOf, expires: now.Add(LifetimeOf(granted)), sequence: u.Sequence})
		a.accept(granted)
	}
	return nil
}

// authority is a Binding Update with what authorises it.
type authority struct {
	*Correspondent
	p            *Packet
	u            *Update
	home, careOf netip.Addr
	key          *keys.Secret // nil: answers go without authentication
}

// authorize makes the binding management key from the nonces the Update names, and
// verifies it (RFC 6275 section 9.5.1). answered: it was denied for its nonces.
func (a *authority) authorize(now time.Time) (answered bool, err error) {
	i, ok, err := a.u.Options.NonceIndices()
	switch {
	case err != nil:
		return false, err
	case !ok:
		return false, fmt.Errorf("mip6: %w: no nonce indices", ErrRefused)
	}
	first, deleting := a.careOf, a.u.Lifetime == 0
	if deleting {
		first = a.home
	}
	homeNonce, careNonce := a.nonces.find(now, i.Home), a.nonces.find(now, i.CareOf)
	switch noCare := careNonce == nil && !deleting; {
	case homeNonce == nil && noCare:
		a.deny(StatusNonces, a.u.Sequence)
		return true, nil
	case homeNonce == nil:
		a.deny(StatusHomeNonce, a.u.Sequence)
		return true, nil
	case noCare:
		a.deny(StatusCareOfNonce, a.u.Sequence)
		return true, nil
	case deleting:
		a.key = bindingKey(homeNonce.token(a.home, tokenHome))
	default:
		a.key = bindingKey(homeNonce.token(a.home, tokenHome), careNonce.token(a.careOf, tokenCareOf))
	}
	return false, verifyRoute(a.u.raw, a.u.Options, a.key, first, a.cfg.Address)
}

func (a *authority) deny(s Status, sequence uint16) {
	a.stats.Denied[s]++
	a.answer(Ack{Status: s, Sequence: sequence})
}

// accept is told to whom asks for it (RFC 6275 section 9.5.4).
func (a *authority) accept(granted uint16) {
	a.stats.Accepted++
	if a.u.Flags&FlagA == 0 {
		return
	}
	ack := Ack{Sequence: a.u.Sequence, Lifetime: granted}
	if m, ok := a.u.Options.PathMarkers(); ok && a.cfg.OldPath > 0 {
		ack.Options = Options{PathMarkers{Path: m.Path, OldPath: true}.Option()}
	}
	a.answer(ack)
}

func (a *authority) answer(ack Ack) {
	var sign *Signer
	if a.key != nil {
		first := a.careOf
		if a.u.Lifetime == 0 {
			first = a.home
		}
		sign = routeSigner(a.key, first, a.cfg.Address)
	}
	a.put(acknowledgement(&ack, a.cfg.Address, a.home, a.p.Src, a.p.Home.IsValid(), sign))
}
