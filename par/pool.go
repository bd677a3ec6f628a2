package par

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"openmpa/internal/acd/nd"
)

// pool keeps addresses of one family for nodes that have not asked yet: past duplicate
// address detection, and defended. Who gets one waits for neither DHCP nor the probes of
// RFC 5227, some seconds, or those of RFC 4862.
//
//	wanted --> leased or formed --> probed --> ready --taken--> a session's
//	              |                    |         |
//	              |                    |         +-- claimed by somebody (RFC 5227 section 2.4) --> declined
//	              |                    |         +-- one too many; not renewed by T2; daemon ends --> given back
//	              |                    +-- in use --> declined
//	              +-- refused: tried again, later each time
//
// What is leased is so under a client identifier of the router's own, which the node is
// told, and stays so for good. It is in the ledger from its offer on; what a crash leaves is
// given back, since nobody has defended it meanwhile. Where nodes form their IPv6 addresses
// the router forms these, with random interface identifiers, as privacy addresses are (RFC 8981).
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

// openPools makes a pool for each family, which expects at first that verifying takes as long
// as it can.
func (r *Router) openPools() {
	r.four.pool = newPool(r, r.four, r.cfg.DAD.Longest())
	if r.six == nil {
		return
	}
	timers := r.cfg.IPv6.DAD
	if timers == (nd.Timers{}) {
		timers = nd.DefaultTimers()
	}
	r.six.pool = newPool(r, r.six, timers.Longest())
}

func newPool(r *Router, at *stack, verify time.Duration) *pool {
	return &pool{r: r, at: at, wake: make(chan struct{}, 1), demand: newDemand(r.cfg.Ahead, verify)}
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
		s.drop()
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
		s.drop()
	}
}

// conflict is told of somebody else who speaks from a, which the proxy answers for.
func (p *pool) conflict(a netip.Addr, by net.HardwareAddr) {
	if s := p.find(a); s != nil {
		select {
		case s.claimed <- by:
		default:
		}
	}
}

// reassigned withdraws the address that the server has just leased to somebody: it has
// forgotten that it is ours.
func (p *pool) reassigned(a netip.Addr) {
	if s := p.find(a); s != nil && p.leave(s) {
		s.t.forget()
		s.drop()
	}
}

// find is what is ready with an address; nil: nothing.
func (p *pool) find(a netip.Addr) *spare {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.IndexFunc(p.ready, func(s *spare) bool { return s.addr == a }); i >= 0 {
		return p.ready[i]
	}
	return nil
}

// take is for a node that asks now: the address that has been ready for longest, if
// there is one for it. It is defended still. done of it must follow.
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
	if s.t != nil {
		s.t.endAhead()
	}
	p.counts.Given++
	return s
}

func (p *pool) status(now time.Time) *AheadStatus {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	want, _ := p.demand.want(now)
	s := &AheadStatus{
		Wanted: want, Ready: len(p.ready), Making: p.making, VerifyMS: float64(p.demand.verify) / 1e6, AheadCounts: p.counts,
		Again: max(p.after.Sub(now), 0).Seconds(),
	}
	for _, one := range p.ready {
		if l, _, ok := p.lease(one, now); ok {
			s.Addresses = append(s.Addresses, AheadAddress{
				Address: l.Addr, Ready: now.Sub(one.since).Seconds(), Expires: l.Expires().Sub(now).Seconds(),
			})
		}
	}
	return s
}
