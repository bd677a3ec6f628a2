package bed

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"openmpa/testbed/impair"
	"openmpa/testbed/proc"
	"openmpa/testbed/topo"
)

// An aaaDown kills authentication servers amid an authentication.
type aaaDown struct {
	wire impair.Tripwire

	mu   sync.Mutex
	down AAADown // guarded by mu
}

// AAADown is what came of Bed.ArmAAADown.
type AAADown struct {
	Server string    // the daemon that was killed; empty: none
	At     time.Time // when it was dead
	Err    error     // of killing it
	// Turns is how many messages the router had answered or to be answered, by server.
	Turns map[string]int
}

// linksOf are the links of the servers that the routers ask.
func (o Options) linksOf() (names []string) {
	for _, s := range o.asked() {
		names = append(names, map[string]string{topo.AAA: topo.LinkAAA, topo.Visited: topo.LinkVisited, topo.Spare: topo.LinkSpare}[s.node])
	}
	return names
}

// watchAAA is called before the links are made.
func (b *Bed) watchAAA() {
	if !b.opt.AAADown {
		return
	}
	b.down = &aaaDown{}
	for _, name := range b.opt.linksOf() {
		b.Links.Watch(name, b.down.wire.Frame)
	}
}

// ArmAAADown has the authentication server that a network's router asks be killed when the router has sent its
// n-th message, counted from now on, and before the server gets it; see Options.AAADown. With 0 nobody is
// killed, and the messages are counted.
func (b *Bed) ArmAAADown(network string, n int) error {
	if b.down == nil {
		return fmt.Errorf("bed: nobody watches the authentication servers: expected AAADown")
	}
	at, ok := topo.NetworkByName(network)
	if !ok {
		return fmt.Errorf("bed: no network %q in this lab", network)
	}
	children := make(map[netip.Addr]*proc.Child)
	var ports []uint16
	for _, s := range b.opt.asked() {
		children[s.addr] = b.children[s.name]
		for _, port := range []uint16{aaaPort, radsecPort, diameterPort, diameterTLSPort} {
			ports = append(ports, port+s.above)
		}
	}
	b.down.mu.Lock()
	b.down.down = AAADown{}
	b.down.mu.Unlock()
	b.down.wire.Arm(at.Outer, ports, n, func(server netip.Addr) {
		var d AAADown
		if c := children[server]; c != nil {
			d.Server = c.Name()
			d.At, d.Err = c.KillAt()
		}
		b.down.mu.Lock()
		defer b.down.mu.Unlock()
		b.down.down = d
	})
	return nil
}

// DisarmAAADown ends that, and tells what came of it. Restart starts the server again.
func (b *Bed) DisarmAAADown() AAADown {
	turns := b.down.wire.Disarm()
	b.down.mu.Lock()
	defer b.down.mu.Unlock()
	d := b.down.down
	d.Turns = make(map[string]int)
	for _, s := range b.opt.asked() {
		if n := turns[s.addr]; n > 0 {
			d.Turns[s.name] = n
		}
	}
	return d
}
