package dhcpd

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"openmpa/internal/state"
)

// keyPrefix is that of the addresses in the store.
const keyPrefix = "lease/"

// load takes over the leases that are in the store and fit the pools.
func (t *Table) load() error {
	items, err := state.ListJSON[Lease](t.store, keyPrefix)
	if err != nil {
		return fmt.Errorf("dhcpd: leases: %w", err)
	}
	for _, i := range items {
		l := i.Value
		if strings.TrimPrefix(i.Record.Key, keyPrefix) != l.Addr.String() || l.State != Bound && l.State != Declined {
			return fmt.Errorf("dhcpd: the record %q is none of a lease: %v", i.Record.Key, l)
		}
		for _, p := range t.pools {
			if p.Network == l.Network && p.Prefix.Contains(l.Addr) {
				t.leases[l.Addr] = &l
			}
		}
	}
	return nil
}

// keep makes l what its address is, now and after a crash; an offer is for now only. If it
// cannot be stored, nothing changes, and the client must not be told: it asks again.
func (t *Table) keep(l Lease) bool {
	if l.State != Offered {
		if _, err := state.PutJSON(t.store, keyPrefix+l.Addr.String(), l, l.Expires); err != nil {
			t.counts["unstored"]++
			return false
		}
	}
	t.leases[l.Addr] = &l
	return true
}

// free makes an address free.
func (t *Table) free(a netip.Addr) {
	l := t.leases[a]
	if l.State != Offered {
		if err := t.store.Delete(keyPrefix + a.String()); err != nil {
			t.counts["unstored"]++ // after a crash it is leased until its end, as if never given back
		}
	}
	delete(t.leases, a)
}

func (t *Table) expire(now time.Time) {
	for a, l := range t.leases {
		if l.State != Declined && !now.Before(l.Expires) {
			delete(t.leases, a) // the store's record ends at the same time
		}
	}
}
