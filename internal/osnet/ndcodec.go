package osnet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/mdlayher/ndp"
	"golang.org/x/sys/unix"

	"openmpa/internal/acd"
	"openmpa/internal/acd/nd"
)

// ErrND is wrapped by errors about neighbour discovery packets that are not valid.
var ErrND = errors.New("osnet: invalid neighbour discovery packet")

const (
	ipv6Header  = 40
	ndMin       = 8   // ICMPv6 header and reserved field of a router solicitation
	ndHopLimit  = 255 // what has not passed a router
	maxNDPacket = 1500
)

// Types of RFC 4861 section 4 and options of section 4.6, RFC 3971 and RFC 8106.
const (
	icmpRouterSolicit  = 133
	icmpRouterAdvert   = 134
	icmpNeighbSolicit  = 135
	icmpNeighbAdvert   = 136
	optSourceLinkLayer = 1
	optTargetLinkLayer = 2
	optPrefix          = 3
	optMTU             = 5
	optNonce           = 14
	optDNS             = 25
)

// ndBody is the length of each type's fixed part, ICMPv6 header included.
var ndBody = map[byte]int{icmpRouterSolicit: 8, icmpRouterAdvert: 16, icmpNeighbSolicit: 24, icmpNeighbAdvert: 24}

func invalidND(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrND, fmt.Sprintf(format, args...))
}

// parseND reads an IPv6 packet that came from the hardware address from, and validates it (RFC 4861 sections 6.1 and 7.1).
func parseND(b []byte, from acd.MAC) (nd.Packet, error) {
	if len(b) < ipv6Header+ndMin || b[0]>>4 != 6 || b[6] != unix.IPPROTO_ICMPV6 {
		return nd.Packet{}, invalidND("%d octets, expected an IPv6 packet with ICMPv6", len(b))
	}
	if b[7] != ndHopLimit {
		return nd.Packet{}, invalidND("hop limit %d, expected %d: it has passed a router", b[7], ndHopLimit)
	}
	n := int(binary.BigEndian.Uint16(b[4:]))
	if n < ndMin || n > len(b)-ipv6Header {
		return nd.Packet{}, invalidND("payload of %d octets in a packet of %d", n, len(b))
	}
	p := nd.Packet{From: from, Src: netip.AddrFrom16([16]byte(b[8:24])), Dst: netip.AddrFrom16([16]byte(b[24:40]))}
	body := b[ipv6Header : ipv6Header+n]
	if icmp6Sum(p.Src, p.Dst, body) != 0 {
		return nd.Packet{}, invalidND("wrong checksum")
	}
	if p.Src.IsMulticast() || p.Src.IsLoopback() {
		return nd.Packet{}, invalidND("source address %s", p.Src)
	}
	msg, err := parseMessage(body)
	if err != nil {
		return nd.Packet{}, err
	}
	p.Msg = msg
	none := p.Src.IsUnspecified()
	switch m := msg.(type) {
	case nd.Solicit: // section 7.1.1
		if none && (p.Dst != nd.SolicitedNode(m.Target) || m.MAC != acd.MAC{}) {
			return nd.Packet{}, invalidND("probe for %s to %s, hardware address %s: expected the solicited-node group and none", m.Target, p.Dst, m.MAC)
		}
	case nd.Advert: // section 7.1.2
		if none || p.Dst.IsMulticast() && m.Solicited {
			return nd.Packet{}, invalidND("advertisement of %s from %s to %s, solicited %v", m.Target, p.Src, p.Dst, m.Solicited)
		}
	case nd.RouterSolicit: // section 6.1.1
		if none && m.MAC != (acd.MAC{}) {
			return nd.Packet{}, invalidND("router solicitation without a source has a hardware address")
		}
	case nd.RouterAdvert: // section 6.1.2
		if !p.Src.IsLinkLocalUnicast() {
			return nd.Packet{}, invalidND("router advertisement from %s, expected a link-local address", p.Src)
		}
	}
	return p, nil
}

// parseMessage reads an ICMPv6 message, whose checksum was seen to.
func parseMessage(b []byte) (nd.Message, error) {
	clean, err := knownOptions(b)
	if err != nil {
		return nil, err
	}
	m, err := ndp.ParseMessage(clean)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrND, err)
	}
	switch m := m.(type) {
	case *ndp.NeighborSolicitation:
		if !nd.Unicast(m.TargetAddress) {
			return nil, invalidND("solicitation for %s", m.TargetAddress)
		}
		s := nd.Solicit{Target: m.TargetAddress, MAC: linkLayer(m.Options, ndp.Source)}
		if raw := rawOption(clean[ndBody[icmpNeighbSolicit]:], optNonce); raw != nil {
			s.Nonce = nd.Nonce(raw)
		}
		return s, nil
	case *ndp.NeighborAdvertisement:
		if !nd.Unicast(m.TargetAddress) {
			return nil, invalidND("advertisement of %s", m.TargetAddress)
		}
		return nd.Advert{
			Target: m.TargetAddress, MAC: linkLayer(m.Options, ndp.Target),
			Router: m.Router, Solicited: m.Solicited, Override: m.Override,
		}, nil
	case *ndp.RouterSolicitation:
		return nd.RouterSolicit{MAC: linkLayer(m.Options, ndp.Source)}, nil
	case *ndp.RouterAdvertisement:
		return routerAdvert(m), nil
	}
	return nil, invalidND("type %d", b[0])
}

