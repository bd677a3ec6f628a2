package report

import (
	"strings"
	"testing"
	"time"
)

func caseOf(name string, l2, l3 float64, lost, onAir, eap int) Handover {
	h := Handover{Case: name, Phases: map[string]float64{"l2_ms": l2}, Radio: &Radio{EAP: eap, RADIUS: 8 * eap}}
	if l3 > 0 {
		h.Phases["l3_ms"] = l3
	}
	h.Flow.Up = &Flow{Lost: lost, LostOnAir: &onAir}
	return h
}

func TestBacks(t *testing.T) {
	got := Backs([]Handover{
		caseOf("slow", 100, 900, 0, 0, 0), caseOf("slow", 100, 50, 0, 0, 0), caseOf("slow", 90, 30, 0, 0, 0),
		caseOf("fast", 10, 5, 0, 0, 0), caseOf("never", 10, 0, 0, 0, 0),
	})
	if len(got) != 2 || got["slow"] != 150*time.Millisecond || got["fast"] != 15*time.Millisecond {
		t.Errorf("got %v, expected the medians 150 ms and 15 ms, and nothing of what never came back", got)
	}
}

func TestCaseTable(t *testing.T) {
	r := &Result{Handovers: []Handover{
		caseOf("prepared", 100, 10, 2, 2, 0), caseOf("prepared", 120, 30, 1, 1, 0), caseOf("not prepared", 400, 90, 70, 69, 1),
	}}
	if r.SummarizeCases(); len(r.Cases) != 2 {
		t.Fatalf("%d cases, expected 2", len(r.Cases))
	}
	text := CaseTable(r)
	for _, want := range []string{"RADIUS", "prepared", "3/3", "70/69", " 8\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if text := CaseTable(&Result{}); text != "" {
		t.Errorf("without cases: %q", text)
	}
}
