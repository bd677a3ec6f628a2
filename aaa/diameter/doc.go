// Package diameter is a Diameter node: the base protocol between peers, and above it the
// EAP application and base accounting. Dictionary and values are go-diameter's;
// connections, parsing, peers and routing are here.
//
// # On the wire
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|  Version = 1  |   Message Length: 20 to 65536, a multiple of 4|
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|R|P|E|T| 0     |                  Command Code                 |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|        Application-ID: 0 between peers, 3, 5                  |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|        Hop-by-Hop Identifier: of one connection               |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|        End-to-End Identifier: with Origin-Host tells          |
//	|        repetitions (T) from requests                          |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|  AVPs: code, flags V M P, length, vendor with V, value, padding
//
// # A connection
//
//	accepted --> wait-cer --CER good, CEA--+
//	                                       v    DPR sent      DPA, 1 s
//	dialled ---> wait-cea --CEA good---> open -----------> closing -----> closed
//	                                       |   DPR received             ^
//	                                       +-----------> leaving -------+
//
// Anything else that comes before capabilities are exchanged closes it. A peer has one
// connection: of two that cross, the election of RFC 6733 section 5.6.4 keeps one. A
// second one while the first is open is refused, unless its Origin-State-Id says that the
// peer has restarted, or the first has gone silent; otherwise the first is asked for a
// sign of life.
//
// # A peer (RFC 3539 appendix A)
//
//	              silent for 2 Tw          3 Tw
//	initial -> okay ----------> suspect ---------> down
//	            ^  ^--- anything ---+                |  connected again
//	            |                                    v
//	            +-------- three DWAs ------------ reopen
//
// A request goes to the first peer by realm and priority that is okay, else to one on
// probation (reopen), else to a suspect. It goes to the next one, with the T bit, when
// the connection ends, the peer says goodbye or falls silent, or after Config.Patience
// when there is somebody else to ask: 2 Tw are at least 12 s, longer than a node waits for
// its network. What is answered 3002 or 3004 goes to the next one, too.
//
// # Of strangers
//
// A frame is bounded before it is read. AVPs are walked by the lengths that came, with
// bounds on depth and number, and single values are given to the library then: its
// own decoder allocates what a header claims, moves on by what it has decoded, and
// dies of groups that end within an AVP. What is wrong with a request is answered as RFC
// 6733 section 7 wants it: 3001, 3007, 3008, 5001, 5004, 5005, 5009, 5014 with Failed-AVP.
// A connection has 10 s for its CER; of more than 64 without one the oldest is closed.
// Queues, pending requests and handlers are bounded.
//
// Without TLS, a peer is who it says it is if it comes from the right address: that is as
// good as the network. With TLS (1.3) both sides show certificates, and a peer's names it.
//
// # The EAP application
//
// A Client is an access router's side, a Server the home's; each makes its Node.
//
//	Client                                              Server
//	Conversation.Ask --- DER: Session-Id, EAP-Payload ----> Service.EAP
//	      |          <-- DEA 1001: EAP-Payload, State -----     |
//	      |          --- DER: Destination-Host, State ---->     |
//	      v          <-- DEA 2001: MSK, Class, limits -----     v
//	Account          --- ACR start, interim, stop --------> Service.Account
//	Terminate        --- STR ------------------------------> Service.Ended
//	Orders           <-- ASR, RAR -------------------------  Order
//
// A conversation stays with the server that answered first. Where that one goes, falls
// silent, or has forgotten it, the node is to authenticate once more (RestartError), if
// somebody takes it. Records and ends go to the server of the session, else to any of its
// realm. The application's number is in the headers of STR, ASR and RAR (RFC 6733 section
// 2.4; RFC 4072 section 3 still says 0), and 3 in those of ACR.
//
// An RAR that only authorizes, with a Session-Timeout, sets the time that is left.
//
// # Covered
//
// RFC 4072 but for what is below; RFC 7155 section 4 as far as a router of ours has
// something to say; RFC 6733 sections 8 and 9 with the split accounting of 9.3.
// RFC 6733 sections 2.1 (TCP, TLS), 3, 4.1 to 4.4, 5.1 to 5.6, 6.1 and 6.2 (as client and
// server), 7, 8.16, 9.4 (duplicates), 13.1; RFC 3539 sections 3.4.1, 3.4.2 and appendix A.
//
// # Not covered
//
// SCTP and DTLS, peer discovery by DNS (5.2), redirect agents (6.1.8: the answer is handed
// on as it is), being a relay (whoever passes a request on sends it with Target.From),
// EAP-Key-Name; AA-Request (RFC 4072 section 2.3.3); Multi-Round-Time-Out (a node has the
// time that PANA gives it); Session-Binding and Session-Server-Failover: what their bits
// allow is done always; Accounting-Realtime-Required: access never waits for the books;
// TLS begun within a connection (Inband-Security-Id 1, gone since RFC 6733).
package diameter
