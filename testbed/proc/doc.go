// Package proc runs the daemons of a lab as child processes.
//
//	Start ──> running ──> Ready (its control socket answers)
//	             |
//	             |── ends by itself ───────────────> failure, with the tail of its log
//	             |
//	Stop: SIGTERM ──> ends in time, code 0 ────────> fine
//	                  ends otherwise ──────────────> failure
//	                  not: SIGQUIT, SIGKILL ───────> failure, its log tells where it hung
//
// A child starts on the thread of its namespace and so lives in it. It is in
// a process group of its own: a Ctrl-C on the terminal reaches the lab only,
// which stops its children in order. Its pid is recorded in the run
// directory, for the next lab to find should this one be killed.
package proc
