package ha

import "openmpa/internal/ha/path"

// What is counted beside what paths count.
const (
	ctrRequests = path.UpError + 1 + iota
	ctrAccepted
	ctrDenied
	ctrAnsweredAgain
	ctrDropMalformed
	ctrDropUnknownNode
	ctrDropSecurity
	ctrDropForeignAgent
)

// counterNames are those of status.
func counterNames() []string {
	return append(path.Names(), []string{
		"requests",
		"requests_accepted",
		"requests_denied",
		"requests_answered_again",
		"requests_dropped_malformed",
		"requests_dropped_unknown_node",
		"requests_dropped_security",
		"requests_dropped_foreign_agent",
	}...)
}

// Counters returns all counters by name. Packets that wait in a gate are those of
// up_in that are not in another up_ counter; see BindingStatus.Gate.
func (c *Core) Counters() map[string]uint64 {
	out := make(map[string]uint64)
	c.counters.Report(out)
	return out
}
