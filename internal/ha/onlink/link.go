// Package onlink answers neighbour solicitations on a link for IPv6 addresses that no interface
// of this host has: those of nodes that are away, and those that a daemon has in its TUN.
package onlink

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"openmpa/internal/acd/nd"
	"openmpa/internal/host"
	"openmpa/par/neigh"
)

const (
	announceCount    = 3           // MAX_NEIGHBOR_ADVERTISEMENT (RFC 4861 section 10)
	announceInterval = time.Second // RetransTimer
)

// timers of duplicate address detection. There is no random delay: it is for hosts that
// start at the same time (RFC 4862 section 5.4.2).
func timers() nd.Timers {
	t := nd.DefaultTimers()
	t.Delay = 0
	return t
}

// Link answers on a link, probes of others for duplicates included, and tells the neighbours when
// that begins (RFC 6275 section 10.4.1). Its methods may be called concurrently.
type Link struct {
	// fixed after Open
	proxy  *neigh.NDProxy
	mac    net.HardwareAddr
	log    *slog.Logger
	ctx    context.Context // ends the announcements
	cancel context.CancelFunc

	mu    sync.Mutex
	bound map[netip.Addr]context.CancelFunc // ends the announcements of one
	shut  bool
	wg    sync.WaitGroup // announcements; Add with mu held and shut false
}

// Open opens the link of an interface. source is an address of this host's that it asks from.
func Open(h host.IPv6, dev string, source netip.Addr, log *slog.Logger) (*Link, error) {
	conn, err := h.OpenND(dev)
	if err != nil {
		return nil, err
	}
	l := &Link{log: log, mac: conn.MAC(), bound: make(map[netip.Addr]context.CancelFunc)}
	l.proxy, err = neigh.NewND(conn, neigh.NDConfig{Source: source, Timers: timers(), Log: log})
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l, nil
}

// Add begins to answer for a.
func (l *Link) Add(a netip.Addr) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shut || l.bound[a] != nil {
		return nil
	}
	if err := l.proxy.Set(a, neigh.Policy{AnswerProbes: true}); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(l.ctx)
	l.bound[a] = cancel
	l.wg.Go(func() { l.announce(ctx, a) })
	return nil
}

// Remove ends it.
func (l *Link) Remove(a netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if cancel := l.bound[a]; cancel != nil {
		cancel()
		delete(l.bound, a)
		l.proxy.Remove(a)
	}
}

// announce tells all neighbours that a is here, a few times.
func (l *Link) announce(ctx context.Context, a netip.Addr) {
	t := time.NewTicker(announceInterval)
	defer t.Stop()
	for range announceCount {
		if ctx.Err() != nil {
			return
		}
		if err := l.proxy.Announce(a); err != nil {
			if ctx.Err() == nil && !errors.Is(err, net.ErrClosed) {
				l.log.Warn("the neighbours were not told of an address", "address", a, "err", err)
			}
			return
		}
		select {
		case <-ctx.Done():
		case <-t.C:
		}
	}
}

// Close ends the announcements and closes the socket.
func (l *Link) Close() error {
	l.mu.Lock()
	l.shut = true
	l.mu.Unlock()
	l.cancel()
	l.wg.Wait()
	return l.proxy.Close()
}

// Probe asks whether somebody else has a (RFC 4862 section 5.4); the error is then an
// *acd.ConflictError.
func (l *Link) Probe(ctx context.Context, a netip.Addr) error { return l.proxy.Probe(ctx, a, nil) }

// MAC is the link-layer address that is told.
func (l *Link) MAC() net.HardwareAddr { return l.mac }

// Stats counts what was answered.
func (l *Link) Stats() neigh.Stats { return l.proxy.Stats() }
