package report

import (
	"fmt"
	"maps"
	"slices"

	"openmpa/internal/control"
)

// Soak is what many moves in a row left, or did not leave.
type Soak struct {
	Moves       int      `json:"moves"`
	ForcedFlips int      `json:"forced_flips"`
	Flow        Flows    `json:"flow"` // sums over all of them
	Samples     []Sample `json:"samples"`
}

// Sample is what the daemons took after so many moves, with the node at the
// network where it began.
type Sample struct {
	Moves int `json:"moves"`
	// Daemons by name.
	Daemons map[string]control.Resources `json:"daemons"`
	// Kernel counts what the kernel holds in each namespace: links, addresses,
	// routes, rules, entries somebody made.
	Kernel map[string]int `json:"kernel"`
}

// The tolerances of Grown. Descriptors, goroutines and what the kernel holds must not
// grow at all.
const (
	// warmUp is the part of the samples in which rings and pools fill.
	warmUp = 0.4
	// heapPerMove is the growth of a heap, in octets a move, from which it is a leak: less
	// than one pointer of each move that is remembered.
	heapPerMove = 8
	// heapNoise is what a heap may differ by at any two moments of idleness, in octets.
	heapNoise = 128 << 10
	// residentGrowth is how much larger a process may become after warm-up: the
	// garbage collector lets memory go late.
	residentGrowth = 1.25
)

// Grown names what grew after warm-up, a line each.
func (s *Soak) Grown() (lines []string) {
	late := s.settled()
	if len(late) < 4 {
		return []string{fmt.Sprintf("%d samples after warm-up, expected 4 or more: make more moves", len(late))}
	}
	half := len(late) / 2
	for _, name := range slices.Sorted(maps.Keys(late[0].Daemons)) {
		grew := func(what string, of func(control.Resources) int) {
			if before, after := most(late[:half], name, of), least(late[half:], name, of); after > before {
				lines = append(lines, fmt.Sprintf("%s: %s grow: at most %d in the first half after warm-up, at least %d in the second", name, what, before, after))
			}
		}
		grew("goroutines", func(r control.Resources) int { return r.Goroutines })
		grew("descriptors", func(r control.Resources) int { return r.Descriptors })
		heap := func(r control.Resources) int { return int(r.HeapBytes) }
		moves := late[len(late)-1].Moves - late[0].Moves
		for _, by := range []struct {
			word string
			of   func([]Sample, string, func(control.Resources) int) int
		}{{"at least", least}, {"a median of", median}} {
			if before, after := by.of(late[:half], name, heap), by.of(late[half:], name, heap); after-before > heapNoise+moves*heapPerMove/2 {
				lines = append(lines, fmt.Sprintf("%s: the heap grows: %s %d octets in the first half after warm-up, %d in the second", name, by.word, before, after))
			}
		}
		size := func(r control.Resources) int { return int(r.ResidentBytes) }
		quarter := half / 2
		if before, after := most(late[:quarter], name, size), least(late[len(late)-quarter:], name, size); float64(after) > residentGrowth*float64(before) {
			lines = append(lines, fmt.Sprintf("%s: the process grows: %d octets at most in the first quarter after warm-up, %d at least in the last", name, before, after))
		}
	}
	first := s.Samples[0].Kernel
	for _, later := range s.Samples[1:] {
		for _, node := range slices.Sorted(maps.Keys(later.Kernel)) {
			if n := later.Kernel[node]; n != first[node] {
				lines = append(lines, fmt.Sprintf("%s: the kernel holds %d things after %d moves, %d before", node, n, later.Moves, first[node]))
			}
		}
	}
	return lines
}

// settled are the samples after warm-up.
func (s *Soak) settled() []Sample {
	return s.Samples[int(warmUp*float64(len(s.Samples))):]
}

func most(samples []Sample, name string, of func(control.Resources) int) int {
	n := of(samples[0].Daemons[name])
	for _, s := range samples {
		n = max(n, of(s.Daemons[name]))
	}
	return n
}

func least(samples []Sample, name string, of func(control.Resources) int) int {
	n := of(samples[0].Daemons[name])
	for _, s := range samples {
		n = min(n, of(s.Daemons[name]))
	}
	return n
}

func median(samples []Sample, name string, of func(control.Resources) int) int {
	var all []int
	for _, s := range samples {
		all = append(all, of(s.Daemons[name]))
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// Table shows what each daemon took before, after warm-up and at the end.
func (s *Soak) Table() string {
	if len(s.Samples) == 0 {
		return ""
	}
	at := []Sample{s.Samples[0], s.settled()[0], s.Samples[len(s.Samples)-1]}
	head := []string{"moves"}
	for range 4 {
		for _, x := range at {
			head = append(head, fmt.Sprint(x.Moves))
		}
	}
	rows := [][]string{{"", "goroutines", "", "", "descriptors", "", "", "heap, KiB", "", "", "resident, MiB", "", ""}, head}
	for _, name := range slices.Sorted(maps.Keys(at[0].Daemons)) {
		row := []string{name}
		for _, of := range []func(control.Resources) string{
			func(r control.Resources) string { return fmt.Sprint(r.Goroutines) },
			func(r control.Resources) string { return fmt.Sprint(r.Descriptors) },
			func(r control.Resources) string { return fmt.Sprint(r.HeapBytes >> 10) },
			func(r control.Resources) string { return fmt.Sprintf("%.1f", float64(r.ResidentBytes)/(1<<20)) },
		} {
			for _, x := range at {
				row = append(row, of(x.Daemons[name]))
			}
		}
		rows = append(rows, row)
	}
	return Table(rows)
}
