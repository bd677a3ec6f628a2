package notify

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"openmpa/internal/event"
	"openmpa/internal/neighbourhood"
)

func full() neighbourhood.Network {
	cost, load := float32(-1.5), float32(0.25)
	return neighbourhood.Network{
		Name: "b", Operator: "b.example", Cost: &cost, Hops: 2,
		Agents: []neighbourhood.Agent{
			{Role: neighbourhood.PAA, Addr: netip.MustParseAddrPort("10.1.0.1:0"), Key: neighbourhood.Fingerprint{7}},
			{Role: neighbourhood.AR, Addr: netip.MustParseAddrPort("[2001:db8::1]:716"), Identity: "ar.b.example"},
			{Role: neighbourhood.CA},
		},
		Prefixes: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24"), netip.MustParsePrefix("2001:db8:1::/64")},
		Points: []neighbourhood.Point{
			{
				Name: "02:00:00:00:01:00", SSID: "two words\x00", Freq: 5180, Security: neighbourhood.WPAEAP, Reach: 40, Load: &load,
				Location: &neighbourhood.Location{Plan: "hall", X: -3.25, Y: 1e6, Alt: 2},
			},
			{Name: "poa-b2", Location: &neighbourhood.Location{X: 13.4, Y: 52.5}},
		},
	}
}

func equalAddrs() cmp.Option {
	return cmp.Options{
		cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	}
}

func TestNetworks(t *testing.T) {
	list := []neighbourhood.Network{full(), {Name: "c"}}
	b, err := AppendNetworks(nil, list)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseNetworks(b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(list, got, equalAddrs()); d != "" {
		t.Error(d)
	}
	whole := len(b) - len("\x00\x04\x01\x00\x01c") // where the second begins
	for n := 1; n < len(b); n++ {
		if _, err := ParseNetworks(b[:n]); err == nil && n != whole {
			t.Errorf("cut to %d of %d octets: accepted", n, len(b))
		} else if err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("cut to %d: %v is not ErrMalformed", n, err)
		}
	}
	golden, err := AppendNetworks(nil, []neighbourhood.Network{{Name: "c", Hops: 1, Prefixes: list[0].Prefixes[:1], Points: []neighbourhood.Point{{Name: "p", Freq: 2412}}}})
	const want = "0021" + "01000163" + "030006" + "04180a010000" + "05000101" + "07000d" + "000b" + "01000170" + "0300040000096c"
	if got := hex.EncodeToString(golden); err != nil || got != want {
		t.Errorf("network\n got %s, %v\nwant %s", got, err, want)
	}
}

// What cannot be is neither sent nor taken.
func TestNetworksRefused(t *testing.T) {
	for name, change := range map[string]func(*neighbourhood.Network){
		"no name":          func(n *neighbourhood.Network) { n.Name = "" },
		"space in name":    func(n *neighbourhood.Network) { n.Name = "b c" },
		"escape":           func(n *neighbourhood.Network) { n.Operator = "\x1b[2J" },
		"long name":        func(n *neighbourhood.Network) { n.Name = strings.Repeat("x", neighbourhood.MaxText+1) },
		"long SSID":        func(n *neighbourhood.Network) { n.Points[0].SSID = strings.Repeat("x", 33) },
		"multicast PAA":    func(n *neighbourhood.Network) { n.Agents[0].Addr = netip.MustParseAddrPort("224.0.0.1:716") },
		"loopback PAA":     func(n *neighbourhood.Network) { n.Agents[0].Addr = netip.MustParseAddrPort("127.0.0.1:716") },
		"mapped PAA":       func(n *neighbourhood.Network) { n.Agents[0].Addr = netip.MustParseAddrPort("[::ffff:10.0.0.1]:716") },
		"role":             func(n *neighbourhood.Network) { n.Agents[0].Role = 9 },
		"default route":    func(n *neighbourhood.Network) { n.Prefixes[0] = netip.MustParsePrefix("0.0.0.0/0") },
		"bits behind":      func(n *neighbourhood.Network) { n.Prefixes[0] = netip.MustParsePrefix("10.1.0.1/24") },
		"point twice":      func(n *neighbourhood.Network) { n.Points[1].Name = n.Points[0].Name },
		"many points":      func(n *neighbourhood.Network) { n.Points = many(neighbourhood.MaxPoints + 1) },
		"many agents":      func(n *neighbourhood.Network) { n.Agents = make([]neighbourhood.Agent, neighbourhood.MaxAgents+1) },
		"hops":             func(n *neighbourhood.Network) { n.Hops = neighbourhood.MaxHops + 1 },
		"latitude":         func(n *neighbourhood.Network) { n.Points[1].Location.Y = 91 },
		"load":             func(n *neighbourhood.Network) { v := float32(2); n.Points[0].Load = &v },
		"cost not a value": func(n *neighbourhood.Network) { v := float32(0); v /= v; n.Cost = &v },
	} {
		n := full()
		change(&n)
		if b, err := AppendNetworks(nil, []neighbourhood.Network{n}); err == nil {
			t.Errorf("%s: appended as %x", name, b)
		}
	}
	good, _ := AppendNetworks(nil, []neighbourhood.Network{full()})
	for name, change := range map[string][2]string{
		"escape in name":   {"\x01\x00\x01b", "\x01\x00\x01\x1b"},
		"multicast prefix": {"\x04\x18\x0a\x01\x00\x00", "\x04\x18\xe0\x01\x00\x00"},
		"family 5":         {"\x04\x18\x0a\x01\x00\x00", "\x05\x18\x0a\x01\x00\x00"},
		"prefix length":    {"\x04\x18\x0a\x01\x00\x00", "\x04\x21\x0a\x01\x00\x00"},
		"hops":             {"\x05\x00\x01\x02", "\x05\x00\x01\x09"},
	} {
		bad := bytes.Replace(good, []byte(change[0]), []byte(change[1]), 1)
		if bytes.Equal(bad, good) {
			t.Fatalf("%s: nothing replaced", name)
		}
		if list, err := ParseNetworks(bad); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %+v, %v", name, list, err)
		}
	}
	var long []byte
	for i := range neighbourhood.MaxNetworks + 1 {
		long, _ = AppendNetworks(long, []neighbourhood.Network{{Name: fmt.Sprint(i)}})
	}
	if list, err := ParseNetworks(long); err == nil {
		t.Errorf("%d networks taken", len(list))
	}
}

