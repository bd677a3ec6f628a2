package osnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// packetConn is an AF_PACKET socket of the datagram kind (no link-layer header) on one interface.
type packetConn struct {
	dev    string
	c      *packet.Conn
	read   sync.Mutex // one reader
	closed atomic.Bool
}

func (p *packetConn) listen(n *Net, l linkInfo, ethertype int, filter []bpf.Instruction) error {
	raw, err := bpf.Assemble(filter)
	if err != nil {
		return fmt.Errorf("packet filter: %w", err)
	}
	p.dev = l.name
	err = n.Do(func() (err error) {
		p.c, err = packet.Listen(&net.Interface{Index: l.index, Name: l.name, HardwareAddr: l.mac}, packet.Datagram,
			ethertype, &packet.Config{Filter: raw})
		return err
	})
	if err == nil {
		if err = p.first(); err != nil {
			err = errors.Join(fmt.Errorf("priority %d: %w", foremost, err), p.c.Close())
		}
	}
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w: run as root or with CAP_NET_RAW", err)
	}
	return err
}

// foremost is the priority of what neighbours are asked and told, which is little, and stands in no
// queue of data: voice where frames have a class (IEEE 802.1D user priority 7 as 256 + 7, of
// net/wireless/util.c), and else, by its last four bits, TC_PRIO_CONTROL, the first band of a qdisc.
const foremost = 256 + 7

func (p *packetConn) first() error {
	raw, err := p.c.SyscallConn()
	if err != nil {
		return err
	}
	var option error
	err = raw.Control(func(fd uintptr) {
		option = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PRIORITY, foremost)
	})
	return errors.Join(err, option)
}

// Device returns the interface's name.
func (p *packetConn) Device() string { return p.dev }

// readPacket fills b with the next packet. It waits on while the interface is down.
func (p *packetConn) readPacket(ctx context.Context, b []byte) (int, error) {
	k, _, err := p.readPacketFrom(ctx, b)
	return k, err
}

// readPacketFrom is readPacket, with the hardware address of the sender.
func (p *packetConn) readPacketFrom(ctx context.Context, b []byte) (int, net.HardwareAddr, error) {
	p.read.Lock()
	defer p.read.Unlock()
	if err := ctx.Err(); err != nil {
		return 0, nil, err
	}
	defer interruptible(ctx, p.c)()
	for {
		k, from, err := p.c.ReadFrom(b)
		switch {
		case err == nil:
			sender, ok := from.(*packet.Addr)
			if !ok {
				return 0, nil, fmt.Errorf("osnet: read packet on %s: sender %T, expected a hardware address", p.dev, from)
			}
			return k, sender.HardwareAddr, nil
		case errors.Is(err, unix.ENETDOWN):
			continue // reported once; packets come again when the interface is up
		case p.closed.Load():
			return 0, nil, fmt.Errorf("osnet: read packet on %s: %w", p.dev, net.ErrClosed)
		case ctx.Err() != nil:
			return 0, nil, ctx.Err()
		}
		return 0, nil, fmt.Errorf("osnet: read packet on %s: %w", p.dev, err)
	}
}

// interruptible has ctx's end wake who reads from c, until the returned function is called.
func interruptible(ctx context.Context, c interface{ SetReadDeadline(at time.Time) error }) (end func()) {
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		_ = c.SetReadDeadline(time.Unix(1, 0)) // fails only when closed, and then the read ends by itself
	})
	return func() {
		if !stop() {
			<-woken
			_ = c.SetReadDeadline(time.Time{}) // likewise
		}
	}
}

func (p *packetConn) writePacket(dst net.HardwareAddr, b []byte) error {
	to := &packet.Addr{HardwareAddr: dst}
	_, err := p.c.WriteTo(b, to)
	if errors.Is(err, unix.ENETDOWN) { // it may have been down before: that is told once
		_, err = p.c.WriteTo(b, to)
	}
	if err != nil {
		return fmt.Errorf("osnet: write packet on %s: %w", p.dev, err)
	}
	return nil
}

// Close closes the socket and ends a waiting read. A second Close does nothing.
func (p *packetConn) Close() error {
	if p.closed.Swap(true) {
		return nil
	}
	if err := p.c.Close(); err != nil {
		return fmt.Errorf("osnet: close packet socket on %s: %w", p.dev, err)
	}
	return nil
}

// UDPTap reads and writes whole IPv4 packets of one interface, whatever addresses it has: for DHCP before there is one.
// It sees unfragmented UDP to one port, also what is not addressed to this host's addresses.
type UDPTap struct {
	packetConn
}

// OpenUDPTap opens a tap for UDP packets to port on the interface. Needs CAP_NET_RAW. The caller closes it.
func (n *Net) OpenUDPTap(ifname string, port uint16) (*UDPTap, error) {
	l, err := n.link(ifname)
	if err != nil {
		return nil, fmt.Errorf("osnet: UDP tap: %w", err)
	}
	t := &UDPTap{}
	if err := t.listen(n, l, unix.ETH_P_IP, udpFilter(port)); err != nil {
		return nil, fmt.Errorf("osnet: UDP tap on %s: %w", ifname, err)
	}
	return t, nil
}

// udpFilter lets through unfragmented IPv4 UDP packets to port; offset 0 is the IP header.
func udpFilter(port uint16) []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: 9, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: 6},
		bpf.LoadAbsolute{Off: 6, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x3fff, SkipTrue: 4}, // more fragments, or an offset
		bpf.LoadMemShift{Off: 0},
		bpf.LoadIndirect{Off: 2, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(port), SkipTrue: 1},
		bpf.RetConstant{Val: 65535},
		bpf.RetConstant{Val: 0},
	}
}

// ReadPacket fills b with the next packet, IPv4 header first. UDP checksums may be unfinished (offloaded by a sender on this
// machine). Errors are those of ARPConn.ReadARP.
func (t *UDPTap) ReadPacket(ctx context.Context, b []byte) (int, error) { return t.readPacket(ctx, b) }

// WritePacket sends a whole IPv4 packet to the hardware address dst.
func (t *UDPTap) WritePacket(dst net.HardwareAddr, ipv4 []byte) error {
	return t.writePacket(dst, ipv4)
}
