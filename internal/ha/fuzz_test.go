package ha

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"openmpa/internal/inet"
	"openmpa/mn/mobility/mip4"
)

// FuzzBindings: whatever is asked for, in whatever order, there are no more bindings than are allowed,
// each care-of address once; a restart changes nothing of them.
func FuzzBindings(f *testing.F) {
	const retain, offers, leaves, waits = 8, 16, 32, 64 // the low bits are a care-of address
	f.Add([]byte{0 | offers, 1 | retain | offers, 2 | retain, 1 | offers})
	f.Add([]byte{0, 1 | retain, 2 | retain | offers, 3 | retain, 4 | retain, 2 | leaves, 7 | leaves})
	f.Add([]byte{0 | offers, 1 | retain, waits | 1 | retain, waits, waits, 3 | leaves})
	f.Fuzz(func(t *testing.T, ops []byte) {
		const most = 3
		cfg := CoreConfig{Address: agent, Nodes: []Node{{HomeAddress: home, Security: sa}}, MaxBindings: most}
		w := &fakeWorld{}
		c, err := NewCore(cfg, w)
		if err != nil {
			t.Fatal(err)
		}
		now := epoch
		for i, op := range ops[:min(len(ops), 64)] {
			now = now.Add(time.Millisecond)
			q := mip4.Request{
				Flags: mip4.FlagD | mip4.FlagT, Lifetime: uint16(i + 1), HomeAddress: home, HomeAgent: agent,
				CareOf: netip.AddrFrom4([4]byte{10, 1, 0, 100 + op%8}), ID: inet.NTP(now),
			}
			if op&retain != 0 {
				q.Flags |= mip4.FlagS
			}
			if op&offers != 0 {
				q.Extensions = []mip4.Extension{mip4.PathMarkers{Path: uint64(i + 1)}.Extension()}
			}
			if op&leaves != 0 {
				if q.Lifetime = 0; op%8 == 7 {
					q.CareOf = home
				}
			}
			if op&waits != 0 {
				now = now.Add(5 * time.Second)
				c.OnDeadline(now)
				q.ID = inet.NTP(now)
			}
			b, err := q.AppendSigned(nil, sa)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.HandleRequest(now, netip.AddrPortFrom(careB, 434), b); err != nil {
				t.Fatal(err)
			}
			list := c.nodes[home].bindings.careOf()
			seen := slices.Clone(list)
			slices.SortFunc(seen, netip.Addr.Compare)
			if len(list) > most || len(slices.Compact(seen)) != len(list) || !c.nodes[home].path.Same(list) {
				t.Fatalf("op %d of %v: bound to %v", i, ops, list)
			}
			again, err := NewCore(cfg, &fakeWorld{})
			if err != nil {
				t.Fatal(err)
			}
			live, _ := c.nodes[home].bindings.at(now)
			if _, _, err := again.Restore(now, home, w.kept[home]); err != nil || !slices.Equal(again.nodes[home].bindings.careOf(), live.careOf()) {
				t.Fatalf("op %d of %v: bound to %v, after a restart to %v, %v", i, ops, live.careOf(), again.nodes[home].bindings.careOf(), err)
			}
		}
	})
}
