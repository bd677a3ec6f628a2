// Package space keeps network namespaces for the lab.
//
// A [Space] is a named network namespace under /run/netns, so that
// `ip netns exec NAME ...` works on it, together with one operating system
// thread that lives in it. Whatever has to happen inside (opening a socket,
// starting a child process, writing a sysctl) is handed to that thread:
//
//	caller ── Do(fn) ──> queue ──> worker goroutine, locked to a thread
//	                               that was moved by setns(2) and never
//	                               goes back: it dies with its goroutine
//
// A file descriptor belongs to the namespace in which it was opened, so a
// socket opened inside Do may be used by any goroutine afterwards.
//
// Kernel objects are changed through the netlink handle of the space
// ([Space.Netlink]), which needs no thread at all: its sockets were opened
// inside once.
package space
