package par

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"openmpa/internal/state"
	"openmpa/paa/notify"
)

// A lease outlives what it was taken for: its session, this process, a DHCP server
// that is away. Every one that the server may have granted is written down before
// it is asked for, and ends claimed by a session, given back or expired.
//
//	offer --> leased --tunnel--> prepared --arrival--> arrived       (a session holds it)
//	   \--> ahead --^                                                (the pool has it)
//
//	session ended, or the daemon has begun again:
//	  ahead, leased ---------------------------------> given back
//	  prepared, arrived --> does the node answer ARP? --no--> given back
//	                            \--yes--> asked again now and then, until a session of
//	                                      the same node claims it
//
// A client identifier has one tenure here, and one goroutine at a time deals with
// the server about it: a RELEASE never crosses a new lease of the same node.
type ledger struct {
	// fixed
	r       *Router
	store   state.Store
	durable bool // the store outlives the process
	pauses  pauses

	mu       sync.Mutex // a leaf: nothing is waited for under it
	byClient map[clientKey]*tenure
}

// tenure is what one client identifier has from the server.
type tenure struct {
	l    *ledger
	key  clientKey
	turn chan struct{} // capacity 1: whoever has put something in deals with the server

	saving sync.Mutex // orders what is written to the store

	// guarded by ledger.mu
	users    int         // goroutines that have or want the turn for a session
	record   *record     // nil: the server holds nothing, as far as is known
	holder   *visitor    // nil: no session
	ahead    bool        // the pool has it
	settling *settlement // under way when there is a record that neither has, or nil
}

// settlement is the way of a lease without a session.
type settlement struct{ cancel context.CancelFunc }

// record is what the store keeps of a tenure.
type record struct {
	Identity string         `json:"identity"` // of the node, as AAA has it; nobody's while it is ahead
	MAC      string         `json:"mac"`      // of the node; the router's while it is ahead
	Lease    lease          `json:"lease"`    // the offer, until the server has granted it
	Stage    stage          `json:"stage"`
	Peer     netip.AddrPort `json:"peer"` // where PANA found the node
}

// stage is how far a node with a lease has come.
type stage string

const (
	stageAhead    stage = "ahead"    // there is none yet: see pool
	stageLeased   stage = "leased"   // it is elsewhere
	stagePrepared stage = "prepared" // it may come at any moment
	stageArrived  stage = "arrived"
)

const leasePrefix = "lease/"

// pauses are how long things are tried, and how often.
type pauses struct {
	ask, part             time.Duration // for one try to give a lease back; the same when the daemon ends
	first, longest        time.Duration // after a try that failed; it doubles
	absence, shortAbsence time.Duration // for a node that may be on the link to answer; that should be elsewhere
	watch                 time.Duration // after a node without a session was seen
}

var defaultPauses = pauses{
	ask: 3 * time.Second, part: 2 * time.Second, first: time.Second, longest: 2 * time.Minute,
	absence: 5 * time.Second, shortAbsence: time.Second, watch: 15 * time.Second,
}

// untold is the lifetime of a lease whose offer does not say it.
const untold = time.Hour

func newLedger(r *Router, s state.Store) *ledger {
	l := &ledger{r: r, store: s, durable: s != nil, pauses: defaultPauses, byClient: map[clientKey]*tenure{}}
	if s == nil {
		l.store = state.NewMemory()
	}
	return l
}

// tenure finds or makes the tenure of a client; the caller holds mu.
func (l *ledger) tenure(key clientKey) *tenure {
	t := l.byClient[key]
	if t == nil {
		t = &tenure{l: l, key: key, turn: make(chan struct{}, 1)}
		l.byClient[key] = t
	}
	return t
}

// take waits for the turn of a client. Somebody else's lease, by what AAA says, is
// not touched. done must follow.
func (l *ledger) take(ctx context.Context, identity string, key clientKey) (*tenure, error) {
	l.mu.Lock()
	t := l.tenure(key)
	t.users++
	if t.record != nil && t.record.Identity == identity {
		t.halt()
	}
	l.mu.Unlock()
	select {
	case t.turn <- struct{}{}:
	case <-ctx.Done():
		t.leave()
		return nil, fmt.Errorf("an earlier lease of this node is still being dealt with: %w", ctx.Err())
	}
	l.mu.Lock()
	foreign := t.record != nil && t.record.Identity != identity
	l.mu.Unlock()
	if foreign {
		t.done()
		return nil, errors.New("its client identifier is in use in the session of another node")
	}
	return t, nil
}

// clientKey is a client as a server sees it.
type clientKey struct {
	six bool   // a server of IPv6
	id  string // client identifier; IPv6: IAID and DUID
}

// keyOf is the client that the server will see.
func keyOf(m *notify.ConfigRequest) clientKey {
	id := iaid(m.IAID)
	switch {
	case m.Family == 6:
		return clientKey{six: true, id: string(append(id[:], m.ClientID...))}
	case len(m.ClientID) == 0:
		return clientKey{id: string(append([]byte{1}, m.MAC...))} // RFC 2132 §9.14
	}
	return clientKey{id: string(m.ClientID)}
}

