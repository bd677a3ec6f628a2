// Package traffic sends numbered datagrams, receives them, and says what
// became of them.
//
// A datagram of a flow:
//
//	 0               4               8                               16
//	+---------------+---------------+-------------------------------+
//	| magic "mpaT"  | flow          | sequence number, from 0       |
//	+---------------+---------------+-------------------------------+
//	| time of sending, ns of the wall clock | padding to the length |
//	+---------------------------------------+-----------------------+
//
// The sender has an operating system thread to itself and sleeps until
// absolute points in time. When the machine was late it catches up, but
// never with two packets closer than half an interval; after a stall of
// more than [maxLag] it goes on from there. Every number that was due is
// sent or counted as an error of sending, which is a loss like any other.
//
// The receiver takes the kernel's time stamps (SO_TIMESTAMPNS), so that its
// own scheduling is not measured, and asks the kernel whether its socket
// overflowed (SO_RXQ_OVFL): that is a fault of the lab, not a loss of the
// network, and is told apart.
//
// [Analyze] is pure. What its figures mean stands at [Stats].
package traffic
