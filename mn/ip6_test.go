package mn

import (
	"context"
	"crypto/rand"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"openmpa/internal/acd"
	"openmpa/internal/acd/nd"
	"openmpa/internal/event"
	"openmpa/internal/host"
	"openmpa/internal/osnet"
	"openmpa/internal/osnet/osnettest"
	"openmpa/internal/state"
	"openmpa/testbed/dhcpd"
	"openmpa/testbed/space"
)

var prefix6 = netip.MustParsePrefix("2001:db8:1::/64")

// advertising is what a router of prefix6 says: for half an hour, for new connections half of that.
func advertising() nd.RouterAdvert {
	return nd.RouterAdvert{
		HopLimit: 64, Lifetime: 30 * time.Minute,
		Prefixes: []nd.PrefixInfo{{Prefix: prefix6, OnLink: true, Autonomous: true, Valid: 30 * time.Minute, Preferred: 15 * time.Minute}},
	}
}

// link6 is a port of IPv6 on a link with one other machine, which advertises itself.
type link6 struct {
	*ip6
	t     *testing.T
	far   *space.Space
	there func(func())
	*adverts
	router  acd.MAC
	records state.Store
}

// newLink6 makes it. The kernel there has an address of prefix6, ...:9.
func newLink6(t *testing.T, cfg Config) *link6 {
	t.Helper()
	osnettest.Enter(t)
	far, there := elsewhere(t)
	there(func() { osnettest.IP(t, "link set lo up") })
	for _, do := range []func(func()){there, func(f func()) { f() }} { // link-local addresses at once
		do(func() { osnettest.Sysctl(t, "ipv6/conf/default/accept_dad", "0") })
	}
	osnettest.VethTo(t, "v0", "v1", there)
	l := &link6{t: t, far: far, there: there, records: state.NewMemory()}
	there(func() { osnettest.IP(t, "address add 2001:db8:1::9/64 dev v1 nodad") })
	cfg.Family, cfg.DAD6, cfg.Rand, cfg.State, cfg.Log = 6, dad6, rand.Reader, l.records, discard
	cfg.Recorder = event.NewRecorder("mn", nil, 100)
	n := &Node{cfg: cfg}
	var err error
	if n.net, err = host.Linux(discard, osnet.OwnerMobileNode); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.net.Close() })
	dev, err := n.net.LinkByName("v0")
	if err != nil {
		t.Fatal(err)
	}
	p := &port{n: n, name: "v0", mac: dev.MAC, changed: portRecord{Name: "v0"}}
	if err := p.openIP(); err != nil {
		t.Fatal(err)
	}
	l.ip6 = p.ip.(*ip6)
	t.Cleanup(func() { _ = p.ip.close() })
	l.adverts = advertise(t, there, "v1", advertising())
	l.router = l.says.Load().MAC
	return l
}

func (l *link6) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	l.t.Cleanup(cancel)
	return ctx
}

// TestFormed: an address is formed from what the router advertises, is the same again, and
// another in another network, or after a conflict.
func TestFormed(t *testing.T) {
	l := newLink6(t, Config{})
	get := func(network string) lease {
		t.Helper()
		a, err := l.lease(l.ctx(), event.HandoverID{}, network)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	first := get("b")
	six := first.Six
	if !prefix6.Contains(six.Addr) || six.OnLink != prefix6 || six.Router != nd.LinkLocal(l.router) || !first.formed() ||
		six.Valid != 30*time.Minute || six.Preferred != 15*time.Minute || six.T1 != 15*time.Minute {
		t.Errorf("%+v", six)
	}
	if again := get("b"); again.addr() != first.addr() {
		t.Errorf("%s, and the same network gave %s before", again.addr(), first.addr())
	}
	if other := get("a"); other.addr() == first.addr() {
		t.Errorf("%s in two networks", other.addr())
	}
	if err := l.decline(l.ctx(), "b", first); err != nil {
		t.Fatal(err)
	}
	next := get("b")
	if next.addr() == first.addr() {
		t.Errorf("%s again, after a conflict", next.addr())
	}
	l.say(func(ra *nd.RouterAdvert) { ra.Prefixes[0].Autonomous = false })
	if _, err := l.lease(l.ctx(), event.HandoverID{}, "b"); err == nil || !strings.Contains(err.Error(), "no prefix of 64 bits") {
		t.Errorf("nothing to form an address from: %v", err)
	}
	i, err := l.p.n.identity() // of the records
	if err != nil || i.String() != l.id.String() || string(i.Secret) != string(l.id.Secret) || strings.Contains(i.String(), string(i.Secret)) {
		t.Errorf("another identity at the next start: %v, %v", i, err)
	}
}

// TestOwnIdentifier: one of the configuration is used first.
func TestOwnIdentifier(t *testing.T) {
	l := newLink6(t, Config{Identifier: nd.IID{0, 1, 0, 2, 0, 3, 0, 4}})
	for i, want := range []bool{true, false, false} {
		a, err := l.lease(l.ctx(), event.HandoverID{}, "b")
		if err != nil || (a.addr() == netip.MustParseAddr("2001:db8:1:0:1:2:3:4")) != want {
			t.Errorf("after %d conflicts %s, %v", i, a.addr(), err)
		}
		l.conflict("b")
	}
}

// TestNoRouter: what there is to do is said.
func TestNoRouter(t *testing.T) {
	l := newLink6(t, Config{})
	l.say(func(ra *nd.RouterAdvert) { ra.Lifetime = 0 }) // it is no default router
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := l.lease(ctx, event.HandoverID{}, "b"); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "radvd") || l.asked.Load() == 0 {
		t.Errorf("%v, asked %d times", err, l.asked.Load())
	}
}

