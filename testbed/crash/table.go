package crash

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"openmpa/testbed/matrix"
	"openmpa/testbed/report"
)

// Table draws the verdicts, points down and victims across.
func Table(records []Record) string {
	verdicts := make(map[Point]map[Party]string)
	var order []Point
	for _, r := range records {
		if verdicts[r.Point] == nil {
			verdicts[r.Point] = make(map[Party]string)
			order = append(order, r.Point)
		}
		verdicts[r.Point][r.Victim] = matrix.Word(r.Passed)
	}
	head := []string{"killed at"}
	for _, v := range Victims {
		head = append(head, string(v))
	}
	rows := [][]string{head}
	for _, p := range order {
		row := []string{string(p)}
		for _, v := range Victims {
			word := verdicts[p][v]
			if word == "" {
				word = "-"
			}
			row = append(row, word)
		}
		rows = append(rows, row)
	}
	return report.Table(rows)
}

// Summary says how many passed, and how each victim's death was felt.
func Summary(records []Record) string {
	rows := [][]string{{"killed", "passed", "hit after ms", "recovered after ms", "settled after ms", "silence down ms", "lost down", "lost up", "handover"}}
	passed := 0
	for _, v := range Victims {
		var hit, recovery, settled, silence, down, up []float64
		outcomes := make(map[string]int)
		n, good := 0, 0
		note := func(list *[]float64, x *float64) {
			if x != nil {
				*list = append(*list, *x)
			}
		}
		for _, r := range records {
			if r.Victim != v {
				continue
			}
			n++
			if r.Passed {
				good++
			}
			note(&hit, r.HitMS)
			note(&recovery, r.RecoveryMS)
			note(&settled, r.SettledMS)
			if r.Down != nil && r.Up != nil {
				silence, down, up = append(silence, r.Down.SilenceMS), append(down, float64(r.Down.Lost)), append(up, float64(r.Up.Lost))
			}
			if r.Outcome != "" {
				outcomes[r.Outcome]++
			}
		}
		if n == 0 {
			continue
		}
		passed += good
		rows = append(rows, []string{
			string(v), fmt.Sprintf("%d/%d", good, n), matrix.Spread("%.2f", hit), matrix.Spread("%.0f", recovery), matrix.Spread("%.0f", settled),
			matrix.Spread("%.0f", silence), matrix.Spread("%.0f", down), matrix.Spread("%.0f", up), counts(outcomes),
		})
	}
	return fmt.Sprintf("Least, median, 90th percentile, most:\n\n%s\n%d cells, %d passed, %d failed\n", report.Table(rows), len(records), passed, len(records)-passed)
}

func counts(m map[string]int) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%d %s", m[k], k))
	}
	if parts == nil {
		return "-"
	}
	return strings.Join(parts, ", ")
}
