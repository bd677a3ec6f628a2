// Package mn orchestrates a mobile node: it keeps one candidate per access
// router it deals with, of which exactly one serves, and carries out handovers
// (RFC 6252 §6.3).
//
//	             authenticate          configure           tunnel            bind
//	known router -----------> session -----------> address -----> reachable -----> bound
//	                                                                                 |
//	   serving <---- arrival, PANA ping without E bit <---- link moves <---- depart -+
//	                                                            |
//	              back at the old point of attachment <---------+ the link does not come up
//
// The application's packets have the home address and go through the node's TUN;
// package mn puts them into IP-in-IP towards the home agent (reverse tunnelling)
// on the path that is bound. A path belongs to one care-of address and is either
// native or inside the proactive handover tunnel; the same delivery modes as at
// the router (package tunnel/flow) say which:
//
//	TUN --> uplink.bound --> path: tunnel  IP-in-IP in ESP to the next router
//	                          hold    queue, from departure until the link is up
//	                          direct  IP-in-IP on the link
//
// A change of binding and a departure are ordered by markers in line with the
// data, both ways, so that no packet overtakes another. With a hook in the place of
// Mobile IPv4 (docs/hook.md) packets have the care-of address itself, and stay as they
// are on either way.
//
// A tunnel with the router that serves stands by, unused (standby.go): by it that router
// holds and forwards where the binding moves behind the link (way.go), keeps copies against
// a cut (guard.go), or sends to where the node has turned up (through.go). Each network is
// reached by a port, an interface with its link adapter (port.go).
//
// Several networks stand by at once, each as deep as it is wanted (stand.go, standing.go, climb.go); a move takes
// what stands, and does the rest behind the link (movewith.go).
//
// What the node has in the network that it has left is kept for a return (hold.go), bound beside
// the serving one while moves go there and back (both.go); what is prepared, and bound, may
// vanish (vanish.go).
//
// The new care-of address stands on the TUN while the node is elsewhere, and is
// put on the interface before it leaves the TUN (§7.3.3). Everything the kernel
// needs at the new link stands before the node leaves the old one; what is left
// after link up is to send: the arrival, a gratuitous ARP, the queue.
package mn
