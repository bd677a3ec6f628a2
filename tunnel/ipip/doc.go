// Package ipip is IP in IP (RFC 2003) for user space: strict reading of IPv4
// headers, building and removing the outer header, and the Type of Service
// octet across a tunnel. It is pure: no sockets, no clock, and no allocation when
// the caller's buffer has room.
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-------+-------+-----------+---+-------------------------------+ --+
//	|   4   |   5   |   DSCP    |ECN|         Total Length          |   |
//	+-------+-------+-----------+---+-----+-------------------------+   |
//	|        Identification         |0|D|M|    Fragment Offset      |   | outer
//	+---------------+---------------+-----+-------------------------+   | header
//	|      TTL      |  Protocol 4   |        Header Checksum        |   | (20)
//	+---------------+---------------+-------------------------------+   |
//	|           Source: the encapsulator (e.g. care-of address)     |   |
//	+---------------------------------------------------------------+   |
//	|           Destination: the decapsulator (e.g. home agent)     |   |
//	+---------------------------------------------------------------+ --+
//	|           inner IPv4 packet, as it was                        |
//	~                                                               ~
//	+---------------------------------------------------------------+
//
// DSCP and ECN are copied outwards (RFC 2003 section 3.1; normal mode of RFC
// 6040 section 4.1) unless Marking says otherwise (compatibility mode; one DSCP for
// all, the pipe model of RFC 2983); inwards the ECN field is combined as the table of
// RFC 6040 section 4.2 says, and the DSCP of the inner header stays as it is.
//
// Covered: RFC 791 section 3.1 as far as a tunnel end needs it (version, IHL, total length,
// fragments, checksum); RFC 2003 sections 3.1 and 3.2 (TTL 0, a source that is
// the tunnel's exit); RFC 6040 sections 4.1 to 4.3; RFC 2983 sections 3.1 and 3.2; RFC 1624.
//
// Not covered: ICMP relaying (RFC 2003 section 4) and tunnel MTU discovery
// (section 5): tunnel devices announce a lower MTU for good; fragmentation in user
// space. Of IPv6 in IPv6 (RFC 2473), in ip6.go: sections 3.1, 3.2 and 4.1.2; not the
// encapsulation limit (section 4.1.1).
package ipip
