package bind

import (
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// UDP is a socket for ESP in UDP. Its methods may be called concurrently, each
// Batch by one reader.
type UDP struct {
	socket
	local netip.AddrPort // fixed after OpenUDP
	conn  *net.UDPConn   // fixed after OpenUDP

	offload atomic.Bool // until the kernel refuses
}

// OpenUDP opens a UDP socket on an address of IPv4, or of IPv6 without a zone, and a port
// (port 0: one the kernel picks), in the network namespace of the calling thread. It
// speaks that family only. Errors match unix.EADDRINUSE, unix.EADDRNOTAVAIL and
// unix.EPERM where the kernel said so.
func OpenUDP(local netip.AddrPort, o Options) (*UDP, error) {
	is4 := local.Addr().Is4()
	if !is4 && !plain6(local.Addr()) {
		return nil, fmt.Errorf("bind: local address %v, expected IPv4, or IPv6 without a zone", local)
	}
	u, network, class := new(UDP), "udp6", option{"IPV6_RECVTCLASS", unix.SOL_IPV6, unix.IPV6_RECVTCLASS}
	if is4 {
		network, class = "udp4", option{"IP_RECVTOS", unix.SOL_IP, unix.IP_RECVTOS}
	}
	err := u.open(network, local.String(), o, func(fd int) error {
		if err := unix.SetsockoptInt(fd, class.level, class.opt, 1); err != nil {
			return fmt.Errorf("set %s: %w", class.what, err)
		}
		if o.Offload {
			// Segments are merged where they were sent so, or the device does it.
			if err := unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_GRO, 1); err != nil {
				return fmt.Errorf("set UDP_GRO (switch offload off if the kernel cannot do it): %w", err)
			}
			return nil // the kernel segments datagrams with a checksum only
		}
		if !is4 {
			return nil // RFC 8200 section 8.1: there is no datagram without
		}
		// RFC 3948 section 2.1: the checksum should be zero; ESP has its own.
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_NO_CHECK, 1); err != nil {
			return fmt.Errorf("set SO_NO_CHECK: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	u.offload.Store(o.Offload)
	u.conn = u.pc.(*net.UDPConn)
	u.local = u.conn.LocalAddr().(*net.UDPAddr).AddrPort()
	u.name = network + " " + u.local.String()
	return u, nil
}

// LocalAddr is the address and port the socket is bound to.
func (u *UDP) LocalAddr() netip.AddrPort { return u.local }

// plain6 reports whether an address is IPv6 and means the same on every interface.
func plain6(a netip.Addr) bool { return a.Is6() && !a.Is4In6() && a.Zone() == "" }

// sendable reports whether the socket can send there.
func (u *UDP) sendable(to netip.AddrPort) bool {
	a := to.Addr()
	return a.Is4() == u.local.Addr().Is4() && (a.Is4() || plain6(a)) && to.Port() != 0
}

// Send sends one datagram with the given TOS in the outer header. It waits
// while the send buffer is full. Errors match net.ErrClosed or the kernel's.
func (u *UDP) Send(to netip.AddrPort, pkt []byte, tos uint8) error {
	if !u.sendable(to) {
		u.sendErrors.Add(1)
		return fmt.Errorf("bind: %s: destination %v, expected an address of the socket's own family and a port", u.name, to)
	}
	if errno, err := u.tx.send(u.raw, to, pkt, tos, 0); err != nil || errno != 0 {
		u.sendErrors.Add(1)
		return u.failed("sendmsg", err, errno)
	}
	u.sent.Add(1)
	return nil
}

// ReadBatch waits for datagrams and reads as many as are there and fit the
// batch. It may return without packets and without an error, when all were too
// long. After Close the error matches net.ErrClosed.
func (u *UDP) ReadBatch(b *Batch) ([]Packet, error) {
	truncated, errno, err := b.read(u.raw)
	if err != nil || errno != 0 {
		return nil, u.failed("recvmmsg", err, errno)
	}
	u.truncated.Add(uint64(truncated))
	u.received.Add(uint64(len(b.packets)))
	return b.packets, nil
}

// Read waits for one datagram. What does not fit into buf is cut off. After
// Close the error matches net.ErrClosed.
func (u *UDP) Read(buf []byte) (int, netip.AddrPort, error) {
	n, from, err := u.conn.ReadFromUDPAddrPort(buf)
	if err != nil {
		return 0, netip.AddrPort{}, fmt.Errorf("bind: %s: %w", u.name, err)
	}
	u.received.Add(1)
	return n, from, nil
}

// Stats returns the counters.
func (u *UDP) Stats() Stats { return u.stats() }
