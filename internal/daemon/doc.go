// Package daemon is the part of a main that all daemons share: flags that teach,
// logging, service-manager notifications, signals and exit codes.
//
//	flags --> harden --> Run(ctx, env) ----- returns ------------------> exit 0 or 1
//	                      |    ^                                            ^
//	                      |    | env.Ready: READY=1, watchdog starts        |
//	                      v    |                                            |
//	             SIGINT, SIGTERM, SIGHUP --> STOPPING=1, ctx cancelled -----+
//	                      |
//	             a second one --> exit 130 at once
//	             panic in Run --> logged with its stack, exit 2
//
// Exit codes: 0 clean end, 1 failure or mistakes in the configuration, 2 panic,
// 64 wrong use of the command line, 130 second signal.
//
// Keys are in the process's memory, so it does not dump core (RLIMIT_CORE 0, and
// PR_SET_DUMPABLE 0, which also covers core_pattern pipes) and other processes
// of the same user cannot read its memory.
//
// With NOTIFY_SOCKET set, READY=1 and STOPPING=1 go to the service manager
// (sd_notify(3)); with WATCHDOG_USEC set, WATCHDOG=1 twice per interval, which
// says that the process is being scheduled, no more.
package daemon
