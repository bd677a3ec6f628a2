package ha6

import "sync/atomic"

// counter is one thing that is counted.
type counter uint8

// What is counted. The names are those of status.
const (
	ctrDropFormat counter = iota
	ctrDropOther
	ctrSignalIn
	ctrSignalDropError
	ctrSignalDropQueue
	ctrEchoed
	ctrOwnDropError
	ctrTooBig

	ctrDownIn
	ctrDownSent
	ctrDownDropFormat
	ctrDownDropUnbound
	ctrDownDropLoop
	ctrDownDropError

	ctrUpIn
	ctrUpDelivered
	ctrUpDropFormat
	ctrUpDropUnknownNode
	ctrUpDropNotBound
	ctrUpDropError

	counterCount
)

var counterNames = [counterCount]string{
	ctrDropFormat:      "dropped_format",
	ctrDropOther:       "dropped_other",
	ctrSignalIn:        "signals",
	ctrSignalDropError: "signals_dropped_error",
	ctrSignalDropQueue: "signals_dropped_queue",
	ctrEchoed:          "echo_requests",
	ctrOwnDropError:    "own_dropped_error",
	ctrTooBig:          "too_big_told",

	ctrDownIn:          "down_in",
	ctrDownSent:        "down_sent",
	ctrDownDropFormat:  "down_dropped_format",
	ctrDownDropUnbound: "down_dropped_unbound",
	ctrDownDropLoop:    "down_dropped_loop",
	ctrDownDropError:   "down_dropped_error",

	ctrUpIn:              "up_in",
	ctrUpDelivered:       "up_delivered",
	ctrUpDropFormat:      "up_dropped_format",
	ctrUpDropUnknownNode: "up_dropped_unknown_node",
	ctrUpDropNotBound:    "up_dropped_not_bound",
	ctrUpDropError:       "up_dropped_error",
}

type counters [counterCount]atomic.Uint64

func (c *counters) add(which counter) { c[which].Add(1) }

// Counters returns all counters by name.
func (c *Core) Counters() map[string]uint64 {
	out := make(map[string]uint64, counterCount)
	for i, name := range counterNames {
		out[name] = c.counters[i].Load()
	}
	return out
}
