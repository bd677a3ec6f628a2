package mn

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"openmpa/internal/osnet"
	"openmpa/internal/standstill"
	"openmpa/tunnel/flow"
	"openmpa/tunnel/ipip"
)

// The way of packets changes while they wait in the kernel (package standstill):
//
//	routes to a next hop that nobody is  what is sent from here on waits in the kernel
//	a packet of ours by the TUN          when it is out, all that came before has been sent
//	the next hop has the router's MAC    what waited is sent
//	routes to the router                 and what comes, after it

// fenceWithin is how long the packet through the TUN may take; if it is lost there, and
// in no other case, packets may overtake others.
const fenceWithin = time.Second

// beyond the TUN is where such a packet goes to; nobody is there. That of IPv6 is of the
// prefix of what is to be discarded (RFC 6666).
var (
	beyond  = netip.AddrFrom4([4]byte{169, 254, 62, 60})
	beyond6 = netip.MustParseAddr("100::6d70:61")
)

// beyondFor is that of the family of a.
func beyondFor(a netip.Addr) netip.Addr {
	if a.Is4() {
		return beyond
	}
	return beyond6
}

var errFence = fmt.Errorf("a packet through the TUN was lost in %v", fenceWithin)

// fences are packets of the node's own that go through the TUN.
type fences struct {
	mu      sync.Mutex
	last    uint32
	waiting map[uint32]chan struct{}
}

// crossed takes such a packet that has come out.
func (f *fences) crossed(pkt []byte) bool {
	const payload = 4
	_, dst, _, length, err := ipip.Parse(pkt)
	header := ipip.HeaderLen
	if dst.Is6() {
		header = ipip.HeaderLen6
	}
	if err != nil || dst != beyondFor(dst) || length != header+8+payload {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n := binary.BigEndian.Uint32(pkt[length-payload:])
	if ch := f.waiting[n]; ch != nil {
		close(ch)
		delete(f.waiting, n)
	}
	return true
}

// fence returns when all that is in the TUN has come out; from is on it.
func (h *hooked) fence(from netip.Addr) error {
	conn, err := h.n.net.DialUDP(h.n.dev.Name(), netip.AddrPortFrom(from, 0), netip.AddrPortFrom(beyondFor(from), 9))
	if err != nil {
		return fmt.Errorf("fence: %w", err)
	}
	defer func() { _ = conn.Close() }()
	f, out := &h.fences, make(chan struct{})
	f.mu.Lock()
	f.last++
	n := f.last
	if f.waiting == nil {
		f.waiting = map[uint32]chan struct{}{}
	}
	f.waiting[n] = out
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.waiting, n)
		f.mu.Unlock()
	}()
	if _, err := conn.Write(binary.BigEndian.AppendUint32(nil, n)); err != nil {
		return fmt.Errorf("fence: %w", err)
	}
	select {
	case <-out:
		return nil
	case <-time.After(fenceWithin):
		return errFence
	case <-h.ctx.Done():
		return h.ctx.Err()
	}
}

// way is that of what leaves p's link by the default routes of some tables (0: main), while packets
// wait for the router's link-layer address, mac. It is nil if that is not known.
func (h *hooked) way(p *path, tables ...int) (way *standstill.Way, mac net.HardwareAddr) {
	known := p.at.routerMAC.Load()
	if known == nil {
		return nil, nil
	}
	return &standstill.Way{Host: h.n.net, Dev: p.dev, IPv6: p.coa.Is6(), Lead: func(via netip.Addr) error {
		for _, table := range tables {
			if err := h.n.net.SetRoute(osnet.Route{Dst: anywhereOf(p.coa), Dev: p.dev, Via: via, OnLink: true, Src: p.coa, Table: table, Metric: metricOf(p.coa, table)}); err != nil {
				return err
			}
		}
		return nil
	}}, *known
}

// flip hands c's path over to the kernel.
func (h *hooked) flip(c *candidate) error {
	p, net := c.path, h.n.net
	virtual := osnet.Route{Dst: anywhereOf(p.coa), Table: tableVirtual + c.slot}
	way, mac := h.way(p, tableBound, 0, virtual.Table)
	err := wait(way)
	if err == nil {
		err = h.fence(p.coa)
	}
	err = errors.Join(err, p.flip(way == nil || err != nil))
	if way != nil {
		err = errors.Join(err, way.Release(mac))
	}
	routed := h.insist(p)
	err = errors.Join(err, routed, net.DelRule(c.virtualRule()))
	if way != nil && routed == nil {
		err = errors.Join(err, net.DelRoute(virtual))
		h.leave(way)
	}
	return err
}

// wait has packets wait, if their way is known.
func wait(way *standstill.Way) error {
	if way == nil {
		return nil
	}
	if err := way.Prepare(); err != nil {
		return err
	}
	return way.Wait()
}

// insist is route, tried again if the kernel refuses: what packets took meanwhile is not to stay.
func (h *hooked) insist(p *path) (err error) {
	for range 5 {
		if err = h.route(p); err == nil {
			return nil
		}
		sleep(h.ctx, tryAgain)
	}
	return err
}

// tryAgain is the pause between two attempts.
const tryAgain = 20 * time.Millisecond

// leave forgets the next hops for which packets waited, behind the real route. Without one
// they stay until the end, since packets go by them.
func (h *hooked) leave(way *standstill.Way) {
	h.wg.Go(func() {
		way.Settle()
		if err := way.Forget(); err != nil {
			h.n.cfg.Log.Error("next hops left in the kernel", "err", err)
		}
	})
}

// flip hands the path over to the kernel; forced: some packets may overtake others.
func (p *path) flip(forced bool) error {
	p.up.mu.Lock()
	defer p.up.mu.Unlock()
	if forced {
		return p.delivery.ForcedFlip(time.Now())
	}
	return p.become(flow.Flip)
}

// routeBack makes to the way of what has no source address yet, behind what was sent by
// from, which is in a tunnel.
func (h *hooked) routeBack(ctx context.Context, from, to *path) error {
	if !to.native() || from.native() {
		return h.route(to)
	}
	way, mac := h.way(to, tableBound, 0)
	if way == nil {
		return h.route(to)
	}
	err := wait(way)
	if err == nil {
		err = h.fence(from.coa)
		sleep(ctx, overtaken)
	}
	err = errors.Join(err, way.Release(mac))
	routed := h.insist(to)
	if routed == nil {
		h.leave(way)
	}
	return errors.Join(err, routed)
}
