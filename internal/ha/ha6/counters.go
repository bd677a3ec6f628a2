package ha6

import "openmpa/internal/ha/path"

// What is counted beside what paths count.
const (
	ctrDropFormat = path.UpError + 1 + iota
	ctrDropOther
	ctrSignalIn
	ctrSignalDropError
	ctrSignalDropQueue
	ctrEchoed
	ctrOwnDropError
	ctrTooBig
)

// counterNames are those of status.
func counterNames() []string {
	return append(path.Names(), []string{
		"dropped_format",
		"dropped_other",
		"signals",
		"signals_dropped_error",
		"signals_dropped_queue",
		"echo_requests",
		"own_dropped_error",
		"too_big_told",
	}...)
}

// Counters returns all counters by name. Packets that wait in a gate are those of
// up_in that are not in another up_ counter; see BindingStatus.Gate.
func (c *Core) Counters() map[string]uint64 {
	out := make(map[string]uint64)
	c.counters.Report(out)
	return out
}
