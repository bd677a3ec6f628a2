package par

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"openmpa/internal/acd"
	"openmpa/internal/event"
	"openmpa/paa/notify"
	"openmpa/par/neigh"
)

// pool keeps addresses for nodes that have not asked yet: leased under client
// identifiers of the router's own, past duplicate address detection, and defended. Who
// gets one waits for neither DHCP nor the probes of RFC 5227, some seconds.
//
//	wanted --> leased --> probed --> ready --taken--> a session's
//	              |          |         |
//	              |          |         +-- claimed by somebody (RFC 5227 section 2.4) --> declined
//	              |          |         +-- one too many; not renewed by T2; daemon ends --> given back
//	              |          +-- in use --> declined
//	              +-- refused: tried again, later each time
//
// The lease stays under its identifier, which the node is told, for good. Each is in
// the ledger from its offer on; what a crash leaves is given back, since nobody has
// defended it meanwhile.
type pool struct {
	// fixed
	r    *Router
	at   *stack
	wake chan struct{} // capacity 1: something has changed

	mu     sync.Mutex // before ledger.mu and the proxy's
	demand *demand
	ready  []*spare // the first is given next
	making int      // under way to it
	pause  time.Duration
	after  time.Time // no other is tried before: the last one failed
	counts AheadCounts
}

// spare is an address that is ready.
type spare struct {
	t       *tenure
	addr    netip.Addr
	since   time.Time // when it was found free
	ctx     context.Context
	end     context.CancelFunc    // it is ready no more
	claimed chan net.HardwareAddr // capacity 1: by somebody else on the link
}

func newPool(r *Router) *pool {
	return &pool{r: r, at: r.four, wake: make(chan struct{}, 1), demand: newDemand(r.cfg.Ahead, r.cfg.DAD.Longest())}
}

// run keeps as many ready as are wanted, until the router ends.
func (p *pool) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var due <-chan time.Time
		if at := p.adjust(time.Now()); !at.IsZero() {
			timer.Reset(time.Until(at))
			due = timer.C
		}
		select {
		case <-p.r.ctx.Done():
			return
		case <-p.wake:
		case <-due:
		}
	}
}

func (p *pool) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// adjust begins what is missing and gives back what is too much. It returns when to
// look again though nothing has happened; the zero Time is never.
func (p *pool) adjust(now time.Time) (next time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	want, next := p.demand.want(now)
	for len(p.ready) > want {
		s := p.ready[0]
		p.withdraw(s)
		s.t.dropAhead()
	}
	switch short := want - len(p.ready) - p.making; {
	case short <= 0:
	case now.Before(p.after):
		if next.IsZero() || p.after.Before(next) {
			next = p.after
		}
	default:
		p.making += short
		for range short {
			p.r.wg.Go(p.tend)
		}
	}
	return next
}

// tend makes one address ready, and keeps it so.
func (p *pool) tend() {
	began := time.Now()
	s, err := p.verify()
	p.mu.Lock()
	p.making--
	if err != nil {
		p.failed(time.Now(), err)
	} else {
		p.ready, p.pause = append(p.ready, s), 0
		p.demand.verified(s.since.Sub(began))
		p.counts.Verified++
	}
	p.mu.Unlock()
	p.poke()
	if err == nil {
		p.keep(s)
	}
}

// failed puts the next try off, each time longer. The caller holds mu.
func (p *pool) failed(now time.Time, err error) {
	if p.r.ctx.Err() != nil {
		return
	}
	p.counts.Failed++
	if !now.Before(p.after) {
		p.pause = min(max(2*p.pause, p.r.leases.pauses.first), p.r.leases.pauses.longest)
		p.after = now.Add(p.pause)
	}
	p.r.cfg.Log.Warn("no address ahead", "again_in", p.after.Sub(now), "err", err)
}

// verify leases an address and makes sure that it is nobody's.
func (p *pool) verify() (*spare, error) {
	r := p.r
	id, err := drawClientID(r.cfg.Rand)
	if err != nil {
		return nil, err
	}
	t := r.leases.beginAhead(clientKey{id: string(id)})
	s, err := p.verified(t, id)
	if err != nil {
		t.dropAhead()
	}
	return s, err
}