// TestDetect6: an address that somebody has is found in use, a neighbour is found, and nobody
// where nobody is.
func TestDetect6(t *testing.T) {
	l := newLink6(t, Config{})
	taken, free := netip.MustParseAddr("2001:db8:1::9"), netip.MustParseAddr("2001:db8:1::8")
	conflict := (*acd.ConflictError)(nil)
	if err := l.probe(l.ctx(), taken); !errors.As(err, &conflict) || acd.MAC(conflict.By) != l.router {
		t.Errorf("an address in use: %v", err)
	}
	if err := l.probe(l.ctx(), free); err != nil {
		t.Errorf("a free address: %v", err)
	}
	if by, err := l.find(l.ctx(), taken); err != nil || acd.MAC(by) != l.router {
		t.Errorf("found %v, %v", by, err)
	}
	silent := (*silentError)(nil)
	if by, err := l.find(l.ctx(), free); !errors.As(err, &silent) {
		t.Errorf("found %v, %v", by, err)
	}
}

// TestCompared: on arrival the prefix is compared with what the router advertises there, and
// nothing is acquired.
func TestCompared(t *testing.T) {
	l := newLink6(t, Config{})
	a, err := l.lease(l.ctx(), event.HandoverID{}, "b")
	if err != nil {
		t.Fatal(err)
	}
	l.say(func(ra *nd.RouterAdvert) { ra.Prefixes[0].Valid = 3 * time.Hour })
	eventually(t, "the lifetime of now", func() bool { // what the router said before may be under way yet
		renewed, lost, err := l.renew(l.ctx(), a, false)
		if err != nil || lost || renewed.addr() != a.addr() {
			t.Fatalf("%+v, lost %v, %v", renewed.Six, lost, err)
		}
		return renewed.Six.Valid == 3*time.Hour
	})
	l.say(func(ra *nd.RouterAdvert) { ra.Prefixes[0].Prefix = netip.MustParsePrefix("2001:db8:7::/64") })
	eventually(t, "that this is another link", func() bool {
		_, lost, err := l.renew(l.ctx(), a, false)
		if lost != (err != nil) {
			t.Fatalf("another link: lost %v, %v", lost, err)
		}
		return lost
	})
}

// TestLeased6: where the router says so, a DHCPv6 server leases the address, extends it and
// has it back.
func TestLeased6(t *testing.T) {
	l := newLink6(t, Config{})
	server, err := dhcpd.Serve(l.far, []dhcpd.Pool{{
		Network: "b", Interface: "v1", Server: netip.MustParseAddr("2001:db8:1::9"), Prefix: prefix6,
		Low: netip.MustParseAddr("2001:db8:1::100"), High: netip.MustParseAddr("2001:db8:1::110"), DNS: netip.MustParseAddr("2001:db8::53"),
	}}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	l.say(func(ra *nd.RouterAdvert) { ra.Managed, ra.Prefixes[0].Autonomous = true, false })
	a, err := l.lease(l.ctx(), event.HandoverID{}, "b")
	if err != nil || a.addr() != netip.MustParseAddr("2001:db8:1::100") || a.formed() || a.Six.OnLink != prefix6 || string(a.Six.ClientID) != string(l.id.DUID) {
		t.Fatalf("%+v, %v", a.Six, err)
	}
	again, lost, err := l.renew(l.ctx(), a, false)
	if err != nil || lost || again.addr() != a.addr() || !again.Six.Start.After(a.Six.Start) || again.router() != a.router() {
		t.Errorf("%+v, lost %v, %v", again.Six, lost, err)
	}
	if err := l.release(l.ctx(), again, netip.MustParseAddr("2001:db8:2::1")); !errors.Is(err, errElsewhere) {
		t.Errorf("given back from another link: %v", err)
	}
	if err := l.release(l.ctx(), again, again.addr()); err != nil || len(server.Leases()) != 0 {
		t.Errorf("%v, leases %v", err, server.Leases())
	}
	if _, lost, err := l.renew(l.ctx(), again, true); err == nil || !lost {
		t.Errorf("what is not leased any more: lost %v, %v", lost, err)
	}
}

// TestQuiet: the kernel follows no router meanwhile, and does again behind it, also where the
// node had no time to put it back.
func TestQuiet(t *testing.T) {
	l := newLink6(t, Config{})
	look := func() string {
		t.Helper()
		var all []string
		for _, key := range quietKeys {
			v, err := l.host.Sysctl(l.p.key6(key))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, v)
		}
		return strings.Join(all, " ")
	}
	if got := look(); got != "0 0 0" {
		t.Errorf("%v are %s", quietKeys, got)
	}
	l.p.changed = portRecord{} // as another process would have it
	if err := l.p.n.putBackAll(); err != nil {
		t.Fatal(err)
	}
	if got := look(); got != "1 1 0" {
		t.Errorf("put back, %v are %s", quietKeys, got)
	}
	if left, err := l.records.List(keyPort); err != nil || len(left) != 0 {
		t.Errorf("still on record: %v, %v", left, err)
	}
}
