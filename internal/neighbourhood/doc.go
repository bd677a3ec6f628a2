// Package neighbourhood is what a node, and its router, know about the networks around (RFC 6252 section 7.1): a model and
// how what several sources say is put together. It is pure, and knows no form on the wire.
//
// Covered: networks, their points, agents and prefixes; lifetimes; sources by trust; contradictions.
// Not covered: how it travels (paa/notify between router and node; IEEE 802.21 is to come), and who asks (par/info,
// mn/discover).
package neighbourhood
