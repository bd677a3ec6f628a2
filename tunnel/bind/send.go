package bind

import (
	"net/netip"
	"runtime"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tosControl is a control message with one octet of payload, sized for the
// alignment of 64 bit machines, which is the larger.
const tosControl = 24

// sendState is all that one sendmsg needs, kept together so that nothing is
// allocated for a packet.
type sendState struct {
	msg   unix.Msghdr
	iov   unix.Iovec
	to    unix.RawSockaddrInet4
	ctl   [tosControl]byte
	tos   int // offset of the TOS octet in ctl
	errno unix.Errno
	call  func(fd uintptr) bool
}

type sendPool struct{ pool sync.Pool }

func newSendState() *sendState {
	s := new(sendState)
	s.to.Family = unix.AF_INET
	s.msg.Name = (*byte)(unsafe.Pointer(&s.to))
	s.msg.Namelen = unix.SizeofSockaddrInet4
	s.msg.Iov = &s.iov
	s.msg.SetIovlen(1)
	h := (*unix.Cmsghdr)(unsafe.Pointer(&s.ctl))
	h.Level, h.Type = unix.SOL_IP, unix.IP_TOS
	h.SetLen(unix.CmsgLen(1))
	s.tos = unix.CmsgLen(0)
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

// send gives one packet to the kernel; it waits while the send buffer is full.
func (p *sendPool) send(raw syscall.RawConn, to netip.AddrPort, pkt []byte, tos uint8) (unix.Errno, error) {
	s, _ := p.pool.Get().(*sendState)
	if s == nil {
		s = newSendState()
	}
	s.to.Addr = to.Addr().As4()
	port := to.Port()
	s.to.Port = *(*uint16)(unsafe.Pointer(&[2]byte{byte(port >> 8), byte(port)}))
	s.iov.Base = unsafe.SliceData(pkt)
	s.iov.SetLen(len(pkt))
	if tos == 0 {
		s.msg.Control = nil
		s.msg.SetControllen(0)
	} else {
		s.ctl[s.tos] = tos
		s.msg.Control = &s.ctl[0]
		s.msg.SetControllen(unix.CmsgSpace(1))
	}
	s.errno = 0
	err := raw.Write(s.call)
	errno := s.errno
	runtime.KeepAlive(pkt)
	s.iov.Base = nil
	p.pool.Put(s)
	return errno, err
}
