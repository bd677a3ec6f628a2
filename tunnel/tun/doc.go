// Package tun opens the TUN device through which a daemon takes packets from
// the kernel's routing and gives packets back to it: plain IP packets, one a
// system call, no link-layer or offload header.
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
// Covered: the kernel's tuntap interface (Documentation/networking/tuntap.rst)
// with IFF_TUN and IFF_NO_PI.
//
// Not covered: TAP, several queues, segmentation and checksum offload.
package tun
