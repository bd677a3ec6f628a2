package ha6

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

// homeLink answers on the home link for the addresses of nodes that are away, and for the home
// agent's own, and tells the neighbours when that begins (RFC 6275 section 10.4.1).
type homeLink struct {
	// fixed after newHomeLink
	proxy  *neigh.NDProxy
	log    *slog.Logger
	ctx    context.Context // ends the announcements
	cancel context.CancelFunc

	mu    sync.Mutex
	bound map[netip.Addr]context.CancelFunc // ends the announcements of one
	shut  bool
	wg    sync.WaitGroup // announcements; Add with mu held and shut false
}

func newHomeLink(conn host.ND, source netip.Addr, log *slog.Logger) (*homeLink, error) {
	h := &homeLink{log: log, bound: make(map[netip.Addr]context.CancelFunc)}
	var err error
	h.proxy, err = neigh.NewND(conn, neigh.NDConfig{Source: source, Timers: timers(), Log: log})
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	return h, nil
}

// add begins to answer for a.
func (h *homeLink) add(a netip.Addr) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.shut || h.bound[a] != nil {
		return nil
	}
	if err := h.proxy.Set(a, neigh.Policy{AnswerProbes: true}); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(h.ctx)
	h.bound[a] = cancel
	h.wg.Go(func() { h.announce(ctx, a) })
	return nil
}

// remove ends it.
func (h *homeLink) remove(a netip.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if cancel := h.bound[a]; cancel != nil {
		cancel()
		delete(h.bound, a)
		h.proxy.Remove(a)
	}
}

// announce tells all neighbours that a is here, a few times.
func (h *homeLink) announce(ctx context.Context, a netip.Addr) {
	t := time.NewTicker(announceInterval)
	defer t.Stop()
	for range announceCount {
		if ctx.Err() != nil {
			return
		}
		if err := h.proxy.Announce(a); err != nil {
			if ctx.Err() == nil && !errors.Is(err, net.ErrClosed) {
				h.log.Warn("the neighbours were not told of an address", "address", a, "err", err)
			}
			return
		}
		select {
		case <-ctx.Done():
		case <-t.C:
		}
	}
}

// close ends the announcements and closes the socket.
func (h *homeLink) close() error {
	h.mu.Lock()
	h.shut = true
	h.mu.Unlock()
	h.cancel()
	h.wg.Wait()
	return h.proxy.Close()
}
