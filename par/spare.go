package par

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	"openmpa/internal/acd"
	"openmpa/internal/acd/nd"
	"openmpa/par/neigh"
)

// spare is an address that is ready.
type spare struct {
	t       *tenure // of its lease; nil: the router has formed it
	addr    netip.Addr
	since   time.Time // when it was found free
	ctx     context.Context
	end     context.CancelFunc    // it is ready no more
	claimed chan net.HardwareAddr // capacity 1: by somebody else on the link
}

func newSpare(ctx context.Context, addr netip.Addr, t *tenure) *spare {
	s := &spare{t: t, addr: addr, since: time.Now(), claimed: make(chan net.HardwareAddr, 1)}
	s.ctx, s.end = context.WithCancel(ctx)
	return s
}

// drop has its lease given back, if it has one.
func (s *spare) drop() {
	if s.t != nil {
		s.t.dropAhead()
	}
}

// verify finds an address that is nobody's.
func (p *pool) verify() (*spare, error) {
	ctx, cancel := context.WithTimeout(p.r.ctx, p.r.cfg.Configure)
	defer cancel()
	if p.at == p.r.six {
		ra, err := p.r.adverts.wait(ctx, p.at)
		if err != nil {
			return nil, err
		}
		if !p.r.managed(ra.RouterAdvert) {
			return p.form(ctx, ra.RouterAdvert)
		}
	}
	id, err := p.draw()
	if err != nil {
		return nil, err
	}
	t := p.r.leases.beginAhead(lease{Addr: p.at.prefix, ClientID: id, IAID: p.iaid()}.key())
	s, err := p.verified(ctx, p.client(id), t)
	if err != nil {
		t.dropAhead()
	}
	return s, err
}

// form makes an address of what the link's router advertises, as nodes do.
func (p *pool) form(ctx context.Context, ra nd.RouterAdvert) (*spare, error) {
	prefixes := ra.Autonomous()
	if len(prefixes) == 0 {
		return nil, errors.New("the router advertisement names no prefix to form an address of")
	}
	prefix := prefixes[max(0, slices.IndexFunc(prefixes, func(x netip.Prefix) bool { return x.Contains(p.at.address) }))]
	var id nd.IID
	if _, err := io.ReadFull(p.r.cfg.Rand, id[:]); err != nil {
		return nil, fmt.Errorf("interface identifier: %w", err)
	}
	addr, err := nd.Form(prefix, id)
	if err != nil {
		return nil, err
	}
	if err := p.free(ctx, addr); err != nil {
		if errors.As(err, new(*acd.ConflictError)) {
			p.conflicted()
		}
		return nil, err
	}
	return newSpare(p.r.ctx, addr, nil), nil
}

func (p *pool) verified(ctx context.Context, c client, t *tenure) (*spare, error) {
	bounded, cancel := context.WithTimeout(ctx, p.r.cfg.DHCPTimeout)
	l, err := c.acquire(bounded, func(l lease) error {
		return t.save(func(rec *record) bool {
			*rec = record{MAC: p.r.mac.String(), Lease: l, Stage: stageAhead}
			return true
		})
	})
	cancel()
	if err != nil {
		return nil, err
	}
	addr := l.Addr.Addr()
	p.reassigned(addr)
	if err := p.free(ctx, addr); err != nil {
		if errors.As(err, new(*acd.ConflictError)) {
			p.renounce(t, c, l)
		}
		return nil, err
	}
	if err := t.granted(l); err != nil {
		p.at.proxy.Remove(addr)
		return nil, err
	}
	return newSpare(p.r.ctx, addr, t), nil
}

// free probes addr, and defends it from then on.
func (p *pool) free(ctx context.Context, addr netip.Addr) error {
	if p.r.own(addr) || p.r.holder(addr, nil) != nil { // of which a server knows nothing
		return &acd.ConflictError{Addr: addr, By: p.r.mac}
	}
	return p.at.proxy.DefendOrProbe(ctx, addr, neigh.Policy{AnswerProbes: true})
}

