package par

import (
	"context"
	"errors"
	"net"
	"time"

	"openmpa/internal/state"
)

// settle begins to settle a lease that no session holds, if that is what it is, and
// forgets a tenure without one; the caller holds ledger.mu. The node is looked for
// on the link for so long at least.
func (t *tenure) settle(look time.Duration) {
	switch {
	case t.users > 0 || t.holder != nil || t.ahead || t.settling != nil:
		return
	case t.record == nil:
		if t.l.byClient[t.key] == t {
			delete(t.l.byClient, t.key)
		}
		return
	}
	switch t.record.Stage {
	case stageAhead: // of no node
		look = 0
	case stageLeased:
	default:
		look = t.l.pauses.absence
	}
	ctx, cancel := context.WithCancel(t.l.r.ctx)
	s := &settlement{cancel: cancel}
	t.settling = s
	t.l.r.wg.Go(func() {
		defer cancel()
		t.run(ctx, look)
		t.l.mu.Lock()
		defer t.l.mu.Unlock()
		if t.settling == s {
			t.settling = nil
			if t.record == nil {
				t.settle(0)
			}
		}
	})
}

// run gives the lease back as soon as its node is not on the link, and the server
// there. It ends when that is done, the lease has expired, or ctx ends: somebody
// claims it, or the daemon ends.
func (t *tenure) run(ctx context.Context, look time.Duration) {
	r, p := t.l.r, t.l.pauses
	until := time.Time{}
	for pause := p.first; ctx.Err() == nil; pause = min(2*pause, p.longest) {
		rec, ok := t.unclaimed()
		if !ok {
			return
		}
		switch there, err := r.present(ctx, rec, look); {
		case err != nil && ctx.Err() == nil:
			r.cfg.Log.Warn("nobody can be looked for on the link", "addr", rec.Lease.Addr, "err", err)
		case there:
			until = time.Time{}
			pause = p.first
			sleep(ctx, p.watch)
			continue
		}
		if ctx.Err() != nil {
			break
		}
		if until.IsZero() {
			until = rec.until()
		}
		err := t.giveBack(ctx, p.ask)
		if err == nil || ctx.Err() != nil {
			continue // given back, or claimed
		}
		if time.Now().After(until) {
			r.cfg.Log.Info("lease expired", "addr", rec.Lease.Addr, "err", err)
			t.forget()
			return
		}
		r.cfg.Log.Warn("lease not given back yet", "addr", rec.Lease.Addr, "again_in", pause, "err", err)
		sleep(ctx, pause)
	}
	rec, ok := t.unclaimed()
	if !ok || r.ctx.Err() == nil || t.l.durable && rec.Stage == stageArrived {
		return // a node that is here is looked for when the daemon begins again
	}
	if err := t.giveBack(context.Background(), p.part); err != nil {
		r.cfg.Log.Warn("lease not given back", "addr", rec.Lease.Addr, "err", err)
	}
}

// until is when the lease cannot stand any more, whoever has renewed it. A node that
// has arrived renews it on its own.
func (rec *record) until() time.Time {
	switch l := rec.Lease; {
	case l.Lifetime == 0:
		return time.Now().Add(untold)
	case rec.Stage == stageLeased || rec.Stage == stageAhead:
		return l.Expires()
	default:
		return time.Now().Add(l.Lifetime)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// present says whether the node is on the link with its address.
func (r *Router) present(ctx context.Context, rec record, look time.Duration) (bool, error) {
	a := rec.Lease.Addr.Addr()
	if look == 0 || rec.Lease.Addr == nowhere {
		return false, nil
	}
	mac, err := net.ParseMAC(rec.MAC)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, look)
	defer cancel()
	s := r.stack(a)
	return s.proxy.Present(ctx, s.router, a, mac)
}

// giveBack tries once, in its turn, if the lease is still nobody's.
func (t *tenure) giveBack(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	rec, ok := t.unclaimed()
	if !ok {
		return nil
	}
	mac, err := net.ParseMAC(rec.MAC)
	if err != nil {
		return err
	}
	s := t.l.r.stack(rec.Lease.Addr.Addr())
	if err := s.source.client(mac, rec.Lease.ClientID, rec.Lease.IAID).giveBack(ctx, rec.Lease); err != nil {
		return err
	}
	t.forget()
	t.l.r.cfg.Log.Info("lease given back", "addr", rec.Lease.Addr)
	return nil
}

// recover settles what the store has from the daemon before, and tells its nodes
// that their sessions are gone.
func (l *ledger) recover() {
	items, err := state.ListJSON[record](l.store, leasePrefix)
	if err != nil {
		l.r.cfg.Log.Error("leases of before", "err", err)
	}
	for _, it := range items {
		rec := it.Value
		if err := l.sane(rec); err != nil {
			l.r.cfg.Log.Error("lease of before forgotten", "addr", rec.Lease.Addr, "err", errors.Join(err, l.store.Delete(it.Record.Key)))
			continue
		}
		l.r.cfg.Log.Info("lease of before", "addr", rec.Lease.Addr, "stage", rec.Stage)
		l.mu.Lock()
		t := l.tenure(rec.Lease.key())
		t.record = &rec
		t.settle(l.pauses.shortAbsence)
		l.mu.Unlock()
		l.r.wg.Go(func() { t.invite(l.r.ctx, rec) })
	}
}

// sane says why a stored lease is not one of ours, if so.
func (l *ledger) sane(rec record) error {
	if _, err := net.ParseMAC(rec.MAC); err != nil {
		return err
	}
	a := rec.Lease.Addr.Addr()
	switch s := l.r.stack(a); {
	case s == nil || s.source == nil:
		return errors.New("no DHCP server of its family is configured any more")
	case !s.prefix.Contains(a) && rec.Lease.Addr != nowhere:
		return errors.New("its address is not on the access link: was the link's prefix changed?")
	}
	return nil
}

// invite tells the node a few times that its session is gone, until it has another.
func (t *tenure) invite(ctx context.Context, rec record) {
	if !rec.Peer.IsValid() {
		return
	}
	for _, pause := range []time.Duration{time.Second, 3 * time.Second, 0} {
		if _, ok := t.unclaimed(); !ok && rec.Stage == stageArrived || ctx.Err() != nil {
			return
		}
		if err := t.l.r.paa().Invite(rec.Peer); err != nil {
			t.l.r.cfg.Log.Warn("node not told that its session is gone", "peer", rec.Peer, "err", err)
			return
		}
		sleep(ctx, pause)
	}
}
