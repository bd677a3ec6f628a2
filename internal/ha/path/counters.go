package path

import "sync/atomic"

// Counters count what has names.
type Counters struct {
	names []string
	n     []atomic.Uint64
}

// NewCounters makes a counter for each name, in the order of names.
func NewCounters(names []string) *Counters {
	return &Counters{names: names, n: make([]atomic.Uint64, len(names))}
}

// Add counts one of the name at index i.
func (c *Counters) Add(i int) { c.n[i].Add(1) }

// Report puts all counters into out, by name.
func (c *Counters) Report(out map[string]uint64) {
	for i, name := range c.names {
		out[name] = c.n[i].Load()
	}
}

// What paths count; the paths of one home agent count together. The names are those of
// status.
const (
	DownIn = iota
	DownSent
	DownCopies // beside those sent
	DownMarkers
	DownFormat  // not counted here, as all that a home agent drops before it knows the path
	DownUnbound // also where the home address is nobody's
	DownLoop
	DownError

	UpIn
	UpDelivered
	UpMarkers
	UpFormat
	UpUnknownNode // not counted here
	UpNotBound
	UpNoReverse
	UpMarker
	UpError
)

// Names are those of what paths count.
func Names() []string {
	return []string{
		DownIn:      "down_in",
		DownSent:    "down_sent",
		DownCopies:  "down_copies",
		DownMarkers: "down_markers",
		DownFormat:  "down_dropped_format",
		DownUnbound: "down_dropped_unbound",
		DownLoop:    "down_dropped_loop",
		DownError:   "down_dropped_error",

		UpIn:          "up_in",
		UpDelivered:   "up_delivered",
		UpMarkers:     "up_markers",
		UpFormat:      "up_dropped_format",
		UpUnknownNode: "up_dropped_unknown_node",
		UpNotBound:    "up_dropped_not_bound",
		UpNoReverse:   "up_dropped_no_reverse_tunnel",
		UpMarker:      "up_dropped_marker",
		UpError:       "up_dropped_error",
	}
}