// knownOptions returns the message with the options that are read here only. An option of length 0 makes the whole message invalid; one unknown, or of a length its kind has not, is passed over.
func knownOptions(b []byte) ([]byte, error) {
	if len(b) < ndMin || len(b) > maxNDPacket || b[1] != 0 {
		return nil, invalidND("ICMPv6 message of %d octets, expected code 0 and %d to %d octets", len(b), ndMin, maxNDPacket)
	}
	body, ok := ndBody[b[0]]
	if !ok || len(b) < body {
		return nil, invalidND("ICMPv6 type %d of %d octets", b[0], len(b))
	}
	clean := slices.Clone(b[:body])
	for rest := b[body:]; len(rest) > 0; {
		if len(rest) < 2 || rest[1] == 0 || int(rest[1])*8 > len(rest) {
			return nil, invalidND("options end inside one")
		}
		n := int(rest[1]) * 8
		fits := false
		switch rest[0] {
		case optSourceLinkLayer, optTargetLinkLayer, optMTU:
			fits = n == 8
		case optPrefix:
			fits = n == 32 && rest[2] <= 128 && !netip.AddrFrom16([16]byte(rest[16:32])).Is4In6()
		case optNonce:
			fits = n <= 64
		case optDNS:
			fits = n >= 24 && n%16 == 8 && n < 256
		}
		if fits {
			clean = append(clean, rest[:n]...)
		}
		rest = rest[n:]
	}
	return clean, nil
}

// rawOption returns the value of the first option of the kind.
func rawOption(options []byte, kind byte) []byte {
	for ; len(options) >= 8; options = options[int(options[1])*8:] {
		if options[0] == kind {
			return options[2 : int(options[1])*8]
		}
	}
	return nil
}

func linkLayer(options []ndp.Option, which ndp.Direction) acd.MAC {
	for _, o := range options {
		if l, ok := o.(*ndp.LinkLayerAddress); ok && l.Direction == which {
			if mac, err := acd.MACFrom(l.Addr); err == nil {
				return mac
			}
		}
	}
	return acd.MAC{}
}

func routerAdvert(m *ndp.RouterAdvertisement) nd.RouterAdvert {
	ra := nd.RouterAdvert{
		HopLimit: m.CurrentHopLimit, Managed: m.ManagedConfiguration, Other: m.OtherConfiguration,
		Lifetime: m.RouterLifetime, Reachable: m.ReachableTime, Retrans: m.RetransmitTimer, MAC: linkLayer(m.Options, ndp.Source),
	}
	for _, o := range m.Options {
		switch o := o.(type) {
		case *ndp.MTU:
			ra.MTU = o.MTU
		case *ndp.PrefixInformation:
			if len(ra.Prefixes) < nd.MaxPrefixes {
				ra.Prefixes = append(ra.Prefixes, nd.PrefixInfo{
					Prefix: netip.PrefixFrom(o.Prefix, int(o.PrefixLength)), OnLink: o.OnLink,
					Autonomous: o.AutonomousAddressConfiguration, Valid: o.ValidLifetime, Preferred: o.PreferredLifetime,
				})
			}
		case *ndp.RecursiveDNSServer:
			for _, s := range o.Servers {
				if o.Lifetime > 0 && nd.Unicast(s) && len(ra.DNS) < nd.MaxDNS && !slices.Contains(ra.DNS, s) {
					ra.DNS = append(ra.DNS, s)
				}
			}
		}
	}
	return ra
}

// ParseRouterAdvert reads a router advertisement as it is carried outside its link: the ICMPv6 message, whose checksum means
// nothing there and is not looked at. Errors wrap ErrND.
func ParseRouterAdvert(b []byte) (nd.RouterAdvert, error) {
	m, err := parseMessage(b)
	if err != nil {
		return nd.RouterAdvert{}, err
	}
	ra, ok := m.(nd.RouterAdvert)
	if !ok {
		return nd.RouterAdvert{}, invalidND("ICMPv6 type %d, expected a router advertisement", b[0])
	}
	return ra, nil
}

