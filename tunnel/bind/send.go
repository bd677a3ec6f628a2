package bind

import (
	"net/netip"
	"runtime"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// controlRoom is room for two control messages with up to eight octets of payload, sized
// for the alignment of 64 bit machines, which is the larger.
const controlRoom = 48

// sendState is all that one sendmsg needs, kept together so that nothing is
// allocated for a packet.
type sendState struct {
	msg   unix.Msghdr
	iov   unix.Iovec
	to    unix.RawSockaddrInet6 // or, in the front of it, a RawSockaddrInet4
	ctl   [controlRoom]byte
	errno unix.Errno
	call  func(fd uintptr) bool
}

type sendPool struct{ pool sync.Pool }

func newSendState() *sendState {
	s := new(sendState)
	s.msg.Name = (*byte)(unsafe.Pointer(&s.to))
	s.msg.Iov = &s.iov
	s.msg.SetIovlen(1)
	s.call = func(fd uintptr) bool {
		for {
			_, _, s.errno = unix.Syscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&s.msg)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
			switch s.errno {
			case unix.EINTR:
			case unix.EAGAIN:
				return false
			default:
				return true
			}
		}
	}
	return s
}

// address has the message go to an address of either family.
func (s *sendState) address(to netip.AddrPort) (is4 bool) {
	port := to.Port()
	be := *(*uint16)(unsafe.Pointer(&[2]byte{byte(port >> 8), byte(port)}))
	if is4 = to.Addr().Is4(); is4 {
		*(*unix.RawSockaddrInet4)(unsafe.Pointer(&s.to)) = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: be, Addr: to.Addr().As4()}
		s.msg.Namelen = unix.SizeofSockaddrInet4
	} else {
		s.to = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: be, Addr: to.Addr().As16()}
		s.msg.Namelen = unix.SizeofSockaddrInet6
	}
	return is4
}

// control appends a control message to the n octets of control that are there.
func (s *sendState) control(n int, level, kind int32, value []byte) int {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&s.ctl[n]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(len(value)))
	copy(s.ctl[n+unix.CmsgLen(0):], value)
	return n + unix.CmsgSpace(len(value))
}

// send gives one packet to the kernel, or with segment, if not zero, packets of that
// length behind one another; it waits while the send buffer is full.
func (p *sendPool) send(raw syscall.RawConn, to netip.AddrPort, pkt []byte, tos uint8, segment uint16) (unix.Errno, error) {
	s, _ := p.pool.Get().(*sendState)
	if s == nil {
		s = newSendState()
	}
	is4 := s.address(to)
	s.iov.Base = unsafe.SliceData(pkt)
	s.iov.SetLen(len(pkt))
	n := 0
	switch class := int32(tos); {
	case tos == 0:
	case is4:
		n = s.control(n, unix.SOL_IP, unix.IP_TOS, []byte{tos})
	default:
		n = s.control(n, unix.SOL_IPV6, unix.IPV6_TCLASS, (*[4]byte)(unsafe.Pointer(&class))[:])
	}
	if segment != 0 {
		n = s.control(n, unix.SOL_UDP, unix.UDP_SEGMENT, (*[2]byte)(unsafe.Pointer(&segment))[:])
	}
	s.msg.Control = nil
	if n > 0 {
		s.msg.Control = &s.ctl[0]
	}
	s.msg.SetControllen(n)
	s.errno = 0
	err := raw.Write(s.call)
	errno := s.errno
	runtime.KeepAlive(pkt)
	s.iov.Base = nil
	p.pool.Put(s)
	return errno, err
}
