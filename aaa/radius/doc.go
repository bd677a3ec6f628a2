// Package radius is RADIUS as a router speaks it: a client with transports of its own, over
// UDP and over TLS (RadSec), that carries EAP, delivers accounting records and takes
// servers' orders, and the codec a server needs. Packets and dictionaries are those of
// layeh.com/radius, and a few words of our own in dictionary.openmpa; integrity,
// splitting, retransmission, fail-over and streams are here.
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
// A computed authenticator (Accounting-Request, Disconnect-Request, CoA-Request) is
// MD5(packet with zeros in its place | secret), and the zeros are there for the HMAC, too.
//
// # An exchange
//
//	identifier and authenticator taken
//	       |
//	       v        RT passes: the same octets again, RT doubled (RFC 5080); not over TLS
//	  +--> sent ----------------------------------------------+
//	  |     |  \                                              |
//	  |     |   reply not from this server, or not authentic: |
//	  |     |   counted, dropped; over TLS the connection ends|
//	  |     v                                                 v  MRC or MRD, or its server is dead
//	  |   reply                                               |
//	  |                                                       |
//	  +---- next server, new identifier and authenticator <---+  (not within a conversation)
//
// # Whether a server lives
//
// A request that waits too long, or a host that says nobody is at the port, has the server
// probed by Status-Server; only its silence to that has it dead, so that nobody can have
// it given up by lies. An idle server is probed every 30 s, a dead one ever more seldom,
// down to once a minute; three answers in a row have it alive again, and asked first if
// it was. Type health draws it. One that has never answered Status-Server is judged by
// its answers to requests alone. A connection over TLS is made before it is needed, and
// again when it ends.
//
// # Orders
//
//	server                                    router
//	  |  Disconnect-Request, session             |
//	  |----------------------------------------->| ended: Disconnect-ACK
//	  |  CoA-Request, session, Session-Timeout   |
//	  |----------------------------------------->| lasts that long from now on: CoA-ACK
//	  |  CoA-Request, session, Authorize-Only    |
//	  |----------------------------------------->| the node is asked to authenticate again:
//	  |                                          | CoA-NAK, Request-Initiated
//
// Over UDP they come to a socket of their own, from the address of a server, with
// Message-Authenticator and an Event-Timestamp off by 300 s at most; an order is carried
// out once, and answered as before when it comes again. Over TLS they come on the
// connection the router has made.
//
// # Covered
//
// RFC 2865 sections 3 and 4.1 to 4.4, 5 (the attributes of Request and Response);
// RFC 2866 (Start, Interim, Stop) with RFC 2869 sections 5.1, 5.2, 5.3 and 5.16; RFC 2548
// section 2.4.2 and 2.4.3 (MPPE keys); RFC 3539 section 3.4 (the watchdog); RFC 3579
// sections 2.1, 2.6.3 and 3; RFC 3580 sections 3.17 (Session-Timeout) and 3.20, 3.21
// (station ids); RFC 4372 (Chargeable-User-Identity); RFC 5080 sections 2.2.1, 2.2.2
// (least recently used identifiers), 2.1.1 (State); RFC 5176 sections 2, 3 and 6.3;
// RFC 5580 section 4.1 (Operator-Name); RFC 5997; RFC 6613 section 2.6 and RFC 6614
// sections 2.3 to 2.5, by TLS 1.3 with certificates on both sides.
//
// # Not covered
//
// Message-Authenticator is not required of answers to accounting records and Status-Server,
// since few servers send it there: nothing is granted by these. Whoever has sent it once
// with the former must go on. An order to authenticate again makes the node do so by EAP:
// no Access-Request with Service-Type Authorize-Only is sent, and the order's State not
// returned to the server. Sessions are not chosen by address or port. RADIUS over DTLS
// (RFC 7360), dynamic discovery (RFC 7585), TLS by pre-shared key or fingerprint.
// A proxy is made of a client and a server above this package: requests are not passed on
// as they are. Proxy-State goes back to whoever sent it; whoever passes a request on passes on that, too.
package radius
