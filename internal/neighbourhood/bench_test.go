package neighbourhood

import (
	"fmt"
	"net/netip"
	"testing"
)

// BenchmarkWorst is a table as full as it can be: each source says as much as it may, and all contradict each other.
func BenchmarkWorst(b *testing.B) {
	var table Table
	lists := make([][]Network, MaxSources)
	for s := range lists {
		for i := range MaxNetworks {
			n := Network{Name: fmt.Sprint("n", i), Agents: []Agent{paa(fmt.Sprintf("10.%d.0.1:716", s))}}
			for p := range MaxPrefixes {
				n.Prefixes = append(n.Prefixes, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), byte(p), 0}), 24))
			}
			for p := range MaxPoints {
				n.Points = append(n.Points, Point{Name: fmt.Sprintf("p%d-%d-%d", s, i, p), SSID: fmt.Sprint(s)})
			}
			lists[s] = append(lists[s], n)
		}
		table.Learn(start, Source{Router, fmt.Sprint(s)}, lists[s], 0)
	}
	b.ReportAllocs()
	for b.Loop() {
		table.Learn(start, Source{Router, "0"}, lists[0], 0)
		if len(table.Networks(start)) != MaxNetworks {
			b.Fatal("networks are missing")
		}
	}
}
