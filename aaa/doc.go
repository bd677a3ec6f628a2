// Package aaa is how an access router has a node authenticated: a Backend carries
// EAP to an AAA server and back, whatever protocol it speaks.
//
//	 PAA                      Session                         AAA server
//	  |  Start, Identity         |                                 |
//	  |<-- Request/Identity -----o                                 |
//	  o-- Exchange(Response) --->o-- Access-Request -------------->|
//	  |<-- Continue, Request ----o<-- Access-Challenge, State -----o   as often as it takes
//	  o-- Exchange(Response) --->o-- Access-Request, State ------->|
//	  |<-- Accept, Success, MSK -o<-- Access-Accept, MPPE keys ----o
//	or|<-- Reject, Failure ------o<-- Access-Reject ---------------o
//
// Access follows the AAA server's decision and never the EAP packet inside (RFC 3579
// section 2.6.3); Success and Failure are its own, never made up here.
//
// Who is asked follows the realm of the node's identity:
//
//	Realms --- realm of Response/Identity ---> Operator --- Carrier ---> its servers
//	   |                                          RADIUS, RadSec or Diameter
//	   +-- Granted, Ended ---> records ---------> Carrier.Account
//	   +-- Orders <--- disconnect, abort, re-authorisation --- Carrier.Run
//
// Covered: RFC 3579 section 2 (pass-through; five invalid responses end a
// conversation); routing by realm (RFC 7542); books, which survive a crash and a server's
// absence (RFC 2866, RFC 6733 section 9). Not covered: decorated identities (RFC 7542
// section 3.3).
package aaa
