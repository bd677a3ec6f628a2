package neighbourhood

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var (
	start  = time.Unix(1_700_000_000, 0)
	config = Source{Configured, ""}
	router = Source{Router, "a"}
	dhcp   = Source{Link, "dhcp"}
	air    = Source{Air, "scan"}
)

func paa(addr string) Agent { return Agent{Role: PAA, Addr: netip.MustParseAddrPort(addr)} }

func names(list []Known) (out []string) {
	for _, n := range list {
		out = append(out, n.Name)
	}
	return out
}

// fields of contradictions, with what was dropped.
func fields(list []Contradiction) (out []string) {
	for _, c := range list {
		out = append(out, c.Network+" "+c.Field+" "+c.Dropped)
	}
	slices.Sort(out)
	return out
}

// A lying source changes nothing of what a more trusted one has said, adds to it, and is shown.
func TestTrust(t *testing.T) {
	var table Table
	b := netip.MustParsePrefix("10.1.0.0/24")
	cost := float32(3)
	table.Learn(start, dhcp, []Network{
		{
			Name: "b", Operator: "evil.example", Agents: []Agent{paa("10.9.0.1:716")},
		},
		{
			Name: "c", Agents: []Agent{paa("10.9.0.1:716"), {Role: AR, Identity: "ar.c.example"}}, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.3.0.0/24")}, Cost: &cost,
			Points: []Point{{Name: "poa-b1"}, {Name: "poa-c1", SSID: "other\n", Freq: 2412}, {Name: "poa-c2"}},
		},
		{Name: "d", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.1.0.128/25")}},
	}, time.Minute)
	table.Learn(start, config, []Network{
		{Name: "b", Operator: "b.example", Agents: []Agent{paa("10.1.0.1:0")}, Prefixes: []netip.Prefix{b}, Points: []Point{{Name: "poa-b1"}}},
		{Name: "c", Agents: []Agent{paa("10.2.0.1:716")}, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.2.0.0/24")}, Points: []Point{{Name: "poa-c1", SSID: "c"}}},
	}, 0)
	got := table.Networks(start)
	if n := names(got); !slices.Equal(n, []string{"b", "c", "d"}) {
		t.Fatal(n)
	}
	if b := got[0]; b.Operator != "b.example" || !slices.Equal(b.Agents, []Agent{paa("10.1.0.1:0")}) || !slices.Equal(b.From, []Source{config}) || !b.Until.IsZero() {
		t.Errorf("b: %+v", b)
	}
	c := got[1]
	if !slices.Equal(c.Agents, []Agent{paa("10.2.0.1:716"), {Role: AR, Identity: "ar.c.example"}}) || *c.Cost != cost ||
		!slices.Equal(c.Prefixes, []netip.Prefix{netip.MustParsePrefix("10.2.0.0/24")}) || !c.Until.IsZero() || !slices.Equal(c.From, []Source{config, dhcp}) {
		t.Errorf("c: %+v", c)
	}
	if len(c.Points) != 2 || c.Points[0].SSID != "c" || c.Points[0].Freq != 2412 || c.Points[1].Name != "poa-c2" {
		t.Errorf("points of c: %+v", c.Points)
	}
	if d := got[2]; len(d.Prefixes) != 0 || !d.Until.Equal(start.Add(time.Minute)) || !table.Next(start).Equal(d.Until) {
		t.Errorf("d: %+v", d)
	}
	want := []string{
		"b operator evil.example", "c paa 10.9.0.1:716", "c point poa-b1 of c", `c point poa-c1 ssid "other\n"`,
		"c prefix 10.3.0.0/24", "d prefix 10.1.0.128/25",
	}
	if f := fields(table.Contradictions(start)); !slices.Equal(f, want) {
		t.Errorf("contradictions\n got %q\nwant %q", f, want)
	}
	if k := table.Contradictions(start)[0]; k.KeptBy != config || k.By != dhcp || k.Kept == "" {
		t.Errorf("%+v", k)
	}
	if c := table.Counts(start); c.Contradictions != len(want) || c.Networks != 3 || c.Points != 3 || c.Sources != 2 {
		t.Errorf("%+v", c)
	}
}

// What was left open may be said by others: an address, one of the other family, a key.
func TestAgentsTogether(t *testing.T) {
	var table Table
	six := paa("[2001:db8::1]:716")
	table.Learn(start, config, []Network{{Name: "b", Agents: []Agent{paa("10.1.0.1:0"), {Role: CA, Identity: "ca"}}}}, 0)
	with := paa("10.1.0.1:716")
	with.Key = Fingerprint{1}
	at := netip.MustParseAddrPort("10.1.0.1:0")
	table.Learn(start, router, []Network{{Name: "b", Agents: []Agent{with, six, {Role: CA, Identity: "ca", Addr: at}, {Role: AR, Identity: "ar"}, {Role: AR, Identity: "ar2"}}}}, 0)
	table.Learn(start, dhcp, []Network{{Name: "b", Agents: []Agent{
		{Role: CA, Identity: "other"},
		paa("[2001:db8::2]:716"),
		{Role: AR, Identity: "ar"},
		{Role: PAA, Addr: with.Addr, Key: Fingerprint{2}},
	}}}, 0)
	known := paa("10.1.0.1:0")
	known.Key = with.Key
	want := []Agent{known, {Role: CA, Identity: "ca", Addr: at}, six, {Role: AR, Identity: "ar"}, {Role: AR, Identity: "ar2"}}
	if got := table.Networks(start)[0].Agents; !slices.Equal(got, want) {
		t.Errorf("agents\n got %+v\nwant %+v", got, want)
	}
	if f := fields(table.Contradictions(start)); len(f) != 3 {
		t.Errorf("%q", f)
	}
}

// Two networks may share a link, if one source says so; another one may not claim the addresses of either.
func TestSharedPrefix(t *testing.T) {
	var table Table
	shared, part := netip.MustParsePrefix("10.1.0.0/24"), netip.MustParsePrefix("10.1.0.64/26")
	table.Learn(start, router, []Network{{Name: "b", Prefixes: []netip.Prefix{shared}}, {Name: "c", Prefixes: []netip.Prefix{part}}}, 0)
	table.Learn(start, dhcp, []Network{{Name: "d", Prefixes: []netip.Prefix{part, netip.MustParsePrefix("10.4.0.0/24")}}}, 0)
	got := table.Networks(start)
	if len(got[0].Prefixes) != 1 || len(got[1].Prefixes) != 1 || len(got[2].Prefixes) != 1 || got[2].Prefixes[0] == part || len(table.Contradictions(start)) != 1 {
		t.Errorf("%+v", got)
	}
}

// Who is nearer is believed, of two of the same kind.
func TestHops(t *testing.T) {
	var table Table
	table.Learn(start, Source{Router, "a"}, []Network{{Name: "b", Hops: 1, Agents: []Agent{paa("10.9.0.1:716")}}}, 0)
	table.Learn(start, Source{Router, "b"}, []Network{{Name: "x"}, {Name: "b", Agents: []Agent{paa("10.1.0.1:716")}}}, 0)
	if b := table.Networks(start)[0]; b.Agents[0] != paa("10.1.0.1:716") || b.Hops != 0 {
		t.Errorf("%+v", b)
	}
}

func TestLifetimes(t *testing.T) {
	var table Table
	list := []Network{{Name: "b"}, {Name: "c", Lifetime: 10 * time.Second}, {Name: "d", Lifetime: time.Hour}}
	if !table.Learn(start, router, list, time.Minute) {
		t.Error("nothing new")
	}
	if table.Learn(start, router, list, 2*time.Minute) {
		t.Error("the same is new")
	}
	for _, step := range []struct {
		at   time.Duration
		want string
		next time.Duration
	}{{0, "b c d", 10 * time.Second}, {10*time.Second - 1, "b c d", 10 * time.Second}, {10 * time.Second, "b d", 2 * time.Minute}, {2 * time.Minute, "", 0}} {
		now := start.Add(step.at)
		if got := strings.Join(names(table.Networks(now)), " "); got != step.want {
			t.Errorf("after %v: %q, expected %q", step.at, got, step.want)
		}
		if next := table.Next(now); step.next == 0 && !next.IsZero() || step.next > 0 && !next.Equal(start.Add(step.next)) {
			t.Errorf("after %v: next at %v", step.at, next.Sub(start))
		}
	}
	if c := table.Counts(start.Add(time.Hour)); c.Sources != 0 {
		t.Errorf("%+v", c)
	}
	if !table.Learn(start, router, list, 0) || !table.Forget(router) || table.Forget(router) || len(table.Networks(start)) != 0 {
		t.Error("not forgotten")
	}
	table.Learn(start, router, list, 0)
	if !table.Learn(start.Add(10*time.Second), router, list, 0) {
		t.Error("what had ended and is said again is not new")
	}
	if !table.Learn(start, router, nil, time.Minute) || len(table.Networks(start)) != 0 {
		t.Error("what it says no longer is still known")
	}
}

// Thousands of networks from sources that lie cost bounded memory, and leave what the trusted one said.
func TestBounds(t *testing.T) {
	var table Table
	table.Learn(start, config, []Network{{Name: "zz", Points: []Point{{Name: "mine"}}}}, 0)
	var points []Point
	for i := range MaxPoints {
		points = append(points, Point{Name: fmt.Sprint("p", i)})
	}
	for s := range 2 * MaxSources {
		var list []Network
		networks := 100
		if s == 7 {
			networks = 3000
		}
		for i := range networks {
			p := slices.Clone(points)
			for j := range p {
				p[j].Name = fmt.Sprint(p[j].Name, "-", s, "-", i)
			}
			list = append(list, Network{Name: fmt.Sprintf("n%d-%d", s, i), Points: p})
		}
		table.Learn(start, Source{Router, fmt.Sprint(s)}, list, 0)
	}
	table.Learn(start, router, []Network{{Name: "with space"}, {Name: ""}, {Name: "b"}, {Name: "b"}}, 0)
	got := table.Networks(start)
	c := table.Counts(start)
	if len(got) != MaxNetworks || c.Points != MaxAllPoints || c.Sources != MaxSources || c.TooMany < 3000-MaxNetworks+uint64(MaxSources) || c.Crowded == 0 {
		t.Errorf("%+v", c)
	}
	if i := slices.IndexFunc(got, func(n Known) bool { return n.Name == "zz" }); i < 0 || len(got[i].Points) != 1 {
		t.Error("what is configured is gone")
	}
	each := map[Source]int{}
	for _, n := range got {
		each[n.From[0]]++
	}
	for by, n := range each {
		if n > 1+MaxNetworks/(MaxSources-1) {
			t.Errorf("%d networks of %v, more than its share", n, by)
		}
	}
}

// The table keeps no memory of who told it, and gives none away that it uses again.
func TestCopies(t *testing.T) {
	var table Table
	load := float32(0.5)
	list := []Network{{Name: "b", Points: []Point{{Name: "p", Load: &load, Location: &Location{X: 1}}}, Agents: []Agent{paa("10.1.0.1:1")}}}
	table.Learn(start, router, list, 0)
	load, list[0].Points[0].Name, list[0].Points[0].Location.X, list[0].Agents[0].Role = 0.7, "q", 2, AR
	table.Networks(start)[0].Name = "changed"
	n := table.Networks(start)[0]
	if n.Name != "b" || n.Points[0].Name != "p" || *n.Points[0].Load != 0.5 || n.Points[0].Location.X != 1 || n.Agents[0].Role != PAA {
		t.Errorf("%+v", n)
	}
}

// genNetwork draws from few values, so that sources contradict each other.
func genNetwork(t *rapid.T) Network {
	n := Network{
		Name: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name"), Operator: rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "operator"),
		Hops: rapid.Uint8Max(2).Draw(t, "hops"), Lifetime: time.Duration(rapid.IntRange(0, 3).Draw(t, "life")) * time.Second,
	}
	if rapid.Bool().Draw(t, "costs") {
		cost := rapid.Float32Range(0, 2).Draw(t, "cost")
		n.Cost = &cost
	}
	for range rapid.IntRange(0, 3).Draw(t, "agents") {
		a := Agent{Role: Role(rapid.IntRange(1, 3).Draw(t, "role")), Identity: rapid.SampledFrom([]string{"", "i", "j"}).Draw(t, "identity")}
		if rapid.Bool().Draw(t, "at") {
			a.Addr = netip.MustParseAddrPort(rapid.SampledFrom([]string{"10.0.0.1:0", "10.0.0.1:716", "10.0.0.2:716", "[2001:db8::1]:0"}).Draw(t, "addr"))
		}
		n.Agents = append(n.Agents, a)
	}
	for _, p := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"10.0.0.0/8", "10.1.0.0/16", "10.2.0.0/16"}), 0, 2, rapid.ID).Draw(t, "prefixes") {
		n.Prefixes = append(n.Prefixes, netip.MustParsePrefix(p))
	}
	for _, p := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"p", "q", "r"}), 0, 3, rapid.ID).Draw(t, "points") {
		n.Points = append(n.Points, Point{Name: p, SSID: rapid.SampledFrom([]string{"", "s", "t"}).Draw(t, "ssid"), Freq: rapid.IntRange(0, 2).Draw(t, "freq")})
	}
	return n
}

