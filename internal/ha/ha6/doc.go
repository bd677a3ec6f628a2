// Package ha6 is a Mobile IPv6 home agent (RFC 6275) with path-end markers in user space; the
// protocol is package mip6's, the order of packets package path's. Its address belongs to no interface: the kernel routes it into the daemon's TUN,
// as it does the home addresses of nodes that are away. So the daemon has whole packets
// with Home Address options and routing headers, of which most kernels will not hear, and
// needs no raw sockets:
//
//	correspondent            home agent                              mobile node
//	   |       kernel: /128 route of each bound            |
//	   |       home address, and of the agent's own        |
//	   |------> core0 / home0 --> TUN --> home address? ---- IPv6 in IPv6 ------> care-of address
//	   |                                                   |
//	   |<--- kernel forwards <--- TUN <-- gate <-- check <-- agent's address? <-- IPv6 in IPv6
//	                                       mobility header: mip6.Agent
//
// core.go and data.go are the home agent without sockets: they act on the [World]. agent.go,
// home.go and run.go are the World of a machine (package host).
//
// # A binding
//
//	        Binding Update                    from another care-of address
//	none ----------------------> bound ------------------------------------------+
//	  ^   duplicate address       | ^   marker on the old path (down), then the   |
//	  |   detection at home,      | |   new one; gate armed (up)                  |
//	  |   stored, route, proxy    +-+---------------------------------------------+
//	  |   neighbour advertisements |
//	  +----------------------------+
//	    lifetime over, or deregistered: all of it undone
//
// What is accepted is stored and routed before it is acknowledged (status 130 if that
// fails), and stands again after a crash, before the first packet; see [mip6.Kept]. An
// orderly end undoes the bindings in the kernel and keeps them in the store.
//
// # Several care-of addresses (RFC 5648)
//
// A node that has offered path-end markers knows numbers, too: bound to several care-of addresses it
// gets each packet at all of them, for CoreConfig.Copies, with one number. The first is where it is.
// Others get all at the first. A copy is a whole inner packet:
//
//	+----------------------------------------+-----------------+-----------------+
//	| IPv6, protocol 253, agent -> home addr | flow.Shim       | the packet      |
//	+----------------------------------------+-----------------+-----------------+
//
// Markers end what has no numbers before what has some, and the other way round.
//
// # The home link
//
// For its own address and those of nodes that are away the daemon answers neighbour
// solicitations, probes of others for duplicates included, so that nobody takes a home address
// meanwhile (section 10.4.1). A mobile node that returns deregisters before it probes
// (section 11.5.5).
//
// # Covered
//
// RFC 6275: 8.4, 10.2 to 10.4.2 and 10.4.5 as far as package mip6 says, with what it
// leaves to its user: duplicate address detection (home and, with the L bit, link-local
// address), proxy neighbour discovery, tunnelling both ways, the check of reverse tunnelled
// packets against the binding. RFC 5648: 6.2 and 6.3. RFC 2473: sections 3.1, 3.2, 4.1.2, and 8.2: a tunnel packet that was
// too big is told to the source of the inner one. RFC 6040. Echo requests to the agent's
// address are answered.
//
// # Deviations
//
// Reverse-tunnelled packets are also taken from the just-previous care-of address, for a
// few seconds.
//
// # Not covered
//
// Home and foreign link at once (RFC 5648: status 169), dynamic home agent address and mobile prefix
// discovery (8.4 in part, 10.5, 10.6), multicast to the
// mobile node (10.4.3), fragments made here: a path to a care-of address must carry 1,320 octets.
package ha6
