package mip6

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"openmpa/internal/inet"
)

// HandlePacket takes a packet with a mobility header from the home agent. An error means
// that it was discarded, and why; what it said otherwise comes out of Poll.
func (c *Client) HandlePacket(now time.Time, pkt []byte) error {
	err := c.handle(now, pkt)
	if err != nil {
		c.stats.Discarded++
		// Only what answers the registration under way explains why that gets nowhere.
		if c.pending != nil && (errors.Is(err, ErrAuthenticator) || errors.Is(err, ErrNoAuthentication) || errors.Is(err, ErrSPI)) {
			c.pending.discard = err
		}
	}
	return err
}

func (c *Client) handle(now time.Time, pkt []byte) error {
	p, m, err := open(pkt, func(p *Packet) bool { return p.Source() == c.cfg.HomeAgent })
	if err != nil {
		return err
	}
	switch m := m.(type) {
	case *Ack:
		if p.Destination() != c.cfg.Home {
			return fmt.Errorf("mip6: %w: an acknowledgement for %v", ErrNotOurs, p.Destination())
		}
		return c.acknowledged(now, m)
	case *Error:
		// RFC 6275 section 11.3.6. Nobody vouches for it: a renewal, at most one under
		// way, does no harm.
		if m.Status == ErrorUnknownBinding && m.Home == c.cfg.Home && c.bindings != nil && c.pending == nil && c.rate.allow(now) {
			c.renew(now)
			return nil
		}
	case *RefreshRequest:
		if p.Destination() == c.cfg.Home && c.bindings != nil && c.pending == nil && c.rate.allow(now) {
			c.renew(now)
			return nil
		}
	}
	return fmt.Errorf("mip6: %w: a %T from the home agent", ErrUnexpected, m)
}

// acknowledged takes an Ack (RFC 6275 section 11.7.3, RFC 4285 section 6).
func (c *Client) acknowledged(now time.Time, m *Ack) error {
	p := c.pending
	if p == nil || len(p.sent) == 0 {
		return fmt.Errorf("mip6: %w: no registration is under way", ErrUnexpected)
	}
	i := slices.IndexFunc(p.sent, func(o outstanding) bool { return o.sequence == m.Sequence })
	if i < 0 && m.Status != StatusSequence {
		return fmt.Errorf("mip6: %w: sequence number %d is none that was sent", ErrUnexpected, m.Sequence)
	}
	if err := m.Verify(c.cfg.Security, p.careOf(), c.cfg.Home); err != nil {
		return err
	}
	switch m.Status {
	case StatusSequence:
		if err := staleSequence(c.sequence, m.Sequence); err != nil {
			return err
		}
		c.sequence = m.Sequence
		c.again(now, StatusSequence)
		return nil
	case StatusIdentification:
		return c.resynchronise(now, m, p.sent[i])
	}
	if stamp, ok, err := m.Options.Replay(); !c.cfg.Security.Sequence && m.Status != StatusNoIdentification && (err != nil || !ok || stamp != p.sent[i].stamp) {
		return fmt.Errorf("mip6: %w: time stamp %#x, sent was %#x", ErrUnexpected, stamp, p.sent[i].stamp)
	}
	if !m.Status.Accepted() {
		c.stats.Denied++
		c.fail(now, &StatusError{Status: m.Status, Peer: c.cfg.HomeAgent})
		return nil
	}
	return c.accept(now, m, p.sent[i])
}

