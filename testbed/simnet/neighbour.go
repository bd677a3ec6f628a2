package simnet

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"openmpa/internal/acd"
	"openmpa/internal/osnet"
)

const (
	resolveTries = 3
	resolvePause = time.Second
	resolveQueue = 100 // packets
)

// neighbour is an entry of an interface's table.
type neighbour struct {
	mac       acd.MAC // valid if known
	known     bool
	permanent bool
	owner     owner
	queue     [][]byte      // wait for the answer
	tries     int           // requests sent
	changed   chan struct{} // closed when it becomes known, or is given up
}

// resolve sends pkt to a neighbour as soon as its link-layer address is known.
func (i *Interface) resolve(a netip.Addr, pkt []byte) {
	n := i.ask(a)
	if n.known {
		i.send(n.mac, typeIPv4, pkt)
		return
	}
	if len(n.queue) >= resolveQueue && i.raised == 0 {
		i.m.w.lost(i.name(), ReasonUnresolved, n.queue[0])
		n.queue = n.queue[1:]
	}
	if n.queue = append(n.queue, pkt); len(n.queue) == 1 && n.tries == 0 {
		i.request(a, n)
	}
}

// ask finds the entry of a, or makes one that is not known.
func (i *Interface) ask(a netip.Addr) *neighbour {
	n := i.neighbours[a]
	if n == nil {
		n = &neighbour{changed: make(chan struct{})}
		i.neighbours[a] = n
	}
	return n
}

func (i *Interface) request(a netip.Addr, n *neighbour) {
	if i.neighbours[a] != n || n.known {
		return
	}
	if n.tries == resolveTries {
		i.giveUp(a, n)
		return
	}
	n.tries++
	src := i.m.addressOn(i, a)
	if len(n.queue) > 0 {
		if s := addr4(n.queue[0][12:]); i.m.isLocal(s) {
			src = s
		}
	}
	p := acd.Packet{Op: acd.OpRequest, SenderMAC: i.mac, SenderIP: src, TargetIP: a}
	i.sendARP(broadcastMAC, p)
	i.m.w.at(time.Now().Add(resolvePause), func() { i.request(a, n) })
}

// giveUp removes an entry; what waits is lost.
func (i *Interface) giveUp(a netip.Addr, n *neighbour) {
	delete(i.neighbours, a)
	for _, pkt := range n.queue {
		i.m.w.lost(i.name(), ReasonUnresolved, pkt)
	}
	if n.queue = nil; !n.known {
		close(n.changed)
	}
}

// set enters a link-layer address, and sends what waited for it.
func (i *Interface) set(a netip.Addr, mac acd.MAC) *neighbour {
	n := i.ask(a)
	n.mac = mac
	if !n.known {
		n.known, n.tries = true, 0
		close(n.changed)
	}
	queue := n.queue
	n.queue = nil
	for _, pkt := range queue {
		i.send(mac, typeIPv4, pkt)
	}
	return n
}

// forget drops what goes with the carrier.
func (i *Interface) forget() {
	for a, n := range i.neighbours {
		if !n.permanent {
			i.giveUp(a, n)
		}
	}
}

func (i *Interface) sendARP(dst acd.MAC, p acd.Packet) {
	b, err := p.AppendBinary(nil)
	if err != nil {
		i.m.w.note(i.name(), "ARP not sent: "+err.Error(), nil)
		return
	}
	i.send(dst, typeARP, b)
}

// arp is what the kernel makes of an ARP packet.
func (i *Interface) arp(p acd.Packet) {
	forUs := i.answersFor(p.TargetIP)
	if p.SenderMAC == i.mac {
		return
	}
	if n := i.neighbours[p.SenderIP]; n != nil && !n.permanent {
		i.set(p.SenderIP, p.SenderMAC)
	} else if n == nil && forUs && !p.SenderIP.IsUnspecified() && p.Op == acd.OpRequest {
		i.set(p.SenderIP, p.SenderMAC)
	}
	if p.Op == acd.OpRequest && forUs && p.SenderIP != p.TargetIP {
		i.sendARP(p.SenderMAC, acd.ReplyPacket(p, p.TargetIP, i.mac))
	}
}

