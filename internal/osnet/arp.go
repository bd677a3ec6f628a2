package osnet

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"openmpa/internal/acd"
)

// arpFilter lets through what is an Ethernet and IPv4 ARP request or reply of full length. The socket is of the datagram
// kind: offset 0 is the ARP header.
var arpFilter = []bpf.Instruction{
	bpf.LoadExtension{Num: bpf.ExtLen},
	bpf.JumpIf{Cond: bpf.JumpLessThan, Val: acd.PacketLen, SkipTrue: 8},
	bpf.LoadAbsolute{Off: 0, Size: 4}, // hardware type 1, protocol type 0x0800
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0x00010800, SkipTrue: 6},
	bpf.LoadAbsolute{Off: 4, Size: 2}, // lengths 6 and 4
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0x0604, SkipTrue: 4},
	bpf.LoadAbsolute{Off: 6, Size: 2}, // operation
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(acd.OpRequest), SkipTrue: 1},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(acd.OpReply), SkipTrue: 1},
	bpf.RetConstant{Val: 128},
	bpf.RetConstant{Val: 0},
}

// ARPConn reads and writes ARP packets of one Ethernet interface. It implements acd.Conn. It sees what others send,
// broadcast or to us; never its own packets nor the kernel's. Reading is for one goroutine, writing for any number.
type ARPConn struct {
	packetConn
	mac     acd.MAC
	dropped atomic.Uint64
}

var _ acd.Conn = (*ARPConn)(nil)

// OpenARP opens the ARP socket of an interface in this Net's namespace. Needs CAP_NET_RAW. It is independent of the Net
// afterwards: the caller closes it.
func (n *Net) OpenARP(ifname string) (*ARPConn, error) {
	l, err := n.link(ifname)
	if err != nil {
		return nil, fmt.Errorf("osnet: ARP: %w", err)
	}
	mac, err := acd.MACFrom(l.mac)
	if err != nil {
		return nil, fmt.Errorf("osnet: ARP on %s: not an Ethernet interface: %w", ifname, err)
	}
	a := &ARPConn{mac: mac}
	if err := a.listen(n, l, unix.ETH_P_ARP, arpFilter); err != nil {
		return nil, fmt.Errorf("osnet: ARP on %s: %w", ifname, err)
	}
	return a, nil
}

// MAC returns the interface's hardware address, a copy.
func (a *ARPConn) MAC() net.HardwareAddr { return slices.Clone(a.mac.HardwareAddr()) }

// Dropped counts packets that came through the filter and could not be parsed.
func (a *ARPConn) Dropped() uint64 { return a.dropped.Load() }

// ReadARP returns the next ARP packet. It waits on while the interface is down. After Close it returns an error that
// is net.ErrClosed, after ctx's end ctx's error.
func (a *ARPConn) ReadARP(ctx context.Context) (acd.Packet, error) {
	var buf [128]byte
	for {
		k, err := a.readPacket(ctx, buf[:])
		if err != nil {
			return acd.Packet{}, err
		}
		p, err := acd.ParseARP(buf[:k])
		if err != nil {
			a.dropped.Add(1)
			continue
		}
		return p, nil
	}
}

// WriteARP sends p to the hardware address dst, from the interface's own.
func (a *ARPConn) WriteARP(dst net.HardwareAddr, p acd.Packet) error {
	b, err := p.AppendBinary(make([]byte, 0, acd.PacketLen))
	if err != nil {
		return fmt.Errorf("osnet: write ARP on %s: %w", a.dev, err)
	}
	return a.writePacket(dst, b)
}

// SendGratuitous broadcasts one ARP announcement of addr at this interface (RFC 5227 section 2.3: a request with sender and
// target address equal). Neighbours that know addr replace its hardware address.
func (a *ARPConn) SendGratuitous(addr netip.Addr) error {
	return a.WriteARP(acd.Broadcast(), acd.AnnouncementPacket(addr, a.mac))
}

// Announce sends count announcements of addr, the first at once and interval apart (RFC 5227: ANNOUNCE_NUM 2,
// ANNOUNCE_INTERVAL 2 s). It returns at the first failure or ctx's end.
func (a *ARPConn) Announce(ctx context.Context, addr netip.Addr, count int, interval time.Duration) error {
	for i := range count {
		if i > 0 {
			t := time.NewTimer(interval)
			select {
			case <-ctx.Done():
				t.Stop()
				return ctx.Err()
			case <-t.C:
			}
		}
		if err := a.SendGratuitous(addr); err != nil {
			return err
		}
	}
	return nil
}
