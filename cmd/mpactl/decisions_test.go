package main

import (
	"testing"
	"time"

	"openmpa/mn"
)

// TestNow: since when, for how long, why, and what is being prepared, once.
func TestNow(t *testing.T) {
	from := time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)
	d := mn.Decided{From: from, Until: from.Add(7200 * time.Millisecond), Reason: "stays: b1 has -60 dBm", Ladder: []mn.Rung{{Network: "a", Point: "a1", Depth: "tunnel"}}}
	if got, want := now(d), "now, since 03:04:05 (7.2s): stays: b1 has -60 dBm; to be prepared: a:tunnel"; got != want {
		t.Errorf("%q, expected %q", got, want)
	}
	d.Reason = "stays: b1 has -66 dBm; prepared: a to tunnel\x1b[2J"
	if got, want := now(d), "now, since 03:04:05 (7.2s): stays: b1 has -66 dBm; prepared: a to tunnel [2J"; got != want {
		t.Errorf("%q, expected %q", got, want)
	}
}
