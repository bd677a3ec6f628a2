package bind

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Proto6 is a raw socket for what comes to one IPv6 address with one protocol or extension
// header, as the kernel passes that while it goes through the headers: Data begins with
// it, and ends where the packet does, fragments put together. What the kernel does with the
// header itself it does besides. Its methods may be called concurrently, each Batch by one
// reader.
type Proto6 struct {
	socket
	local   netip.Addr // fixed after it was opened
	foreign atomic.Uint64
}

// OpenProto6 opens the socket on an IPv6 address without a zone, in the network namespace
// of the calling thread. It needs CAP_NET_RAW. Errors match as those of OpenUDP.
func OpenProto6(local netip.Addr, proto uint8, o Options) (*Proto6, error) {
	s := &Proto6{local: local}
	if err := s.open6(local, int(proto), o); err != nil {
		return nil, err
	}
	return s, nil
}

// OpenTooBig6 is OpenProto6 for the Packet Too Big messages of ICMPv6 (RFC 4443 section 3.2).
func OpenTooBig6(local netip.Addr, o Options) (*Proto6, error) {
	const tooBig = 2
	s := &Proto6{local: local}
	if err := s.open6(local, unix.IPPROTO_ICMPV6, o, func(fd int) error {
		var block unix.ICMPv6Filter
		for i := range block.Data {
			block.Data[i] = ^uint32(0)
		}
		block.Data[tooBig>>5] &^= 1 << (tooBig & 31)
		return os.NewSyscallError("set ICMPV6_FILTER", unix.SetsockoptICMPv6Filter(fd, unix.IPPROTO_ICMPV6, unix.ICMPV6_FILTER, &block))
	}); err != nil {
		return nil, err
	}
	return s, nil
}

// open6 opens a raw socket of IPv6.
func (s *socket) open6(local netip.Addr, proto int, o Options, more ...func(fd int) error) error {
	if !plain6(local) {
		return fmt.Errorf("bind: local address %v, expected IPv4, or IPv6 without a zone", local)
	}
	return s.open(fmt.Sprintf("ip6:%d", proto), local.String(), o, func(fd int) error {
		for _, m := range more {
			if err := m(fd); err != nil {
				return err
			}
		}
		return errors.Join(
			set(fd, "IPV6_RECVTCLASS", unix.SOL_IPV6, unix.IPV6_RECVTCLASS, 1),
			set(fd, "IPV6_RECVPKTINFO", unix.SOL_IPV6, unix.IPV6_RECVPKTINFO, 1),
		)
	})
}

// ReadBatch waits for packets and reads as many as are there and fit the batch. It may
// return without packets and without an error, when all were too long or another's. After Close the
// error matches net.ErrClosed.
func (s *Proto6) ReadBatch(b *Batch) ([]Packet, error) {
	truncated, errno, err := b.read(s.raw)
	if err != nil || errno != 0 {
		return nil, s.failed("recvmmsg", err, errno)
	}
	s.truncated.Add(uint64(truncated))
	all := len(b.packets)
	b.packets = slices.DeleteFunc(b.packets, func(p Packet) bool { return p.to != s.local }) // as of IPIP
	s.foreign.Add(uint64(all - len(b.packets)))
	s.received.Add(uint64(len(b.packets)))
	return b.packets, nil
}

// Stats returns the counters.
func (s *Proto6) Stats() Stats {
	st := s.stats()
	st.Foreign = s.foreign.Load()
	return st
}
