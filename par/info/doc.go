// Package info is a router's information service (RFC 6252 section 7.1): it tells nodes, in their PANA sessions, of the router's
// own network and of those around. What it tells comes from the router's configuration and from neighbouring routers, which ask
// each other.
//
//	node  --- NeighboursRequest, sealed under MN-AR --->  router a  --- the same, over TLS 1.3 --->  router b
//	      <-- NeighboursReply, part by part ------------            <---------------------------
//
// Between routers each message of package notify stands behind its length in two octets. Both show certificates; the one that is asked
// answers those whose certificate has a DNS name that it knows. A connection is for one answer; then who has asked says NeighboursChanged,
// and is asked in its turn if its address is not known: so one that joins a site tells only it where the others are. Routers ask again and again
// (Config.Every); what is not heard any more ends with its lifetime, which only shrinks from hop to hop, so that nothing that is gone goes in circles.
// A network that has come over Config.Hops routers is not passed on to another one.
//
// A router is believed at first hand about the network that is named for it in the configuration, and at second hand about others.
// The neighbourhood's Table bounds what any of them can say, and keeps what contradicts.
//
// Covered: discovery by a higher-layer protocol, as RFC 6252 section 7.1 prefers; lifetimes; push of changes.
// Not covered: IEEE 802.21 (RFC 5677), CARD (RFC 4066), SLP: to come, or not asked for by anybody.
package info
