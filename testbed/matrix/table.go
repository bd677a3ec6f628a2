package matrix

import (
	"fmt"
	"slices"
	"strings"
)

// Spread is the least, the median, the ninth tenth and the most of a figure.
func Spread(format string, values []float64) string {
	if len(values) == 0 {
		return "-"
	}
	values = slices.Sorted(slices.Values(values))
	var parts []string
	for _, q := range []float64{0, 0.5, 0.9, 1} {
		parts = append(parts, fmt.Sprintf(format, values[int(q*float64(len(values)-1)+0.5)]))
	}
	return strings.Join(parts, " ")
}

// Word is a verdict in a table.
func Word(passed bool) string {
	if passed {
		return "ok"
	}
	return "FAIL"
}
