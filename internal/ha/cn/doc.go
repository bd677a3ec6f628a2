// Package cn makes a host a correspondent of Mobile IPv6 that does route optimisation (RFC 6275
// section 9), in user space; the protocol is package mip6's. It has an address of its own, by which
// the host speaks to mobile nodes. That is an address of the TUN, but the kernel's own route to it is
// taken out: so what comes for it passes the daemon, and what the daemon writes is delivered.
//
//	network                                   host
//	   |    main table: address -> TUN            | socket
//	   |--------> eth0 --> TUN --> home address option? --> TUN --> rule iif TUN: address is local
//	   |                       mobility header: mip6.Correspondent
//	   |<-------- eth0 <-- TUN <-- routing header <-- TUN <-- rule iif lo: bound home addresses
//
// What the host sends to a home address passes the daemon while that is bound, and goes to the care-of
// address then; all else it sends goes as ever. core.go is the correspondent without sockets, and acts
// on the [World]; agent.go is the World of a machine (package host). Bindings are not kept over an end:
// mobile nodes are told, when they send, that there is none (section 9.3.3), and make another.
//
// # Covered
//
// RFC 6275: 9.2 to 9.5 as package mip6 says, and 9.3.4: a packet with a routing header that was too big
// is told to the socket it came from.
//
// # Deviations
//
// Packets with a Home Address option are also taken from the just-previous care-of address, for a few
// seconds.
//
// # Not covered
//
// Other ICMP errors about packets with a routing header: the sender does not hear of them.
package cn
