// Package report holds the results of a run: the JSON object that
// `mpa-lab run --json` writes, the figures over several handovers, and the
// tables and the picture for people.
//
//	{"scenario": "handover", "commit": "...", "flags": {...},
//	 "handovers": [ {"id": "...", "from": "b", "to": "a", "outcome": "completed",
//	                 "flow":   {"down": {...}, "up": {...}},
//	                 "phases": {"tauth_ms": 0.0, ..., "l2_ms": 0.0, "l3_ms": 0.0},
//	                 "buffer": {"packets": 0, "held_ms": 0.0, "dropped": 0, "forced_flips": 0}} ],
//	 "summary": {"flow.down.lost": {"min": 0.0, "p50": 0.0, "p99": 0.0, "max": 0.0}, ...}}
//
// A field that does not apply is absent, never zero. Times are milliseconds.
package report
