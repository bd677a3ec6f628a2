// Package discover finds out what networks there are around a node, before it moves (RFC 6252 section 7.1).
//
//	configuration ----\
//	serving router ----\   under the keys of its session
//	earlier moves ------> neighbourhood.Table --> Service --> what the node may move to, and what speaks for it
//	DHCP and DNS ------/   of the present link
//	scans, 802.11k ---/
//
// Each source says all it knows, for a time, and may say it anew; the table puts that together, and believes the more trusted
// source where two disagree. What is unproven decides nothing alone: whoever it names has to authenticate. Everything that a
// source may say is bounded, so that one that lies costs little, and never the connection there is.
//
// # History
//
// Which point followed which, when and where (RFC 6252 appendix C.1), is kept in the store. It ages: what happened
// [halfLife] ago counts half. What cannot be read is begun anew.
//
// # Place
//
// A [Locator] tells where the node is: gpsd, or a file. Degrees are turned into metres on a plane around the first place that is
// known, for a network of a site or a city; positions of a plan are metres already.
//
// Covered: RFC 6252 section 7.1 and appendix C.1 (location, cached data of earlier moves); RFC 5192 (options 136 and 40, as the
// node's DHCP clients bring them); a name of ours in DNS, _pana._udp and the domain, which no RFC defines.
// Not covered: IEEE 802.21 (RFC 5677 to 5679), CARD (RFC 4066), SLP (RFC 2608), 802.11u.
package discover
