// Package bind opens the sockets that carry the outer packets of tunnels: UDP
// for ESP in UDP (RFC 3948) and raw protocol 4 for IP in IP (RFC 2003), one per
// local (care-of) address. The kernel builds the outer header and reassembles. Raw
// sends packets that are whole already.
//
//	            Send(to, packet, tos)               ReadBatch
//	                   |                                ^
//	+------------------v---------------------+ +--------+--------------------+
//	| outer header: kernel                   | | TOS (IP_RECVTOS, for ECN)   |
//	|   TOS  per packet (cmsg IP_TOS)        | | source address              |
//	|   DF   clear (IP_PMTUDISC_DONT)        | | receive queue, RecvBuffer   |
//	+----------------------------------------+ +-----------------------------+
//	                                             full: counted (SO_MEMINFO)
//
// DF is clear unless Options say otherwise: tunnel devices announce an MTU that
// fits, and where a link on the path is narrower still a fragment arrives late
// rather than never. Send buffers are large, too: packets that wait for an
// unresolved neighbour are charged to the socket, and one dead peer must not stop the
// others (the kernel holds about 200 KiB for a neighbour).
//
// With Options.Offload a socket gives the kernel several datagrams in one call
// (UDP_SEGMENT), and takes those that it has merged (UDP_GRO), since a call costs
// more than a packet. A kernel, a device or a path that cannot do it gets them one by one.
//
// UDP goes over IPv6, too, by the options of the same purpose: the traffic class is the TOS,
// the checksum is there always (RFC 8200 section 8.1), and what is longer than the path takes is fragmented
// here, since routers do not; how long that may be the kernel learns of ICMP, 1280 octets at least.
//
// Sending and receiving do not allocate. Every packet that a socket of this
// package was given is in one of the counters of its Stats, those the kernel
// dropped for want of room included.
//
// Covered: RFC 3948 section 2 (the UDP checksum is sent as zero but with offload, for
// which the kernel wants one); RFC 2003
// section 3 with the outer header of the kernel; RFC 6040 on receipt of IP in IP.
//
// Not covered: copying DF outwards per packet (RFC 2003 section 3.1), which a
// kernel-built header does not allow; link-local outer addresses.
package bind
