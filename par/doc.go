// Package par orchestrates an access router: it leases addresses for mobile
// nodes that are still elsewhere, ends their proactive handover tunnels, holds
// and drains their packets, and hands them to the kernel once they have arrived.
// Every router is the previous AR of one move and the next AR of another; this
// package is both.
//
// What happens to a packet for the care-of address of one visitor is decided by
// the delivery mode (package tunnel/flow):
//
//	core --> host route nCoA/32 --> TUN --> visitor: tunnel  ESP to where the node is
//	                                                 hold    queue
//	                                                 drain   TUN, rule "iif TUN" --> access link
//	                                                 await  queue; what the previous router forwards: access link
//	                                                 copy   ESP, numbered, and a copy kept until the node has it
//	                                                 bicast ESP, numbered, to where the node is and where it will be
//	core --> connected route -----------------------> access link      (direct: not seen here)
//
// A node that is served has a tunnel that stands by: nothing goes through it. When the
// node departs, says Resume from elsewhere, wants copies, or leaves the access points
// without a word (stations.go), the host route is set first, so that what the kernel has
// sent is ahead of what comes after. Nobody but the node, the access points and time
// moves the mode; what nobody asks for goes after Config.Unused.
//
// A node that has left may have its session, address and keys held for a return, and then is
// what a candidate is, with a tunnel made anew from where it is (held.go).
//
// The host route, the neighbour entry and the rule stand before the node leaves
// its old network; what is left at arrival is to write the queue to the TUN. The
// flip to direct has what comes wait in the kernel until everything that went into the
// TUN before has come out and been written (flip.go). It waits for a pause; no pause in five
// seconds, or a packet of its own lost in the TUN, makes it a forced flip: reordering
// there is the only one the design allows, and it is counted. Whatever else the node
// asks for meanwhile waits for its end (visitor.lock).
//
// A tunnel that is replaced, or of a node that has arrived, lingers for a second: what the
// node had sent when its link was cut may still be under way (late.go).
//
// The PMKs that a session makes of its MSK (RFC 5807) go to the access points when
// the node asks, follow each re-authentication, and go with the session (links.go).
//
// What the DHCP server has granted is written down before it is asked for, and ends
// claimed by a session, given back or expired (leases.go), also over a crash.
//
// Covered: RFC 6252 §6.3 steps 1 to 4, §7.3.1 (DHCPv4), §7.4, §7.6 (buffering at the
// nAR and the pAR, bicasting, copy-and-forward), §7.7.1, Appendix A, C.1 and C.2 (held for a return), for IPv4 and IPv6.
package par
