// Package state keeps what others hold us to over a crash: leases, bindings, what was
// asked of the kernel. A [Store] maps keys to small values with a version and an end.
//
//	Put, CompareAndSet, Delete
//	        |  wait here while another batch is written; then one of those waiting
//	        v  writes for all of them
//	     pending ----> bbolt: one transaction, synced ----> table ----> watchers
//	                   (DB only)                             |
//	                                       Get, List <-------+
//
// A call that changes something returns when it is on the disk. Reads see what is on the
// disk and never wait for it. [DB] is a file, [Memory] the same without one.
//
// # Time
//
// A record ends by the wall clock, also while the daemon is down. From then on no read
// shows it; it is deleted with the next change or by a timer, at most once a minute.
//
// # Damage
//
// [Open] looks through the whole file before it trusts it: bbolt takes its own pages on
// trust and would loop or panic on wrong ones. A file that is not right is moved aside,
// said so at level error, and an empty one begun: a daemon must start. Every record
// has a checksum, too.
//
// # File
//
// A bbolt file with one bucket, "records"; its sequence is the highest version given out.
// A value there is
//
//	 0                   1                   2                   3
//	|                  CRC-32C of key and what follows             |
//	|                  version (64 bits, big-endian)               |
//	|                  end, ns since 1970, 0 never (64 bits)       |
//	|                  value ...
package state