// AppendRouterAdvert appends the ICMPv6 message, with checksum 0, to dst.
func AppendRouterAdvert(dst []byte, ra nd.RouterAdvert) ([]byte, error) {
	m, err := message6(ra)
	if err != nil {
		return dst, err
	}
	b, err := ndp.MarshalMessage(m)
	if err != nil {
		return dst, fmt.Errorf("osnet: router advertisement: %w", err)
	}
	return append(dst, b...), nil
}

// message6 converts a message for the codec.
func message6(msg nd.Message) (ndp.Message, error) {
	link := func(which ndp.Direction, mac acd.MAC) (options []ndp.Option) {
		if mac != (acd.MAC{}) {
			options = append(options, &ndp.LinkLayerAddress{Direction: which, Addr: mac.HardwareAddr()})
		}
		return options
	}
	switch m := msg.(type) {
	case nd.Solicit:
		options := link(ndp.Source, m.MAC)
		if n := len(m.Nonce); n > 0 {
			if n%8 != 6 || n > 62 {
				return nil, fmt.Errorf("osnet: nonce of %d octets: expected 6, or 8, 16 and so on more, at most 62", n)
			}
			options = append(options, &ndp.RawOption{Type: optNonce, Length: uint8(n/8 + 1), Value: []byte(m.Nonce)})
		}
		return &ndp.NeighborSolicitation{TargetAddress: m.Target, Options: options}, nil
	case nd.Advert:
		return &ndp.NeighborAdvertisement{
			TargetAddress: m.Target, Router: m.Router, Solicited: m.Solicited, Override: m.Override, Options: link(ndp.Target, m.MAC),
		}, nil
	case nd.RouterSolicit:
		return &ndp.RouterSolicitation{Options: link(ndp.Source, m.MAC)}, nil
	case nd.RouterAdvert:
		if len(m.Prefixes) > nd.MaxPrefixes || len(m.DNS) > nd.MaxDNS {
			return nil, fmt.Errorf("osnet: router advertisement with %d prefixes and %d servers: expected at most %d and %d",
				len(m.Prefixes), len(m.DNS), nd.MaxPrefixes, nd.MaxDNS)
		}
		options := link(ndp.Source, m.MAC)
		if m.MTU != 0 {
			options = append(options, ndp.NewMTU(m.MTU))
		}
		for _, p := range m.Prefixes {
			options = append(options, &ndp.PrefixInformation{
				Prefix: p.Prefix.Addr(), PrefixLength: uint8(p.Prefix.Bits()), OnLink: p.OnLink,
				AutonomousAddressConfiguration: p.Autonomous, ValidLifetime: p.Valid, PreferredLifetime: p.Preferred,
			})
		}
		if len(m.DNS) > 0 {
			options = append(options, &ndp.RecursiveDNSServer{Lifetime: nd.Infinite, Servers: m.DNS})
		}
		return &ndp.RouterAdvertisement{
			CurrentHopLimit: m.HopLimit, ManagedConfiguration: m.Managed, OtherConfiguration: m.Other,
			RouterLifetime: m.Lifetime, ReachableTime: m.Reachable, RetransmitTimer: m.Retrans, Options: options,
		}, nil
	}
	return nil, fmt.Errorf("osnet: neighbour discovery message %T is not known", msg)
}

// appendND writes p as an IPv6 packet.
func appendND(dst []byte, p nd.Packet) ([]byte, error) {
	m, err := message6(p.Msg)
	if err != nil {
		return dst, err
	}
	body, err := ndp.MarshalMessageChecksum(m, p.Src, p.Dst)
	if err != nil {
		return dst, fmt.Errorf("osnet: neighbour discovery: %w", err)
	}
	return appendIPv6(dst, p.Src, p.Dst, body), nil
}

// appendIPv6 appends a packet with an ICMPv6 message that no router has forwarded.
func appendIPv6(dst []byte, from, to netip.Addr, body []byte) []byte {
	dst = append(dst, 0x60, 0, 0, 0)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(body))) //nolint:gosec // bounded by the callers
	dst = append(dst, unix.IPPROTO_ICMPV6, ndHopLimit)
	dst = append(append(dst, from.AsSlice()...), to.AsSlice()...)
	return append(dst, body...)
}

// icmp6Sum is the checksum of RFC 4443 section 2.3 over a message with its checksum in it: 0 if that is right.
func icmp6Sum(src, dst netip.Addr, body []byte) uint16 {
	s, d := src.As16(), dst.As16()
	sum := uint32(len(body)) + unix.IPPROTO_ICMPV6
	for _, part := range [][]byte{s[:], d[:], body} {
		for ; len(part) >= 2; part = part[2:] {
			sum += uint32(binary.BigEndian.Uint16(part))
		}
		if len(part) == 1 {
			sum += uint32(part[0]) << 8
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
