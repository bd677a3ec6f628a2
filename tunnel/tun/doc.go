// Package tun opens the TUN device through which a daemon takes packets from
// the kernel's routing and gives packets back to it: plain IP packets, no link-layer
// header.
//
//	   kernel routing                       daemon
//	+------------------+   Read        +--------------+
//	| host route   ----|--> queue ---->| hold, tunnel |
//	|  ... dev mpa0    |   (QueueLen)  |              |
//	| rule iif mpa0 <--|---------------| drain        |
//	+------------------+   Write       +--------------+
//
// A device belongs to the network namespace of the thread that calls Open, and
// is gone, with its addresses and routes, when it is closed or the process ends.
// Read waits in the runtime's poller, so Close wakes it. Packets that found the
// queue full are counted by the kernel; Stats returns that counter, since every
// packet is to have an owner until it is delivered or counted.
//
// With Config.Offload a system call carries several segments of a stream: Read has the
// others in hand (Buffered), and packets of Queue wait to be written with others until
// Uncork. What comes and goes one by one is the same packets, complete with checksums, in
// the same order for each stream; without offload the methods are there, too, and nothing
// waits.
//
// Covered: the kernel's tuntap interface (Documentation/networking/tuntap.rst)
// with IFF_TUN, IFF_NO_PI and IFF_VNET_HDR.
//
// Not covered: TAP, several queues that are read.
package tun