func (p *pool) verified(t *tenure, id []byte) (*spare, error) {
	r := p.r
	ctx, cancel := context.WithTimeout(r.ctx, r.cfg.Configure)
	defer cancel()
	client := p.client(id)
	bounded, cancel := context.WithTimeout(ctx, r.cfg.DHCPTimeout)
	lease, err := client.acquire(bounded, func(l lease) error {
		return t.save(func(rec *record) bool {
			*rec = record{MAC: r.mac.String(), Lease: l, Stage: stageAhead}
			return true
		})
	})
	cancel()
	if err != nil {
		return nil, err
	}
	addr := lease.Addr.Addr()
	p.reassigned(addr)
	if err := p.free(ctx, addr); err != nil {
		if errors.As(err, new(*acd.ConflictError)) {
			p.renounce(t, client, lease)
		}
		return nil, err
	}
	if err := t.granted(lease); err != nil {
		p.at.proxy.Remove(addr)
		return nil, err
	}
	s := &spare{t: t, addr: addr, since: time.Now(), claimed: make(chan net.HardwareAddr, 1)}
	s.ctx, s.end = context.WithCancel(r.ctx)
	return s, nil
}

// free probes addr, and defends it from then on.
func (p *pool) free(ctx context.Context, addr netip.Addr) error {
	if p.r.holder(addr, nil) != nil { // the server has forgotten that
		return &acd.ConflictError{Addr: addr, By: p.r.mac}
	}
	return p.at.proxy.DefendOrProbe(ctx, addr, neigh.Policy{AnswerProbes: true})
}

// renounce tells the server that somebody else uses the address.
func (p *pool) renounce(t *tenure, client client, l lease) {
	if err := p.r.decline(client, l); err != nil {
		p.r.cfg.Log.Warn("lease not declined", "addr", l.Addr, "err", err)
	}
	t.forget()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts.Conflicts++
}

// keep renews the lease of s for as long as it is ready.
func (p *pool) keep(s *spare) {
	defer s.end()
	for failed := false; ; {
		l, ok := s.t.aheadLease()
		now := time.Now()
		if !ok {
			return
		}
		if failed && !now.Before(l.Start.Add(l.T2)) {
			p.discard(s)
			return
		}
		select {
		case <-s.ctx.Done():
			p.discard(s)
			return
		case by := <-s.claimed:
			p.r.cfg.Log.Warn("somebody took an address that was kept ready", "addr", s.addr, "by", by)
			if p.leave(s) {
				p.renounce(s.t, p.client(l.ClientID), l)
				s.t.dropAhead()
			}
			return
		case <-time.After(l.UntilRenewal(now, failed)):
		}
		err := p.renew(s, l)
		if errors.Is(err, errWithdrawn) && p.leave(s) {
			s.t.forget()
			s.t.dropAhead()
		}
		if failed = err != nil; failed && s.ctx.Err() == nil {
			p.r.cfg.Log.Warn("address ahead not renewed", "addr", s.addr, "err", err)
		}
	}
}

func (p *pool) client(id []byte) client { return p.at.source.client(p.r.mac, id, [4]byte{}) }

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
	if err != nil {
		return err
	}
	return s.t.renewedAhead(fresh)
}

// withdraw ends that s is ready, and its defence. The caller holds mu. It says no if s
// was ready no more.
func (p *pool) withdraw(s *spare) bool {
	i := slices.Index(p.ready, s)
	if i < 0 {
		return false
	}
	p.ready = slices.Delete(p.ready, i, i+1)
	s.end()
	p.at.proxy.Remove(s.addr)
	return true
}

func (p *pool) leave(s *spare) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.poke()
	return p.withdraw(s)
}

// discard has s given back, if it is still ready.
func (p *pool) discard(s *spare) {
	if p.leave(s) {
		s.t.dropAhead()
	}
}

// conflict is told of somebody else who speaks from a, which the proxy answers for.
func (p *pool) conflict(a netip.Addr, by net.HardwareAddr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.ready {
		if s.addr == a {
			select {
			case s.claimed <- by:
			default:
			}
		}
	}
}

// reassigned withdraws the address that the server has just leased to somebody: it has
// forgotten that it is ours.
func (p *pool) reassigned(a netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range slices.Clone(p.ready) {
		if s.addr == a {
			p.withdraw(s)
			s.t.dropAhead()
			p.poke()
		}
	}
}

