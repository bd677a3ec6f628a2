package osnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ErrUnresolved is returned (wrapped) by Resolve when nobody answers.
var ErrUnresolved = errors.New("no answer to address resolution")

// Lookup returns addr's entry in the kernel's neighbour table as it is: one request, no packet. ok is false if there
// is none with a link-layer address.
func (n *Net) Lookup(dev string, addr netip.Addr) (mac net.HardwareAddr, ok bool, err error) {
	if err := n.begin(); err != nil {
		return nil, false, err
	}
	defer n.mu.Unlock()
	var i neighbourInfo
	err = n.withIndex(dev, func(index int) (err error) {
		i, ok, err = n.neighbour(index, addr)
		return err
	})
	if err != nil {
		return nil, false, fmt.Errorf("osnet: look up neighbour %s on %s: %w", addr, dev, hint(err))
	}
	if !ok || i.state&usable == 0 || len(i.mac) == 0 {
		return nil, false, nil
	}
	return i.mac, true, nil
}

// Resolve returns addr's link-layer address on dev. If the kernel does not know it, the kernel's own resolution (ARP, ND) is
// started, and Resolve waits for the result: an answer, failure (ErrUnresolved, after the kernel's three tries of a
// second) or the end of ctx. An entry that is stale counts as known.
func (n *Net) Resolve(ctx context.Context, dev string, addr netip.Addr) (net.HardwareAddr, error) {
	if mac, ok, err := n.Lookup(dev, addr); err != nil || ok {
		return mac, err
	}
	c, err := n.subscribe(unix.RTNLGRP_NEIGH)
	if err != nil {
		return nil, fmt.Errorf("osnet: resolve %s on %s: %w", addr, dev, err)
	}
	defer c.Close()

	n.mu.Lock()
	var index int
	err = n.withIndex(dev, func(i int) error {
		index = i
		return n.change.do(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE, neighbourMessage(i, addr, netlink.NUD_NONE, netlink.NTF_USE))
	})
	n.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("osnet: resolve %s on %s: %w", addr, dev, hint(err))
	}
	buf := make([]byte, 64<<10)
	for {
		if mac, ok, err := n.Lookup(dev, addr); err != nil || ok {
			return mac, err
		}
		failed := false
		k, _, err := c.Recvfrom(ctx, buf, 0)
		switch {
		case errors.Is(err, unix.ENOBUFS):
			continue // look again
		case err != nil && ctx.Err() != nil:
			return nil, fmt.Errorf("osnet: resolve %s on %s: %w: %w", addr, dev, ErrUnresolved, context.Cause(ctx))
		case err != nil:
			return nil, fmt.Errorf("osnet: resolve %s on %s: %w", addr, dev, err)
		}
		eachMessage(buf[:k], func(typ uint16, _ uint32, body []byte) {
			if i, ok := parseNeighbour(body); ok && i.index == index && i.addr == addr {
				failed = failed || typ == unix.RTM_DELNEIGH || i.state&netlink.NUD_FAILED != 0
			}
		})
		if failed {
			if mac, ok, err := n.Lookup(dev, addr); err != nil || ok {
				return mac, err
			}
			return nil, fmt.Errorf("osnet: resolve %s on %s: %w: is the host up and on this link?", addr, dev, ErrUnresolved)
		}
	}
}
