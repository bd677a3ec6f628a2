package mn

import (
	"context"
	"errors"
	"net"
	"slices"
	"time"

	"openmpa/internal/acd"
	"openmpa/internal/event"
	"openmpa/internal/host"
)

// defend announces the serving address, and looks out for somebody else who uses it, for
// as long as it serves: an address is in use as RFC 5227 section 2.4 has it, whoever has
// probed it before. A node that gives it up attaches anew.
func (c *candidate) defend(ctx context.Context) {
	err := c.port.ip.defend(ctx, c.address)
	switch {
	case errors.As(err, new(*acd.ConflictError)):
		c.taken(err)
	case err != nil && ctx.Err() == nil:
		c.n.cfg.Log.Error("nobody looks out for the address", "addr", c.address.addr(), "err", err)
	}
}

// taken gives up an address that somebody else uses.
func (c *candidate) taken(err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if e := c.port.ip.decline(ctx, c.net.Name, *c.address.lease.Load()); e != nil {
		c.n.cfg.Log.Warn("lease not declined", "addr", c.address.addr(), "err", e)
	}
	c.void(err)
}

// defend answers a conflict by an announcement, and the next one within DEFEND_INTERVAL by
// giving up: policy (b) of RFC 5227 section 2.4.
func (i *ip4) defend(ctx context.Context, a *address) error {
	n := i.p.n
	arp, err := n.net.OpenARP(i.p.name)
	if err != nil {
		return err
	}
	defer arp.Close()
	m, err := acd.New(acd.Config{Addr: a.addr(), MAC: i.p.mac, Own: n.macs(), Timers: n.cfg.DAD, Policy: acd.DefendOnce})
	if err != nil {
		return err
	}
	if err := m.Announce(time.Now()); err != nil {
		return err
	}
	return acd.Run(ctx, &arpHere{ARP: arp, n: n, a: a}, m, func(o acd.Output) {
		if d, ok := o.(acd.Defended); ok {
			n.cfg.Recorder.Point(event.HandoverID{}, event.PhaseDAD, "defended", "addr", a.addr().String(), "against", d.By.String())
		}
	})
}

// macs are the link-layer addresses of the node: the kernel may answer for an address at
// any of its interfaces.
func (n *Node) macs() (all []net.HardwareAddr) {
	for _, p := range n.ports {
		all = append(all, p.mac)
	}
	return all
}

// arpHere is ARP on the link of a, while the node is there. Its router answers for the
// node when that goes, and is no conflict.
type arpHere struct {
	host.ARP
	n *Node
	a *address
}

// ReadARP implements acd.Conn.
func (l *arpHere) ReadARP(ctx context.Context) (acd.Packet, error) {
	for {
		p, err := l.ARP.ReadARP(ctx)
		if err != nil || !l.n.away.Load() && !l.byRouter(p) {
			return p, err
		}
	}
}

// WriteARP implements acd.Conn.
func (l *arpHere) WriteARP(dst net.HardwareAddr, p acd.Packet) error {
	if l.n.away.Load() {
		return nil
	}
	return l.ARP.WriteARP(dst, p)
}

func (l *arpHere) byRouter(p acd.Packet) bool {
	mac := l.a.routerMAC.Load()
	return mac != nil && slices.Equal(*mac, p.SenderMAC.HardwareAddr())
}

// defend has nothing to do: nobody defends an address that was found free (RFC 4862), and
// what the router has found free the node looks for once more when it has come (RFC 4429).
func (i *ip6) defend(context.Context, *address) error { return nil }
