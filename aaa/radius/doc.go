// Package radius carries EAP over RADIUS: a client with a transport of its own, and
// the codec a server needs. Packets and dictionaries are those of
// layeh.com/radius; integrity, splitting, retransmission and fail-over are here.
//
// # On the wire
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|     Code      |  Identifier   |            Length             |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|            Authenticator, 16 octets: random in a request,     |
//	|     MD5(reply with the request's authenticator | secret)      |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	| 80 | 18 | Message-Authenticator, 16 octets: always first      |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	| type | length | value ... EAP-Message (79) in pieces of 253   |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//
// Message-Authenticator = HMAC-MD5(secret, packet with the request's authenticator
// and this value zero). It comes first and is required on every packet, both ways:
// a reply without it can be forged by a chosen-prefix collision of MD5
// ("Blast-RADIUS").
//
// # An exchange
//
//	identifier and authenticator taken
//	       |
//	       v        RT passes: the same octets again, RT doubled (RFC 5080)
//	  +--> sent ----------------------------------------------+
//	  |     |  \                                              |
//	  |     |   reply not from this server, or not authentic: |
//	  |     |   counted, dropped                              |
//	  |     v                                                 v  MRC or MRD
//	  |   reply                              server dead for DeadTime
//	  |                                                       |
//	  +---- next server, new identifier and authenticator <---+  (not within a conversation)
//
// # Covered
//
// RFC 2865 sections 3 and 4.1 to 4.4, 5 (the attributes of Request and Response);
// RFC 2548 section 2.4.2 and 2.4.3 (MPPE keys); RFC 3579 sections 2.1, 2.6.3 and 3;
// RFC 5080 sections 2.2.1, 2.2.2 (least recently used identifiers), 2.1.1 (State);
// RFC 3580 sections 3.17 (Session-Timeout) and 3.20, 3.21 (station ids).
//
// # Not covered
//
// Accounting (RFC 2866), Disconnect and CoA (RFC 5176), TCP and TLS transports
// (RFC 6613, 6614), Status-Server (RFC 5997), being a proxy.
package radius
