package vhandover

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"openmpa/aaa/eap"
	"openmpa/aaa/server"
	"openmpa/internal/acd"
	"openmpa/internal/host"
	"openmpa/internal/osnet"
	"openmpa/internal/state"
	"openmpa/paa/keys"
	"openmpa/testbed/dhcpd"
	"openmpa/testbed/topo"
	"openmpa/tunnel/ipip"
)

var (
	radiusSecret = "secret of the routers"
	aaaAddress   = netip.AddrPortFrom(topo.AAAServer, 1812)
)

// aaaParty is the embedded EAP server behind RADIUS.
type aaaParty struct {
	b      *bed
	life   int
	host   host.Host
	conn   host.UDP
	cancel context.CancelFunc
	done   chan struct{}
}

func newAAA(b *bed) (*aaaParty, error) {
	a := &aaaParty{b: b}
	return a, a.start()
}

func (a *aaaParty) start() (err error) {
	a.life++
	if a.host, err = a.b.machines[topo.AAA].Open(nil, osnet.OwnerLab); err != nil {
		return err
	}
	s, err := server.New(server.Config{
		TLS:     eap.ServerConfig{Certificate: a.b.creds.Server, ClientCAs: a.b.creds.Roots, Time: a.b.now},
		Workers: 2, Rand: a.b.rand("aaa", a.life), Log: a.b.logger("aaa"),
	})
	if err != nil {
		return err
	}
	front, err := server.NewRADIUS(s, server.RADIUSConfig{
		Clients: []server.Client{{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Secret: keys.NewSecret([]byte(radiusSecret))}},
		Rand:    a.b.rand("aaa salts", a.life), Log: a.b.logger("aaa"),
	})
	if err != nil {
		return err
	}
	if a.conn, err = a.host.ListenUDP(aaaAddress); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	a.cancel, a.done = cancel, make(chan struct{})
	go func(conn host.UDP, done chan struct{}) {
		defer close(done)
		var running sync.WaitGroup
		running.Go(func() { _ = s.Run(ctx) })
		_ = front.Serve(ctx, conn) // it ends with its socket
		running.Wait()
	}(a.conn, a.done)
	return nil
}

func (a *aaaParty) stop() {
	if a.cancel != nil {
		a.cancel()
		_ = a.conn.Close()
		<-a.done
		a.cancel = nil
	}
	if a.host != nil {
		_ = a.host.Close()
	}
}

// kill is a crash; start follows.
func (a *aaaParty) kill() {
	a.b.machines[topo.AAA].Kill(osnet.OwnerLab)
	a.stop()
}

const leaseTime = 2 * time.Minute

// dhcpParty is the table of testbed/dhcpd behind sockets of the network.
type dhcpParty struct {
	b      *bed
	host   host.Host
	cancel context.CancelFunc
	wg     sync.WaitGroup
	links  []*dhcpLink

	mu    sync.Mutex
	table *dhcpd.Table
	mute  bool
}

// dhcpLink is the server on one link.
type dhcpLink struct {
	pool dhcpd.Pool
	tap  host.UDPTap
	conn host.UDP
}

func newDHCP(b *bed) (d *dhcpParty, err error) {
	d = &dhcpParty{b: b}
	if d.host, err = b.machines[topo.DHCP].Open(nil, osnet.OwnerLab); err != nil {
		return nil, err
	}
	var pools []dhcpd.Pool
	for _, n := range networks {
		pools = append(pools, dhcpd.Pool{
			Network: n.Name, Interface: n.DHCPIf, Server: n.DHCP, Prefix: n.Prefix, Low: n.PoolLo, High: n.PoolHi, Router: n.Address, DNS: topo.DNS,
		})
	}
	if d.table, err = dhcpd.NewTable(pools, leaseTime, state.NewMemory()); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	for _, p := range pools {
		l := &dhcpLink{pool: p}
		if l.tap, err = d.host.OpenUDPTap(p.Interface, dhcpv4.ServerPort); err != nil {
			return d, err
		}
		if l.conn, err = d.host.ListenUDP(netip.AddrPortFrom(p.Server, dhcpv4.ServerPort)); err != nil {
			return d, err
		}
		d.links = append(d.links, l)
		d.wg.Go(func() { d.serve(ctx, l) })
	}
	return d, nil
}

func (d *dhcpParty) stop() {
	if d.cancel != nil {
		d.cancel()
	}
	d.wg.Wait()
	for _, l := range d.links {
		_, _ = l.tap.Close(), l.conn.Close()
	}
	if d.host != nil {
		_ = d.host.Close()
	}
}

func (d *dhcpParty) setMute(mute bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mute = mute
}

// leases are those that are not free.
func (d *dhcpParty) leases() []dhcpd.Lease {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.table.Leases(time.Now())
}

func (d *dhcpParty) serve(ctx context.Context, l *dhcpLink) {
	buf := make([]byte, 4096)
	for {
		n, err := l.tap.ReadPacket(ctx, buf)
		if err != nil {
			return
		}
		_, _, _, body, total, err := ipip.ParseIPv4(buf[:n])
		if err != nil {
			continue
		}
		d.mu.Lock()
		var reply []byte
		var to netip.AddrPort
		if !d.mute {
			reply, to, _ = d.table.Answer(time.Now(), l.pool.Interface, buf[body+udpHeader:total])
		}
		d.mu.Unlock()
		if len(reply) == 0 {
			continue
		}
		if err := l.send(reply, to); err != nil {
			d.b.net.Note("DHCP answer not sent: %v", err)
		}
	}
}

var everybody = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// send sends a reply; a broadcast past the tables, as a client without an address
// needs it.
func (l *dhcpLink) send(b []byte, to netip.AddrPort) error {
	if to.Addr() != everybody {
		_, err := l.conn.WriteToUDPAddrPort(b, to)
		return err
	}
	pkt, err := ipip.AppendHeader(nil, ipip.Header{Src: l.pool.Server, Dst: everybody, Protocol: protoUDP}, udpHeader+len(b))
	if err != nil {
		return fmt.Errorf("broadcast: %w", err)
	}
	pkt = binary.BigEndian.AppendUint16(pkt, dhcpv4.ServerPort)
	pkt = binary.BigEndian.AppendUint16(pkt, to.Port())
	pkt = binary.BigEndian.AppendUint16(pkt, uint16(udpHeader+len(b)))
	pkt = append(append(pkt, 0, 0), b...)
	return l.tap.WritePacket(acd.Broadcast(), pkt)
}
