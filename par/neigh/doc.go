// Package neigh speaks ARP for absent visitors on an access link (RFC 6252 section 7.4 and appendices A and B).
//
// While a visitor's packets go through the router, the router answers for the visitor's address with its own hardware address
// (proxy ARP, in user space), and before that it finds out whether the address is free (proactive duplicate address
// detection, RFC 5227). One AF_PACKET socket per interface serves both.
//
//	who-has addr, from         Policy          answer
//	anybody                    address not set none
//	the visitor (IgnoreMAC)    any             none: it is on the link, and must not find itself in conflict
//	sender IP 0.0.0.0 (probe)  AnswerProbes    yes
//	sender IP 0.0.0.0 (probe)  otherwise       none: the probe may be the visitor's own, from another interface
//	sender IP is addr          any             none: an announcement by a stranger is a conflict, counted and reported
//	anybody else               any             yes, unicast
//
// A kernel proxy entry would answer probes as well, and the arriving visitor would give its address up; hence user space.
//
// Covered: RFC 826 (request and reply for Ethernet and IPv4), RFC 1027 as far as one address each is concerned, RFC 5227
// sections 2.1 (on behalf of another) and 2.3 (announcement by the router), RFC 5944 section 4.6 (proxy and gratuitous ARP of a home
// agent). Not covered: IPv6 neighbour discovery; defence of section 2.4 (a conflict is reported, the visitor decides).
package neigh
