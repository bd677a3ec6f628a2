package par

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"openmpa/paa/notify"
)

// giveUpLease gives back an address that the node has leased here itself, and has left with our link. From then on it is
// in the ledger, as if the router had leased it: what the server does not take now it is told again.
func (v *visitor) giveUpLease(m *notify.Release) {
	identity, peer := v.who()
	if err := v.mayGiveUp(m); err != nil {
		v.r.cfg.Log.Warn("lease not given back", "sid", v.sid, "addr", m.Addr, "err", err)
		return
	}
	l := lease{
		Addr: netip.PrefixFrom(m.Addr, v.r.six.prefix.Bits()), ClientID: m.ClientID, IAID: iaid(m.IAID), ServerDUID: m.ServerDUID,
		Start: time.Now(), Lifetime: untold,
	}
	v.r.wg.Go(func() {
		t, err := v.r.leases.take(v.r.ctx, identity, l.key())
		if err != nil {
			v.r.cfg.Log.Warn("lease not given back", "addr", m.Addr, "err", err)
			return
		}
		defer t.done()
		err = t.save(func(r *record) bool {
			if t.record != nil { // it has come back, and has one again
				return false
			}
			*r = record{Identity: identity, MAC: m.MAC.String(), Lease: l, Stage: stageLeased, Peer: peer}
			return true
		})
		if err != nil {
			v.r.cfg.Log.Error("lease not given back", "addr", m.Addr, "err", err)
		}
	})
}

// mayGiveUp says why the node cannot give an address back, if so.
func (v *visitor) mayGiveUp(m *notify.Release) error {
	v.mu.Lock()
	from := v.loggedIn
	v.mu.Unlock()
	switch {
	case from != m.Addr:
		return fmt.Errorf("the node has logged in here from %v", from)
	case v.r.six == nil || v.r.six.source == nil:
		return errors.New("no DHCPv6 server is configured here")
	case v.r.holder(m.Addr, v) != nil:
		return errors.New("it is in use in another session")
	}
	return nil
}
