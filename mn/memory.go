package mn

import (
	"context"
	"errors"
	"net/netip"

	"openmpa/internal/state"
)

// What a crash must not lose: which addresses the node has, and who gives them
// back. There is one record for each network, which ends with its lease.
//
//	own      leased by the node: after a crash it is used again at its network, and
//	         released from anywhere else
//	router's leased by a router for the node: used again at its network; from
//	         elsewhere it is left to that router, which misses the node before long
//	leaving  about to be given back: not used again
//
// Sessions, keys and tunnels are not kept: the node authenticates anew.
type remembered struct {
	Network string `json:"network"`
	lease
	ByRouter bool `json:"by_router,omitempty"`
	Leaving  bool `json:"leaving,omitempty"`
}

const keyAddress = "mn/address/" // and the network's name

func (n *Node) remember(r remembered) {
	if _, err := state.PutJSON(n.cfg.State, keyAddress+r.Network, r, r.expires()); err != nil {
		n.cfg.Log.Error("not kept: a crash would leave the lease to its end", "addr", r.prefix(), "err", err)
	}
}

// remember keeps c's address as it is now.
func (c *candidate) remember(leaving bool) {
	c.n.remember(remembered{Network: c.net.Name, lease: *c.address.lease.Load(), ByRouter: c.address.byRouter.Load(), Leaving: leaving})
}

// forget drops the record of an address that has been given back.
func (n *Node) forget(network string, a netip.Addr) {
	r, _, err := state.GetJSON[remembered](n.cfg.State, keyAddress+network)
	if errors.Is(err, state.ErrNotFound) || err == nil && r.addr() != a {
		return
	}
	if err := n.cfg.State.Delete(keyAddress + network); err != nil {
		n.cfg.Log.Error("record not deleted", "network", network, "err", err)
	}
}

// recall returns the address the node had in a network, if it may still use it.
func (n *Node) recall(network string) (remembered, bool) {
	r, _, err := state.GetJSON[remembered](n.cfg.State, keyAddress+network)
	if err != nil && !errors.Is(err, state.ErrNotFound) {
		n.cfg.Log.Error("record of an address", "network", network, "err", err)
	}
	return r, err == nil && !r.Leaving && r.addr().Is6() == n.six()
}

// releaseElsewhere gives back, from the address c has, what the node had in other
// networks before it crashed. It is called before anything else is prepared.
func (n *Node) releaseElsewhere(c *candidate) {
	items, err := state.ListJSON[remembered](n.cfg.State, keyAddress)
	if err != nil {
		n.cfg.Log.Error("records of addresses", "err", err)
	}
	for _, i := range items {
		r := i.Value
		if r.Network == c.net.Name {
			continue
		}
		if r.ByRouter {
			n.cfg.Log.Info("prepared before a crash, left to its router", "network", r.Network, "addr", r.prefix())
		} else {
			c.release(context.Background(), r.lease)
		}
		n.forget(r.Network, r.addr())
	}
}
