package osnet

import (
	"errors"
	"fmt"
	"math"

	"golang.org/x/sys/unix"
)

// Of linux/neighbour.h.
const (
	sizeofNdtMsg       = 4
	ndtaName           = 1
	ndtaParms          = 6
	ndtpaIfindex       = 1
	ndtpaQueueLenBytes = 16
	arpTable           = "arp_cache"
	everyInterface     = 0 // in place of an index: what an interface starts with
)

// raised is the queue of an interface's neighbours while it is longer than somebody else wants it.
type raised struct {
	users int
	was   uint32 // octets
}

// RaiseQueue has octets of packets, with what the kernel needs to keep them, wait for each unresolved IPv4 neighbour on dev
// (unres_qlen_bytes), until as many calls of LowerQueue; all are to ask for the same. What an owner that crashed has left
// raised to this is put back to the kernel's default by the last of them.
func (n *Net) RaiseQueue(dev string, octets int) error {
	if octets <= 0 || octets > math.MaxInt32 {
		return fmt.Errorf("osnet: neighbour queue of %s: expected 1 to %d octets, came %d", dev, math.MaxInt32, octets)
	}
	if err := n.begin(); err != nil {
		return err
	}
	defer n.mu.Unlock()
	if q := n.raised[dev]; q != nil {
		q.users++
		return nil
	}
	index, err := n.ifindex(dev)
	if err != nil {
		return fmt.Errorf("osnet: neighbour queue of %s: %w", dev, err)
	}
	was, err := n.queue(index, uint32(octets))
	if err == nil {
		err = n.setQueue(dev, uint32(octets))
	}
	if err != nil {
		return fmt.Errorf("osnet: neighbour queue of %s: %w", dev, hint(err))
	}
	n.raised[dev] = &raised{1, was}
	n.record(queueKey(dev), func() error { return n.setQueue(dev, was) })
	return nil
}

// LowerQueue takes one RaiseQueue back. An interface that is gone is no error.
func (n *Net) LowerQueue(dev string) error {
	if err := n.begin(); err != nil {
		return err
	}
	defer n.mu.Unlock()
	q := n.raised[dev]
	if q == nil {
		return fmt.Errorf("osnet: neighbour queue of %s: lowered more often than raised", dev)
	}
	if q.users--; q.users > 0 {
		return nil
	}
	delete(n.raised, dev)
	if _, err := n.remove(queueKey(dev)); err != nil {
		return fmt.Errorf("osnet: neighbour queue of %s: %w", dev, hint(err))
	}
	return nil
}

func queueKey(dev string) string { return "neighbour queue " + dev }

func (n *Net) setQueue(dev string, octets uint32) error {
	err := n.withIndex(dev, func(index int) error {
		parms := message{}.u32(ndtpaIfindex, uint32(index)).u32(ndtpaQueueLenBytes, octets) //nolint:gosec // positive
		m := message{unix.AF_INET, 0, 0, 0}.text(ndtaName, arpTable).attr(unix.NLA_F_NESTED|ndtaParms, parms)
		return n.change.do(unix.RTM_SETNEIGHTBL, 0, m)
	})
	if gone(err) {
		return nil
	}
	return err
}

// queue reads the length of an interface's queue, or the default where it is ours.
func (n *Net) queue(index int, ours uint32) (uint32, error) {
	m := make(message, sizeofNdtMsg)
	m[0] = unix.AF_INET
	msgs, err := n.dump.list(unix.RTM_GETNEIGHTBL, m, unix.RTM_NEWNEIGHTBL)
	if err != nil {
		return 0, err
	}
	found := map[int]uint32{}
	for _, b := range msgs {
		if len(b) < sizeofNdtMsg {
			continue
		}
		attrs(b[sizeofNdtMsg:], func(typ uint16, v []byte) {
			if typ != ndtaParms {
				return
			}
			of, octets := everyInterface, uint32(0)
			attrs(v, func(typ uint16, v []byte) {
				switch typ {
				case ndtpaIfindex:
					of = int(u32(v))
				case ndtpaQueueLenBytes:
					octets = u32(v)
				}
			})
			if octets > 0 {
				found[of] = octets
			}
		})
	}
	was, ok := found[index]
	if was == ours {
		was, ok = found[everyInterface]
	}
	if !ok || was > math.MaxInt32 {
		return 0, errors.New("the kernel does not say how long it is")
	}
	return was, nil
}
