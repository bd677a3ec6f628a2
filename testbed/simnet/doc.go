// Package simnet is a network of machines that exist in this process only, so
// that whole handovers run under the virtual time of testing/synctest: no
// namespace, no root, minutes in milliseconds. A Machine is an Opener of package
// host: what mn, par, paa and ha ask of Linux, they ask of it.
//
//	daemon --- Host --- Machine --- interface --- Cable --- interface | Bridge
//	          tables,   routes, rules,            each direction: delay, loss,
//	          sockets,  neighbours,               duplication, reordering
//	          TUN       forwarding
//
// One lock guards the whole network, and one goroutine carries frames: a cable
// delivers in order unless its impairment says otherwise. What a cable does to a
// frame is drawn from (seed, cable, direction, class of the frame, number in its
// class), so that one packet more of one kind does not change the fate of the
// others.
//
// A Machine is IPv4 as Linux does it, in these parts: policy rules by source,
// interface and UDP source port, longest match with metrics, connected routes, ARP
// with a queue for what waits, three tries of a second and gratuitous updates of
// entries that are there, neighbours that go with the carrier unless permanent,
// TUN devices, and the owner of everything that was set, so that a daemon that was
// killed leaves its traces and the next one finds them.
//
// Not simulated: IPv6, ICMP, fragmentation and MTU, checksums of UDP, ageing of
// neighbours while there is a carrier, reverse path filters, bandwidth.
//
// What is deterministic: the network's draws, and the order in which one cable
// delivers. What is not: which of several goroutines runs first in the same
// virtual instant, and the random numbers of crypto/tls. A seed therefore
// reproduces a failure mostly, not always.
package simnet
