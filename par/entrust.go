package par

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"openmpa/paa/notify"
)

// entrusted takes an address over that the node has leased here itself: from then on it is in the ledger, as if the
// router had leased it, and is given back when nobody has it any more.
func (v *visitor) entrusted(m *notify.Entrust) {
	v.r.wg.Go(func() {
		if err := v.r.takeOver(v, m); err != nil {
			v.r.cfg.Log.Warn("the node's own lease is not taken over", "sid", v.sid, "addr", m.Addr, "err", err)
		}
	})
}

func (r *Router) takeOver(v *visitor, m *notify.Entrust) error {
	if r.six == nil || r.six.source == nil {
		return errors.New("no DHCPv6 server is configured here")
	}
	l := lease{
		Addr: netip.PrefixFrom(m.Addr, r.six.prefix.Bits()), ClientID: m.ClientID, IAID: iaid(m.IAID), ServerDUID: m.ServerDUID,
		Start: time.Now(), Lifetime: untold,
	}
	identity, peer := v.who()
	t, err := r.leases.take(v.ctx, identity, l.key())
	if err != nil {
		return err
	}
	defer t.done()
	if err := v.mayEntrust(m.Addr); err != nil {
		return err
	}
	if err := t.save(func(r *record) bool {
		*r = record{Identity: identity, MAC: m.MAC.String(), Lease: l, Stage: stageArrived, Peer: peer}
		return true
	}); err != nil {
		return err
	}
	if !v.keep(l, m.MAC, t) {
		return errSessionEnded
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.reached(stageArrived)
	return nil
}

// mayEntrust says why an address is not the node's to entrust, if so.
func (v *visitor) mayEntrust(a netip.Addr) error {
	other := v.r.holder(a, v)
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.loggedIn != a:
		return fmt.Errorf("the node has logged in here from %v", v.loggedIn)
	case v.lease != nil && v.lease.Addr.Addr() != a:
		return fmt.Errorf("this session has been given %s", v.lease.Addr.Addr())
	case other != nil:
		return errors.New("it is in use in another session")
	}
	return nil
}
