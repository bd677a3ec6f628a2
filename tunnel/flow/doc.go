// Package flow decides what happens to the packets of a node that moves: which
// mode their delivery is in, what is held, and in which order everything goes on.
// It is pure: no socket, clock, goroutine or lock. The owner calls it under its
// own lock, and passes on what it is given before it releases that lock.
//
// # Delivery
//
// A Delivery stands at the access router for one visitor, and at the mobile node
// for its uplink. Its mode is a machine whose whole table is data (Table):
//
//	           create           disable, gone          arrival            flip: queue empty, gap found
//	released ----------> tunnel ------------> hold ------------> drain ------------> direct
//	                       ^                  | ^                | |                 | |
//	                       |                  | +----------------|-+-----------------|-+
//	                       |                  |   disable, gone  |                   |
//	                       +------------------+------------------+-------------------+
//	                          switch-back, create
//	tunnel -- arrival: it left without a word and is here --> drain
//	any mode -- release: expiry, termination, limit --> released
//
//	          create   disable  arrival  switch-back  gone  flip    release
//	released  tunnel   -        -        -            -     -       released
//	tunnel    tunnel   hold     drain    tunnel       hold  -       released
//	hold      tunnel   hold     drain    tunnel       hold  -       released
//	drain     tunnel   hold     drain    tunnel       hold  direct  released
//	direct    tunnel   hold     direct   tunnel       hold  -       released
//
// An event marked "-" is refused, counted, and changes nothing.
//
//	mode      a packet that comes                     what is queued
//	released  dropped, "released"                     nothing
//	tunnel    to the tunnel; behind the queue if any  goes to the tunnel
//	hold      queued                                  stays
//	drain     to the link; behind the queue if any    goes to the link
//	direct    to the link; behind the queue if any    goes to the link
//
// Packets leave in the order in which they came, over all changes of mode. Every
// packet is accounted for, at any moment:
//
//	In == Tunneled + Linked + Queued + sum(Dropped)
//
// The step to direct hands delivery to the kernel, where packets may overtake
// those still on the way through user space. So it waits for a silence (SilentFor)
// longer than that way takes; ForcedFlip does without one, and is counted.
//
// # Gate
//
// A Gate stands where two paths to the same receiver meet, at the home agent for
// a node's uplink and at the node for its downlink, and keeps what was sent first
// ahead of what was sent later while senders change from the old path to the new:
//
//	old path  --- 1 2 3 M -------------------->+------+
//	                                           | gate |--> 1 2 3 4 5 6
//	new path  ------------- 4 5 6 ------------>+------+
//	                        held until the marker M with the armed token
//	                        came, or the deadline, or the buffer is full
//
// Gates may be armed again before the last one opened; then each new path waits
// for all those before it.
//
// Covered: RFC 6252 section 6.3 step 4 and section 7.6.1 (buffering at the next
// access router, and at the previous one on the node's signal), section 7.4
// (tunnel ended by arrival). Not covered: bicasting and copy-and-forward
// (sections 7.6.1 and 7.6.2), removal of duplicates.
package flow