func (c *Client) accept(now time.Time, m *Ack, o outstanding) error {
	p := c.pending
	ids, err := m.Options.BindingIDs()
	if err != nil {
		return err
	}
	c.stats.Accepted++
	c.accepted = o.stamp
	if p.lifetime == 0 {
		c.pending, c.bindings, c.doubt = nil, nil, false
		c.put(Deregistered{})
		return nil
	}
	granted := min(p.lifetime, m.Lifetime)
	list, denied := p.outcome(m.Status, ids)
	if granted == 0 || len(list) == 0 {
		err := ErrDeregisteredByPeer
		if len(list) == 0 {
			err = &StatusError{Status: denied[p.list[0]], Peer: c.cfg.HomeAgent}
		} else {
			c.bindings, c.doubt = nil, false
		}
		c.fail(now, err)
		return nil
	}
	// Counted from the Update, so that we are never later than the home agent.
	b := &bindings{from: p.from, list: list, expires: o.at.Add(LifetimeOf(granted))}
	b.renewAt = latest(o.at.Add(LifetimeOf(granted)*3/4), now.Add(minRenew))
	if advice, ok, err := m.Options.RefreshAdvice(); err == nil && ok && advice < granted {
		b.renewAt = latest(now.Add(minRenew), earliest(b.renewAt, now.Add(LifetimeOf(advice))))
	}
	b.path = p.path
	pm, ok := m.Options.PathMarkers()
	if ok {
		b.path = pm.Path
	}
	c.pending, c.bindings, c.doubt = nil, b, false
	c.put(Registered{
		ID: pm.Path, PathMarkers: pm.OldPath,
		CareOf: slices.Clone(list), Denied: denied, Lifetime: LifetimeOf(granted), Expires: b.expires, Renewal: p.renewal,
		Status: m.Status, Tries: p.tries, RTT: now.Sub(o.at),
	})
	return nil
}

// outcome tells which care-of addresses are bound (RFC 5648 section 5.7). An answer
// without binding identifiers comes from a home agent that does not know them: it has one
// binding, to where the Update came from.
func (p *attempt) outcome(s Status, ids []BindingID) (list []CareOf, denied map[CareOf]Status) {
	if p.list[0].ID == 0 {
		return p.list, nil
	}
	if len(ids) == 0 {
		return []CareOf{{Addr: p.from}}, nil
	}
	for _, a := range p.list {
		at := slices.IndexFunc(ids, func(id BindingID) bool { return id.ID == a.ID })
		result := StatusReason // not mentioned at all
		if at >= 0 {
			if result = ids[at].Status; result == 0 {
				result = s
			}
		}
		if result.Accepted() {
			list = append(list, a)
			continue
		}
		if denied == nil {
			denied = make(map[CareOf]Status)
		}
		denied[a] = result
	}
	return list, denied
}

// staleSequence refuses a denial with status 135 that is about an older Update than the
// last one: the number it names lets that one pass, and to go back to it would use
// numbers twice (RFC 6275 section 11.7.2).
func staleSequence(sent, last uint16) error {
	if sequenceAfter(sent, last) {
		return fmt.Errorf("mip6: %w: sequence number %d was accepted last, which %d, the last sent, is after", ErrUnexpected, last, sent)
	}
	return nil
}

// resynchronise adopts the home agent's clock (RFC 4285 section 6), of which the answer
// carries the seconds, and asks once more.
func (c *Client) resynchronise(now time.Time, m *Ack, o outstanding) error {
	stamp, ok, err := m.Options.Replay()
	if err != nil || !ok || uint32(stamp) != uint32(o.stamp) { //nolint:gosec // the low 32 bits are meant
		return fmt.Errorf("mip6: %w: time stamp %#x does not answer %#x", ErrUnexpected, stamp, o.stamp)
	}
	c.offset = time.Duration(int32(uint32(stamp>>32)-uint32(inet.NTP(c.wall(now))>>32))) * time.Second //nolint:gosec // serial numbers
	// What was refused does not count, what was accepted does, unless that did not help:
	// then the home agent has another idea of it, and its clock wins.
	c.stamp = 0
	if c.pending.resyncs == 0 {
		c.stamp = c.accepted
	}
	c.again(now, StatusIdentification)
	return nil
}

// again asks once more: at once the first time, at the time-out after that.
func (c *Client) again(now time.Time, s Status) {
	p := c.pending
	c.stats.Resyncs++
	p.resyncs++
	p.discard = &StatusError{Status: s, Peer: c.cfg.HomeAgent}
	if p.resyncs == 1 {
		c.send(now)
	}
}