// take is for a node that asks now: the address that has been ready for longest, if
// there is one for it. It is defended still. leave of its tenure must follow.
func (p *pool) take(identity string) *spare {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.poke()
	switch {
	case !p.demand.asked(time.Now(), identity):
		p.counts.Refused++
		return nil
	case len(p.ready) == 0:
		p.counts.Missed++
		return nil
	}
	s := p.ready[0]
	p.ready = p.ready[1:]
	s.end()
	s.t.endAhead()
	p.counts.Given++
	return s
}

// ahead answers m by an address that was made ready before, if there is one.
func (r *Router) ahead(v *visitor, m *notify.ConfigRequest, reply *notify.ConfigReply) bool {
	if r.pool == nil {
		return false
	}
	identity, _ := v.who()
	s := r.pool.take(identity)
	r.begunAgain(v, keyOf(m), s != nil)
	if s == nil {
		return false
	}
	defer s.t.leave()
	span := r.cfg.Recorder.Begin(m.Handover, event.PhaseDAD, "addr", s.addr.String(), "ahead_s", time.Since(s.since).Seconds())
	lease, err := s.t.assign(v, m.MAC)
	if err == nil {
		err = r.four.proxy.Set(s.addr, neigh.Policy{AnswerProbes: true, IgnoreMAC: m.MAC})
	}
	if err == nil && !v.keepDefended(lease, m.MAC, s.t) {
		err = errSessionEnded
	}
	span.End(err)
	if err != nil {
		r.four.proxy.Remove(s.addr)
		reply.Reason = "no address: " + err.Error()
		return true
	}
	r.four.grant(reply, lease, r.mac)
	reply.ClientID = lease.ClientID
	return true
}

// begunAgain ends older sessions of the node of v, which it has forgotten, as after a
// crash: with one client identifier a node has one lease. Where v goes on to lease under
// the node's own, the lease under that is to be claimed, and stays.
func (r *Router) begunAgain(v *visitor, client clientKey, ready bool) {
	identity, _ := v.who()
	for _, o := range r.visitors() {
		if o == v || !o.asksAs(identity, client, ready) {
			continue
		}
		if t := r.succeed(o, v); t != nil {
			t.leave()
		}
	}
}

// asksAs says whether v has the lease of a node that is known by that, and whether it is
// to be given back: own says that one under the client identifier itself is, too.
func (v *visitor) asksAs(identity string, client clientKey, own bool) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.tenure != nil && v.identity == identity && v.client == client && (own || v.tenure.key != client)
}

// keepDefended is keep for an address that the router answers for already.
func (v *visitor) keepDefended(l lease, mac net.HardwareAddr, t *tenure) bool {
	if !v.keep(l, mac, t) {
		return false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.tenure != t { // gone since
		return false
	}
	if v.defended = true; v.here {
		v.undefend()
	}
	return true
}

// undefend ends the defence of an address from before its node had a tunnel. The caller
// holds mu.
func (v *visitor) undefend() {
	if v.defended {
		v.defended = false
		v.r.stack(v.lease.Addr.Addr()).proxy.Remove(v.lease.Addr.Addr())
	}
}

// drawClientID makes a client identifier that nobody else has, in the form of RFC 4361:
// type 255, IAID 0, and a DUID of a random UUID (RFC 6355).
func drawClientID(random io.Reader) ([]byte, error) {
	id := make([]byte, 23)
	id[0], id[6] = 255, 4
	u := id[7:]
	if _, err := io.ReadFull(random, u); err != nil {
		return nil, fmt.Errorf("client identifier: %w", err)
	}
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80 // RFC 9562 section 5.4
	return id, nil
}

func (p *pool) status(now time.Time) *AheadStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	want, _ := p.demand.want(now)
	s := &AheadStatus{
		Wanted: want, Ready: len(p.ready), Making: p.making, VerifyMS: float64(p.demand.verify) / 1e6, AheadCounts: p.counts,
		Again: max(p.after.Sub(now), 0).Seconds(),
	}
	for _, one := range p.ready {
		if l, ok := one.t.aheadLease(); ok {
			s.Addresses = append(s.Addresses, AheadAddress{
				Address: l.Addr, Ready: now.Sub(one.since).Seconds(), Expires: l.Expires().Sub(now).Seconds(),
			})
		}
	}
	return s
}
