// Package server is the embedded AAA server: a core that authenticates by EAP-TLS,
// EAP-TTLS and PEAP, keeps books and has others' servers answer for their realms; fronts
// that carry it, by RADIUS, RadSec and Diameter; and a small certificate authority. It is
// the default for a lab or a small site.
//
//	router ---> front: who asks? authentic? ------------------------- no --> counted, dropped
//	              |    a duplicate? -------------------------------- yes --> as before
//	              v
//	            Server.Answer: a slot (a bounded queue, its last half for conversations
//	              |            under way) -------------------- none left --> ErrOverload
//	              v
//	            session by State -+-> eap.Server -----------------+-> Reply ---> front ---> router
//	                              +-> servers of another realm ---+
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
// # Forwarding
//
// A session of another operator's realm is a conversation of package aaa with the servers
// of that: whatever came by one protocol goes on by any. It has a name at the router and
// another one at home; accept, records and orders are told each in the name it knows. A
// record has its answer when it is in the books here and at home. What is lost in the
// middle is not answered, or as *aaa.LostError where another server of the home stands by.
//
// # Books
//
//	record ---> new for its session? --no--> answered as before
//	              | yes
//	              v
//	            lines of all who wait at once ---> file, synced ---> all are answered
//
// A start and a stop of a session are in the file once, interims as their numbers grow.
// What a restart has to know is read from the file's last 64 MiB.
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
// RFC 2865 sections 2 and 5.24, 5.33 (Proxy-State goes back, and on to the next server, with a
// mark of our own by which a circle is known; RFC 6733 section 6.7.1 likewise); RFC 3579 sections 2 and
// 3; RFC 5080 sections 2.2.2 (duplicates) and 2.2.3 (overload); RFC 2866 and RFC 6733
// section 9 as far as records go; RFC 5176 and RFC 6733 sections 8.3 and 8.5 as who sends
// them; the methods of aaa/eap. The identity the peer gives must be a name of its
// certificate, or anonymous in the realm of one (RFC 9190 sections 2.1.7 and 2.1.8). Who is
// blocked in the file of users is refused by every method, and when it resumes, too.
//
// # Not covered
//
// Lists of revoked certificates: who must not come in any more is blocked by name. TLS
// sessions and conversations under way do not outlive the process.
package server
