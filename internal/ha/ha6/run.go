package ha6

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"openmpa/internal/acd"
	"openmpa/internal/ha"
	"openmpa/internal/osnet"
	"openmpa/internal/state"
)

const packetRoom = 1 << 16 // octets

// Run serves until ctx is done, and undoes everything then. A clean end is nil.
func (a *Agent) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(a.packets)
	g.Go(func() error { return a.signalling(ctx) })
	g.Go(func() error {
		return ha.Timer(ctx, a.wake, a.core.Deadline, func(now time.Time) { a.record(a.core.OnDeadline(now)...) })
	})
	g.Go(func() error {
		<-ctx.Done()
		return a.Close() // ends the reader
	})
	return g.Wait()
}

// packets reads what the kernel routed into the TUN.
func (a *Agent) packets() error {
	buf := make([]byte, Headroom+packetRoom)
	for {
		n, err := a.tun.Read(buf[Headroom:])
		if err != nil {
			return ha.Closed(err)
		}
		if notice, ok := a.core.Handle(time.Now(), buf[:Headroom+n]); ok {
			a.record(notice)
		}
	}
}

var errBusy = errors.New("ha6: too many mobility messages wait")

// Signal implements World.
func (a *Agent) Signal(pkt []byte) error {
	select {
	case a.signals <- bytes.Clone(pkt):
		return nil
	default:
		return errBusy
	}
}

// signalling answers mobility messages, which may have to wait for the disk.
func (a *Agent) signalling(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case pkt := <-a.signals:
			notices, err := a.core.Signal(time.Now(), pkt)
			a.record(notices...)
			if err == nil {
				continue
			}
			if dropped, ok := a.badSignals.Allow(time.Now()); ok {
				a.cfg.Log.Warn("mobility message dropped", "err", err, "not_logged_before", dropped)
			}
		}
	}
}

// Out implements World.
func (a *Agent) Out(pkt []byte) error {
	_, err := a.tun.Write(pkt)
	return err
}

// route brings what is sent to an address into the TUN.
func (a *Agent) route(addr netip.Addr, mtu int) osnet.Route {
	return osnet.Route{Dst: netip.PrefixFrom(addr, 128), Dev: a.tun.Name(), MTU: mtu}
}

// Bound implements World.
func (a *Agent) Bound(home, linkLocal netip.Addr) error {
	if err := a.host.SetRoute(a.route(home, a.cfg.MTU)); err != nil {
		return err
	}
	if a.home == nil {
		return nil
	}
	if linkLocal.IsValid() {
		if err := a.home.Add(linkLocal); err != nil {
			return err
		}
	}
	return a.home.Add(home)
}

// Unbound implements World.
func (a *Agent) Unbound(home, linkLocal netip.Addr) {
	if a.home != nil {
		a.home.Remove(home)
		a.home.Remove(linkLocal)
	}
	if err := a.host.DelRoute(a.route(home, a.cfg.MTU)); err != nil {
		a.cfg.Log.Warn("the route of a home address stays until the end", "home_address", home, "err", err)
	}
}

// Probe implements World.
func (a *Agent) Probe(home, linkLocal netip.Addr) {
	a.probes.Go(func() {
		unique := a.unique(home, linkLocal)
		a.record(a.core.Probed(time.Now(), home, unique)...)
	})
}

// unique detects duplicates, of both addresses at once.
func (a *Agent) unique(list ...netip.Addr) bool {
	if a.home == nil {
		return true
	}
	g, ctx := errgroup.WithContext(a.ctx)
	for _, addr := range list {
		if addr.IsValid() {
			g.Go(func() error { return a.home.Probe(ctx, addr) })
		}
	}
	err := g.Wait()
	var conflict *acd.ConflictError
	switch {
	case err == nil:
		return true
	case errors.As(err, &conflict):
		a.cfg.Log.Warn("somebody on the home link has a mobile node's address", "address", conflict.Addr, "mac", conflict.By)
	case a.ctx.Err() == nil:
		a.cfg.Log.Warn("duplicate address detection failed", "home_address", list[0], "err", err)
	}
	return false
}

// keyPrefix is that of the home addresses in the store.
const keyPrefix = "mip6/"

// Keep implements World.
func (a *Agent) Keep(home netip.Addr, k Kept) error {
	_, err := state.PutJSON(a.cfg.State, keyPrefix+home.String(), k, k.Until)
	if err != nil {
		a.cfg.Log.Error("a binding was not stored", "home_address", home, "err", err)
	}
	return err
}

// restore makes the bindings stand again that were kept.
func (a *Agent) restore() error {
	return ha.RestoreKept(a.cfg.State, keyPrefix, a.cfg.Log, func(home netip.Addr, k Kept) error {
		notices, err := a.core.Restore(time.Now(), home, k)
		a.record(notices...)
		return err
	})
}

// Wake implements World.
func (a *Agent) Wake() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// record puts notices into the timeline.
func (a *Agent) record(notices ...ha.Notice) {
	for _, n := range notices {
		n.Record(a.cfg.Recorder)
	}
}
