package osnet

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"openmpa/internal/osnet/osnettest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	prefix = netip.MustParsePrefix
	addr   = netip.MustParseAddr
)

func mac(t *testing.T, s string) net.HardwareAddr {
	t.Helper()
	m, err := net.ParseMAC(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// open opens a Net in the calling thread's namespace and closes it at the end.
func open(t *testing.T, owner string) *Net {
	t.Helper()
	n, err := Open(slog.New(slog.DiscardHandler), owner)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return n
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func contains(t *testing.T, cmd, want string) {
	t.Helper()
	if out := osnettest.IP(t, cmd); !strings.Contains(strings.Join(strings.Fields(out), " "), want) {
		t.Errorf("ip %s: want %q in\n%s", cmd, want, out)
	}
}

func lacks(t *testing.T, cmd, not string) {
	t.Helper()
	if out := osnettest.IP(t, cmd); strings.Contains(strings.Join(strings.Fields(out), " "), not) {
		t.Errorf("ip %s: want no %q in\n%s", cmd, not, out)
	}
}

// still enters a namespace with the pair v0, v1, in which nothing changes by itself.
func still(t *testing.T) {
	t.Helper()
	osnettest.Enter(t)
	osnettest.NoLinkLocal(t)
	osnettest.Veth(t, "v0", "v1")
}

// makeAll makes one of everything, twice each, to see that it is idempotent.
func makeAll(t *testing.T, n *Net) {
	t.Helper()
	for range 2 {
		must(t, n.AddAddress("v0", prefix("10.77.0.1/24"), AddrOptions{}))
		must(t, n.AddAddress("v0", prefix("10.78.0.1/24"), AddrOptions{NoPrefixRoute: true}))
		must(t, n.AddAddress("v0", prefix("2001:db8:77::1/64"), AddrOptions{}))
		must(t, n.SetRoute(Route{Dst: prefix("10.80.0.0/16"), Via: addr("10.77.0.2"), Dev: "v0", Src: addr("10.77.0.1"), MTU: 1300}))
		must(t, n.SetRoute(Route{Dst: prefix("10.77.0.0/24"), Dev: "v0", Table: 4000}))
		must(t, n.SetRoute(Route{Dst: prefix("0.0.0.0/0"), Dev: "v0", Via: addr("10.99.0.1"), OnLink: true, Metric: 50}))
		must(t, n.SetRoute(Route{Dst: prefix("2001:db8:80::/48"), Via: addr("2001:db8:77::2"), Dev: "v0"}))
		must(t, n.AddRule(Rule{Priority: 1000, IIF: "mpa0", Table: 4000}))
		must(t, n.AddRule(Rule{Priority: 1001, From: prefix("10.77.0.0/24"), To: prefix("10.80.0.0/16"), Table: 100}))
		must(t, n.AddRule(Rule{Priority: 1002, From: prefix("10.77.0.1/32"), UDPFrom: 716, Table: 100}))
		must(t, n.SetNeighbour("v0", addr("10.77.0.2"), mac(t, "02:00:00:00:00:02"), true))
		must(t, n.SetNeighbour("v0", addr("10.77.0.3"), mac(t, "02:00:00:00:00:03"), false))
	}
}

func checkAll(t *testing.T) {
	t.Helper()
	contains(t, "address show dev v0", "inet 10.77.0.1/24 brd 10.77.0.255")
	contains(t, "address show dev v0", "inet 10.78.0.1/24")
	contains(t, "address show dev v0", "inet6 2001:db8:77::1/64")
	contains(t, "route show proto 162", "10.80.0.0/16 via 10.77.0.2 dev v0 src 10.77.0.1 mtu lock 1300")
	contains(t, "route show proto 162", "default via 10.99.0.1 dev v0 metric 50 onlink")
	contains(t, "route show proto 162 table 4000", "10.77.0.0/24 dev v0 scope link")
	contains(t, "-6 route show proto 162", "2001:db8:80::/48 via 2001:db8:77::2 dev v0")
	lacks(t, "route show table main", "10.78.0.0/24")
	contains(t, "rule show", "1000: from all iif mpa0 [detached] lookup 4000 proto 162")
	contains(t, "rule show", "1001: from 10.77.0.0/24 to 10.80.0.0/16 lookup 100 proto 162")
	contains(t, "rule show", "1002: from 10.77.0.1 ipproto udp sport 716 lookup 100 proto 162")
	contains(t, "neigh show dev v0 nud permanent", "10.77.0.2 lladdr 02:00:00:00:00:02 PERMANENT proto 162")
	contains(t, "neigh show dev v0", "10.77.0.3 lladdr 02:00:00:00:00:03 REACHABLE proto 162")
}

func TestMakeAndClose(t *testing.T) {
	still(t)
	before := osnettest.Snapshot(t)
	n := open(t, OwnerAccessRouter)
	makeAll(t, n)
	checkAll(t)
	must(t, n.Close())
	must(t, n.Close())
	if after := osnettest.Snapshot(t); after != before {
		t.Errorf("Close left a difference; before:\n%s\nafter:\n%s", before, after)
	}
	if err := n.AddRule(Rule{Priority: 1, Table: 1}); !errors.Is(err, ErrClosed) {
		t.Errorf("AddRule after Close: %v", err)
	}
}

func TestDeleteIsIdempotent(t *testing.T) {
	still(t)
	before := osnettest.Snapshot(t)
	n := open(t, OwnerAccessRouter)
	makeAll(t, n)
	for range 2 {
		must(t, n.DelNeighbour("v0", addr("10.77.0.2")))
		must(t, n.DelNeighbour("v0", addr("10.77.0.3")))
		must(t, n.DelRule(Rule{Priority: 1000, IIF: "mpa0", Table: 4000}))
		must(t, n.DelRule(Rule{Priority: 1001, From: prefix("10.77.0.0/24"), To: prefix("10.80.0.0/16"), Table: 100}))
		must(t, n.DelRule(Rule{Priority: 1002, From: prefix("10.77.0.1/32"), UDPFrom: 716, Table: 100}))
		must(t, n.DelRoute(Route{Dst: prefix("10.80.0.0/16")}))
		must(t, n.DelRoute(Route{Dst: prefix("10.77.0.0/24"), Table: 4000}))
		must(t, n.DelRoute(Route{Dst: prefix("0.0.0.0/0"), Metric: 50}))
		must(t, n.DelRoute(Route{Dst: prefix("2001:db8:80::/48")}))
		must(t, n.DelAddress("v0", prefix("10.77.0.1/24")))
		must(t, n.DelAddress("v0", prefix("10.78.0.1/24")))
		must(t, n.DelAddress("v0", prefix("2001:db8:77::1/64")))
	}
	if after := osnettest.Snapshot(t); after != before {
		t.Errorf("deleting left a difference; before:\n%s\nafter:\n%s", before, after)
	}
	if len(n.undo) != 0 {
		t.Errorf("%d entries left to undo", len(n.undo))
	}
}

// TestReconcile plays kill -9: the first Net never closes.
func TestReconcile(t *testing.T) {
	still(t)
	// What others have: another owner of ours, an operator, a routing daemon.
	osnettest.IP(t, "address add 10.60.0.1/24 dev v0")
	agent, err := Open(nil, OwnerHomeAgent) // ip(8) learned to set an address's protocol only of late
	must(t, err)
	must(t, agent.AddAddress("v0", prefix("10.61.0.1/24"), AddrOptions{}))
	agent.release()
	osnettest.IP(t, "route add 10.62.0.0/24 dev v0 proto 163 table 4000")
	osnettest.IP(t, "route add 10.63.0.0/24 dev v0 proto bird")
	osnettest.IP(t, "rule add iif mpa0 table 4000 priority 1002 proto 163")
	osnettest.IP(t, "rule add iif mpa0 table 4000 priority 1003")
	osnettest.IP(t, "neigh add 10.60.0.9 lladdr 02:00:00:00:00:09 dev v0")
	osnettest.IP(t, "neigh add 10.60.0.8 lladdr 02:00:00:00:00:08 dev v0 protocol 163")
	before := osnettest.Snapshot(t)

	dead, err := Open(nil, OwnerAccessRouter)
	must(t, err)
	makeAll(t, dead)
	dead.release()

	n := open(t, OwnerAccessRouter)
	removed, err := n.Reconcile()
	must(t, err)
	if removed < 10 {
		t.Errorf("removed %d objects, want at least 10", removed)
	}
	if after := osnettest.Snapshot(t); after != before {
		t.Errorf("Reconcile: before:\n%s\nafter:\n%s", before, after)
	}
	lacks(t, "neigh show dev v0", "10.77.0.3")
	if removed, err = n.Reconcile(); removed != 0 || err != nil {
		t.Errorf("second Reconcile: %d, %v", removed, err)
	}
	makeAll(t, n)
	checkAll(t)
	if _, err := n.Reconcile(); err == nil {
		t.Error("Reconcile after a change: want an error")
	}
}

// TestAdopt: what a dead owner left can be set again without Reconcile, and Close then removes it.
func TestAdopt(t *testing.T) {
	still(t)
	before := osnettest.Snapshot(t)
	dead, err := Open(nil, OwnerAccessRouter)
	must(t, err)
	makeAll(t, dead)
	dead.release()
	n := open(t, OwnerAccessRouter)
	makeAll(t, n)
	checkAll(t)
	must(t, n.Close())
	if after := osnettest.Snapshot(t); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

func TestOpenClean(t *testing.T) {
	still(t)
	before := osnettest.Snapshot(t)
	dead, err := OpenClean(nil, OwnerAccessRouter)
	must(t, err)
	makeAll(t, dead)
	if _, err := OpenClean(nil, OwnerAccessRouter); !errors.Is(err, ErrOwned) {
		t.Errorf("beside a live owner: %v", err)
	}
	dead.release()
	var log strings.Builder
	n, err := OpenClean(slog.New(slog.NewTextHandler(&log, nil)), OwnerAccessRouter)
	must(t, err)
	if after := osnettest.Snapshot(t); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	if !strings.Contains(log.String(), "objects=") {
		t.Errorf("logged %q, want how many objects were removed", &log)
	}
	must(t, n.Close())
}

func TestForeign(t *testing.T) {
	still(t)
	osnettest.IP(t, "address add 10.60.0.1/24 dev v0")
	osnettest.IP(t, "route add 10.63.0.0/24 dev v0 proto static")
	osnettest.IP(t, "rule add iif mpa0 table 4000 priority 1003")
	osnettest.IP(t, "neigh add 10.60.0.9 lladdr 02:00:00:00:00:09 dev v0")
	before := osnettest.Snapshot(t)
	n := open(t, OwnerMobileNode)

	// Equal is enough.
	must(t, n.AddAddress("v0", prefix("10.60.0.1/24"), AddrOptions{}))
	must(t, n.SetRoute(Route{Dst: prefix("10.63.0.0/24"), Dev: "v0"}))
	must(t, n.AddRule(Rule{Priority: 1003, IIF: "mpa0", Table: 4000}))
	must(t, n.SetNeighbour("v0", addr("10.60.0.9"), mac(t, "02:00:00:00:00:09"), true))

	// Different is refused, with the command that helps.
	for name, err := range map[string]error{
		"ip route del 10.63.0.0/24 table 254 metric 0": n.SetRoute(Route{Dst: prefix("10.63.0.0/24"), Via: addr("10.60.0.7"), Dev: "v0"}),
		"ip neigh del 10.60.0.9 dev v0":                n.SetNeighbour("v0", addr("10.60.0.9"), mac(t, "02:00:00:00:00:0a"), true),
		"ip address del 10.60.0.1/24 dev v0":           n.DelAddress("v0", prefix("10.60.0.1/24")),
	} {
		var f *ForeignError
		if !errors.As(err, &f) || f.Remedy != name || !strings.Contains(err.Error(), name) {
			t.Errorf("want a ForeignError with remedy %q, got %v", name, err)
		}
	}
	var f *ForeignError
	if err := n.DelNeighbour("v0", addr("10.60.0.9")); !errors.As(err, &f) {
		t.Errorf("DelNeighbour: %v", err)
	}
	must(t, n.DelRoute(Route{Dst: prefix("10.63.0.0/24"), Dev: "v0"}))
	must(t, n.DelRule(Rule{Priority: 1003, IIF: "mpa0", Table: 4000}))
	must(t, n.Close())
	if after := osnettest.Snapshot(t); after != before {
		t.Errorf("a stranger's state changed; before:\n%s\nafter:\n%s", before, after)
	}
}

func TestOwners(t *testing.T) {
	osnettest.Enter(t)
	a := open(t, OwnerAccessRouter)
	if _, err := Open(nil, OwnerAccessRouter); !errors.Is(err, ErrOwned) {
		t.Errorf("second owner: %v", err)
	}
	b := open(t, OwnerHomeAgent)
	if a.Protocol() == b.Protocol() {
		t.Error("two owners share a number")
	}
	if _, err := Open(nil, "someone"); err == nil {
		t.Error("unknown owner: want an error")
	}
	must(t, a.Close())
	again := open(t, OwnerAccessRouter)
	must(t, again.Close())
	other := osnettest.Other(t)
	other(func() { // the same owner in another namespace
		n, err := Open(nil, OwnerHomeAgent)
		if err != nil {
			t.Error(err)
			return
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestDeviceRemade: an interface that is made again gets another index; it is found without a restart.
func TestDeviceRemade(t *testing.T) {
	osnettest.Enter(t)
	osnettest.Veth(t, "v0", "v1")
	n := open(t, OwnerAccessRouter)
	must(t, n.Prime("v0"))
	must(t, n.AddAddress("v0", prefix("10.77.0.1/24"), AddrOptions{}))
	must(t, n.SetRoute(Route{Dst: prefix("10.80.0.0/16"), Via: addr("10.77.0.2"), Dev: "v0"}))
	osnettest.IP(t, "link del v0")
	must(t, n.DelRoute(Route{Dst: prefix("10.80.0.0/16"), Dev: "v0"}))
	must(t, n.DelAddress("v0", prefix("10.77.0.1/24")))
	osnettest.Veth(t, "v0", "v1")
	must(t, n.AddAddress("v0", prefix("10.77.0.1/24"), AddrOptions{}))
	contains(t, "address show dev v0", "10.77.0.1/24")
	osnettest.IP(t, "link del v0")
	must(t, n.Close())
}

func TestErrorsSayWhatToDo(t *testing.T) {
	osnettest.Enter(t)
	n := open(t, OwnerAccessRouter)
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"no device":       {n.AddAddress("nosuch", prefix("10.0.0.1/24"), AddrOptions{}), "no interface \"nosuch\""},
		"long name":       {n.SetRoute(Route{Dst: prefix("0.0.0.0/0"), Dev: "averyveryverylongname"}), "1 to 15 characters"},
		"bad prefix":      {n.AddAddress("lo", netip.Prefix{}, AddrOptions{}), "invalid prefix"},
		"no device given": {n.SetRoute(Route{Dst: prefix("10.0.0.0/8")}), "no interface given"},
		"families":        {n.SetRoute(Route{Dst: prefix("10.0.0.0/8"), Via: addr("::1"), Dev: "lo"}), "families differ"},
		"unreachable":     {n.SetRoute(Route{Dst: prefix("10.0.0.0/8"), Via: addr("192.0.2.1"), Dev: "lo"}), "192.0.2.1 dev lo"},
		"priority":        {n.AddRule(Rule{Table: 3}), "1 to 32765"},
		"no table":        {n.AddRule(Rule{Priority: 3}), "no table"},
		"no mac":          {n.SetNeighbour("lo", addr("10.0.0.1"), nil, true), "missing"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) || strings.Count(c.err.Error(), "osnet:") != 1 {
			t.Errorf("%s: want one line with %q, got %v", name, c.want, c.err)
		}
	}
}

// TestOneRequest: on the fast path a change is one netlink request.
func TestOneRequest(t *testing.T) {
	osnettest.Enter(t)
	osnettest.Veth(t, "v0", "v1")
	n := open(t, OwnerMobileNode)
	must(t, n.Prime("v0"))
	must(t, n.AddAddress("v0", prefix("10.77.0.1/24"), AddrOptions{}))
	host := Route{Dst: prefix("10.77.0.9/32"), Dev: "v0"}
	m := mac(t, "02:00:00:00:00:02")
	for name, fn := range map[string]func() error{
		"set and delete a route": func() error { return errors.Join(n.SetRoute(host), n.DelRoute(host)) },
		"set and delete a neighbour": func() error {
			return errors.Join(n.SetNeighbour("v0", addr("10.77.0.2"), m, true), n.DelNeighbour("v0", addr("10.77.0.2")))
		},
		"add and delete an address": func() error {
			return errors.Join(n.AddAddress("v0", prefix("10.79.0.1/24"), AddrOptions{}), n.DelAddress("v0", prefix("10.79.0.1/24")))
		},
	} {
		changes, dumps := n.change.count(), n.dump.count()
		must(t, fn())
		if c, d := n.change.count()-changes, n.dump.count()-dumps; c != 2 || d != 0 {
			t.Errorf("%s: %d requests and %d dumps, want 2 and 0", name, c, d)
		}
	}
}

func TestReader(t *testing.T) {
	osnettest.Enter(t)
	osnettest.Veth(t, "lan0", "lan1")
	open(t, OwnerAccessRouter)
	n, err := OpenReader()
	must(t, err)
	defer n.Close()
	if l, err := n.LinkByName("lan0"); err != nil || !l.Up {
		t.Errorf("%+v, %v", l, err)
	}
	if err := n.SetSysctl("net.ipv4.conf.lan0.rp_filter", "1"); !errors.Is(err, ErrReader) {
		t.Errorf("a change: %v", err)
	}
}
