package mip6

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// HandlePacket takes a packet with a mobility header from the correspondent; tunnelled
// says that it came through the tunnel from the home agent. An error means that it was
// discarded, and why; what it said otherwise comes out of Poll.
func (r *Route) HandlePacket(now time.Time, pkt []byte, tunnelled bool) error {
	err := r.handle(now, pkt, tunnelled)
	if err != nil {
		r.stats.Discarded++
		if r.run != nil && (errors.Is(err, ErrAuthenticator) || errors.Is(err, ErrNoAuthentication)) {
			r.run.discard = err
		}
	}
	return err
}

func (r *Route) handle(now time.Time, pkt []byte, tunnelled bool) error {
	p, m, err := open(pkt, func(p *Packet) bool { return p.Source() == r.cfg.Correspondent })
	if err != nil {
		return err
	}
	q := r.run
	unexpected := fmt.Errorf("mip6: %w: a %T from %v to %v", ErrUnexpected, m, p.Src, p.Dst)
	switch m := m.(type) {
	case *HomeTest: // RFC 6275 section 11.6.2, as the next
		if q == nil || q.home.sent.IsZero() || m.Cookie != q.home.cookie || p.Dst != r.cfg.Home || tunnelled == (q.careOf == r.cfg.Home) {
			return unexpected
		}
		r.home = token{value: m.Token, index: m.Index, until: q.home.sent.Add(maxTokenLifetime)}
		q.home.answered()
		r.advance(now)
	case *CareOfTest:
		if q == nil || q.care.sent.IsZero() || m.Cookie != q.care.cookie || p.Dst != q.careOf {
			return unexpected
		}
		r.keep(careToken{addr: q.careOf, token: token{value: m.Token, index: m.Index, until: q.care.sent.Add(maxTokenLifetime)}})
		q.care.answered()
		r.advance(now)
	case *Ack:
		if q == nil || len(q.sent) == 0 || p.Destination() != r.cfg.Home {
			return unexpected
		}
		return r.acknowledged(now, m)
	case *RefreshRequest:
		if r.binding == nil || q != nil || p.Destination() != r.cfg.Home {
			return unexpected
		}
		r.begin(now, &run{careOf: r.binding.careOf, renewal: true})
	case *Error:
		return r.erred(now, m, unexpected)
	default:
		return unexpected
	}
	return nil
}

// answered notes that nothing is under way any more.
func (t *test) answered() { *t = test{} }

// acknowledged takes an Ack (RFC 6275 section 11.7.3).
func (r *Route) acknowledged(now time.Time, m *Ack) error {
	q := r.run
	i := slices.IndexFunc(q.sent, func(o outstanding) bool { return o.sequence == m.Sequence })
	if i < 0 && m.Status != StatusSequence {
		return fmt.Errorf("mip6: %w: sequence number %d is none that was sent", ErrUnexpected, m.Sequence)
	}
	switch m.Status {
	case StatusHomeNonce, StatusCareOfNonce, StatusNonces:
		// Not authenticated (section 9.5.4): it costs new tests, a bounded number of times.
		return r.retest(now, m.Status)
	}
	careOf := q.careOf
	if q.deleting {
		careOf = r.cfg.Home
	}
	if err := verifyRoute(m.raw, m.Options, q.key, careOf, r.cfg.Correspondent); err != nil {
		return err
	}
	switch {
	case m.Status == StatusSequence:
		if err := staleSequence(r.sequence, m.Sequence); err != nil {
			return err
		}
		r.sequence = m.Sequence
		q.resyncs++
		if q.resyncs == 1 {
			q.update.deadline = time.Time{}
			r.advance(now)
		}
		return nil
	case !m.Status.Accepted():
		r.stats.Denied++
		r.fail(now, &StatusError{Status: m.Status, Peer: r.cfg.Correspondent})
		return nil
	}
	r.stats.Accepted++
	r.forgetKey()
	r.run = nil
	granted := min(q.lifetime, m.Lifetime)
	switch {
	case q.deleting:
		r.drop(nil)
	case granted == 0:
		r.drop(ErrDeregisteredByPeer)
	default:
		// Counted from the Update, so that we are never later than the correspondent.
		at := q.sent[i].at
		r.doubt = false
		r.binding = &route{
			careOf: q.careOf, expires: at.Add(LifetimeOf(granted)),
			renewAt: latest(at.Add(LifetimeOf(granted)*3/4), now.Add(minRenew)),
		}
		m, _ := m.Options.PathMarkers()
		r.put(RouteUp{CareOf: q.careOf, Expires: r.binding.expires, Renewal: q.renewal, OldPath: m.OldPath})
	}
	return nil
}

// retest forgets the tokens whose nonces the correspondent does not know any more, and
// tests again.
func (r *Route) retest(now time.Time, s Status) error {
	q := r.run
	if q.restarts++; q.restarts > r.cfg.Retries {
		r.fail(now, &StatusError{Status: s, Peer: r.cfg.Correspondent})
		return nil
	}
	if s != StatusCareOfNonce {
		r.home = token{}
	}
	if s != StatusHomeNonce {
		r.careOf = slices.DeleteFunc(r.careOf, func(t careToken) bool { return t.addr == q.careOf })
	}
	q.update.answered()
	q.sent = nil // so that a copy of the same answer does not count again
	r.advance(now)
	return nil
}

// erred takes a Binding Error (RFC 6275 section 11.3.6). Nobody vouches for it: it costs
// a return routability procedure, at most one at a time, and the route while that lasts.
func (r *Route) erred(now time.Time, m *Error, unexpected error) error {
	switch {
	case m.Status == ErrorUnknownBinding && m.Home == r.cfg.Home && r.binding != nil:
		careOf := r.binding.careOf
		r.drop(fmt.Errorf("mip6: %v: %w", r.cfg.Correspondent, ErrNoBinding))
		if r.run == nil {
			r.begin(now, &run{careOf: careOf})
		}
		return nil
	case m.Status == ErrorUnknownType && (m.Home == netip.IPv6Unspecified() || m.Home == r.cfg.Home) && r.run != nil:
		r.fail(now, ErrUnsupported)
		return nil
	}
	return unexpected
}

// AppendOutgoing appends the packet b, from the home address to the correspondent, as it
// leaves directly. It fails with ErrNoBinding when it must go through the home agent.
func (r *Route) AppendOutgoing(dst, b []byte) ([]byte, error) {
	if r.binding == nil {
		return nil, fmt.Errorf("mip6: %w: %v does not know a care-of address of %v", ErrNoBinding, r.cfg.Correspondent, r.cfg.Home)
	}
	return AppendFromHome(dst, b, r.binding.careOf)
}

// AppendIncoming appends the packet b, which came directly, as upper layers see it (RFC
// 6275 section 11.3.3): its type 2 routing header must name the home address.
func (r *Route) AppendIncoming(dst, b []byte) ([]byte, error) {
	p, err := ParsePacket(b)
	if err != nil {
		return nil, err
	}
	if p.Final != r.cfg.Home {
		return nil, fmt.Errorf("mip6: %w: routing header to %v, the home address is %v", ErrHeader, p.Final, r.cfg.Home)
	}
	return p.AppendStripped(dst, b), nil
}
