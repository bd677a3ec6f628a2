package bind

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Default sizes of the socket buffers, in octets as the kernel's options count
// them. A packet of 1500 octets takes some 1200 of the former, so it has room for a second
// of 150 Mbit/s when nobody reads; an empty one takes no memory.
const (
	DefaultRecvBuffer = 16 << 20
	DefaultSendBuffer = 4 << 20
)

// Options of a socket. The zero value is what a daemon wants.
type Options struct {
	RecvBuffer   int    // octets; zero: DefaultRecvBuffer
	SendBuffer   int    // octets; zero: DefaultSendBuffer
	Device       string // send and receive through this interface only (SO_BINDTODEVICE)
	Mark         uint32 // firewall mark for policy routing (SO_MARK); zero: none
	DontFragment bool   // set DF and let the kernel discover the path's MTU
	// Offload has the kernel segment what SendBatch sends, and merge what arrives where
	// it can (UDP only). Datagrams have checksums then.
	Offload bool
}

// socket is what both kinds have in common.
type socket struct {
	// fixed after open
	pc   net.PacketConn
	raw  syscall.RawConn
	name string // for errors: "udp 10.1.0.1:4500"

	tx sendPool

	// atomic
	sent, sendErrors, received, truncated atomic.Uint64
}

// open makes the socket in the network namespace of the calling thread.
func (s *socket) open(network, local string, o Options, more func(fd int) error) error {
	s.name = network + " " + local
	if o.RecvBuffer == 0 {
		o.RecvBuffer = DefaultRecvBuffer
	}
	if o.SendBuffer == 0 {
		o.SendBuffer = DefaultSendBuffer
	}
	if o.RecvBuffer < 0 || o.SendBuffer < 0 {
		return fmt.Errorf("bind: %s: buffers of %d and %d octets, expected positive sizes", s.name, o.RecvBuffer, o.SendBuffer)
	}
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if cerr := c.Control(func(fd uintptr) { err = setOptions(int(fd), o, more) }); cerr != nil {
			return cerr
		}
		return err
	}}
	pc, err := lc.ListenPacket(context.Background(), network, local)
	if err != nil {
		switch {
		case errors.Is(err, unix.EADDRINUSE):
			err = fmt.Errorf("%w (another process uses the port)", err)
		case errors.Is(err, unix.EADDRNOTAVAIL):
			err = fmt.Errorf("%w (no interface has this address)", err)
		case errors.Is(err, unix.EPERM):
			err = fmt.Errorf("%w (run as root or with CAP_NET_RAW and CAP_NET_ADMIN)", err)
		}
		return fmt.Errorf("bind: open %s: %w", s.name, err)
	}
	raw, err := pc.(syscall.Conn).SyscallConn()
	if err != nil {
		_ = pc.Close()
		return fmt.Errorf("bind: open %s: %w", s.name, err)
	}
	s.pc, s.raw = pc, raw
	return nil
}

type option struct {
	what       string
	level, opt int
}

var (
	mtuDiscover4 = option{"IP_MTU_DISCOVER", unix.SOL_IP, unix.IP_MTU_DISCOVER}
	mtuDiscover6 = option{"IPV6_MTU_DISCOVER", unix.SOL_IPV6, unix.IPV6_MTU_DISCOVER}
)

func set(fd int, what string, level, opt, value int) error {
	if err := unix.SetsockoptInt(fd, level, opt, value); err != nil {
		return fmt.Errorf("set %s to %d: %w", what, value, err)
	}
	return nil
}

func setOptions(fd int, o Options, more func(fd int) error) error {
	pmtu, discover := unix.IP_PMTUDISC_DONT, mtuDiscover4
	if o.DontFragment {
		pmtu = unix.IP_PMTUDISC_DO
	}
	if family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil {
		return fmt.Errorf("ask for SO_DOMAIN: %w", err)
	} else if family == unix.AF_INET6 { // the values are the same
		discover = mtuDiscover6
	}
	if err := errors.Join(
		setBuffer(fd, "SO_RCVBUF", unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, o.RecvBuffer),
		setBuffer(fd, "SO_SNDBUF", unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, o.SendBuffer),
		set(fd, discover.what, discover.level, discover.opt, pmtu),
	); err != nil {
		return err
	}
	if o.Mark != 0 {
		if err := set(fd, "SO_MARK", unix.SOL_SOCKET, unix.SO_MARK, int(o.Mark)); err != nil {
			return err
		}
	}
	if o.Device != "" {
		if err := unix.BindToDevice(fd, o.Device); err != nil {
			return fmt.Errorf("bind to device %s: %w", o.Device, err)
		}
	}
	if more != nil {
		return more(fd)
	}
	return nil
}

// setBuffer asks for size octets without the system's limit, which needs
// CAP_NET_ADMIN, and otherwise for as much as the limit allows.
func setBuffer(fd int, what string, force, plain, size int) error {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, size) == nil {
		return nil
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, plain, size); err != nil {
		return fmt.Errorf("set %s to %d: %w", what, size, err)
	}
	return nil
}

// Stats counts the packets of a socket.
type Stats struct {
	Sent       uint64 // given to the kernel
	SendErrors uint64 // refused by the kernel, or not fit to be sent

	Received    uint64 // handed to the reader, the bad ones of IP in IP not included
	Truncated   uint64 // dropped: longer than the reader's buffer
	Malformed   uint64 // dropped: no good IP in IP packet (IPIP only)
	Foreign     uint64 // passed over: came for another address while the socket was being bound (IPIP and Proto6 only)
	KernelDrops uint64 // dropped by the kernel: receive buffer full; modulo 2^32; merged packets count as one

	RecvBuffer int // octets of memory the receive queue may use; the kernel doubles what was asked for
}

func (s *socket) stats() Stats {
	st := Stats{
		Sent:       s.sent.Load(),
		SendErrors: s.sendErrors.Load(),
		Received:   s.received.Load(),
		Truncated:  s.truncated.Load(),
	}
	// A closed socket has no queue: its last drops are lost with it.
	_ = s.raw.Control(func(fd uintptr) {
		var info [unix.SK_MEMINFO_VARS]uint32
		size := uint32(unsafe.Sizeof(info))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
		if errno == 0 {
			st.KernelDrops = uint64(info[unix.SK_MEMINFO_DROPS])
			st.RecvBuffer = int(info[unix.SK_MEMINFO_RCVBUF])
		}
	})
	return st
}

// Close closes the socket and wakes readers. It may be called again.
func (s *socket) Close() error {
	if err := s.pc.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("bind: close %s: %w", s.name, err)
	}
	return nil
}

// failed turns the poller's error for a closed socket, or an errno, into an
// error with the socket's name that matches net.ErrClosed or the errno.
func (s *socket) failed(op string, err error, errno unix.Errno) error {
	if err == nil {
		err = os.NewSyscallError(op, errno)
	}
	return fmt.Errorf("bind: %s: %w", s.name, err)
}
