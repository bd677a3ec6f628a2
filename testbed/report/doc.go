// Package report holds the results of a run: the JSON object that
// `mpa-lab run --json` writes, the figures over several handovers, and the
// tables and the picture for people.
//
//	{"scenario": "handover", "commit": "...", "kernel": "...", "started": "...", "machine": {...}, "flags": {...},
//	 "handovers": [ {"id": "...", "from": "b", "to": "a", "outcome": "completed",
//	                 "flow":   {"down": {...}, "up": {...}},
//	                 "phases": {"tauth_ms": 0.0, ..., "l2_ms": 0.0, "l3_ms": 0.0},
//	                 "buffer": {"packets": 0, "held_ms": 0.0, "dropped": 0, "forced_flips": 0},
//	                 "track":  {"origin": "...", "away": [...], "phases": [...], "down": {...}, "up": {...}}} ],
//	 "summary": {"flow.down.lost": {"count": 0, "mean": 0.0, "min": 0.0, "p50": 0.0, "p90": 0.0, "p99": 0.0, "max": 0.0}, ...},
//	 "cases": [ {"case": "buffering on", "summary": {...}} ]}
//
// A field that does not apply is absent, never zero. Times are milliseconds.
package report
