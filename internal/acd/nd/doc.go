// Package nd is IPv6 neighbour discovery without I/O: the messages as values, duplicate address detection on behalf of
// a node that is absent, what a router advertises, and the addresses a node forms from that.
//
// An access router detects duplicates for a mobile node that is still elsewhere (RFC 6252 appendix A):
//
//	        Start              random 0..Delay                Transmits sent
//	idle ----------> waiting ------------------> probing <-------------------+
//	                    |                           |                        | a probe of ours came back:
//	                    | an advertisement of it,   | Retrans after the last | LoopTransmits more (RFC 7527)
//	                    | or a foreign probe        +------------------------+
//	                    v                           v
//	                 conflict <---------------    free
//
// Every probe carries a nonce of its own. A probe that comes with one that was sent is ours, looped back by the link; any other, with
// a foreign nonce or none, is a genuine duplicate unless it is the node's own arrival, known by its hardware address.
//
// Covered: RFC 4862 sections 5.4.2 to 5.4.5 (sending, both conflict tests) and 5.5.3 (which prefixes an address is formed from);
// RFC 7527 sections 4.1 and 4.2; RFC 7217 section 5 (stable and opaque identifiers); RFC 4291 appendix A (identifiers from
// hardware addresses) and section 2.7.1 (solicited-node groups); RFC 5453 (reserved identifiers); RFC 4861 sections 4.1 to 4.4 as values.
// Not covered: address resolution and reachability, which are the kernel's, redirects, temporary addresses (RFC 8981). The codec of
// the messages is in internal/osnet, beside the socket.
package nd
