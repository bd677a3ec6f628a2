package crash

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"openmpa/internal/event"
	"openmpa/testbed/bed"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCells(t *testing.T) {
	all := Cells(nil, Points, How{})
	if len(all) != len(Points)*len(Victims) {
		t.Fatalf("%d cells", len(all))
	}
	seen := make(map[Cell]bool)
	for _, c := range all {
		if seen[c] {
			t.Errorf("%v is there twice", c)
		}
		seen[c] = true
		if got, err := ParseCell(c.String()); err != nil || got != c {
			t.Errorf("%v is read as %v, %v", c, got, err)
		}
		if p := c.Point.party(); c.Point != Idle && p == DHCP || c.Point != Idle && !slices.Contains(Victims, p) {
			t.Errorf("%q is written by %q", c.Point, p)
		}
	}
	some := Cells([]Party{HA, MN}, []Point{"mn l2 begin", "mn l2 end"}, How{})
	want := []Cell{{Victim: MN, Point: "mn l2 begin"}, {Victim: HA, Point: "mn l2 begin"}, {Victim: MN, Point: "mn l2 end"}, {Victim: HA, Point: "mn l2 end"}}
	if d := cmp.Diff(want, some); d != "" {
		t.Error(d)
	}
	for _, bad := range []string{"", "mn", "mn@", "cn@mn l2 begin", "mn@mn l2 middle", "mn l2 begin"} {
		if c, err := ParseCell(bad); err == nil {
			t.Errorf("%q is read as %v", bad, c)
		}
	}
}

// TestCellsOfFormedAddresses: nobody asks a DHCP server then.
func TestCellsOfFormedAddresses(t *testing.T) {
	all := len(Cells(nil, Points, How{IP: 6, Addresses: bed.AddressesDHCP}))
	formed := Cells(nil, Points, How{IP: 6})
	if len(formed) != all-2*len(Victims) {
		t.Errorf("%d cells of %d", len(formed), all)
	}
	for _, c := range formed {
		if strings.HasPrefix(string(c.Point), "next dhcp") {
			t.Errorf("%v has no such point", c)
		}
	}
}

func TestPointOf(t *testing.T) {
	for _, x := range []struct {
		daemon string
		e      event.Event
		want   Point
	}{
		{"mn", event.Event{Phase: event.PhaseL2, Kind: event.KindBegin}, "mn l2 begin"},
		{"a", event.Event{Phase: event.PhaseDHCP, Kind: event.KindEnd}, "next dhcp end"},
		{"ha", event.Event{Phase: event.PhaseBind, Kind: event.KindPoint, Name: "moved"}, "ha bind moved"},
		{"b", event.Event{Phase: event.PhaseAuth, Kind: event.KindEnd}, "previous tauth end"},
	} {
		if got := pointOf(x.daemon, x.e); got != x.want {
			t.Errorf("%q, expected %q", got, x.want)
		}
	}
	for _, v := range Victims {
		if v != DHCP && partyOf(v.daemon()) != v {
			t.Errorf("%s is the daemon %s, which is %s", v, v.daemon(), partyOf(v.daemon()))
		}
	}
}

func TestCompare(t *testing.T) {
	if p := compare(Points, slices.Clone(Points[1:])); p != nil {
		t.Error(p)
	}
	seen := append([]Point{"ha bind missed"}, Points[2:]...)
	p := compare(Points, seen)
	if len(p) != 2 || !strings.Contains(p[0], string(Points[1])) || !strings.Contains(p[1], "ha bind missed") {
		t.Errorf("%q", p)
	}
}

func TestSampleRotates(t *testing.T) {
	points := make(map[Point]bool)
	cells := make(map[Cell]bool)
	for i := range 200 {
		s := Sample(strings.Repeat("x", i))
		var victims []Party
		for _, c := range s {
			victims = append(victims, c.Victim)
			points[c.Point] = true
			cells[c] = true
		}
		if d := cmp.Diff(Victims, victims); d != "" {
			t.Fatal(d)
		}
		if d := cmp.Diff(s, Sample(strings.Repeat("x", i))); d != "" {
			t.Fatalf("another sample for the same seed: %s", d)
		}
	}
	if len(points) != len(Points) {
		t.Errorf("200 samples have %d of %d points", len(points), len(Points))
	}
	if all := len(Points) * len(Victims); len(cells) < all*9/10 {
		t.Errorf("200 samples have %d of %d cells", len(cells), all)
	}
}

