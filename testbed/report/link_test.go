package report

import (
	"strings"
	"testing"
)

func TestLinkLines(t *testing.T) {
	ms := 40.0
	text := LinkLines(map[string]Link{"core-a": {
		Seed: 7, Out: LinkDirection{DelayMS: &ms, LateP50MS: 0.05, LateP99MS: 0.4, Frames: 12345, Lost: 12},
		In: LinkDirection{Asked: "delay:40ms,jitter:5ms", MarkersTaken: 2},
	}})
	for _, want := range []string{
		"core-a>: delay 40 ms asked, p50 40.05 ms, p99 40.40 ms of 12345 frames; 12 lost by choice, 0 by a full queue",
		"core-a<: delay:40ms,jitter:5ms asked, late by", "2 markers taken", "seed:7",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}

func TestMarkerLine(t *testing.T) {
	r := &Result{Handovers: []Handover{{MarkersLost: []string{"depart", "departed"}}, {MarkersLost: []string{"depart"}}, {}}}
	if got := MarkerLine(r); got != "  3 markers lost on purpose in 3 handovers: 2 depart, 1 departed\n" {
		t.Errorf("%q", got)
	}
}