// What is known does not depend on the order in which sources spoke, nor on what they said before, nor on when it was looked at.
func TestOrderPlaysNoPart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sources := []Source{config, router, {Router, "b"}, dhcp, air}
		word := map[Source][]Network{}
		for _, by := range sources {
			word[by] = rapid.SliceOfN(rapid.Custom(genNetwork), 0, 3).Draw(t, by.String())
		}
		tell := func(order []Source, chatter bool) *Table {
			table := &Table{}
			for _, by := range order {
				if chatter {
					table.Learn(start, by, rapid.SliceOfN(rapid.Custom(genNetwork), 0, 3).Draw(t, "before"), 0)
					table.Networks(start)
				}
				table.Learn(start, by, word[by], 2*time.Second)
			}
			return table
		}
		one, other := tell(sources, false), tell(rapid.Permutation(sources).Draw(t, "order"), true)
		first := one.Networks(start)
		for _, after := range []time.Duration{0, time.Second, 2 * time.Second} {
			now := start.Add(after)
			if a, b := one.Networks(now), other.Networks(now); !reflect.DeepEqual(a, b) {
				t.Fatalf("after %v\n%+v\n%+v", after, a, b)
			}
			if a, b := one.Contradictions(now), other.Contradictions(now); !reflect.DeepEqual(a, b) {
				t.Fatalf("after %v\n%+v\n%+v", after, a, b)
			}
			for _, n := range one.Networks(now) {
				if err := n.Check(); err != nil {
					t.Fatalf("together they say what nobody may say: %v", err)
				}
			}
		}
		// What the most trusted one says is known whatever others say.
		for _, said := range word[config] {
			i := slices.IndexFunc(first, func(n Known) bool { return n.Name == said.Name })
			if i < 0 {
				t.Fatalf("%s is not known", said.Name)
			}
		}
	})
}

func FuzzLearn(f *testing.F) {
	f.Add("b", "p", "ssid", []byte{10, 1, 0, 1}, uint16(716), 24, 1.0)
	f.Fuzz(func(t *testing.T, name, point, ssid string, addr []byte, port uint16, bits int, x float64) {
		a, _ := netip.AddrFromSlice(addr)
		var table Table
		cost := float32(x)
		n := Network{
			Name: name, Operator: point, Cost: &cost, Agents: []Agent{{Role: Role(bits), Addr: netip.AddrPortFrom(a, port), Identity: ssid}},
			Prefixes: []netip.Prefix{netip.PrefixFrom(a, bits)}, Points: []Point{{Name: point, SSID: ssid, Freq: bits, Location: &Location{Plan: name, X: x, Y: -x}, Reach: cost, Load: &cost}},
		}
		for _, by := range []Source{{Kind(port), name}, router, {Air, point}} {
			table.Learn(start, by, []Network{n, {Name: name}, {Name: "b", Prefixes: n.Prefixes}}, time.Duration(port))
		}
		for _, k := range table.Networks(start) {
			if err := k.Check(); err != nil {
				t.Fatal(err)
			}
		}
		table.Contradictions(start)
	})
}
