package ha

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"openmpa/internal/acd"
)

const (
	announceCount    = 3 // "a small number of times" (RFC 5944 section 4.6)
	announceInterval = time.Second
	resolveTimeout   = 4 * time.Second
)

// arpConn is the ARP socket of the home link.
type arpConn interface {
	ReadARP(ctx context.Context) (acd.Packet, error)
	WriteARP(dst net.HardwareAddr, p acd.Packet) error
	MAC() net.HardwareAddr
	Device() string
	Close() error
}

// resolver finds the link-layer address of a host.
type resolver interface {
	Resolve(ctx context.Context, dev string, addr netip.Addr) (net.HardwareAddr, error)
}

// homeLink answers on the home link for the home addresses that are bound (RFC 5944
// section 4.6), and tells the neighbours when that begins and ends.
type homeLink struct {
	// fixed after newHomeLink
	arp     arpConn
	mac     acd.MAC
	resolve resolver
	log     *slog.Logger
	ctx     context.Context // ends the announcements
	cancel  context.CancelFunc

	answers atomic.Uint64

	mu    sync.Mutex
	bound map[netip.Addr]context.CancelFunc // ends the announcements of one
	shut  bool
	wg    sync.WaitGroup // announcements; Add with mu held and shut false
}

func newHomeLink(arp arpConn, r resolver, log *slog.Logger) (*homeLink, error) {
	mac, err := acd.MACFrom(arp.MAC())
	if err != nil {
		return nil, errors.Join(err, arp.Close())
	}
	h := &homeLink{arp: arp, mac: mac, resolve: r, log: log, bound: make(map[netip.Addr]context.CancelFunc)}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	return h, nil
}

// add begins to answer for home.
func (h *homeLink) add(home netip.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.shut || h.bound[home] != nil {
		return
	}
	ctx, cancel := context.WithCancel(h.ctx)
	h.bound[home] = cancel
	h.wg.Go(func() { h.announce(ctx, home, h.mac) })
}

// remove ends it.
func (h *homeLink) remove(home netip.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if cancel := h.bound[home]; cancel != nil {
		cancel()
		delete(h.bound, home)
	}
}

func (h *homeLink) has(home netip.Addr) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.bound[home] != nil
}

// returned tells the neighbours where a mobile node is that is at home again and
// deregistered: a gratuitous ARP with the node's own link-layer address.
func (h *homeLink) returned(home netip.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.shut {
		return
	}
	h.wg.Go(func() {
		ctx, cancel := context.WithTimeout(h.ctx, resolveTimeout)
		defer cancel()
		hw, err := h.resolve.Resolve(ctx, h.arp.Device(), home)
		if err == nil {
			var mac acd.MAC
			if mac, err = acd.MACFrom(hw); err == nil {
				h.announce(ctx, home, mac)
				return
			}
		}
		if h.ctx.Err() == nil {
			h.log.Warn("the neighbours were not told that a mobile node is at home", "home_address", home, "err", err)
		}
	})
}

// announce broadcasts that home is at mac, a few times, unless home is bound
// meanwhile to another.
func (h *homeLink) announce(ctx context.Context, home netip.Addr, mac acd.MAC) {
	t := time.NewTicker(announceInterval)
	defer t.Stop()
	for i := range announceCount {
		if i > 0 {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
			}
		}
		if ctx.Err() != nil || h.has(home) != (mac == h.mac) {
			return
		}
		if err := h.arp.WriteARP(acd.Broadcast(), acd.AnnouncementPacket(home, mac)); err != nil {
			if ctx.Err() == nil && !errors.Is(err, net.ErrClosed) {
				h.log.Warn("gratuitous ARP not sent", "home_address", home, "err", err)
			}
			return
		}
	}
}

// serve answers until ctx is done or the socket is closed.
func (h *homeLink) serve(ctx context.Context) error {
	for {
		p, err := h.arp.ReadARP(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return Closed(err)
		}
		// A request whose sender is its target is the mobile node's own announcement.
		if p.Op != acd.OpRequest || p.SenderIP == p.TargetIP || !h.has(p.TargetIP) {
			continue
		}
		if err := h.arp.WriteARP(p.SenderMAC.HardwareAddr(), acd.ReplyPacket(p, p.TargetIP, h.mac)); err != nil {
			h.log.Debug("ARP request not answered", "target", p.TargetIP, "err", err)
			continue
		}
		h.answers.Add(1)
	}
}

// close ends the announcements and closes the socket.
func (h *homeLink) close() error {
	h.mu.Lock()
	h.shut = true
	h.mu.Unlock()
	h.cancel()
	h.wg.Wait()
	return h.arp.Close()
}
