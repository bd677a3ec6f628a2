package ha

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"openmpa/internal/osnet"
	"openmpa/internal/state"
	"openmpa/tunnel/ipip"
)

var _ World = (*Agent)(nil)

// To implements World.
func (a *Agent) To(careOf netip.Addr, inner []byte) error {
	return a.ipip.Send(careOf, inner, ipip.TOS(inner))
}

// From implements World.
func (a *Agent) From(inner []byte) error {
	_, err := a.tun.Write(inner)
	return err
}

// route brings what is sent to a home address into the TUN. What this host sends itself
// carries the home agent's address, which the mobile node knows.
func (a *Agent) route(home netip.Addr) osnet.Route {
	return osnet.Route{Dst: netip.PrefixFrom(home, 32), Dev: a.tun.Name(), Src: a.cfg.Core.Address}
}

// Bound implements World.
func (a *Agent) Bound(home netip.Addr) error {
	if err := a.host.SetRoute(a.route(home)); err != nil {
		return err
	}
	if a.home != nil {
		a.home.add(home)
	}
	return nil
}

// Unbound implements World.
func (a *Agent) Unbound(home netip.Addr) {
	if a.home != nil {
		a.home.remove(home)
	}
	if err := a.host.DelRoute(a.route(home)); err != nil {
		a.cfg.Log.Warn("the route of a home address stays until the end", "home_address", home, "err", err)
	}
}

// keyPrefix is that of the home addresses in the store.
const keyPrefix = "mip4/"

// Keep implements World.
func (a *Agent) Keep(home netip.Addr, k Kept) error {
	_, err := state.PutJSON(a.cfg.State, keyPrefix+home.String(), k, k.Until)
	if err != nil {
		a.cfg.Log.Error("a registration was not stored", "home_address", home, "err", err)
	}
	return err
}

// restore makes the bindings stand again that were kept.
func (a *Agent) restore() error {
	return RestoreKept(a.cfg.State, keyPrefix, a.cfg.Log, func(home netip.Addr, k Kept) error {
		notice, ok, err := a.core.Restore(time.Now(), home, k)
		if ok {
			a.record(notice)
		}
		return err
	})
}

// RestoreKept hands over what was kept of the home addresses whose keys have a prefix. What cannot be
// used is logged, and forgotten.
func RestoreKept[K any](store state.Store, prefix string, log *slog.Logger, restore func(home netip.Addr, k K) error) error {
	kept, err := state.ListJSON[K](store, prefix)
	if errors.Is(err, state.ErrClosed) {
		return fmt.Errorf("ha: %w", err)
	}
	if err != nil {
		log.Error("some bindings are forgotten", "err", err)
	}
	for _, k := range kept {
		home, err := netip.ParseAddr(strings.TrimPrefix(k.Record.Key, prefix))
		if err == nil {
			err = restore(home, k.Value)
		}
		if err != nil {
			log.Error("a binding that was kept", "err", err)
		}
	}
	return nil
}

// Wake implements World.
func (a *Agent) Wake() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}
