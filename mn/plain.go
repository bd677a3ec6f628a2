package mn

import (
	"fmt"
	"net/netip"
	"slices"

	"openmpa/paa/notify"
	"openmpa/tunnel"
	"openmpa/tunnel/bind"
)

// plainly adds to the configuration of a tunnel what IP in IP needs (RFC 2003), by way
// of from: the router allows what was asked for.
func (c *candidate) plainly(from *candidate, r *notify.TunnelReply, cfg *tunnel.TunnelConfig) error {
	n := c.n
	if !n.cfg.Plain {
		return fmt.Errorf("%s sends by IP-in-IP, which nobody has asked for", c.net.PAA)
	}
	s, err := n.net.OpenIPIP(from.address.addr(), bind.Options{Device: from.port.name})
	if err != nil {
		return err
	}
	if cfg.Plain, err = n.endpoint.AttachPlain(s); err != nil {
		return err
	}
	cfg.PlainPeer, cfg.PlainInner = r.Outer, c.address.addr()
	n.cfg.Log.Info("packets go by IP-in-IP, unprotected", "paa", c.net.PAA, "addr", c.address.addr())
	return nil
}

// closeWith closes what carries packets of a tunnel with the tunnel, whose ESP the router
// hears of once.
func (c *candidate) closeWith(t *tunnel.Tunnel, p *tunnel.Plain) {
	if p == nil {
		return
	}
	_ = t.Refresh() // counted
	c.n.wg.Go(func() {
		<-t.Done()
		closePlain(p)
	})
}

func closePlain(p *tunnel.Plain) {
	if p != nil {
		_ = p.Close()
	}
}

// isRouter says whether an address is that of a network's access router.
func (n *Node) isRouter(a netip.Addr) bool {
	return slices.ContainsFunc(n.places(), func(net Network) bool {
		agent, _ := n.agents.Load(net.Name)
		return net.PAA.Addr() == a || agent == a
	})
}
