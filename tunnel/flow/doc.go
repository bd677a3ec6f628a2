// Package flow decides what happens to the packets of a node that moves: which
// mode their delivery is in, what is held, and in which order everything goes on.
// It is pure: no socket, clock, goroutine, and no lock but a Bank's. The owner calls it under its
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
//	as a node's previous router          as its next router, where the previous one forwards
//
//	released --serve--> direct           tunnel, hold --behind--> await --ended--> drain
//	direct --disable, gone--> hold                                  (marker, or Options.Wait)
//	direct --guard--> copy --gone--> hold
//	direct --both--> bicast              tunnel --guard--> copy, --both--> bicast
//	hold, copy, bicast --create--> tunnel: the node asks from the new place
//	hold, copy, bicast, tunnel --arrival--> drain: it returns
//
//	          create   disable  arrival  switch-back  gone  flip    release   serve   behind  ended   guard  unguard  both
//	released  tunnel   -        -        -            -     -       released  direct  -       -       -      -        -
//	tunnel    tunnel   hold     drain    tunnel       hold  -       released  -       await   -       copy   tunnel   bicast
//	hold      tunnel   hold     drain    tunnel       hold  -       released  -       await   -       -      hold     bicast
//	drain     tunnel   hold     drain    tunnel       hold  direct  released  -       -       drain   copy   drain    bicast
//	direct    tunnel   hold     direct   tunnel       hold  -       released  direct  direct  direct  copy   direct   bicast
//	await     tunnel   hold     drain    tunnel       hold  -       released  -       await   drain   -      await    -
//	copy      tunnel   hold     drain    copy         hold  -       released  -       await   -       copy   tunnel   bicast
//	bicast    tunnel   hold     drain    tunnel       hold  -       released  -       await   -       copy   tunnel   bicast
//
// An event marked "-" is refused, counted, and changes nothing.
//
//	mode      a packet that comes                     what is queued
//	released  dropped, "released"                     nothing
//	tunnel    to the tunnel; behind the queue if any  goes to the tunnel
//	hold      queued                                  stays
//	drain     to the link; behind the queue if any    goes to the link
//	direct    to the link; behind the queue if any    goes to the link
//	await     queued; of the previous router: link    stays
//	copy      as tunnel, numbered, and copied         goes to the tunnel, numbered and copied
//	bicast    both ways, numbered; behind the queue   goes both ways, numbered
//
// Packets leave in the order in which they came, over all changes of mode. Every
// packet is accounted for, at any moment:
//
//	In == Tunneled + Linked + Bicast + Queued + sum(Dropped)
//
// A previous router ends its forwarding with a mark (Delivery.Mark) behind what it
// held. The next router, told by the node that there is a previous one, keeps its own
// until then, so that order holds over both:
//
//	previous  1 2 3 M --tunnel--> next --previous--> 1 2 3 |       | node
//	                              next: holds 4 5 6        | M: 4 5 6 -->
//
// # Copies
//
// In mode copy the last packets sent are kept, bounded in number, octets and age, until
// the receiver confirms them by a Report. When the node comes out of copy, or out of
// the hold behind it, at another place, the rest goes into the queue again before all
// else, with its old numbers, and is taken off Tunneled: each packet counts once. What
// had to be forgotten before it was confirmed is counted (Stats.Forgotten). Copies of a node
// to which nothing is sent any more are so, too, some time later (Delivery.Forget).
//
// # Numbers
//
// Both copies of a packet, and its repetition, carry the same number, in a shim header
// between ESP and the inner packet:
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-------+-------+---------------+-------------------------------+
//	|Version| Class |   Reserved    |             Epoch             |
//	+-------+-------+---------------+-------------------------------+
//	|                            Number                             |
//	+---------------------------------------------------------------+
//	|   inner packet, IPv4 or IPv6                                  |
//
// Version is 1, Reserved is sent as 0 and not looked at. Each class of each direction of
// each node has a numbering of its own, from 1 on. It wraps. A sender that begins again,
// after packets went natively and unnumbered, takes the next epoch; the first one is random.
//
// A Merge has the copies of one class from all ways: each number passes once, in order,
// as far as its window and its patience go. Packets without a number have no identity:
// they pass beside it, and before they come the receiver flushes what is held.
//
//	In == Delivered + Queued + sum(Dropped)
//
// It tells what it has by a report, which is bounded (ReportWords):
//
//	+---------------+---------------+-------------------------------+
//	|  Version = 1  |     Words     |             Epoch             |
//	+---------------+---------------+-------------------------------+
//	|                Top: highest number received                   |
//	+---------------------------------------------------------------+
//	|   Words x 64 bits; bit i of word w: Top - (64 w + i) received |
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
// # Turns
//
// Where a node reads what one sender sends from two sockets, natively and from the tunnel, the
// sender changes between them in one queue of the link, and each change is marked in the
// socket that comes to an end: by the sender in the tunnel (M), by a packet of the node's own
// in the native socket (F), which it sends when the tunnel's is read, or before it asks for
// native packets again.
//
//	link             1 2 | 3 4 M1 | 5 6 | 7 8 M2 | 9
//	native socket    1 2 F1         5 6 F2         9       phases N0    N1    N2
//	tunnel's socket        3 4 M1         7 8 M2             phases    T1    T2
//
// Each marker ends a phase of its socket, and lets what is read from the other begin the next:
// F1 opens T1, M1 opens N1. So a packet is of the newest phase of its way behind one that has
// begun, and a Gate has the phases follow each other however far apart the two are read.
//
// # Room
//
// A Bank has the memory that all visitors of a router share. Each Account has a
// guaranteed part, beyond it as much as remains free up to what it claims to need, and
// from there on a part of that: all while nobody else holds more than is guaranteed, half
// beside one who does, a quarter beside three or more. What goes over is dropped as "shared
// bound".
//
// # Classes
//
// A Group is a Delivery for each class of traffic, known by DSCP, and translates what
// happens to the node into what it means for the class:
//
//	          hold (bulk)   bicast (voice)         pass (the rest)
//	both      -             both                   -
//	disable   disable       nothing while bicast   disable: comes, and is dropped as "policy"
//	gone      gone          nothing while bicast   gone: the same
//	behind    behind        behind                 arrival: nothing of it is forwarded
//	others    the same for all; all take them, or none
//
// Order holds within a class. Of what may go out, the first class goes first.
//
// # Sizes and pace
//
// A Gap has the moves between two points, a Rate what comes; Sizing makes Limits of
// both: peak rate x gap hardly exceeded, and a part to spare. Gaps remembers them for
// many nodes, and a Sizer is what an account claims for one, class by class:
//
//	       | <------ expected gap ------> |
//	rates  | size = rates x gap + spare,  | overdue: the size stays, what goes beyond it
//	--------> grows with what comes       | has a smaller share of the bank
//	      away                                                            arrival: Gaps.Add
//
// A Pacer spreads a drain over what the access link takes.
//
// Covered: RFC 6252 section 6.3 step 4 and section 7.6.1 (buffering at the next
// access router, and at the previous one on the node's signal; bicasting), section 7.6.2
// (copy-and-forward, duplicates removed), section 7.6.3 (hold at both ends), section 7.4
// (tunnel ended by arrival). Not covered: removal of duplicates that come natively.
package flow
