// Package crash kills the daemons of a lab, one after the other, at every
// record of a handover's timeline, and looks at what becomes of it.
//
// A [Cell] is a victim and a point:
//
//	lab     started, node attached to b, traffic both ways
//	order   handover from b to a, prepared
//	point   the record is written ── SIGKILL ── delay ── started again
//	wait    the handover ends; everything stands again [recovery]
//	wait    no lease but the one in use, the kernel as before [settled]
//	order   another handover, from where the node is, prepared; a hasty cell
//	        does so before it has settled
//	wait    settled again
//	stop    in order; the kernel holds what it held before the daemons
//
// Everything stands when all daemons answer, the node says it is attached
// to the network where its link is, the router there knows the session, the
// home agent has the binding, and for a second no packet was lost either way.
//
// A point may also be a message between the parties, see [Messages].
//
// The records are a fixed list, so that a cell has the same name wherever it
// runs. [Run] begins with a handover in which nobody dies and fails when its
// records are not those of the list.
package crash
