// Package bed puts a whole lab together: run directory, topology, link
// controllers, DHCP server and the daemons of ours, and takes it apart.
//
//	Start:  run directory (what dead labs left is removed)
//	        topology ── what the kernel holds is read ── link controllers, DHCP
//	        mpa-aaa, its certificates ── mpa-ha, mpa-ar a, mpa-ar b ── mpa-mn
//	        ready when the mobile node is attached to network b
//
//	Close:  mpa-mn ends ── no lease may be left ── the other daemons end
//	        what the kernel holds is compared ── everything is removed
//
// Close always takes everything apart, and returns as its error whatever was
// not as it should be: a daemon that did not end in order, and one line
// "left behind: ..." for each thing that was not there before.
package bed