// renounce tells the server that somebody else uses the address.
func (p *pool) renounce(t *tenure, c client, l lease) {
	p.conflicted()
	if err := p.r.decline(c, l); err != nil {
		p.r.cfg.Log.Warn("lease not declined", "addr", l.Addr, "err", err)
	}
	t.forget()
}

func (p *pool) conflicted() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts.Conflicts++
}

// lease is that of s, what is left of it by the link's router if s is formed. changed is
// closed when that may have become another; nil: never.
func (p *pool) lease(s *spare, now time.Time) (l lease, changed <-chan struct{}, ok bool) {
	if s.t != nil {
		l, ok = s.t.aheadLease()
		return l, nil, ok
	}
	ra, ok, changed := p.r.adverts.best(now, p.at)
	if !ok || p.r.managed(ra.RouterAdvert) {
		return l, changed, false
	}
	l, err := formedLease(ra.RouterAdvert, s.addr, now)
	return l, changed, err == nil
}

// keep looks after s for as long as it is ready: its lease is renewed, and it is given up
// when somebody else has it, or the link is one of its prefix no more.
func (p *pool) keep(s *spare) {
	defer s.end()
	for failed := false; ; {
		now := time.Now()
		l, changed, ok := p.lease(s, now)
		if !ok || failed && !now.Before(l.Start.Add(l.T2)) {
			p.discard(s)
			return
		}
		wait := l.Lifetime
		if s.t != nil {
			wait = l.UntilRenewal(now, failed)
		}
		select {
		case <-s.ctx.Done():
			p.discard(s)
			return
		case by := <-s.claimed:
			p.r.cfg.Log.Warn("somebody took an address that was kept ready", "addr", s.addr, "by", by)
			if p.leave(s) {
				p.lost(s, l)
			}
			return
		case <-changed:
			continue
		case <-time.After(wait):
		}
		if s.t != nil {
			failed = p.renew(s, l) != nil
		}
	}
}

// lost gives up what somebody else has taken.
func (p *pool) lost(s *spare, l lease) {
	if s.t == nil {
		p.conflicted()
		return
	}
	p.renounce(s.t, p.client(l.ClientID), l)
	s.drop()
}

func (p *pool) client(id []byte) client { return p.at.source.client(p.r.mac, id, p.iaid()) }

// iaid is the one that nodes have for what they are given; IPv4: 0.
func (p *pool) iaid() (id [4]byte) {
	if p.at == p.r.six {
		id[3] = 1
	}
	return id
}

// draw makes a client identifier that nobody else has: a DUID of a random UUID (RFC 6355);
// IPv4: what RFC 4361 makes of it.
func (p *pool) draw() ([]byte, error) {
	uuid := make([]byte, 16)
	if _, err := io.ReadFull(p.r.cfg.Rand, uuid); err != nil {
		return nil, fmt.Errorf("client identifier: %w", err)
	}
	uuid[6], uuid[8] = uuid[6]&0x0f|0x40, uuid[8]&0x3f|0x80 // RFC 9562 section 5.4
	duid := append([]byte{0, 4}, uuid...)
	if p.at == p.r.six {
		return duid, nil
	}
	iaid := p.iaid()
	return slices.Concat([]byte{255}, iaid[:], duid), nil
}

// renew asks for more time for the lease l of s.
func (p *pool) renew(s *spare, l lease) error {
	ctx, cancel := context.WithTimeout(s.ctx, p.r.cfg.DHCPTimeout)
	defer cancel()
	select {
	case s.t.turn <- struct{}{}:
		defer func() { <-s.t.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	fresh, err := p.client(l.ClientID).renew(ctx, l)
	switch {
	case err == nil:
		return s.t.renewedAhead(fresh)
	case errors.Is(err, errWithdrawn) && p.leave(s):
		s.t.forget()
		s.drop()
	case s.ctx.Err() == nil:
		p.r.cfg.Log.Warn("address ahead not renewed", "addr", s.addr, "err", err)
	}
	return err
}
