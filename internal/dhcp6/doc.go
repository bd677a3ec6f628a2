// Package dhcp6 is a DHCPv6 client that leases one address for this host on its own link, or, as a relay agent, for a mobile
// node that is still elsewhere.
//
//	on the link        Client --- UDP, link-local:546 -> ff02::1:2 port 547 --- servers and relays of the link
//	for somebody else  Client --- Relay, one socket on link-address:547, Relay-forward and Relay-reply --- server:547
//
// The exchange of Acquire (RFC 8415 section 18.2):
//
//	        SOLICIT, rapid commit?              ADVERTISE, valid              REQUEST            REPLY, valid, same address
//	start ------------------------> SELECTING -------------------> ... ---------------> REQUESTING ----------------------> lease
//	                                   |  REPLY, valid, rapid commit                        | REPLY with a status
//	                                   +--------------------------------------> lease       +---------> StatusError
//	                                   |  tries used up                                     | tries used up
//	                                   v                                                    v
//	                             NoAnswerError "advertise"                            NoAnswerError "reply"
//
// A visitor's lease is bound to its DUID and IAID, so that the server knows it again when it renews from the link by itself. The
// relay names the link by its own address there (link-address) and, if set, an interface identifier, and tells the visitor's
// hardware address (RFC 6939). All visitors share its socket; the transaction identifier tells them apart.
//
// Whatever a server says is checked before it is believed: message type, transaction, both identifiers, the IA's identifier, an
// address inside the prefix expected, lifetimes and the order of T1 and T2. What is refused is ignored, and named in the error if nothing better comes.
//
// Covered: RFC 8415 sections 15 (retransmission), 16.3 and 16.10 (validation), 18.2.1, 18.2.2, 18.2.4, 18.2.5, 18.2.7, 18.2.8 and 18.2.10 (Solicit,
// Request, Renew, Rebind, Release, Decline and their answers), 19.1.1 and 19.2 as the relay nearest to the client, 21.2 to 21.4, 21.6, 21.7,
// 21.9, 21.10, 21.13, 21.14 and 21.18 (options); RFC 3646 (name servers); RFC 6939. Not covered: comparing several servers
// (section 18.2.9: the first valid Advertise is taken), Confirm, Information-request, Reconfigure, temporary addresses, prefix delegation,
// authentication, servers' unicast option, SOL_MAX_RT (Timing.Max and Tries bound the asking instead).
package dhcp6
