// Package ha is a Mobile IPv4 home agent (RFC 5944) with reverse tunnelling (RFC 3024)
// and path-end markers. Data passes user space, because not every kernel has IP in IP:
//
//	correspondent        home agent                                        mobile node
//	   |        kernel: /32 route of each        core: binding of the
//	   |        bound home address               home address
//	   |------> core0 / home0 -----> TUN ------> encapsulate --- IP in IP --> care-of address
//	   |                                                         (raw socket, outer header by the kernel)
//	   |<------ kernel forwards <--- TUN <--- gate <-- check <-- IP in IP ---
//
// core.go, register.go and forward.go are the home agent without sockets: they act on
// the [World] and are told of requests and packets. run.go, kernel.go and home.go are
// the World of a machine (package host).
//
// # A binding
//
//	        request accepted                 request from another care-of address
//	none ----------------------> bound ------------------------------------------+
//	  ^   route, proxy ARP,       | ^                                             |
//	  |   gratuitous ARP          | |   marker on the old path (down),            |
//	  |                           | |   then the new one; gate armed (up)         |
//	  +---------------------------+ +---------------------------------------------+
//	      lifetime over, or deregistered: all of it undone
//
// Markers are sent three times. Who asks for a change once more within five seconds has not heard of it, and has them again: its
// link was cut, maybe, and they went there.
//
// # Several bindings
//
// A request with the S bit retains those before it, at most CoreConfig.MaxBindings, for a
// mobile node that has offered path-end markers: that knows copies by their numbers, too
// (package path), and anybody else would get each packet several times. A request that
// offers markers says where the node is: packets come from there, and what came from the
// address before ends with a marker. One that does not adds an address beside it. The
// lifetime of each is its own; when one is left, by its end or a deregistration, packets
// go there without numbers, with no marker before.
//
// # What survives a crash
//
// An accepted request is stored before anything else comes of it, and synced: binding,
// lifetime and identification ([Kept]). At start the bindings stand again, with routes and
// ARP, before the first packet; requests older than the last accepted are replays as
// before. If it cannot be stored the request is denied with code 130, and a binding from
// before stands; a deregistration is accepted all the same. A request that was denied
// is not stored: it changed nothing. Of a change of path under way it is kept from
// where packets are still taken, not what waited for a marker. An orderly end undoes the
// bindings in the kernel and keeps them in the store.
//
// # Covered
//
// RFC 5944: 3.8 (home agent considerations; codes 0, 1, 128, 129, 131, 133 to 136 and, of
// RFC 3024, 139), 4.2.3 (tunnelling, loops), 4.6 (proxy and gratuitous ARP), 5.7.1 (time stamps).
// RFC 2003: section 3 (TOS copied, loops refused). RFC 3024 section 4.3.2: reverse-tunnelled packets are
// checked against the binding.
//
// # Deviations
//
// Reverse-tunnelled packets are also taken from the just-previous care-of address, for a
// few seconds. An exact duplicate of the current registration is answered again as 3.8.2.2
// describes, with what is left of its lifetime, although 5.7.1 alone would deny it with code 133.
// The bits r and x of a request must be zero (3.8.2.3).
//
// # Not covered
//
// Simultaneous bindings of a mobile node that offers no markers (code 1 says so), broadcast and multicast to the mobile node,
// dynamic home agent and home address assignment, foreign agents that share a security association with
// us, minimal and GRE encapsulation, tunnel soft state (RFC 2003 section 5).
package ha