func (i *Interface) answersFor(a netip.Addr) bool {
	return slices.ContainsFunc(i.m.addresses, func(o address) bool {
		return o.prefix.Addr() == a && (o.dev == i.dev || !i.m.strict && !i.strict)
	})
}

// SetNeighbour implements host.Tables.
func (h *machineHost) SetNeighbour(dev string, a netip.Addr, mac net.HardwareAddr, permanent bool) error {
	return h.change(func() error {
		i, err := h.m.device(dev)
		if err != nil {
			return err
		}
		to, err := acd.MACFrom(mac)
		if err != nil {
			return fmt.Errorf("simnet: neighbour %v: %w", a, err)
		}
		if old := i.neighbours[a]; old != nil && old.permanent && old.owner != h.owner {
			return &osnet.ForeignError{Object: fmt.Sprintf("permanent neighbour %v on %s", a, dev), Protocol: uint8(old.owner)}
		}
		n := i.set(a, to)
		n.permanent, n.owner = permanent, h.owner
		h.m.w.note(h.m.name, fmt.Sprintf("neighbour %v at %v on %s, permanent %v", a, to, dev, permanent), nil)
		return nil
	})
}

// HoldNeighbour implements host.Tables.
func (h *machineHost) HoldNeighbour(dev string, a netip.Addr) error {
	return h.change(func() error {
		i, err := h.m.device(dev)
		if err != nil {
			return err
		}
		if i.neighbours[a] != nil {
			return fmt.Errorf("simnet: neighbour %v on %s is there: %w", a, dev, unix.EEXIST)
		}
		n := i.ask(a)
		n.tries, n.owner = resolveTries, h.owner // nobody is asked
		return nil
	})
}

// RaiseQueue implements host.Tables: while it is raised nothing is dropped.
func (h *machineHost) RaiseQueue(dev string, _ int) error { return h.queue(dev, 1) }

// LowerQueue implements host.Tables.
func (h *machineHost) LowerQueue(dev string) error { return h.queue(dev, -1) }

func (h *machineHost) queue(dev string, by int) error {
	return h.change(func() error {
		i, err := h.m.device(dev)
		if err == nil {
			i.raised += by
		}
		return err
	})
}

// DelNeighbour implements host.Tables.
func (h *machineHost) DelNeighbour(dev string, a netip.Addr) error {
	return h.change(func() error {
		i := h.m.find(dev)
		if i == nil {
			return nil
		}
		n := i.neighbours[a]
		if n == nil {
			return nil
		}
		if n.permanent && n.owner != h.owner {
			return &osnet.ForeignError{Object: fmt.Sprintf("permanent neighbour %v on %s", a, dev), Protocol: uint8(n.owner)}
		}
		i.giveUp(a, n)
		return nil
	})
}

// Resolve implements host.Tables.
func (h *machineHost) Resolve(ctx context.Context, dev string, a netip.Addr) (net.HardwareAddr, error) {
	var n *neighbour
	err := h.change(func() error {
		i, err := h.m.device(dev)
		if err != nil {
			return err
		}
		if n = i.ask(a); !n.known && n.tries == 0 {
			i.request(a, n)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	select {
	case <-n.changed:
	case <-ctx.Done():
		return nil, fmt.Errorf("simnet: resolve %s on %s: %w: %w", a, dev, osnet.ErrUnresolved, context.Cause(ctx))
	}
	h.m.w.mu.Lock()
	defer h.m.w.mu.Unlock()
	if !n.known {
		return nil, fmt.Errorf("simnet: resolve %s on %s: %w", a, dev, osnet.ErrUnresolved)
	}
	return n.mac.HardwareAddr(), nil
}
