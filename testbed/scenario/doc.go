// Package scenario is what the lab can show and check: handovers with and
// without preparation, moves that fail, buffers that are too small, and
// everything that can go wrong before a move.
//
// A measured handover:
//
//	flows      start ......................................... stop, wait, analyze
//	probe                 start .. first arrival after link up
//	node             handover: prepare | bind | leave | arrive | settle
//	link                                  lost ── gap ── up
//	           <- lead ->                                 <- lead ->
//
// The probe starts when the mobile node's timeline says that the binding is
// about to move, at the latest when the link goes. Phases come from the
// timelines of the mobile node and of the new router; l2 from the link
// controller, l3 from the probe, its floor from a bare bridge swap right
// before, and everything about packets from the applications' sockets.
//
// A scenario makes a promise ([Scenario.Promise]); what of it was not kept
// becomes a problem of the result, a line each, and the run has failed.
package scenario
