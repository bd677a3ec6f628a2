package mn

import (
	"context"
	"net/netip"
	"sync/atomic"

	"openmpa/internal/event"
	"openmpa/tunnel"
)

// candidate is one access router the node deals with, whether it serves or
// will: the PANA session with it, the address there and the path through it.
type candidate struct {
	n    *Node
	net  Network
	port *port // by which it is reached
	slot int   // of routing tables

	session atomic.Pointer[session] // nil: none; while c serves its keeper makes another then
	keeper  *keeper                 // while it serves
	trouble atomic.Pointer[error]   // why there was none last
	voided  atomic.Pointer[error]   // why the address must not be used any more
	address *address                // the care-of address and how it was obtained
	path    *path                   // set with Node.mu held: see setPath
	tunnel  atomic.Pointer[tunnel.Tunnel]
	mapping *mapping      // while it is prepared
	keys    *keyring      // nil: the link takes none
	rekeyed chan struct{} // the session has other keys than before
	stale   chan struct{} // a limit of the tunnel's security association is near
	limit   atomic.Bool   // likewise
	// awaits: the router is to begin the first session, since nobody has named a PAA. Of whoever
	// attaches c, and then of its keeper.
	awaits bool
	rest   []*candidate     // prepared beside it, and bound with it
	posed  event.HandoverID // that the router was asked for a tunnel with last, while it is prepared
	// asking: the router was asked for an address, and what it has leased is not known.
	asking bool
	// bindTried: the home agent may have c's care-of address.
	bindTried bool
	carried   bool               // or has had it
	markers   chan tunnel.Marker // that came by the tunnel

	vanished   atomic.Bool    // see suspect
	held       bool           // the node was there, and has not come back
	standbyDue chan struct{}  // see pokeStandby
	arriving   bool           // the router was told of an arrival, and may not know
	told       <-chan error   // that the node is back: its router has that, or nobody knows; nil: it has
	passing    *passage       // use of the tunnel from another place; nil: there was none
	extra      *tunnel.Socket // where the other copy of what goes both ways comes; nil: nowhere
}

// authenticate makes the session with c's router, from the address from. A router
// takes whoever comes without pre-authentication to have leased the address itself.
func (c *candidate) authenticate(ctx context.Context, id event.HandoverID, from netip.Addr, preauth bool) error {
	s, err := c.n.openSession(ctx, id, c.net, from, preauth, c.awaits, c.rekeyed)
	if err != nil {
		return err
	}
	c.session.Store(s)
	if c.awaits { // who it is has shown, for the next session and for preparations, too
		c.awaits = false
		c.n.agents.Store(c.net.Name, c.net.PAA.Addr())
	}
	select {
	case c.rekeyed <- struct{}{}:
	default:
	}
	c.pokeStandby()
	c.n.proven(c)
	if preauth {
		return nil
	}
	c.n.elsewhereNow()
	if c.address.byRouter.CompareAndSwap(true, false) { // of an earlier session, which this one ends
		c.remember(false)
	}
	c.entrust(ctx, id, s)
	return nil
}

// setPath gives c its path; nil: it has none any more.
func (c *candidate) setPath(p *path) {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	c.path = p
}

// pathNow is c's path for whoever neither has the turn nor is at work on c, which may lose it.
func (c *candidate) pathNow() *path {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	return c.path
}

// leaveTunnel ends the node's end of a tunnel it no longer needs.
func (c *candidate) leaveTunnel() {
	if c.path != nil {
		c.path.leaveTunnel()
	}
	if t := c.tunnel.Swap(nil); t != nil {
		t.Close()
		_ = t.Socket().Close()
	}
	if c.extra != nil {
		_ = c.extra.Close()
		c.extra = nil
	}
}
