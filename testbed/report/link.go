package report

import (
	"fmt"
	"sort"
	"strings"
)

// A Link is what a bad link of the lab did in a run.
type Link struct {
	Seed uint64        `json:"seed"`
	Out  LinkDirection `json:"out"` // away from the core
	In   LinkDirection `json:"in"`  // towards the core
}

// A LinkDirection counts frames.
type LinkDirection struct {
	Asked      string `json:"asked"`
	Frames     uint64 `json:"frames"` // that came to the link
	Delivered  uint64 `json:"delivered"`
	Lost       uint64 `json:"lost"` // by choice
	Refused    uint64 `json:"queue_full"`
	Duplicated uint64 `json:"duplicated"`
	Reordered  uint64 `json:"reordered"`
	// MarkersTaken are those that were lost on purpose.
	MarkersTaken uint64 `json:"markers_taken"`
	// TooSlow are frames the lab itself lost: the figures are worth little then.
	TooSlow uint64 `json:"too_slow"`
	// DataLost are the datagrams among the frames that were lost.
	DataLost DataLost `json:"data_lost"`
	// DelayMS was asked for; absent when it is drawn for each frame.
	DelayMS *float64 `json:"delay_ms,omitempty"`
	// How much later than asked for frames left the link.
	LateP50MS float64 `json:"late_p50_ms"`
	LateP99MS float64 `json:"late_p99_ms"`
	LateMaxMS float64 `json:"late_max_ms"`
}

// DataLost counts datagrams of the lab's flows.
type DataLost struct {
	Down  uint64 `json:"down"` // to the mobile node
	Up    uint64 `json:"up"`
	Probe uint64 `json:"probe"`
}

// String is a direction in a sentence.
func (d LinkDirection) String() string {
	var b strings.Builder
	if d.DelayMS != nil {
		fmt.Fprintf(&b, "delay %s ms asked, p50 %.2f ms, p99 %.2f ms", number(*d.DelayMS), *d.DelayMS+d.LateP50MS, *d.DelayMS+d.LateP99MS)
	} else {
		fmt.Fprintf(&b, "%s asked, late by p50 %.2f ms, p99 %.2f ms", d.Asked, d.LateP50MS, d.LateP99MS)
	}
	fmt.Fprintf(&b, " of %d frames; %d lost by choice, %d by a full queue", d.Frames, d.Lost, d.Refused)
	for _, x := range []struct {
		n    uint64
		word string
	}{{d.Duplicated, "duplicated"}, {d.Reordered, "sent ahead"}, {d.MarkersTaken, "markers taken"}, {d.TooSlow, "LOST BY THE LAB ITSELF"}} {
		if x.n > 0 {
			fmt.Fprintf(&b, ", %d %s", x.n, x.word)
		}
	}
	return b.String()
}

// AddLink adds what one link did.
func (r *Result) AddLink(name string, l Link) {
	if r.Links == nil {
		r.Links = make(map[string]Link)
	}
	r.Links[name] = l
}

// LinkLines shows what links did, a line for each direction.
func LinkLines(links map[string]Link) string {
	names := make([]string, 0, len(links))
	for name := range links {
		names = append(names, name)
	}
	sort.Strings(names)
	var b strings.Builder
	for _, name := range names {
		l := links[name]
		fmt.Fprintf(&b, "  %s>: %v\n  %s<: %v; seed:%d\n", name, l.Out, name, l.In, l.Seed)
	}
	return b.String()
}

// MarkerLine counts the markers that were lost on purpose.
func MarkerLine(r *Result) string {
	counts := make(map[string]int)
	var kinds []string
	for _, h := range r.Handovers {
		for _, k := range h.MarkersLost {
			if counts[k]++; counts[k] == 1 {
				kinds = append(kinds, k)
			}
		}
	}
	sort.Strings(kinds)
	total := 0
	for i, k := range kinds {
		total += counts[k]
		kinds[i] = fmt.Sprintf("%d %s", counts[k], k)
	}
	return fmt.Sprintf("  %d markers lost on purpose in %d handovers: %s\n", total, len(r.Handovers), strings.Join(kinds, ", "))
}
