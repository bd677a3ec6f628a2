// Package nat puts an address translator on a router of the lab.
//
//	node 10.1.0.100:40000 ── [rb] 10.0.1.1:20011 ── core ── 10.2.0.1:4500 the other router
//	                          |
//	                          translates UDP from the network behind it
//	                          to the given address and ports, nothing else
//
// It is the kernel's (nftables source NAT), so what it does to packets is what
// routers do. All of it is state of the router's namespace and goes with that.
//
// [Translator.Rebind] is what a translator does that was restarted: it forgets
// every mapping and uses other ports from then on. What still comes to an old
// port is dropped in silence and counted, as translators do.
//
// Mobile IPv4 is not translated: it needs a tunnel of its own for that (RFC 3519).
package nat