func many(n int) (points []neighbourhood.Point) {
	for i := range n {
		points = append(points, neighbourhood.Point{Name: fmt.Sprintf("02:00:00:00:00:%02x", i), SSID: "ssid", Freq: 2412, Security: neighbourhood.WPAEAP})
	}
	return points
}

func FuzzParseNetworks(f *testing.F) {
	b, _ := AppendNetworks(nil, []neighbourhood.Network{full(), {Name: "c", Points: many(3)}})
	f.Add(b)
	f.Add([]byte{0, 4, 1, 0, 1, 'c'})
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := ParseNetworks(b)
		if err != nil {
			return
		}
		again, err := AppendNetworks(nil, list)
		if err != nil {
			t.Fatalf("parsed %+v but could not append: %v", list, err)
		}
		got, err := ParseNetworks(again)
		if err != nil || !reflect.DeepEqual(got, list) {
			t.Fatalf("appended %+v, parsed %+v, %v", list, got, err)
		}
	})
}

// conversation fetches an answer by messages as they are on the wire, from whatever at says is the answer at that request.
func conversation(t *testing.T, g *Gathering, at func(request int) (*Neighbours, []time.Duration)) (requests int, err error) {
	t.Helper()
	for ; requests < 1000; requests++ {
		b, err := Append(nil, g.Next(testID))
		if err != nil {
			t.Fatal(err)
		}
		m, err := Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		a, lives := at(requests)
		if b, err = Append(nil, a.Reply(m.(*NeighboursRequest), lives)); err != nil {
			t.Fatal(err)
		}
		if len(b) > MaxReport {
			t.Fatalf("a reply of %d octets", len(b))
		}
		reply, err := Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		if whole, err := g.Add(reply.(*NeighboursReply)); whole || err != nil {
			return requests + 1, err
		}
	}
	t.Fatal("no end")
	return requests, nil
}

func answer(t *testing.T, networks, points int) (*Neighbours, []time.Duration) {
	t.Helper()
	var list []neighbourhood.Network
	for i := range networks {
		list = append(list, neighbourhood.Network{Name: fmt.Sprint(i), Points: many(points)})
	}
	a, fit, err := NewNeighbours(list)
	if err != nil {
		t.Fatal(err)
	}
	lives := make([]time.Duration, fit)
	for i := range lives {
		lives[i] = time.Duration(i+1) * time.Second
	}
	return &a, lives
}

