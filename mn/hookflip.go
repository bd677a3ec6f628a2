package mn

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"openmpa/internal/osnet"
	"openmpa/tunnel/flow"
)

// standstill is a next hop that nobody is. What the kernel sends by way of it waits for
// its link-layer address, in the order in which it came, up to 200 KiB and three seconds;
// when it is given that of the router, all of it goes there. So the way of packets is
// changed in order, whatever the rate:
//
//	routes to standstill              what is sent from here on waits in the kernel
//	a packet of ours by the TUN       when it is out, all that came before has been sent
//	standstill has the router's MAC   what waited is sent
//	routes to the router              and what comes, after it
var standstill = netip.AddrFrom4([4]byte{169, 254, 62, 54})

// fenceWithin is how long the packet through the TUN may take; if it is lost there, and
// in no other case, packets may overtake others.
const fenceWithin = time.Second

// settled is longer than a packet is on its way from the choice of its route to the
// neighbour's queue.
const settled = time.Millisecond

var errFence = fmt.Errorf("a packet through the TUN was lost in %v", fenceWithin)

// fences are packets of the node's own that go through the TUN.
type fences struct {
	mu      sync.Mutex
	last    uint32
	waiting map[uint32]chan struct{}
}

// crossed takes such a packet that has come out.
func (f *fences) crossed(pkt []byte) bool {
	const headers = 20 + 8
	if len(pkt) != headers+4 || netip.AddrFrom4([4]byte(pkt[16:20])) != standstill {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n := binary.BigEndian.Uint32(pkt[headers:])
	if ch := f.waiting[n]; ch != nil {
		close(ch)
		delete(f.waiting, n)
	}
	return true
}

// fence returns when all that is in the TUN has come out; from is on it.
func (h *hooked) fence(from netip.Addr) error {
	conn, err := h.n.net.DialUDP(h.n.dev.Name(), netip.AddrPortFrom(from, 0), netip.AddrPortFrom(standstill, 9))
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

// release sends what waits for standstill at p's link to its router.
func (h *hooked) release(p *path) error {
	mac := p.at.routerMAC.Load()
	if mac == nil {
		return fmt.Errorf("router %s: no link-layer address", p.at.router())
	}
	return h.n.net.SetNeighbour(p.dev, standstill, *mac, true)
}

// forget ends the use of standstill, which no route leads to any more.
func (h *hooked) forget(p *path) error {
	sleep(h.ctx, settled)
	return h.n.net.DelNeighbour(p.dev, standstill)
}

// flip hands c's path over to the kernel.
func (h *hooked) flip(c *candidate) error {
	p, net := c.path, h.n.net
	wait := osnet.Route{Dst: anywhere, Dev: p.dev, Via: standstill, OnLink: true, Src: p.coa}
	virtual := wait
	virtual.Table = tableVirtual + c.slot
	waits := p.at.routerMAC.Load() != nil
	var err error
	if waits {
		err = firstError(func() error { return h.lead(wait) }, func() error { return net.SetRoute(virtual) })
		sleep(h.ctx, settled)
	}
	if err == nil {
		err = h.fence(p.coa)
	}
	err = errors.Join(err, p.flip(!waits || err != nil))
	if waits {
		err = errors.Join(err, h.release(p))
	}
	err = errors.Join(err, h.route(p), net.DelRule(c.virtualRule()))
	if waits {
		err = errors.Join(err, net.DelRoute(virtual), h.forget(p))
	}
	return err
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
	if !to.native() || from.native() || to.at.routerMAC.Load() == nil {
		return h.route(to)
	}
	err := h.lead(osnet.Route{Dst: anywhere, Dev: to.dev, Via: standstill, OnLink: true, Src: to.coa})
	if err == nil {
		sleep(ctx, settled)
		err = h.fence(from.coa)
		sleep(ctx, overtaken)
	}
	return errors.Join(err, h.release(to), h.route(to), h.forget(to))
}
