// Package udp reads and writes datagrams with fewer wake-ups than package net does.
//
// Whoever enters the kernel by package net tells the runtime first, which may take the processor away meanwhile. Where a process
// has slept, that wakes the runtime's monitor, a thread of its own, which then looks for work every 20 µs for a while: for a daemon
// that gets a datagram, answers it and sleeps again, that costs more than the datagram. These calls never wait in the kernel, since
// the sockets do not block, so that the runtime need not know of them. Waiting stays the runtime's.
//
// Covered: UDP over IPv4 and IPv6. Everything else about a socket is still package net's: deadlines, Close, addresses. A
// machine whose kernel has no such call of its own (386, s390x), and link-local addresses to be written to, go by package net.
package udp