func TestGathering(t *testing.T) {
	a, lives := answer(t, neighbourhood.MaxNetworks, 16)
	if len(lives) != neighbourhood.MaxNetworks {
		t.Fatalf("%d networks fit", len(lives))
	}
	still := func(int) (*Neighbours, []time.Duration) { return a, lives }
	var g Gathering
	requests, err := conversation(t, &g, still)
	if err != nil {
		t.Fatal(err)
	}
	got := g.Networks()
	if len(got) != len(lives) || got[63].Lifetime != 64*time.Second || len(got[63].Points) != 16 || g.Revision() != a.Revision() {
		t.Fatalf("%d networks, the last one %+v", len(got), got[len(got)-1])
	}
	if want := (len(a.data) + NeighboursPart - 1) / NeighboursPart; requests != want {
		t.Errorf("%d requests, expected %d", requests, want)
	}
	// Unchanged: one request, and the lifetimes are those of now.
	lives[63], lives[0] = time.Hour, 0
	if requests, err = conversation(t, &g, still); err != nil || requests != 1 {
		t.Fatalf("%d requests where nothing has changed, %v", requests, err)
	}
	if got = g.Networks(); len(got) != 63 || got[62].Lifetime != time.Hour {
		t.Errorf("%d networks, the last one for %v", len(got), got[len(got)-1].Lifetime)
	}
	// It changes while it is fetched.
	b, fewer := answer(t, 20, 8)
	var h Gathering
	if _, err = conversation(t, &h, func(request int) (*Neighbours, []time.Duration) {
		if request < 3 {
			return a, lives
		}
		return b, fewer
	}); err != nil || len(h.Networks()) != 20 || h.Revision() != b.Revision() {
		t.Errorf("%d networks, %v", len(h.Networks()), err)
	}
	// It never stands still: given up, and what was known stays.
	if _, err = conversation(t, &h, func(request int) (*Neighbours, []time.Duration) {
		if request%4 < 2 {
			return a, lives
		}
		c, few := answer(t, 30, 16)
		return c, few
	}); err == nil || len(h.Networks()) != 20 {
		t.Errorf("%d networks, %v", len(h.Networks()), err)
	}
	none, _, _ := NewNeighbours(nil)
	var e Gathering
	if _, err = conversation(t, &e, func(int) (*Neighbours, []time.Duration) { return &none, nil }); err != nil || len(e.Networks()) != 0 {
		t.Errorf("an empty answer: %v, %v", e.Networks(), err)
	}
}

// A router that lies about the parts is found out, and what was known stays.
func TestGatheringRefuses(t *testing.T) {
	a, lives := answer(t, 20, 8)
	var g Gathering
	if _, err := conversation(t, &g, func(int) (*Neighbours, []time.Duration) { return a, lives }); err != nil {
		t.Fatal(err)
	}
	b, others := answer(t, 10, 16)
	for name, change := range map[string]func(part int, r *NeighboursReply){
		"an octet": func(part int, r *NeighboursReply) { r.Data = bytes.Clone(r.Data); r.Data[100] ^= 1 },
		"another SSID": func(part int, r *NeighboursReply) {
			r.Data = bytes.Replace(r.Data, []byte("ssid"), []byte("tsid"), 1)
		},
		"lives of others":       func(part int, r *NeighboursReply) { r.Lives = r.Lives[:max(1, len(r.Lives))-1] },
		"unchanged":             func(part int, r *NeighboursReply) { r.Parts, r.Data, r.Lives, r.Part = 0, nil, others, 0 },
		"another part":          func(part int, r *NeighboursReply) { r.Part = min(r.Parts-1, r.Part+1) },
		"first part for ever":   func(part int, r *NeighboursReply) { *r = *b.Reply(&NeighboursRequest{}, others) },
		"revision in the midst": func(part int, r *NeighboursReply) { r.Revision[0] += byte(part) },
		"reason":                func(part int, r *NeighboursReply) { *r = NeighboursReply{Reason: "no"} },
	} {
		var err error
		whole := false
		for part := 0; part < 100 && err == nil && !whole; part++ {
			m := g.Next(event.HandoverID{})
			r := b.Reply(m, others)
			change(part, r)
			whole, err = g.Add(r)
		}
		if err == nil || whole {
			t.Errorf("%s: taken", name)
		}
		if len(g.Networks()) != 20 || g.Revision() != a.Revision() {
			t.Errorf("%s: %d networks are left", name, len(g.Networks()))
		}
		if m := g.Next(event.HandoverID{}); m.Part != 0 {
			t.Errorf("%s: goes on with part %d", name, m.Part)
		}
	}
}

func FuzzGathering(f *testing.F) {
	f.Add([]byte{1, 0, 1, 0, 1, 2, 3}, uint16(1), uint16(0))
	f.Fuzz(func(t *testing.T, data []byte, parts, part uint16) {
		var g Gathering
		for i := range 200 {
			r := &NeighboursReply{Revision: revisionOf(data), Part: part + uint16(i), Parts: parts}
			r.Data = data[:min(len(data), NeighboursPart)]
			if r.Part == 0 {
				r.Lives = make([]time.Duration, len(data)%70)
			}
			if whole, err := g.Add(r); err != nil || whole {
				break
			}
			if len(g.data) > MaxNeighbours {
				t.Fatalf("%d octets kept", len(g.data))
			}
		}
		for _, n := range g.Networks() {
			if err := n.Check(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
