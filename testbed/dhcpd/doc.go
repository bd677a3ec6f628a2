// Package dhcpd is the lab's DHCP server: small, but exact in what the lab
// relies on.
//
// One server serves several links ([Pool]). A request names its link by the
// relay's address (giaddr), by the client's own address when it renews
// (ciaddr), or by the interface on which it came, in this order.
//
//	DISCOVER ──> free ──> OFFER      offered, for 10 s
//	REQUEST  ──> offered/bound to this client ──> ACK, bound; else NAK
//	             (silence when another server is meant)
//	DECLINE  ──> declined: nobody gets the address until [Table.Reset]
//	RELEASE  ──> free
//	INFORM   ──> ACK without an address
//
// A client is known by its client identifier (option 61), and by its
// hardware address when it sends none. The relay agent's option 82 comes
// back as it was (RFC 3046, section 2.2).
//
// A pool with an IPv6 prefix is served by DHCPv6 (RFC 8415), with one non-temporary
// address for each client identifier and IAID; the link is that of the relay's
// link-address, or the interface:
//
//	SOLICIT ──> free ──> ADVERTISE offered, for 10 s; with rapid commit REPLY, bound
//	REQUEST ──> offered or free ──> REPLY, bound
//	RENEW, REBIND ──> bound to this client ──> REPLY, bound; else NoBinding
//	DECLINE, RELEASE ──> declined, free
//	CONFIRM, INFORMATION-REQUEST ──> REPLY without an address
//
// Implemented of RFC 2131: sections 3.1 to 3.5, 4.1, 4.3.1 to 4.3.5; of RFC
// 3046: section 2.2; RFC 6842 (the client identifier is echoed); of RFC 8415:
// sections 18.3.1 to 18.3.9 and 19.3. Not
// implemented: probing an address before it is offered (section 3.1, step 2;
// whoever leases probes), BOOTP clients, options other than mask, router,
// name server and times; prefix delegation, temporary addresses, several addresses
// of one client, reconfiguration, authentication.
//
// A lease is stored before the ACK goes out, a declined address, too; offers
// are not. [Table] has no sockets: [Table.Answer] takes a datagram and gives
// the reply.
package dhcpd
