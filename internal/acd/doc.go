// Package acd is IPv4 address conflict detection, RFC 5227: probing an address
// before it is used, announcing it, and defending it afterwards.
//
// An access router probes for a mobile node that is still elsewhere (RFC 6252
// appendix A); the node itself announces and defends on arrival, since IPv4 has
// no optimistic duplicate address detection.
//
//	        Start                random 0..PROBE_WAIT            PROBE_NUM sent
//	idle ----------> waiting -------------------------> probing ----------------> listening
//	 |                  |                                  |                          |
//	 |                  |  sender IP is ours, or           |                          | ANNOUNCE_WAIT
//	 |                  |  a foreign probe for it          |                          v
//	 |                  +----------> conflict <------------+--------------+-------- free
//	 |                                                                                |
//	 |  Announce (the address was probed by somebody else)                            | Announce
//	 +------------------------------> announcing <------------------------------------+
//	                                   |  ANNOUNCE_NUM sent
//	                                   v
//	                                 bound          announcing, bound: a foreign packet with
//	                                   |            our sender IP is answered by policy:
//	                                   v            give up | defend once | defend always
//	                                 lost           (section 2.4 a, b, c)
//
// An ARP packet for Ethernet and IPv4 (RFC 826) has 28 octets:
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|      hardware type = 1        |    protocol type = 0x0800     |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|  hw length 6  | proto length 4|          operation            |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                    sender hardware address                    |
//	+                               +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                               |      sender IP address        |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   ... sender IP address       |   target hardware address     |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+                               +
//	|                                                               |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                       target IP address                       |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//
// Covered: RFC 5227 sections 1.1 (constants), 2.1 and 2.1.1 (probing, both
// conflict tests, the rate limit), 2.3 (announcing), 2.4 (all three answers), 3
// (announcements are requests). Not covered: 2.5 (answering requests: the kernel
// does it for its own addresses, par/neigh for those of absent nodes), 2.6
// (broadcast replies, not recommended there).
//
// The machine has no clock, socket or goroutine; runner.go drives it over a Conn.
package acd
