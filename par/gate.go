package par

import (
	"errors"
	"net/netip"
	"sync"
	"time"
)

// Gate is the enforcement point of the access link (RFC 5191 section 1.2).
type Gate interface {
	// Permit lets pass what addr sends, for life from now on.
	Permit(addr netip.Addr, life time.Duration) error
	// Forbid ends that.
	Forbid(addr netip.Addr) error
}

const (
	// gateAgain is the pause after which what the gate refused is tried again.
	gateAgain = time.Second
	// gateWait bounds how long the answer to a departure waits for the gate: a node goes without an
	// answer, too, after 200 ms unless it is told otherwise.
	gateWait = 100 * time.Millisecond
)

// gatekeeper tells the gate whom sessions authorise. A transaction of the kernel takes
// milliseconds, on a busy machine many, so nobody waits for it but a node that departs to us and
// still has its link: what it sends behind its arrival must find the gate open.
//
//	no session, candidate ------------------> closed
//	authenticated here (E=0) ---------------> open, at most for the life of the keys
//	candidate departs to us, or activates --> open, before the departure is answered
//	arrival, sealed ------------------------> open
//	speaks from another address ------------> closed, and open again when it speaks from its own
//	departs from us, resumes elsewhere,
//	session ends, or its node has another --> closed
//	the router ends ------------------------> as it was: the gate outlives the router
type gatekeeper struct {
	gate Gate // nil: nothing is enforced
	wake chan struct{}
	wait time.Duration // gateWait

	mu   sync.Mutex
	open map[netip.Addr]map[uint32]time.Time // by session: until when
	due  map[netip.Addr]bool                 // of whom the gate is to be told
	told map[netip.Addr]chan struct{}        // closed when it has been, of whoever is or was due
}

func newGatekeeper(g Gate) *gatekeeper {
	return &gatekeeper{gate: g, wake: make(chan struct{}, 1), wait: gateWait, open: map[netip.Addr]map[uint32]time.Time{}, due: map[netip.Addr]bool{}, told: map[netip.Addr]chan struct{}{}}
}

// set has a session authorise addr until then, or no longer if that is the zero time.
func (k *gatekeeper) set(sid uint32, addr netip.Addr, until time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch by := k.open[addr]; {
	case !until.IsZero() && by == nil:
		k.open[addr] = map[uint32]time.Time{sid: until}
	case !until.IsZero():
		by[sid] = until
	default:
		if delete(by, sid); len(by) == 0 {
			delete(k.open, addr)
		}
	}
	k.due[addr] = true
	if k.told[addr] == nil {
		k.told[addr] = make(chan struct{})
	}
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// authorised reports whether any session authorises addr.
func (k *gatekeeper) authorised(addr netip.Addr) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.open[addr]) > 0
}

// settled is closed once the gate has been told all there is to tell of addr; nil where it has been.
func (k *gatekeeper) settled(addr netip.Addr) <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.told[addr]
}

// next takes an address of which the gate is to be told, and until when it is authorised.
func (k *gatekeeper) next() (addr netip.Addr, until time.Time, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for addr = range k.due {
		delete(k.due, addr)
		for _, t := range k.open[addr] {
			if t.After(until) {
				until = t
			}
		}
		return addr, until, true
	}
	return addr, until, false
}

// done follows a transaction that the gate has accepted.
func (k *gatekeeper) done(addr netip.Addr) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.due[addr] { // else there is more to tell
		close(k.told[addr])
		delete(k.told, addr)
	}
}

func (k *gatekeeper) again(list []netip.Addr) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, addr := range list {
		k.due[addr] = true
	}
}

// keepGate tells the gate until the router ends, and then what is left to tell.
func (r *Router) keepGate() {
	k := r.keeper
	for ended := false; ; {
		err := k.tell()
		var retry <-chan time.Time
		if err != nil {
			r.cfg.Log.Error("enforcement point", "err", err)
			retry = time.After(gateAgain)
		}
		if ended {
			return
		}
		select {
		case <-r.ctx.Done():
			ended = true
		case <-retry:
		case <-k.wake:
		}
	}
}

// tell tells the gate all that it is to be told. What it refuses, for whichever address, stays
// due, and keeps nothing back that is for others.
func (k *gatekeeper) tell() error {
	var refused []netip.Addr
	var errs []error
	for addr, until, ok := k.next(); ok; addr, until, ok = k.next() {
		var err error
		if until.IsZero() {
			err = k.gate.Forbid(addr)
		} else {
			err = k.gate.Permit(addr, time.Until(until))
		}
		if err != nil {
			refused, errs = append(refused, addr), append(errs, err)
			continue
		}
		k.done(addr)
	}
	k.again(refused)
	return errors.Join(errs...)
}

// pass authorises the visitor at the enforcement point, for as long as its keys are good, or
// no longer. The caller holds mu.
func (v *visitor) pass(authorised bool) {
	v.let(authorised)
	v.entitled = v.passes.IsValid()
}

// speaks follows a visitor that may pass to where it speaks from: from elsewhere it passes no more,
// and from its own address again. Somebody else may have been there first with what it has said
// (RFC 5191 section 5.6 goes by the source of a message alone): that must not close the gate for
// longer than until the next thing it says. The caller holds mu.
func (v *visitor) speaks(from netip.Addr) {
	if v.entitled {
		own := v.own()
		v.let(own == from || !own.IsValid())
	}
}

// own is the visitor's address, leased or served; the zero Addr before there is one. The caller
// holds mu.
func (v *visitor) own() netip.Addr {
	if v.lease == nil {
		return v.inner
	}
	return v.lease.Addr.Addr()
}

// let tells the gate. The caller holds mu.
func (v *visitor) let(authorised bool) {
	k := v.r.keeper
	if k.gate == nil {
		return
	}
	addr := v.own()
	if !addr.IsValid() {
		addr = v.peer.Addr().Unmap()
	}
	authorised = authorised && !v.closed && !v.superseded && v.r.onLink(addr)
	if v.passes.IsValid() && (!authorised || v.passes != addr) {
		k.set(v.sid, v.passes, time.Time{})
		v.passes = netip.Addr{}
	}
	if authorised {
		v.passes = addr
		k.set(v.sid, addr, v.ends)
	}
}

// extended sets how long the session lasts from now on.
func (v *visitor) extended(life time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ends = time.Now().Add(life)
	if v.passes.IsValid() {
		v.r.keeper.set(v.sid, v.passes, v.ends)
	}
}

// authenticated authorises a node that has logged in from the access link itself. One that has
// authenticated again stays what it was: it may be elsewhere.
func (v *visitor) authenticated(first, preauth bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if first && !preauth || v.passes.IsValid() {
		v.pass(true)
	}
}
