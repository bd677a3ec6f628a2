package bind

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Packet is one received packet. Data is valid until the next ReadBatch with
// the same Batch.
type Packet struct {
	Data []byte
	From netip.AddrPort // of IP in IP the port is zero
	TOS  uint8          // of the outer header

	to netip.Addr // of raw sockets of IPv6
}

const (
	maxBatch    = 1024
	maxDatagram = 1 << 16
	ctlSize     = 64
)

// Batch is room for packets read with one system call (recvmmsg). It belongs to
// one reader at a time.
type Batch struct {
	msgs  []unix.Mmsghdr
	iovs  []unix.Iovec
	froms []unix.RawSockaddrInet6 // or, in the front of it, a RawSockaddrInet4
	ctls  [][ctlSize]byte
	bufs  [][]byte

	packets []Packet // of the last ReadBatch

	n     int
	errno unix.Errno
	call  func(fd uintptr) bool
}

// NewBatch makes room for n packets (1 to 1024) of up to size octets (at most
// 65536); values outside are brought into these bounds.
func NewBatch(n, size int) *Batch {
	n = min(max(n, 1), maxBatch)
	size = min(max(size, 1), maxDatagram)
	b := &Batch{
		msgs:    make([]unix.Mmsghdr, n),
		iovs:    make([]unix.Iovec, n),
		froms:   make([]unix.RawSockaddrInet6, n),
		ctls:    make([][ctlSize]byte, n),
		bufs:    make([][]byte, n),
		packets: make([]Packet, 0, n),
	}
	for i := range n {
		b.use(i, make([]byte, size))
		h := &b.msgs[i].Hdr
		h.Name = (*byte)(unsafe.Pointer(&b.froms[i]))
		h.Iov = &b.iovs[i]
		h.SetIovlen(1)
		h.Control = &b.ctls[i][0]
	}
	b.call = func(fd uintptr) bool {
		for {
			r, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&b.msgs[0])), uintptr(len(b.msgs)), unix.MSG_DONTWAIT, 0, 0)
			b.n, b.errno = int(r), errno
			switch errno {
			case unix.EINTR:
			case unix.EAGAIN:
				return false
			default:
				return true
			}
		}
	}
	return b
}

// use makes buf, which is not empty, the room for packet i.
func (b *Batch) use(i int, buf []byte) {
	b.bufs[i] = buf
	b.iovs[i].Base = &buf[0]
	b.iovs[i].SetLen(len(buf))
}

// Packets are those of the last ReadBatch, in the order of arrival.
func (b *Batch) Packets() []Packet { return b.packets }

// read fills the batch and returns how many packets were longer than its
// buffers; they are left out of packets.
func (b *Batch) read(raw syscall.RawConn) (truncated int, errno unix.Errno, err error) {
	b.packets = b.packets[:0]
	for i := range b.msgs {
		h := &b.msgs[i].Hdr
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(ctlSize)
		h.Flags = 0
	}
	b.n, b.errno = 0, 0
	if err := raw.Read(b.call); err != nil {
		return 0, 0, err
	}
	if b.errno != 0 {
		return 0, b.errno, nil
	}
	for i := range b.n {
		m := &b.msgs[i]
		if m.Hdr.Flags&unix.MSG_TRUNC != 0 {
			truncated++
			continue
		}
		tos, segment, to := controls(b.ctls[i][:min(uint64(m.Hdr.Controllen), ctlSize)])
		data := b.bufs[i][:m.Len]
		if segment <= 0 {
			segment = len(data)
		}
		p := Packet{From: from(&b.froms[i]), TOS: tos, to: to}
		for first := true; first || len(data) > 0; first = false {
			n := min(segment, len(data))
			p.Data, data = data[:n:n], data[n:]
			b.packets = append(b.packets, p)
		}
	}
	return truncated, 0, nil
}

// from is the source of a packet; the port is in network order at one place in both families.
func from(a *unix.RawSockaddrInet6) netip.AddrPort {
	addr := netip.AddrFrom16(a.Addr)
	if a.Family == unix.AF_INET {
		addr = netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(a)).Addr)
	}
	port := (*[2]byte)(unsafe.Pointer(&a.Port))
	return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(port[:]))
}

// controls finds the TOS of the outer header among control messages, of packets that were
// merged the length of each, else zero, and the address it was sent to, where that was asked for.
func controls(ctl []byte) (tos uint8, segment int, to netip.Addr) {
	for len(ctl) >= unix.SizeofCmsghdr {
		h, data, rest, err := unix.ParseOneSocketControlMessage(ctl)
		if err != nil {
			break
		}
		switch {
		case h.Level == unix.SOL_IP && h.Type == unix.IP_TOS && len(data) >= 1:
			tos = data[0]
		case h.Level == unix.SOL_IPV6 && h.Type == unix.IPV6_TCLASS && len(data) >= 4:
			tos = uint8(binary.NativeEndian.Uint32(data)) //nolint:gosec // it is an octet, as an int
		case h.Level == unix.SOL_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= 16:
			to = netip.AddrFrom16([16]byte(data))
		case h.Level == unix.SOL_UDP && h.Type == unix.UDP_GRO && len(data) >= 4:
			segment = int(int32(binary.NativeEndian.Uint32(data)))
		}
		ctl = rest
	}
	return tos, segment, to
}
