package udp

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
)

// Conn is a datagram socket. One goroutine at a time reads, any number write.
type Conn struct {
	*net.UDPConn // fixed

	raw syscall.RawConn // fixed
	six bool            // fixed: the socket is of IPv6, and has IPv4 mapped into it

	mu  sync.Mutex // guards out: one after the other, as package net has it
	out message

	in message // of the reader
}

// message is one call's, kept so that none allocates.
type message struct {
	b    []byte
	addr sockaddr
	len  uint32 // of addr; when writing 0: none, the socket is connected
	n    int
	err  syscall.Errno
	call func(fd uintptr) (done bool)
}

// Of makes a Conn of a socket of package net. It is the caller's to close, as before.
func Of(c *net.UDPConn) (*Conn, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	u := &Conn{UDPConn: c, raw: raw}
	var name syscall.Sockaddr
	if e := raw.Control(func(fd uintptr) { name, err = syscall.Getsockname(int(fd)) }); e != nil || err != nil {
		return nil, errors.Join(e, err)
	}
	switch name.(type) {
	case *syscall.SockaddrInet4:
	case *syscall.SockaddrInet6:
		u.six = true
	default:
		return nil, errors.New("udp: a socket of neither IPv4 nor IPv6")
	}
	u.in.call, u.out.call = u.in.receive, u.out.send
	return u, nil
}

// ReadFromUDPAddrPort is that of net.UDPConn.
func (c *Conn) ReadFromUDPAddrPort(b []byte) (n int, from netip.AddrPort, err error) {
	if !direct || len(b) == 0 {
		return c.UDPConn.ReadFromUDPAddrPort(b)
	}
	m := &c.in
	m.b = b
	err = c.raw.Read(m.call)
	m.b = nil
	if err == nil {
		err = c.failed("read", "recvfrom", m.err)
	}
	if err != nil {
		return 0, netip.AddrPort{}, err
	}
	return m.n, m.addr.get(), nil
}

// WriteToUDPAddrPort is that of net.UDPConn.
func (c *Conn) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	// What is no address of the socket's family, package net finds words for.
	if !to.IsValid() || to.Addr().Zone() != "" || !c.six && !to.Addr().Unmap().Is4() {
		return c.UDPConn.WriteToUDPAddrPort(b, to)
	}
	return c.write(b, to)
}

// Write is that of net.UDPConn, on a socket that is connected.
func (c *Conn) Write(b []byte) (int, error) { return c.write(b, netip.AddrPort{}) }

// write sends to an address, or where the socket is connected to.
func (c *Conn) write(b []byte, to netip.AddrPort) (int, error) {
	switch {
	case direct && len(b) > 0:
	case to.IsValid():
		return c.UDPConn.WriteToUDPAddrPort(b, to)
	default:
		return c.UDPConn.Write(b)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	m := &c.out
	m.b, m.len = b, 0
	if to.IsValid() {
		m.len = m.addr.set(to, c.six)
	}
	err := c.raw.Write(m.call)
	m.b = nil
	if err == nil {
		err = c.failed("write", "sendto", m.err)
	}
	if err != nil {
		return 0, err
	}
	return m.n, nil
}

// failed is the error of package net for what the kernel has said.
func (c *Conn) failed(op, call string, e syscall.Errno) error {
	if e == 0 {
		return nil
	}
	return &net.OpError{Op: op, Net: "udp", Source: c.LocalAddr(), Err: os.NewSyscallError(call, e)}
}
