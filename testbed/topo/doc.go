// Package topo describes and builds the network of the lab.
//
// The description, [Standard], is plain data: nodes (each a network
// namespace), bridges, links (veth pairs, or what a [Joiner] makes) and static
// routes. [Build] makes it, [Draw] and [Dot] show it; all three read the same
// data, so the picture cannot differ from the network.
//
//	          network b                                  network a
//	mn ~~~ poa-b1 poa-b2 ── rb ──── core ──── ra ── poa-a1 poa-a2 ~~~ bare
//	           dhcp ────────┘      /  |  \      └──────── dhcp
//	                              ha  cn  aaa
//	                              |
//	                              hl
//
// Every point of attachment is a bridge in the namespace "air". The mobile
// node's link is a veth pair whose far end joins one of them at a time;
// moving it is the work of package linkctl. The node "bare" has nothing of
// ours on it: it shows how long the kernel alone needs after such a move.
//
// Everything is IPv4; IPv6 is switched off on the lab's links. Checksums are
// computed before a packet leaves a node, as on a real wire, so that
// programs reading raw packets see what they would see there.
package topo
