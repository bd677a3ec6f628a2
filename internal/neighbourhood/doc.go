// Package neighbourhood is what a node, and its router, know about the networks around (RFC 6252 section 7.1): a model, and
// how what several sources say is put together. It is pure, and knows no form on the wire.
//
// A Table has what each source said last. Voices are heard in the order of trust: by the kind of source; of one kind, who is nearer
// to the network (Hops). What a louder one has stated stands; others may fill what was left open, and add networks, and points
// of those. Everything else they say is a contradiction, which is kept for people to read.
//
//	operator   of another one than stated: nothing of what is said about the network is taken
//	agents     by role; an address, one of the other family, an identity or a key may be added
//	prefixes   of who is the first to name some; none that overlaps another network's, but where one source says both
//	points     added; one belongs to one network; what it has is filled in
//	cost       of who is the first
//
// Covered: networks, their points, agents and prefixes; lifetimes; sources by trust; contradictions; bounds.
// Not covered: how it travels (paa/notify between router and node; par/info between routers; IEEE 802.21 is to come), and who asks
// (par/info, mn/discover).
package neighbourhood
