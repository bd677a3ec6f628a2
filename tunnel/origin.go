package tunnel

import "net/netip"

// Origin is where the newest authentic packet of a tunnel with FollowPeer came from. The
// zero Origin stands for a packet that tells nothing of where the peer is: a newer one
// has come from elsewhere.
type Origin struct {
	t  *Tunnel
	at path
}

// Of says whether it is one of t's; the zero Origin is nobody's.
func (o Origin) Of(t *Tunnel) bool { return o.t == t && t != nil }

// Addr is the outer address.
func (o Origin) Addr() netip.AddrPort { return o.at.peer }

// Adopt has outer packets go there from now on: those of Queue that wait go where they
// were to go. It is for the callback that was given o; later there may be a newer one.
// The zero Origin changes nothing.
func (o Origin) Adopt() {
	t := o.t
	if t == nil || *t.path.Load() == o.at {
		return
	}
	t.mu.Lock()
	before := t.path.Load()
	if t.closed.Load() {
		t.mu.Unlock()
		return
	}
	t.path.Store(&o.at)
	t.mu.Unlock()
	if before.peer == o.at.peer {
		return // only the socket is another
	}
	t.counters.peerChanges.Add(1)
	t.e.log.Info("outer address of the tunnel's peer adopted", "spi", t.SPI(), "peer", o.at.peer, "before", before.peer)
}

// follow adopts the origin of the newest packet, or leaves it to Moved.
func (t *Tunnel) follow(o Origin) {
	switch {
	case *t.path.Load() == o.at:
	case t.cfg.Moved != nil:
		t.cfg.Moved(o)
	default:
		o.Adopt()
	}
}
