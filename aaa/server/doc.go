// Package server is the embedded AAA server: a core that authenticates by EAP-TLS, EAP-TTLS and PEAP,
// fronts that carry it (RADIUS, on one UDP socket), with a small certificate authority of its own. It is the default for a lab or a
// small site.
//
//	router ---> front: who asks? authentic? ------------------------- no --> counted, dropped
//	              |    a duplicate? -------------------------------- yes --> as before
//	              v
//	            Server.Answer: a slot (a bounded queue, its last half for conversations
//	              |            under way) -------------------- none left --> ErrOverload
//	              v
//	            session by State ---> eap.Server ---> Reply ---> front ---> router
//
// A front speaks one protocol and knows nothing of EAP; the server knows nothing of
// protocols. What the server wants of a router afterwards goes through Front.Order.
//
// # A session
//
//	Ask, Response/Identity                 --> Continue, start of a method, State
//	Ask, State, Response                   --> Continue ...            (one at a time)
//	                                       --> Accept, Success, MSK, Timeout
//	                                       --> Reject, Failure
//	nothing for 30 s, or 120 s in all      --> forgotten
//
// State is 16 random octets. It only counts from the client that the session began with.
//
// # State directory
//
//	ca.pem ca.key           certificate authority, P-256, made on first use, ten years
//	server.pem server.key   certificate of the configured server name, two years,
//	                        replaced 30 days before it ends or when the name changes
//	.lock                   held while files are looked at or made
//
// Keys have mode 0600, and every file appears whole or not at all. Clients'
// certificates are issued for two years and not kept here.
//
// # Covered
//
// RFC 2865 sections 2 and 5.24, 5.33 (Proxy-State goes back); RFC 3579 sections 2 and
// 3; RFC 5080 sections 2.2.2 (duplicates) and 2.2.3 (overload); the methods of aaa/eap.
// The identity the peer gives must be a name of its certificate, or anonymous in the
// realm of one (RFC 9190 sections 2.1.7 and 2.1.8).
//
// # Not covered
//
// Accounting; lists of revoked certificates: who must not come in any more is blocked in
// the file of users, by name.
package server