// done gives the turn back.
func (t *tenure) done() {
	<-t.turn
	t.leave()
}

// leave ends what take began; a lease that no session holds is settled.
func (t *tenure) leave() {
	t.l.mu.Lock()
	defer t.l.mu.Unlock()
	t.users--
	t.settle(0)
}

// halt ends a settlement; the caller holds mu.
func (t *tenure) halt() {
	if t.settling != nil {
		t.settling.cancel()
		t.settling = nil
	}
}

// hold makes v the holder.
func (t *tenure) hold(v *visitor) {
	t.l.mu.Lock()
	defer t.l.mu.Unlock()
	t.halt()
	t.holder = v
}

// pass ends v's holding in favour of somebody else, who calls leave.
func (t *tenure) pass(v *visitor) {
	t.l.mu.Lock()
	defer t.l.mu.Unlock()
	t.users++
	if t.holder == v {
		t.holder = nil
	}
}

// free ends v's holding, whose mu the caller holds. A node that said good-bye is not looked for on the link.
func (t *tenure) free(v *visitor, goodbye bool) {
	t.l.mu.Lock()
	defer t.l.mu.Unlock()
	if t.holder != v {
		return
	}
	t.holder = nil
	if t.record != nil {
		r := *t.record
		if r.Stage = v.stage; goodbye {
			r.Stage = stageLeased
		}
		t.record = &r
	}
	if goodbye {
		t.settle(0)
	} else {
		t.settle(t.l.pauses.shortAbsence) // its arrival may have been lost
	}
}

// save writes the record as change leaves it, unless that says no.
func (t *tenure) save(change func(*record) bool) error {
	t.saving.Lock()
	defer t.saving.Unlock()
	return t.write(change)
}

// write is save for who holds saving.
func (t *tenure) write(change func(*record) bool) error {
	t.l.mu.Lock()
	var r record
	if t.record != nil {
		r = *t.record
	}
	changed := change(&r)
	if changed {
		t.record = &r
	}
	t.l.mu.Unlock()
	if !changed {
		return nil
	}
	if _, err := state.PutJSON(t.l.store, storeKey(t.key), r, time.Time{}); err != nil {
		return fmt.Errorf("the router cannot write down the lease of %s: %w", r.Lease.Addr.Addr(), err)
	}
	return nil
}

// forget is for a lease that the server does not hold any more.
func (t *tenure) forget() {
	t.saving.Lock()
	defer t.saving.Unlock()
	t.l.mu.Lock()
	t.record = nil
	t.l.mu.Unlock()
	if err := t.l.store.Delete(storeKey(t.key)); err != nil {
		t.l.r.cfg.Log.Error("record of a lease", "err", err)
	}
}

// storeKey has a bounded length, which a client identifier in hexadecimal has not.
func storeKey(client clientKey) string {
	id := client.id
	if client.six {
		id = "IPv6 " + id
	}
	sum := sha256.Sum256([]byte(id))
	return leasePrefix + hex.EncodeToString(sum[:16])
}

// offered writes down what the server may grant from now on.
func (t *tenure) offered(v *visitor, mac net.HardwareAddr, l lease) error {
	identity, peer := v.who()
	return t.save(func(r *record) bool {
		*r = record{Identity: identity, MAC: mac.String(), Lease: l, Stage: stageLeased, Peer: peer}
		return true
	})
}

// granted writes down what it has granted.
func (t *tenure) granted(l lease) error {
	return t.save(func(r *record) bool { r.Lease = l; return true })
}

// note writes down how far v has come.
func (t *tenure) note(v *visitor) {
	t.saving.Lock()
	defer t.saving.Unlock()
	at, peer := v.where()
	err := t.write(func(r *record) bool {
		if t.holder != v || r.Stage == at && r.Peer == peer {
			return false
		}
		r.Stage, r.Peer = at, peer
		return true
	})
	if err != nil {
		t.l.r.cfg.Log.Error("stage not written down", "sid", v.sid, "err", err)
	}
}

// unclaimed returns the record if no session holds the lease.
func (t *tenure) unclaimed() (record, bool) {
	t.l.mu.Lock()
	defer t.l.mu.Unlock()
	if !t.loose() {
		return record{}, false
	}
	return *t.record, true
}

// loose says whether there is a lease that neither a session nor the pool has; the
// caller holds mu.
func (t *tenure) loose() bool { return t.record != nil && t.holder == nil && !t.ahead }

func (l *ledger) unclaimed() (all []UnclaimedLease) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.byClient {
		if t.loose() {
			all = append(all, UnclaimedLease{Address: t.record.Lease.Addr.String(), MAC: t.record.MAC, Stage: string(t.record.Stage)})
		}
	}
	slices.SortFunc(all, func(a, b UnclaimedLease) int { return cmp.Compare(a.Address, b.Address) })
	return all
}

// at finds the tenure without a session that has the address a.
func (l *ledger) at(a netip.Addr) (key clientKey, identity string, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, t := range l.byClient {
		if t.loose() && t.record.Lease.Addr.Addr() == a {
			return key, t.record.Identity, true
		}
	}
	return clientKey{}, "", false
}
