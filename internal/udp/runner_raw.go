//go:build linux && !386 && !s390x

package udp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"unsafe"
)

const direct = true

// sockaddr is room for an address of either family, as the kernel has it.
type sockaddr struct{ any syscall.RawSockaddrInet6 }

// port has the two octets of a port, which are in network order.
func port(p *uint16) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(p)), 2) }

// set makes it an address, mapped where the socket is of IPv6, and returns its length.
func (s *sockaddr) set(a netip.AddrPort, six bool) uint32 {
	if six {
		s.any = syscall.RawSockaddrInet6{Family: syscall.AF_INET6, Addr: a.Addr().As16()}
		binary.BigEndian.PutUint16(port(&s.any.Port), a.Port())
		return syscall.SizeofSockaddrInet6
	}
	four := (*syscall.RawSockaddrInet4)(unsafe.Pointer(&s.any))
	*four = syscall.RawSockaddrInet4{Family: syscall.AF_INET, Addr: a.Addr().Unmap().As4()}
	binary.BigEndian.PutUint16(port(&four.Port), a.Port())
	return syscall.SizeofSockaddrInet4
}

// get is the address, the zero one where the kernel gave none.
func (s *sockaddr) get() netip.AddrPort {
	switch s.any.Family {
	case syscall.AF_INET:
		four := (*syscall.RawSockaddrInet4)(unsafe.Pointer(&s.any))
		return netip.AddrPortFrom(netip.AddrFrom4(four.Addr), binary.BigEndian.Uint16(port(&four.Port)))
	case syscall.AF_INET6:
		a := netip.AddrFrom16(s.any.Addr)
		if s.any.Scope_id != 0 {
			a = a.WithZone(zone(s.any.Scope_id))
		}
		return netip.AddrPortFrom(a, binary.BigEndian.Uint16(port(&s.any.Port)))
	}
	return netip.AddrPort{}
}

// zone is the name of an interface, or its number, as package net has it.
func zone(index uint32) string {
	if i, err := net.InterfaceByIndex(int(index)); err == nil {
		return i.Name
	}
	return strconv.FormatUint(uint64(index), 10)
}

func (m *message) receive(fd uintptr) bool {
	m.addr.any.Family = syscall.AF_UNSPEC
	m.len = uint32(unsafe.Sizeof(m.addr.any))
	var n uintptr
	for {
		n, _, m.err = syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(m.b))), uintptr(len(m.b)),
			syscall.MSG_DONTWAIT, uintptr(unsafe.Pointer(&m.addr.any)), uintptr(unsafe.Pointer(&m.len)))
		if m.err != syscall.EINTR {
			break
		}
	}
	m.n = int(n)
	return m.err != syscall.EAGAIN
}

func (m *message) send(fd uintptr) bool {
	var n uintptr
	var to unsafe.Pointer
	if m.len > 0 {
		to = unsafe.Pointer(&m.addr.any)
	}
	for {
		n, _, m.err = syscall.RawSyscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(m.b))), uintptr(len(m.b)),
			syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, uintptr(to), uintptr(m.len))
		if m.err != syscall.EINTR {
			break
		}
	}
	m.n = int(n)
	return m.err != syscall.EAGAIN
}
