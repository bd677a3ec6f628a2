package ha

import "sync/atomic"

// counter is one thing that is counted.
type counter uint8

// What is counted. The names are those of status.
const (
	ctrRequests counter = iota
	ctrAccepted
	ctrDenied
	ctrAnsweredAgain
	ctrDropMalformed
	ctrDropUnknownNode
	ctrDropSecurity
	ctrDropForeignAgent

	ctrDownIn
	ctrDownSent
	ctrDownMarkers
	ctrDownDropFormat
	ctrDownDropUnbound
	ctrDownDropLoop
	ctrDownDropError

	ctrUpIn
	ctrUpDelivered
	ctrUpMarkers
	ctrUpDropFormat
	ctrUpDropUnknownNode
	ctrUpDropNotBound
	ctrUpDropNoReverse
	ctrUpDropMarker
	ctrUpDropError

	counterCount
)

var counterNames = [counterCount]string{
	ctrRequests:         "requests",
	ctrAccepted:         "requests_accepted",
	ctrDenied:           "requests_denied",
	ctrAnsweredAgain:    "requests_answered_again",
	ctrDropMalformed:    "requests_dropped_malformed",
	ctrDropUnknownNode:  "requests_dropped_unknown_node",
	ctrDropSecurity:     "requests_dropped_security",
	ctrDropForeignAgent: "requests_dropped_foreign_agent",

	ctrDownIn:          "down_in",
	ctrDownSent:        "down_sent",
	ctrDownMarkers:     "down_markers",
	ctrDownDropFormat:  "down_dropped_format",
	ctrDownDropUnbound: "down_dropped_unbound",
	ctrDownDropLoop:    "down_dropped_loop",
	ctrDownDropError:   "down_dropped_error",

	ctrUpIn:              "up_in",
	ctrUpDelivered:       "up_delivered",
	ctrUpMarkers:         "up_markers",
	ctrUpDropFormat:      "up_dropped_format",
	ctrUpDropUnknownNode: "up_dropped_unknown_node",
	ctrUpDropNotBound:    "up_dropped_not_bound",
	ctrUpDropNoReverse:   "up_dropped_no_reverse_tunnel",
	ctrUpDropMarker:      "up_dropped_marker",
	ctrUpDropError:       "up_dropped_error",
}

type counters [counterCount]atomic.Uint64

func (c *counters) add(which counter) { c[which].Add(1) }

// Counters returns all counters by name. Packets that wait in a gate are those of
// up_in that are not in another up_ counter; see BindingStatus.Gate.
func (c *Core) Counters() map[string]uint64 {
	out := make(map[string]uint64, counterCount)
	for i, name := range counterNames {
		out[name] = c.counters[i].Load()
	}
	return out
}
