package mn

import (
	"context"
	"maps"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"openmpa/internal/event"
)

// mobility is what has packets come to the care-of address the node has: the
// binding client of a mobility protocol. One care-of address is bound at a time, with
// those of path.beside, and its path is the way of the uplink.
type mobility interface {
	// newPath opens the path from a candidate's care-of address, which must be on the
	// node. It delivers nothing yet.
	newPath(c *candidate) (*path, error)
	// bind makes p the path that is bound, and returns what its record is to say.
	// ordered says that the path bound so far is alive. After an error the binding
	// may have moved all the same.
	bind(ctx context.Context, id event.HandoverID, p *path, ordered bool) (at []any, err error)
	// narrow has applications send no packets that are longer than mtu octets in a
	// tunnel, from now on.
	narrow(mtu int) error
	// unbind ends the binding, from the path p; nil: there is none.
	unbind(ctx context.Context, p *path) error
	// fallBack makes p the path of the uplink although the binding was not moved
	// there: that is asked for until it is.
	fallBack(p *path)
	// isBound reports whether p is the path of the uplink, and the binding is to its
	// address, as far as is known.
	isBound(p *path) bool
	// pause keeps the uplink while there is no link. It must not block.
	pause()
	// proceed sends what was kept while there was no link, which is back at the
	// network of c: through the tunnel if the bound path is in one, else on the link.
	proceed(c *candidate) error
	// hurry has a binding under way asked for again at once: something that held it
	// up is gone.
	hurry()
	// emptied waits until nothing is under way any more on the path bound before, or
	// nothing has come by it for as long as Timers.PathEnd.
	emptied()
	// departed is called when the node has c's uplink on hold and is about to leave
	// the link.
	departed(c *candidate)
	// arrived is called when c's link carries its packets, before c's address leaves
	// the TUN. c's path is no longer in drain after it.
	arrived(c *candidate)
	// fromTUN takes a packet of an application, if it is one.
	fromTUN(src netip.Addr, pkt []byte) bool
	// owns reports whether an address is the node's own wherever it is.
	owns(a netip.Addr) bool
	// status adds what the client knows.
	status(s *Status)
	// wait returns when all goroutines have ended; the paths are closed.
	wait()
}

// openMobility starts the binding client that the configuration asks for.
func (n *Node) openMobility(ctx context.Context) (mobility, error) {
	var m mobility
	var err error
	if len(n.cfg.Hook.Command) > 0 {
		m, err = n.openHook(ctx)
	} else {
		m, err = n.openHome(ctx)
	}
	if err != nil {
		return nil, err // m may hold a nil pointer
	}
	return m, nil
}

// uplink is what all binding clients have: the paths of care-of addresses, and the
// one that is bound.
type uplink struct {
	n   *Node
	ctx context.Context
	wg  sync.WaitGroup

	errors  atomic.Uint64 // packets a socket refused
	unbound atomic.Uint64 // packets of applications without a binding

	mu    sync.Mutex
	bound *path
	at    netip.Addr        // the binding is known to be to it; none while another is asked for
	gone  map[string]uint64 // packets dropped by paths that are closed
}

func (u *uplink) wait() { u.wg.Wait() }

// take sends a packet by p, or keeps it, as p's mode says. The caller holds u.mu.
func (u *uplink) take(p *path, pkt []byte) {
	if p == nil {
		u.unbound.Add(1)
		return
	}
	p.send(pkt, p.delivery.Packet(time.Now(), pkt))
}

// write hands a packet to the kernel, as if it had come off a link.
func (u *uplink) write(pkt []byte) {
	if _, err := u.n.dev.Queue(pkt); err != nil {
		u.errors.Add(1)
		u.n.cfg.Log.Debug("TUN write", "err", err)
	}
}

// isBound implements mobility.
func (u *uplink) isBound(p *path) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.bound == p && u.at == p.coa
}

// confirmed notes where the binding is, or that it is not known.
func (u *uplink) confirmed(at netip.Addr) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.at = at
}

// pause implements mobility.
func (u *uplink) pause() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.bound == nil {
		return
	}
	if err := u.bound.pause(); err != nil {
		u.n.cfg.Log.Error("uplink", "coa", u.bound.coa, "err", err)
	}
}

// proceed implements mobility.
func (u *uplink) proceed(c *candidate) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch u.bound {
	case nil:
		return nil
	case c.path:
		return u.bound.goOn()
	}
	return u.bound.reenter()
}

func (u *uplink) status(s *Status) {
	s.Dropped["not bound"], s.Dropped["socket"] = u.unbound.Load(), u.errors.Load()
	u.mu.Lock()
	defer u.mu.Unlock()
	maps.Copy(s.Dropped, u.gone)
	if u.bound != nil {
		s.Bound = u.bound.coa.String()
		d := u.bound.delivery.Stats()
		s.Uplink = &d
	}
}
