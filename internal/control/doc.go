// Package control is the operator's interface of every daemon: HTTP and JSON
// over a Unix socket of mode 0600, and the client for it.
//
//	GET  /status                              what the daemon says of itself, a JSON object
//	GET  /resources                           what its process takes: [Resources]
//	GET  /events?since=N&follow=1&handover=ID records of the timeline with a sequence number above N,
//	                                          one JSON object a line; follow=1 keeps the answer open
//	GET  /handovers                           [Handover], the newest last
//	GET  /handovers/ID                        [HandoverDetail]: one handover with its records
//	POST /command/NAME                        the command's arguments in, its result out
//
// A failure is {"error": "..."} with a 4xx or 5xx status. The context of a
// command ends when its client goes away, and when the server stops.
//
// Bounds: 64 connections, 1 MiB of arguments, 5 s to send a request, 10 s for a
// reader to take what it is sent. A follower that is too slow is served from the
// recorder's ring again; only what has left the ring is lost, which shows as a
// gap in the sequence numbers.
//
// A socket that a dead daemon left is replaced; one that answers is not
// ([ErrInUse]). Whoever may write to the socket may command the daemon.
//
// # The command handover
//
// mpa-mn offers the command "handover": [HandoverArgs] in, [HandoverResult] out.
// mpactl relies on it and on the timeline: a handover is a span of phase
// "handover" whose begin carries the attributes from and to.
package control
