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
	everyInterface     = 0 // in place of an index: what an interface starts with
)

// tables are the kernel's of neighbours, by family.
var tables = map[uint8]string{unix.AF_INET: "arp_cache", unix.AF_INET6: "ndisc_cache"}

// raised is the queue of an interface's neighbours while it is longer than somebody else wants it.
type raised struct{ users int }

// RaiseQueue has octets of packets, with what the kernel needs to keep them, wait for each unresolved neighbour on dev, of both
// families where the interface has IPv6 (unres_qlen_bytes), until as many calls of LowerQueue; all are to ask for the same. What an
// owner that crashed has left raised to this is put back to the kernel's default by the last of them.
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
	if err := n.raise(dev, index, uint32(octets)); err != nil {
		return errors.Join(fmt.Errorf("osnet: neighbour queue of %s: %w", dev, hint(err)), n.lower(dev))
	}
	n.raised[dev] = &raised{1}
	return nil
}

func (n *Net) raise(dev string, index int, octets uint32) error {
	for family := range tables {
		was, has, err := n.queue(family, index, octets)
		if err != nil {
			return err
		}
		if !has && family == unix.AF_INET6 {
			continue
		}
		if err := n.setQueue(dev, family, octets); err != nil {
			return err
		}
		n.record(queueKey(dev, family), func() error { return n.setQueue(dev, family, was) })
	}
	return nil
}

// lower puts back what raise has changed.
func (n *Net) lower(dev string) error {
	var errs []error
	for family := range tables {
		if _, err := n.remove(queueKey(dev, family)); err != nil {
			errs = append(errs, fmt.Errorf("osnet: neighbour queue of %s: %w", dev, hint(err)))
		}
	}
	return errors.Join(errs...)
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
	return n.lower(dev)
}

func queueKey(dev string, family uint8) string {
	return fmt.Sprintf("neighbour queue %s family %d", dev, family)
}

func (n *Net) setQueue(dev string, family uint8, octets uint32) error {
	err := n.withIndex(dev, func(index int) error {
		parms := message{}.u32(ndtpaIfindex, uint32(index)).u32(ndtpaQueueLenBytes, octets) //nolint:gosec // positive
		m := message{family, 0, 0, 0}.text(ndtaName, tables[family]).attr(unix.NLA_F_NESTED|ndtaParms, parms)
		return n.change.do(unix.RTM_SETNEIGHTBL, 0, m)
	})
	if gone(err) {
		return nil
	}
	return err
}

// queue reads the length of an interface's queue, or the default where it is ours. An interface without IPv6 has none of that family.
func (n *Net) queue(family uint8, index int, ours uint32) (octets uint32, has bool, err error) {
	m := make(message, sizeofNdtMsg)
	m[0] = family
	msgs, err := n.dump.list(unix.RTM_GETNEIGHTBL, m, unix.RTM_NEWNEIGHTBL)
	if err != nil {
		return 0, false, err
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
	was, has := found[index]
	if has && was == ours {
		was = found[everyInterface]
	}
	if was == 0 && (has || family == unix.AF_INET) || was > math.MaxInt32 {
		return 0, false, errors.New("the kernel does not say how long it is")
	}
	return was, has, nil
}
