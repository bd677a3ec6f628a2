package bind

import (
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"openmpa/tunnel/ipip"
)

// Raw is a raw socket that sends whole packets, as if the kernel had made them. It receives nothing. Its methods may be called concurrently.
type Raw struct {
	socket
	local netip.Addr // fixed after OpenRaw
}

// OpenRaw opens a raw socket that sends packets from an address, in the network
// namespace of the calling thread: their routes are looked for with it as the source. It needs CAP_NET_RAW. Errors match as those of OpenUDP.
func OpenRaw(local netip.Addr, o Options) (*Raw, error) {
	s := &Raw{local: local}
	if !local.Is4() { // with this protocol the header is included in any case
		if err := s.open6(local, unix.IPPROTO_RAW, o); err != nil {
			return nil, err
		}
		return s, nil
	}
	included := func(fd int) error {
		return os.NewSyscallError("set IP_HDRINCL", unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_HDRINCL, 1))
	}
	if err := s.open(fmt.Sprintf("ip4:%d", unix.IPPROTO_RAW), local.String(), o, included); err != nil {
		return nil, err
	}
	return s, nil
}

// Send sends one whole packet to the destination in its header; octets behind its
// total length are left out. The kernel computes the header's checksum of IPv4. Errors match
// net.ErrClosed, the kernel's (EMSGSIZE: longer than the interface's MTU) or those of
// package ipip. It waits while the send buffer is full.
func (s *Raw) Send(pkt []byte) error {
	src, dst, _, total, err := ipip.Parse(pkt)
	if err == nil && src != s.local {
		err = fmt.Errorf("bind: %s: a packet from %v", s.name, src)
	}
	if err != nil {
		s.sendErrors.Add(1)
		return err
	}
	if errno, err := s.tx.send(s.raw, netip.AddrPortFrom(dst, 0), pkt[:total], 0, 0); err != nil || errno != 0 {
		s.sendErrors.Add(1)
		return s.failed("sendmsg", err, errno)
	}
	s.sent.Add(1)
	return nil
}

// Stats returns the counters.
func (s *Raw) Stats() Stats { return s.stats() }