func record(commit string, c Cell, problems ...string) Record {
	f := 1.5
	return Record{
		Commit: commit, Victim: c.Victim, Point: c.Point, DelayMS: c.Delay.Milliseconds(), Hasty: c.Hasty, AAA: c.AAA, DHCP: c.DHCP, Guard: c.Guard, Enforce: c.Enforce, IP: c.IP, Addresses: c.Addresses, Problems: problems, Passed: problems == nil,
		HitMS: &f, RecoveryMS: &f, Outcome: "completed", Down: &Flow{Lost: 3}, Up: &Flow{},
	}
}

func TestRecordsAreOfTheirCells(t *testing.T) {
	for _, c := range []Cell{{MN, Points[0], How{300 * time.Millisecond, true, "freeradius", "kea", "always", true, 6, "dhcp"}}, {HA, Points[1], How{}}} {
		if r := record("c1", c, "broken"); r.Cell() != c || r.Built() != "c1" || r.Verdict() || !record("c1", c).Verdict() {
			t.Errorf("%+v as a record of %+v", r, c)
		}
	}
}

func TestSince(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(0, int64(ms)*int64(time.Millisecond)) }
	marks := []mark{{at(0), 10}, {at(100), 20}, {at(200), 30}, {at(600), 70}, {at(900), 100}}
	seen := make([]bool, 100)
	fill := func(from, to int, value bool) {
		for i := from; i < to; i++ {
			seen[i] = value
		}
	}
	for _, x := range []struct {
		name string
		set  func()
		want time.Time
	}{
		{"everything came", func() { fill(0, 100, true) }, at(0)},
		{"lost before the first mark", func() { fill(0, 10, false) }, at(0)},
		{"one lost", func() { seen[19] = false }, at(100)},
		{"the first after a mark", func() { seen[20] = false }, at(200)},
		{"not yet due", func() { fill(70, 100, false) }, at(200)},
		{"lost until now", func() { fill(20, 70, false) }, at(600)},
	} {
		x.set()
		if got := since(marks, seen, at(900)); !got.Equal(x.want) {
			t.Errorf("%s: since %v, expected %v", x.name, got.UnixMilli(), x.want.UnixMilli())
		}
	}
}

func TestWhole(t *testing.T) {
	good := func() (nodeStatus, routerStatus, agentStatus) {
		var r routerStatus
		r.Visitors = append(r.Visitors, visitorStatus{SID: 7})
		var a agentStatus
		a.Bindings = append(a.Bindings, bindingStatus{netip.MustParseAddr("10.9.0.2"), netip.MustParseAddr("10.2.0.100")})
		return nodeStatus{State: "attached", Network: "a", Address: "10.2.0.100/24", Session: 7}, r, a
	}
	for _, x := range []struct {
		change func(*nodeStatus, *routerStatus, *agentStatus)
		want   string
	}{
		{func(*nodeStatus, *routerStatus, *agentStatus) {}, ""},
		{func(n *nodeStatus, _ *routerStatus, _ *agentStatus) { n.State, n.Problem = "lost", "no lease" }, "no lease"},
		{func(n *nodeStatus, _ *routerStatus, _ *agentStatus) { n.Network = "b" }, `its link at "a"`},
		{func(n *nodeStatus, _ *routerStatus, _ *agentStatus) { n.Session = 0 }, "does not know"},
		{func(_ *nodeStatus, r *routerStatus, _ *agentStatus) { r.Visitors = nil }, "does not know"},
		{func(n *nodeStatus, _ *routerStatus, _ *agentStatus) { n.Address = "10.2.0.101/24" }, "no binding"},
		{func(_ *nodeStatus, _ *routerStatus, a *agentStatus) { a.Bindings[0].CareOf = netip.Addr{} }, "no binding"},
	} {
		n, r, a := good()
		x.change(&n, &r, &a)
		got := whole("a", n, r, a)
		if (got == "") != (x.want == "") || !strings.Contains(got, x.want) {
			t.Errorf("%q, expected %q", got, x.want)
		}
	}
}

func TestTable(t *testing.T) {
	records := []Record{
		record("c", Cell{Victim: MN, Point: "mn tauth begin"}),
		record("c", Cell{Victim: HA, Point: "mn tauth begin"}, "broken"),
		record("c", Cell{Victim: HA, Point: "next tauth begin"}),
	}
	got := strings.Fields(Table(records))
	want := strings.Fields(`killed at mn next previous ha aaa dhcp
		mn tauth begin ok - - FAIL - -
		next tauth begin - - - ok - -`)
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	s := Summary(records)
	for _, line := range []string{"3 cells, 2 passed, 1 failed", "1/2", "1/1", "2 completed", "3 3 3 3"} {
		if !strings.Contains(s, line) {
			t.Errorf("%q is not in\n%s", line, s)
		}
	}
}
