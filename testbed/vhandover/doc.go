// Package vhandover runs whole handovers, every party of them, in one process under
// virtual time: mobile node, three access routers with their PAA, home agent, AAA
// server, DHCP server, correspondent and a stranger, the product's own code
// each, on the machines of package simnet.
//
//	       air         poa-b1 -+
//	mn - - - - - - -           +-- rb --+                   +-- ha
//	       (moves)     poa-a1 -+        |                   +-- cn
//	                           +-- ra --+------ core -------+-- aaa
//	                   poa-c1 -+        |
//	                           +-- rc --+
//	 stranger, dhcp on all three links; nobody means to go to poa-c1
//
// A seed draws a Plan: what every cable does to frames, how often applications
// send, one to three handovers, and for each what goes wrong: a target that never
// comes up, a server that is silent, a stranger with the address that was leased, a
// party that crashes and starts again. Run carries it out and reports what it
// found wrong:
//
//   - a handover that has not ended in time, or failed without a reason;
//   - a node, routers, home agent and DHCP server that do not agree a session's
//     lifetime later, or anything left when the node has said good-bye;
//   - an application packet that was delivered more often than the network doubled
//     it, or that vanished between the parties' own counters;
//   - an object in a machine's tables, a socket or a goroutine that outlives its
//     daemon.
package vhandover
