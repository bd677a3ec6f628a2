package acd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// PacketLen is the length in octets of an ARP packet for Ethernet and IPv4.
const PacketLen = 28

const (
	hardwareEthernet = 1
	protocolIPv4     = 0x0800
	hardwareLen      = 6
	protocolLen      = 4
)

// ErrPacket is wrapped by every error of ParseARP.
var ErrPacket = errors.New("acd: malformed ARP packet")

// MAC is an Ethernet address.
type MAC [hardwareLen]byte

var broadcast = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// Broadcast returns the Ethernet address of everybody on the link.
func Broadcast() net.HardwareAddr { return broadcast.HardwareAddr() }

// MACFrom converts a net.HardwareAddr, which must have 6 octets.
func MACFrom(a net.HardwareAddr) (MAC, error) {
	if len(a) != hardwareLen {
		return MAC{}, fmt.Errorf("acd: hardware address %q: want %d octets (Ethernet), got %d", a, hardwareLen, len(a))
	}
	return MAC(a), nil
}

// HardwareAddr converts m for package net; the result shares nothing with m.
func (m MAC) HardwareAddr() net.HardwareAddr { return net.HardwareAddr(m[:]) }

// String writes m with colons.
func (m MAC) String() string { return m.HardwareAddr().String() }

// Op is the operation of an ARP packet.
type Op uint16

// The operations of RFC 826. Others exist (RARP) and are kept as they come.
const (
	OpRequest Op = 1
	OpReply   Op = 2
)

// String names the operation.
func (o Op) String() string {
	switch o {
	case OpRequest:
		return "request"
	case OpReply:
		return "reply"
	}
	return fmt.Sprintf("Op(%d)", uint16(o))
}

// Packet is an ARP packet for Ethernet and IPv4. It is a plain value: == compares.
type Packet struct {
	Op        Op
	SenderMAC MAC
	SenderIP  netip.Addr // always IPv4; 0.0.0.0 in a probe
	TargetMAC MAC
	TargetIP  netip.Addr // always IPv4
}

// ParseARP reads an ARP packet, what follows the Ethernet header. Octets behind
// the packet (padding of short frames) are ignored. Errors wrap ErrPacket.
func ParseARP(b []byte) (Packet, error) {
	if len(b) < PacketLen {
		return Packet{}, fmt.Errorf("%w: want %d octets, got %d", ErrPacket, PacketLen, len(b))
	}
	ht, pt := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	if ht != hardwareEthernet || pt != protocolIPv4 || b[4] != hardwareLen || b[5] != protocolLen {
		return Packet{}, fmt.Errorf("%w: want hardware type %d, protocol 0x%04x, lengths %d and %d, got %d, 0x%04x, %d and %d",
			ErrPacket, hardwareEthernet, protocolIPv4, hardwareLen, protocolLen, ht, pt, b[4], b[5])
	}
	return Packet{
		Op:        Op(binary.BigEndian.Uint16(b[6:])),
		SenderMAC: MAC(b[8:14]),
		SenderIP:  netip.AddrFrom4([4]byte(b[14:18])),
		TargetMAC: MAC(b[18:24]),
		TargetIP:  netip.AddrFrom4([4]byte(b[24:28])),
	}, nil
}

// AppendBinary appends the packet's 28 octets to dst. It fails when an address is
// not IPv4 (the zero netip.Addr is not).
func (p Packet) AppendBinary(dst []byte) ([]byte, error) {
	if !p.SenderIP.Is4() || !p.TargetIP.Is4() {
		return dst, fmt.Errorf("acd: ARP packet: want IPv4 addresses, got sender %v and target %v", p.SenderIP, p.TargetIP)
	}
	dst = binary.BigEndian.AppendUint16(dst, hardwareEthernet)
	dst = binary.BigEndian.AppendUint16(dst, protocolIPv4)
	dst = append(dst, hardwareLen, protocolLen)
	dst = binary.BigEndian.AppendUint16(dst, uint16(p.Op))
	dst = append(dst, p.SenderMAC[:]...)
	dst = append(dst, p.SenderIP.AsSlice()...)
	dst = append(dst, p.TargetMAC[:]...)
	return append(dst, p.TargetIP.AsSlice()...), nil
}

// IsProbe says whether p is an ARP Probe: a request without a sender IP address
// (RFC 5227 section 1.1).
func (p Packet) IsProbe() bool { return p.Op == OpRequest && p.SenderIP == netip.IPv4Unspecified() }

// ProbePacket returns the ARP Probe for addr sent by mac (RFC 5227 section 2.1.1).
func ProbePacket(addr netip.Addr, mac MAC) Packet {
	return Packet{Op: OpRequest, SenderMAC: mac, SenderIP: netip.IPv4Unspecified(), TargetIP: addr}
}

// AnnouncementPacket returns the ARP Announcement of addr at mac (RFC 5227 section 2.3).
func AnnouncementPacket(addr netip.Addr, mac MAC) Packet {
	return Packet{Op: OpRequest, SenderMAC: mac, SenderIP: addr, TargetIP: addr}
}

// ReplyPacket returns the reply to the request req that says addr is at mac (RFC 826).
func ReplyPacket(req Packet, addr netip.Addr, mac MAC) Packet {
	return Packet{Op: OpReply, SenderMAC: mac, SenderIP: addr, TargetMAC: req.SenderMAC, TargetIP: req.SenderIP}
}
