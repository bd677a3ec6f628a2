package ha

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"openmpa/internal/acd"
	"openmpa/internal/ha/onlink"
)

const resolveTimeout = 4 * time.Second

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
	arp      arpConn
	mac      acd.MAC
	resolve  resolver
	log      *slog.Logger
	answered *onlink.Answered

	answers atomic.Uint64
}

func newHomeLink(arp arpConn, r resolver, log *slog.Logger) (*homeLink, error) {
	mac, err := acd.MACFrom(arp.MAC())
	if err != nil {
		return nil, errors.Join(err, arp.Close())
	}
	return &homeLink{arp: arp, mac: mac, resolve: r, log: log, answered: onlink.NewAnswered()}, nil
}

// add begins to answer for home.
func (h *homeLink) add(home netip.Addr) {
	_ = h.answered.Add(home, func() error { return nil }, h.announcing(home, h.mac))
}

// remove ends it.
func (h *homeLink) remove(home netip.Addr) { h.answered.Remove(home, func() {}) }

// returned tells the neighbours where a mobile node is that is at home again and
// deregistered: a gratuitous ARP with the node's own link-layer address.
func (h *homeLink) returned(home netip.Addr) {
	h.answered.Go(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
		defer cancel()
		hw, err := h.resolve.Resolve(ctx, h.arp.Device(), home)
		if err == nil {
			var mac acd.MAC
			if mac, err = acd.MACFrom(hw); err == nil {
				onlink.Announce(ctx, h.announcing(home, mac))
				return
			}
		}
		if !h.answered.Closed() {
			h.log.Warn("the neighbours were not told that a mobile node is at home", "home_address", home, "err", err)
		}
	})
}

var errOther = errors.New("home address is another's now")

// announcing broadcasts that home is at mac, unless home is bound meanwhile to another.
func (h *homeLink) announcing(home netip.Addr, mac acd.MAC) func() error {
	return func() error {
		if h.answered.Has(home) != (mac == h.mac) {
			return errOther
		}
		err := h.arp.WriteARP(acd.Broadcast(), acd.AnnouncementPacket(home, mac))
		if err != nil && !h.answered.Closed() && !errors.Is(err, net.ErrClosed) {
			h.log.Warn("gratuitous ARP not sent", "home_address", home, "err", err)
		}
		return err
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
		if p.Op != acd.OpRequest || p.SenderIP == p.TargetIP || !h.answered.Has(p.TargetIP) {
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
	h.answered.Close()
	return h.arp.Close()
}
