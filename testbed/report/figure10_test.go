package report

import (
	"strings"
	"testing"
	"time"
)

// roams is a result of n moves of each way, of which MPA's take ours.
func roams(ours time.Duration) *Result {
	const n = 5
	r := &Result{Scenario: "figure10"}
	for _, way := range Ways {
		for _, roaming := range []bool{false, true} {
			auth := 120 * time.Millisecond
			if roaming {
				auth = 560 * time.Millisecond
			}
			for i := range n {
				h := Handover{Case: RoamCase(way, roaming), Outcome: "completed", Phases: make(map[string]float64), Radio: &Radio{Tries: 1}}
				assoc := time.Duration(20+2*i) * time.Millisecond // 20 to 28
				switch way {
				case WayFull:
					h.Radio.EAP, h.Radio.RADIUS = 1, 4
					h.SetRoam(auth, 0, assoc, auth+assoc)
				case WayMPA:
					h.SetRoam(auth, 15*time.Millisecond, ours, ours)
				case WayByHand:
					h.SetRoam(auth, 15*time.Millisecond, 20*time.Millisecond, 20*time.Millisecond)
				default:
					h.SetRoam(auth, 0, assoc, assoc)
				}
				r.Handovers = append(r.Handovers, h)
			}
		}
	}
	r.SummarizeCases()
	return r
}

// row is the words of the line that begins with title.
func row(t *testing.T, table, title string) []string {
	t.Helper()
	for line := range strings.Lines(table) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), title); ok {
			return strings.Fields(rest)
		}
	}
	t.Fatalf("no line %q in\n%s", title, table)
	return nil
}

func TestRoamTable(t *testing.T) {
	table := Tables(roams(25 * time.Millisecond))
	for title, want := range map[string]string{
		"Tauth":                              "120 560 120 560 120 560 120 560 120 560 120 560",
		"Tconf":                              "- - - - - - - - 15 15 15 15",
		"Tassoc+4way":                        "24 24 24 24 24 24 24 24 25 25 20 20",
		"Total":                              "144 584 144 584 144 584 144 584 160 600 155 595",
		"Time affecting handover":            "144 584 24 24 24 24 24 24 25 25 20 20",
		"802.11i post-authentication, local": "5 120 / 120 / 120 - 20 / 24 / 28 140 / 144 / 148 140 / 144 / 148 1 to 1 4 to 4 1 to 1",
		"MPA-assisted, 100 ms":               "5 560 / 560 / 560 15 / 15 / 15 25 / 25 / 25 600 / 600 / 600 25 / 25 / 25 0 to 0 0 to 0 1 to 1",
	} {
		if got := strings.Join(row(t, table, title), " "); got != want {
			t.Errorf("%s: %s, expected %s", title, got, want)
		}
	}
	// What was published stands below each row.
	_, after, _ := strings.Cut(table, "Total")
	if got := strings.Join(row(t, after, "RFC 6252"), " "); got != "79 616 115 655 - - - - 208 865 - -" {
		t.Errorf("the RFC's totals: %s", got)
	}
	if Roams(&Result{Cases: []Case{{Name: CaseBuffered}}}) != nil || RoamTable(&Result{}) != "" {
		t.Error("another scenario has the figure")
	}
}

// TestRoamRule: within the spread of the others passes, beyond it fails.
func TestRoamRule(t *testing.T) {
	for ours, good := range map[time.Duration]bool{10 * time.Millisecond: true, 28 * time.Millisecond: true, 29 * time.Millisecond: false} {
		line, broken := RoamRule(roams(ours))
		if line == "" || (broken == "") != good {
			t.Errorf("%v: %q, broken %q, expected %v", ours, line, broken, good)
		}
	}
	line, _ := RoamRule(roams(12 * time.Millisecond))
	for _, want := range []string{"median of 12 ms (90th percentile 12 ms) of 10 moves", "medians of 24 to 24 ms, ratio 0.50 to 0.50", "90th percentile is 28 ms", "moved by hand, the median is 20 ms"} {
		if !strings.Contains(line, want) {
			t.Errorf("%q is not in %q", want, line)
		}
	}
	if line, broken := RoamRule(&Result{}); line != "" || broken != "" {
		t.Errorf("of nothing: %q %q", line, broken)
	}
}
