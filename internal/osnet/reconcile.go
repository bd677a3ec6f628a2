package osnet

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// OpenClean is Open and Reconcile, for an owner that keeps nothing of the run before. It logs how many objects that left.
func OpenClean(log *slog.Logger, owner string) (*Net, error) {
	n, err := Open(log, owner)
	if err != nil {
		return nil, err
	}
	removed, err := n.Reconcile()
	if err != nil {
		return nil, errors.Join(err, n.Close())
	}
	if removed > 0 {
		n.log.Info("removed what an earlier run left in the kernel", "objects", removed)
	}
	return n, nil
}

// Reconcile removes every route, rule, neighbour and address that carries this owner's protocol number and that this Net
// did not make itself: what an owner that died without Close left. It returns how many objects it removed, and carries on
// after failures. Sysctls have no owner and stay.
func (n *Net) Reconcile() (removed int, err error) {
	if err := n.begin(); err != nil {
		return 0, err
	}
	defer n.mu.Unlock()
	if len(n.undo) != 0 {
		return 0, errors.New("osnet: Reconcile must come before the first change")
	}
	var errs []error
	note := func(what string, err error) {
		switch {
		case err == nil:
			removed++
			n.log.Info("removed what an earlier run left", "object", what)
		case !gone(err): // gone: went together with something removed before it
			errs = append(errs, fmt.Errorf("remove leftover %s: %w", what, hint(err)))
		}
	}
	// Rules first, so that no packet looks into a half-empty table; addresses last, they take routes along.
	errs = append(errs, n.reconcileRules(note), n.reconcileRoutes(note), n.reconcileNeighbours(note), n.reconcileAddresses(note))
	if err := errors.Join(errs...); err != nil {
		return removed, fmt.Errorf("osnet: reconcile: %w", err)
	}
	return removed, nil
}

func (n *Net) reconcileRules(note func(string, error)) error {
	for _, fam := range []uint8{unix.AF_INET, unix.AF_INET6} {
		m := make(message, sizeofRtMsg)
		m[0] = fam
		msgs, err := n.dump.list(unix.RTM_GETRULE, m, unix.RTM_NEWRULE)
		if err != nil {
			if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
				continue // no IPv6, or no policy routing
			}
			return fmt.Errorf("list rules: %w", err)
		}
		for _, b := range msgs {
			if len(b) < sizeofRtMsg {
				continue
			}
			var proto uint8
			var priority uint32
			attrs(b[sizeofRtMsg:], func(typ uint16, v []byte) {
				switch typ {
				case nl.FRA_PROTOCOL:
					proto = u8(v)
				case nl.FRA_PRIORITY:
					priority = u32(v)
				}
			})
			if proto == n.proto {
				note(fmt.Sprintf("rule with priority %d", priority), n.change.do(unix.RTM_DELRULE, 0, b))
			}
		}
	}
	return nil
}

func (n *Net) reconcileRoutes(note func(string, error)) error {
	list, err := n.listRoutes(unix.AF_UNSPEC)
	if err != nil {
		return err
	}
	for _, r := range list {
		if r.proto == n.proto {
			note(fmt.Sprintf("route %s in table %d", r.dst, r.table), n.change.do(unix.RTM_DELROUTE, 0, r.raw))
		}
	}
	return nil
}

func (n *Net) reconcileNeighbours(note func(string, error)) error {
	list, err := n.listNeighbours()
	if err != nil {
		return err
	}
	for _, i := range list {
		if i.proto == n.proto {
			note(fmt.Sprintf("neighbour %s on interface %d", i.addr, i.index),
				n.change.do(unix.RTM_DELNEIGH, 0, neighbourMessage(i.index, i.addr, 0, i.flags)))
		}
	}
	return nil
}

func (n *Net) reconcileAddresses(note func(string, error)) error {
	list, err := n.listAddresses()
	if err != nil {
		return err
	}
	for _, a := range list {
		if a.proto == n.proto {
			note(fmt.Sprintf("address %s on interface %d", a.prefix, a.index),
				n.change.do(unix.RTM_DELADDR, 0, addressMessage(a.index, a.prefix, 0)))
		}
	}
	return nil
}
