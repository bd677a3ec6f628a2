// Package dhcp4 is a DHCPv4 client that leases for this host on its own link, or, as a relay agent, for a mobile node
// that is still elsewhere.
//
//	on the link        Client --- AF_PACKET, 0.0.0.0:68 -> 255.255.255.255:67 --- server on the link
//	for somebody else  Client --- Relay, one socket on giaddr:67 --- server:67
//	renewing           Client --- UDP, leased address:68 -> server:67
//
// The exchange of Acquire (RFC 2131 figure 5, without the states of a lease's later life, which belong to the caller):
//
//	       DISCOVER                    OFFER, valid             REQUEST               ACK, valid, same address
//	start ---------> SELECTING --------------------------> REQUESTING ----------------------------------> lease
//	                  |     ^                                  |
//	                  |     +------ NAK, at most maxNAKs ------+
//	                  v  tries used up                         v  tries used up
//	             NoAnswerError "offer"                    NoAnswerError "ack"
//
// A visitor's lease is bound to its hardware address (chaddr) and its client identifier (option 61), so that the server knows
// it again when it renews from the link by itself. The relay adds itself (giaddr) and a circuit identifier (option 82), and
// shares one socket on port 67, to which RFC 2131 section 4.1 makes servers answer, between all visitors; the
// transaction identifier tells them apart.
//
// Whatever a server says is checked before it is believed: message type, transaction, hardware address, client identifier
// if echoed (RFC 6842), server identifier, an address inside the subnet expected, mask, router on that subnet, lifetime and the
// order of T1 and T2. What is refused is ignored, and named in the error if nothing better comes.
//
// Covered: RFC 2131 sections 2, 3.1, 4.1 (retransmission with random exponential backoff), 4.4.1, 4.4.5 (one renewing or
// rebinding exchange), 4.4.6, and DECLINE; RFC 2132 options 1, 3, 6, 50, 51, 53, 54, 55, 56, 57, 58, 59, 61; RFC 3046 circuit
// identifier; RFC 6842. Not covered: INIT-REBOOT, INFORM, option overload (52) beyond what the codec does,
// authentication (RFC 3118), rapid commit (RFC 4039), broadcasting DISCOVER to several servers through one relay.
package dhcp4
