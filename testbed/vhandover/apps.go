package vhandover

import (
	"net/netip"
	"sync"
	"time"

	"openmpa/internal/host"
	"openmpa/internal/osnet"
	"openmpa/testbed/topo"
)

// apps are an application on the node and one on the correspondent, which send to
// each other.
type apps struct {
	b        *bed
	hosts    [2]host.Host
	sockets  [2]host.UDP // by the direction in which they send
	wg       sync.WaitGroup
	stop     chan struct{}
	stopOnce sync.Once
}

func newApps(b *bed) (a *apps, err error) {
	a = &apps{b: b, stop: make(chan struct{})}
	ends := [2]netip.AddrPort{netip.AddrPortFrom(topo.HomeAddress, appPort), netip.AddrPortFrom(topo.Correspondent, appPort)}
	for dir, machine := range [2]string{topo.MN, topo.CN} {
		if a.hosts[dir], err = b.machines[machine].Open(nil, osnet.OwnerLab); err != nil {
			return a, err
		}
		if a.sockets[dir], err = a.hosts[dir].ListenUDP(ends[dir]); err != nil {
			return a, err
		}
	}
	for dir := range a.sockets {
		a.wg.Go(func() { a.send(direction(dir), ends[1-dir]) })
		a.wg.Go(func() { a.receive(a.sockets[dir]) })
	}
	return a, nil
}

func (a *apps) send(dir direction, to netip.AddrPort) {
	gap := time.Second / time.Duration(a.b.plan.Rate)
	tick := time.NewTicker(gap)
	defer tick.Stop()
	for id := (packetID{dir: dir}); ; id.n++ {
		select {
		case <-a.stop:
			return
		case <-tick.C:
		}
		a.b.ledger.sent(id)
		if _, err := a.sockets[dir].WriteToUDPAddrPort(payload(id), to); err != nil {
			a.b.ledger.unsent(id) // the application knows
		}
	}
}

func (a *apps) receive(u host.UDP) {
	b := make([]byte, 2*appSize)
	for {
		n, _, err := u.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		if id, ok := parsePayload(b[:n]); ok {
			a.b.ledger.delivered(id)
		}
	}
}

// quiet stops sending; receiving goes on.
func (a *apps) quiet() { a.stopOnce.Do(func() { close(a.stop) }) }

func (a *apps) close() {
	a.quiet()
	for i := range a.hosts {
		if a.sockets[i] != nil {
			_ = a.sockets[i].Close()
		}
		if a.hosts[i] != nil {
			_ = a.hosts[i].Close()
		}
	}
	a.wg.Wait()
}
