// Package rundir gives every lab an id and a directory of its own, and
// removes what dead labs left behind.
//
//	/run/openmpa-lab/
//	    .lock          flock held while an id is chosen or a dead lab removed
//	    1/lock         flock held by the lab as long as it lives
//	    1/pids/NAME    one file for each child: "pid start-time command"
//	    1/...          sockets, configurations, certificates, logs
//
// A lab is alive exactly as long as somebody holds the lock of its directory;
// the kernel drops the lock with the process, however it ends. The next lab
// that starts finds the lock free, and removes the orphaned children (a
// child is recognised by its pid and by its start time, so that a reused pid
// is left alone), the namespaces named mpa-ID-* and the directory. A running
// lab is never touched.
package rundir
