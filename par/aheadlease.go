package par

import (
	"net"
)

// beginAhead makes the tenure of an address that the pool is to have. dropAhead or
// endAhead must follow.
func (l *ledger) beginAhead(key clientKey) *tenure {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.tenure(key)
	t.ahead = true
	return t
}

// dropAhead has the pool's lease, if there is one, given back.
func (t *tenure) dropAhead() {
	t.l.mu.Lock()
	defer t.l.mu.Unlock()
	t.ahead = false
	t.settle(0)
}

// endAhead takes the lease from the pool, for somebody who calls leave.
func (t *tenure) endAhead() {
	t.l.mu.Lock()
	defer t.l.mu.Unlock()
	t.users++
	t.ahead = false
}

// aheadLease is what the pool has.
func (t *tenure) aheadLease() (l lease, ok bool) {
	t.l.mu.Lock()
	defer t.l.mu.Unlock()
	if !t.ahead || t.record == nil {
		return l, false
	}
	return t.record.Lease, true
}

// renewedAhead writes down what the server has granted, if the pool has it still.
func (t *tenure) renewedAhead(l lease) error {
	return t.save(func(r *record) bool {
		if t.ahead {
			r.Lease = l
		}
		return t.ahead
	})
}

// assign writes down whose the lease is from now on.
func (t *tenure) assign(v *visitor, mac net.HardwareAddr) (l lease, err error) {
	identity, peer := v.who()
	err = t.save(func(r *record) bool {
		r.Identity, r.MAC, r.Stage, r.Peer = identity, mac.String(), stageLeased, peer
		l = r.Lease
		return true
	})
	return l, err
}
