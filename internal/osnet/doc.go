// Package osnet is the one place that changes the kernel's network state: addresses, routes, policy rules,
// neighbours and sysctls of one network namespace, by rtnetlink.
//
// # What it promises
//
//	Set, Add   idempotent: asking twice is asking once
//	Del        removes only what a Net of this owner made; what is not there is not an error
//	Close      undoes, newest first, everything this Net did and has not deleted since
//	Reconcile  after kill -9: removes what carries the owner's protocol number, and nothing else
//
// Something that exists already and was made by somebody else is never changed or removed. If it is what was asked
// for, that is enough (and it stays at Close); if not, the answer is a [*ForeignError] that names it.
//
// # Owners and protocol numbers
//
// Several daemons may share one namespace, so each role has a number of its own. It is written in the protocol
// field of every route (rtm_protocol), rule (FRA_PROTOCOL), neighbour (NDA_PROTOCOL) and address (IFA_PROTO, Linux 5.18
// and later):
//
//	owner  number
//	mn     161      mobile node
//	ar     162      access router
//	ha     163      home agent
//	lab    164      tests
//
// None of them is in iproute2's rt_protos. `ip route show proto 162`, `ip rule show proto 162`, `ip neigh show proto 162` and
// `ip address show proto 162` list what a router holds. Two live Nets of one owner in one namespace would remove each other's
// state, so Open refuses the second: it binds an abstract Unix socket, which belongs to the namespace and is gone
// with the process.
//
// # Order and speed
//
// In the time between link up and the first packet every change is one netlink request on a socket that carries
// nothing else; dumps have their own. Interface names are resolved once and looked up again only when the kernel says ENODEV
// ([Net.Prime] resolves ahead of time). A Set that finds a stranger's entry costs up to two requests more.
//
// # Traps of the kernel, for callers
//
//   - Deleting the first address of a subnet deletes the others of the same subnet on that interface
//     (net.ipv4.conf.*.promote_secondaries=0).
//   - Loss of carrier removes neighbours that are not permanent; taking an interface down removes its routes and all its
//     neighbours. Neither is put back.
//   - A sysctl has no owner. Close restores it, Reconcile cannot.
//   - The kernel reports a veth's carrier at once (0.1 ms measured) only if the interface indexes of its two ends differ. With
//     equal ones, possible across namespaces, it takes the pair for a slow physical link and may report up to a second
//     late (1.0 s measured). Give one end an index of its own: ip link add ... index N.
//   - What is sent between carrier and the report of WatchLink may be dropped: the kernel starts the queue just before it reports.
//
// # ARP
//
// [ARPConn] reads and writes ARP packets (RFC 826) of one interface on an AF_PACKET socket with a filter in the kernel, for
// conflict detection and announcement (RFC 5227) and for proxies. Ethernet and IPv4 only. Not covered: RARP, ARP on other
// links.
//
// # Neighbour discovery
//
// [NDConn] does the same for IPv6 (RFC 4861 sections 4.1 to 4.4, validated as 6.1 and 7.1 say), and joins the solicited-node groups of addresses
// that this host has not. [RouterAdverts] reads what a router daemon of this very host sends as well. Not covered: redirects, SEND beyond the nonce option, links other than Ethernet.
package osnet
