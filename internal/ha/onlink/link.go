// Package onlink answers on a link for addresses that no interface of this host has there: those of
// mobile nodes that are away, and those that a daemon has in its TUN.
package onlink

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"

	"openmpa/internal/acd/nd"
	"openmpa/internal/host"
	"openmpa/par/neigh"
)

// timers of duplicate address detection. There is no random delay: it is for hosts that
// start at the same time (RFC 4862 section 5.4.2).
func timers() nd.Timers {
	t := nd.DefaultTimers()
	t.Delay = 0
	return t
}

// Link answers neighbour solicitations on a link, probes of others for duplicates included, and
// tells the neighbours when that begins (RFC 6275 section 10.4.1). Its methods may be called
// concurrently.
type Link struct {
	proxy    *neigh.NDProxy
	mac      net.HardwareAddr
	log      *slog.Logger
	answered *Answered
}

// Open opens the link of an interface. source is an address of this host's that it asks from.
func Open(h host.IPv6, dev string, source netip.Addr, log *slog.Logger) (*Link, error) {
	conn, err := h.OpenND(dev)
	if err != nil {
		return nil, err
	}
	l := &Link{mac: conn.MAC(), log: log, answered: NewAnswered()}
	l.proxy, err = neigh.NewND(conn, neigh.NDConfig{Source: source, Timers: timers(), Log: log})
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return l, nil
}

// Add begins to answer for a.
func (l *Link) Add(a netip.Addr) error {
	return l.answered.Add(a, func() error { return l.proxy.Set(a, neigh.Policy{AnswerProbes: true}) }, func() error {
		err := l.proxy.Announce(a)
		if err != nil && !l.answered.Closed() && !errors.Is(err, net.ErrClosed) {
			l.log.Warn("the neighbours were not told of an address", "address", a, "err", err)
		}
		return err
	})
}

// Remove ends it.
func (l *Link) Remove(a netip.Addr) { l.answered.Remove(a, func() { l.proxy.Remove(a) }) }

// Probe asks whether somebody else has a (RFC 4862 section 5.4); the error is then an
// *acd.ConflictError.
func (l *Link) Probe(ctx context.Context, a netip.Addr) error { return l.proxy.Probe(ctx, a, nil) }

// MAC is the link-layer address that is told.
func (l *Link) MAC() net.HardwareAddr { return l.mac }

// Stats counts what was answered.
func (l *Link) Stats() neigh.Stats { return l.proxy.Stats() }

// Close ends the announcements and closes the socket.
func (l *Link) Close() error {
	l.answered.Close()
	return l.proxy.Close()
}
