package bind

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"

	"openmpa/tunnel/ipip"
)

// IPIP is a raw socket for IP in IP on one local address. Its methods may be
// called concurrently, each Batch by one reader.
type IPIP struct {
	socket
	local netip.Addr // fixed after OpenIPIP

	malformed atomic.Uint64
	foreign   atomic.Uint64
	singles   sync.Pool // of *Batch for one packet, for Read
}

// OpenIPIP opens a raw socket on an address, in the network namespace of the calling
// thread: of protocol 4, IPv4 in IPv4, or on an IPv6 address of protocol 41, IPv6 in IPv6.
// It needs CAP_NET_RAW. Errors match as those of OpenUDP.
func OpenIPIP(local netip.Addr, o Options) (*IPIP, error) {
	s := &IPIP{local: local}
	var err error
	if local.Is4() {
		err = s.open("ip4:4", local.String(), o, nil)
	} else {
		err = s.open6(local, ipip.Protocol6, o)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// LocalAddr is the address the socket is bound to.
func (s *IPIP) LocalAddr() netip.Addr { return s.local }

// Send sends inner, one whole packet of the socket's family, to dst in an IP in IP packet with
// the given TOS outside (ipip.TOS(inner) to copy it). Octets behind the packet's
// total length are left out. Errors match net.ErrClosed, the kernel's, or those
// of package ipip: a packet that is malformed, has TTL 0 or comes from dst must
// not enter the tunnel (RFC 2003 section 3). It waits while the send buffer is
// full.
func (s *IPIP) Send(dst netip.Addr, inner []byte, tos uint8) error {
	if dst.Is4() != s.local.Is4() || !dst.Is4() && !plain6(dst) {
		s.sendErrors.Add(1)
		return fmt.Errorf("bind: %s: destination %v, expected an address of the socket's own family", s.name, dst)
	}
	total, err := fit(inner, dst)
	if err != nil {
		s.sendErrors.Add(1)
		return err
	}
	if errno, err := s.tx.send(s.raw, netip.AddrPortFrom(dst, 0), inner[:total], tos, 0); err != nil || errno != 0 {
		s.sendErrors.Add(1)
		return s.failed("sendmsg", err, errno)
	}
	s.sent.Add(1)
	return nil
}

// fit returns the length of a packet that may enter a tunnel to dst.
func fit(inner []byte, dst netip.Addr) (total int, err error) {
	var src netip.Addr
	if dst.Is4() {
		if src, _, _, _, total, err = ipip.ParseIPv4(inner); err == nil {
			err = ipip.CheckEncapsulation(inner, src, dst)
		}
	} else if _, _, _, total, err = ipip.ParseIPv6(inner); err == nil {
		err = ipip.CheckEncapsulation6(inner, dst)
	}
	return total, err
}

// ReadBatch waits for packets and reads as many as are there and fit the
// batch. Data of each is the inner packet, checked and with the congestion mark
// carried over (RFC 6040); From is the outer source. It may return without
// packets and without an error, when all were bad and counted. After Close the
// error matches net.ErrClosed.
func (s *IPIP) ReadBatch(b *Batch) ([]Packet, error) {
	truncated, errno, err := b.read(s.raw)
	if err != nil || errno != 0 {
		return nil, s.failed("recvmmsg", err, errno)
	}
	s.truncated.Add(uint64(truncated))
	good := b.packets[:0]
	for _, p := range b.packets {
		if !s.local.Is4() {
			if p.to != s.local { // as below
				s.foreign.Add(1)
				continue
			}
			if p.Data, err = decapsulated6(p.Data, p.TOS); err != nil {
				s.malformed.Add(1)
				continue
			}
			good = append(good, p)
			continue
		}
		if len(p.Data) > 1 {
			p.TOS = p.Data[1]
		}
		inner, src, dst, err := ipip.Decapsulate(p.Data)
		if err != nil {
			s.malformed.Add(1)
			continue
		}
		// Between socket(2) and bind(2) the kernel gives a raw socket whatever comes
		// for any address; it is another socket's, and delivered there.
		if dst != s.local {
			s.foreign.Add(1)
			continue
		}
		p.Data, p.From = inner, netip.AddrPortFrom(src, 0)
		good = append(good, p)
	}
	b.packets = good
	s.received.Add(uint64(len(good)))
	return good, nil
}

// decapsulated6 is ipip.Decapsulate behind an IPv6 header, which the kernel has taken off.
func decapsulated6(pkt []byte, tos uint8) (inner []byte, err error) {
	_, _, _, total, err := ipip.ParseIPv6(pkt)
	if err != nil {
		return nil, err
	}
	inner = pkt[:total]
	_, err = ipip.DecapsulateECN(inner, tos)
	return inner, err
}

// Read waits for one packet and returns its inner packet, which lies inside
// buf, and its outer source. buf must have room for the outer header, too. Bad
// packets are counted and passed over. After Close the error matches
// net.ErrClosed.
func (s *IPIP) Read(buf []byte) (inner []byte, src netip.Addr, err error) {
	if len(buf) == 0 {
		return nil, netip.Addr{}, fmt.Errorf("bind: %s: read into an empty buffer", s.name)
	}
	b, _ := s.singles.Get().(*Batch)
	if b == nil {
		b = NewBatch(1, 1)
	}
	b.use(0, buf)
	defer s.singles.Put(b)
	for {
		packets, err := s.ReadBatch(b)
		if err != nil {
			return nil, netip.Addr{}, err
		}
		if len(packets) == 1 {
			return packets[0].Data, packets[0].From.Addr(), nil
		}
	}
}

// Stats returns the counters.
func (s *IPIP) Stats() Stats {
	st := s.stats()
	st.Malformed = s.malformed.Load()
	st.Foreign = s.foreign.Load()
	return st
}
