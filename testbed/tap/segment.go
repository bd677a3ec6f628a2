package tap

import (
	"encoding/binary"
	"iter"

	"golang.org/x/sys/unix"

	"openmpa/tunnel/ipip"
)

// What the kernel says of a frame before it (struct virtio_net_hdr, PACKET_VNET_HDR):
//
//	flags u8 | gso_type u8 | hdr_len u16 | gso_size u16 | csum_start u16 | csum_offset u16
const (
	vnetLen  = 10
	gsoType  = 1
	gsoSize  = 4
	etherLen = 14
	udpLen   = 8
)

// frames are those in what was read: one, or one for each UDP packet of those that are moved as one.
func frames(b []byte) iter.Seq[[]byte] {
	head, frame := b[:vnetLen], b[vnetLen:]
	size := int(binary.NativeEndian.Uint16(head[gsoSize:]))
	return func(yield func([]byte) bool) {
		data, ok := udpData(frame)
		if head[gsoType]&^unix.VIRTIO_NET_HDR_GSO_ECN != unix.VIRTIO_NET_HDR_GSO_UDP_L4 || size == 0 || !ok {
			yield(frame)
			return
		}
		for at := data; at < len(frame); at += size {
			end := min(at+size, len(frame))
			one := append(frame[:data:data], frame[at:end]...)
			ip, udp := one[etherLen:], one[data-udpLen:]
			binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
			binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)))
			if !yield(one) {
				return
			}
		}
	}
}

// udpData is where the data of a frame with UDP over IPv4 begins.
func udpData(frame []byte) (at int, ok bool) {
	if len(frame) < etherLen || binary.BigEndian.Uint16(frame[12:]) != unix.ETH_P_IP {
		return 0, false
	}
	_, _, proto, header, total, err := ipip.ParseIPv4(frame[etherLen:])
	at = etherLen + header + udpLen
	return at, err == nil && proto == unix.IPPROTO_UDP && total == len(frame)-etherLen && at <= len(frame)
}
