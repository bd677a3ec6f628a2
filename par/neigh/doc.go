// Package neigh speaks ARP and IPv6 neighbour discovery for absent visitors on an access link (RFC 6252 section 7.4 and appendices A and B).
//
// While a visitor's packets go through the router, the router answers for the visitor's address with its own hardware address
// (proxy ARP and ND, in user space), and before that it finds out whether the address is free (proactive duplicate address
// detection, RFC 5227 and 4862). One AF_PACKET socket per interface and family serves both.
//
//	who-has addr, from         Policy          answer
//	anybody                    address not set none
//	the visitor (IgnoreMAC)    any             none: it is on the link, and must not find itself in conflict
//	sender IP 0.0.0.0 (probe)  AnswerProbes    yes
//	sender IP 0.0.0.0 (probe)  otherwise       none: the probe may be the visitor's own, from another interface
//	sender IP is addr          any             none: an announcement by a stranger is a conflict, counted and reported
//	anybody else               any             yes, unicast
//
// Of IPv6 the same table holds: a probe is a neighbour solicitation from the unspecified address, whose answer goes to all nodes; an
// announcement is an advertisement; the visitor is known by the Ethernet source, since its probe has no link-layer address
// option. Answers leave the Override flag 0, so that the visitor's own advertisement takes precedence.
//
// A kernel proxy entry would answer probes as well, and the arriving visitor would give its address up; hence user space.
//
// Covered: RFC 826 (request and reply for Ethernet and IPv4), RFC 1027 as far as one address each is concerned, RFC 5227
// sections 2.1 (on behalf of another) and 2.3 (announcement by the router), RFC 5944 section 4.6 (proxy and gratuitous ARP of a home
// agent); RFC 4862 section 5.4 and RFC 7527 on behalf of another, RFC 4861 sections 7.2.4 and 7.2.8 (proxy advertisements, the solicited-node
// groups joined). Not covered: defence of RFC 5227 section 2.4 (a conflict is reported, the visitor decides).
package neigh
