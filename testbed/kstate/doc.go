// Package kstate compares what the kernel holds before and after.
//
// [Take] reads a namespace into lines, one for each thing that a daemon can
// leave behind: links, addresses, routes of all tables, rules, neighbour
// entries that somebody made (permanent ones and proxies), nftables tables
// and rules, IPsec states and policies, and the settings of the interfaces
// below net/ipv4 and net/ipv6. What the kernel learns and forgets by itself
// (neighbours it resolved, the state of a carrier, life times, IPv6 addresses of
// its own making and their routes, routers that advertise themselves) is left out.
// [Diff] names what is there after and was not before, and the other way round.
package kstate
