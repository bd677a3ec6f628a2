package par

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"openmpa/internal/acd/nd"
	"openmpa/internal/osnet/osnettest"
	"openmpa/internal/state"
	"openmpa/paa/notify"
	"openmpa/testbed/dhcpd"
)

var (
	server6 = netip.MustParseAddr("2001:db8:2::3")
	second  = net.HardwareAddr{2, 0, 0, 0, 0, 8}
)

func six(t *testing.T, edit func(*Config)) *bed {
	t.Helper()
	return startIn(t, world6, time.Minute, edit)
}

// TestFormed: an address that a node has formed is its own unless somebody has it, or is about to; what is none of this link is refused.
func TestFormed(t *testing.T) {
	b := six(t, nil)
	taken := netip.MustParseAddr("2001:db8:2::99")
	b.in(func() { osnettest.IP(t, "address add "+taken.String()+"/64 dev eth0 nodad") })
	for sid := range uint32(2) {
		b.r.SessionOpened(sid+1, []string{"one", "two"}[sid], netip.AddrPortFrom(b.outer, 1000), true, sessionKeys(sid+1), time.Hour)
	}
	for a, want := range map[netip.Addr]string{
		taken:                                 notify.Conflict,
		b.router:                              notify.Conflict,
		netip.MustParseAddr("2001:db8:77::1"): "is of none of the prefixes",
		netip.MustParseAddr("2001:db8:2::"):   "is reserved",
		netip.MustParseAddr("2001:db8:2:0:fdff:ffff:ffff:ffff"): "is reserved",
	} {
		if c := b.want(1, elsewhere, a); !strings.Contains(c.Reason, want) || strings.HasPrefix(c.Reason, notify.Conflict) != (want == notify.Conflict) {
			t.Errorf("%s: %+v", a, c)
		}
	}
	c := b.form(1, elsewhere, b.leased)
	if c.Reason != "" || c.Addr.String() != b.with(b.leased) || c.Lifetime != time.Hour || c.Preferred != 30*time.Minute || c.DAD == 0 || c.ServerDUID != nil {
		t.Fatalf("%+v", c)
	}
	if c := b.want(2, second, b.leased); !strings.HasPrefix(c.Reason, notify.Conflict) {
		t.Errorf("another node's: %+v", c)
	}
	if c := b.want(2, second, b.leased.Next()); c.Reason != "" {
		t.Errorf("the next one: %+v", c)
	}
	// The node has forgotten its session: what it formed is its own still.
	b.r.SessionOpened(3, "one", netip.AddrPortFrom(b.outer, 1000), true, sessionKeys(3), time.Hour)
	if c := b.want(3, elsewhere, b.leased); c.Reason != "" {
		t.Errorf("begun again: %+v", c)
	}
}

// TestBothForm: of two nodes that want one address at the same time one has it.
func TestBothForm(t *testing.T) {
	b := six(t, func(c *Config) { c.IPv6.DAD.Retrans = 300 * time.Millisecond })
	b.r.SessionOpened(1, "one", netip.AddrPortFrom(b.outer, 1000), true, sessionKeys(1), time.Hour)
	b.r.SessionOpened(2, "two", netip.AddrPortFrom(b.outer, 1001), true, sessionKeys(2), time.Hour)
	for sid, mac := range []net.HardwareAddr{elsewhere, second} {
		b.r.SessionMessage(uint32(sid+1), &notify.ConfigRequest{Header: header, Family: 6, ClientID: duid(mac), MAC: mac, Addr: b.leased})
	}
	one, two := got[*notify.ConfigReply](b, 1), got[*notify.ConfigReply](b, 2)
	if (one.Reason == "") == (two.Reason == "") || !strings.HasPrefix(one.Reason+two.Reason, notify.Conflict) {
		t.Errorf("%+v and %+v", one, two)
	}
}

// TestAdvertised: what the link's router advertises is told again through the tunnel when it changes; one that names another prefix
// is none of the router's. When nobody advertises that is said.
func TestAdvertised(t *testing.T) {
	b := six(t, func(c *Config) { c.Configure = time.Second })
	n := b.prepare(1, elsewhere)
	told := func() nd.RouterAdvert {
		t.Helper()
		select {
		case ra := <-n.adverts:
			return ra
		case <-time.After(patience):
			t.Fatal("no router advertisement came through the tunnel")
			return nd.RouterAdvert{}
		}
	}
	if first := told(); !first.Holds(b.leased) || first.Lifetime != 30*time.Minute {
		t.Errorf("told %+v", first)
	}
	b.ra.send(t) // no news
	foreign := ra()
	foreign.Prefixes[0].Prefix = netip.MustParsePrefix("2001:db8:66::/64")
	b.ra.say(t, &foreign)
	changed := ra()
	changed.Lifetime = 10 * time.Minute
	b.ra.say(t, &changed)
	if now := told(); now.Lifetime != 10*time.Minute {
		t.Errorf("told %+v", now)
	}
	b.await("the status", func() bool { s := b.r.Status().IPv6; return s != nil && s.Advertiser == farLink.String() })

	b.ra.say(t, nil)
	b.r.adverts.mu.Lock()
	clear(b.r.adverts.by)
	b.r.adverts.mu.Unlock()
	b.r.SessionOpened(2, "two", netip.AddrPortFrom(b.outer, 1001), true, sessionKeys(2), time.Hour)
	if c := b.form(2, second, b.leased.Next()); !strings.Contains(c.Reason, "no router advertisement") {
		t.Errorf("%+v", c)
	}
	silent := ra()
	silent.Prefixes[0].Autonomous = false
	b.ra.say(t, &silent)
	b.await("the advertisement", func() bool { return b.r.Status().IPv6.Advertiser != "" })
	if c := b.form(2, second, b.leased.Next()); !strings.Contains(c.Reason, "names no prefix to form an address of") {
		t.Errorf("%+v", c)
	}
}

// TestOuterOfEither: a tunnel goes over the family by which the node speaks, whatever it carries.
func TestOuterOfEither(t *testing.T) { mixed(t, outerOfEither) }

func outerOfEither(t *testing.T, start func(*testing.T, func(*Config)) *bed) {
	b := start(t, nil)
	n := b.prepare(1, b.mac)
	if at := n.t.Socket().LocalAddr().Addr(); at != b.outer {
		t.Fatalf("the tunnel's end is at %s", at)
	}
	udp := udpIn
	if b.six {
		udp = udpIn6
	}
	if err := n.t.Send(udp(n.inner, b.world.cn, 7000, 7)); err != nil {
		t.Fatal(err)
	}
	if k := b.number(b.cn); k != 7 {
		t.Errorf("the correspondent got %d", k)
	}
	b.send(n.inner, 5)
	if k := n.next(); k != 5 {
		t.Errorf("packet %d", k)
	}
	n.depart()
}

// leasing is a bed whose link has a DHCPv6 server, and M in its advertisement.
func leasing(t *testing.T, store state.Store) (*bed, *dhcpd.Server) {
	t.Helper()
	var dhcp *dhcpd.Server
	b := network(t, world6)
	b.serve()
	managed := ra()
	managed.Managed, managed.Prefixes[0].Autonomous = true, false
	b.advertise(managed)
	dhcp, err := dhcpd.Serve(b.far, []dhcpd.Pool{{
		Network: "a", Interface: "eth0", Server: server6, Prefix: netip.MustParsePrefix("2001:db8:2::/64"),
		Low: netip.MustParseAddr("2001:db8:2::1:100"), High: netip.MustParseAddr("2001:db8:2::1:110"), DNS: netip.MustParseAddr("2001:db8::54"),
	}}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dhcp.Close() })
	cfg := config()
	cfg.State = store
	cfg.IPv6 = &IPv6{Address: b.router, Server: server6, DAD: nd.Timers{Delay: time.Millisecond, Transmits: 1, Retrans: 50 * time.Millisecond, LoopTransmits: 1}}
	b.begin(cfg)
	t.Cleanup(func() { b.r.Close() })
	return b, dhcp
}

// TestLeased6: where addresses are of DHCPv6 the router leases one for the node, declines what somebody has, and gives back what is
// no longer needed.
func TestLeased6(t *testing.T) {
	b, dhcp := leasing(t, nil)
	low := netip.MustParseAddr("2001:db8:2::1:100")
	b.in(func() { osnettest.IP(t, "address add "+low.String()+"/64 dev eth0 nodad preferred_lft 0") }) // the server goes on to speak from its own
	time.Sleep(20 * time.Millisecond)
	c := b.open(1, elsewhere)
	if c.Reason != "" || c.Addr != netip.PrefixFrom(low.Next(), 64) || len(c.ServerDUID) == 0 || c.T1 == 0 || c.Preferred == 0 || c.DAD == 0 || len(c.RA) == 0 ||
		len(c.DNS) != 1 || c.DNS[0] != netip.MustParseAddr("2001:db8::54") || c.Router != routerLink {
		t.Fatalf("%+v", c)
	}
	if l := dhcp.Leases(); !slices.ContainsFunc(l, func(l dhcpd.Lease) bool { return l.Addr == low && l.State == dhcpd.Declined }) {
		t.Errorf("leases %v", l)
	}
	n := b.join(1, c.Addr.Addr())
	b.send(n.inner, 3)
	if k := n.next(); k != 3 {
		t.Errorf("packet %d", k)
	}
	b.r.SessionClosed(1, errEnd)
	b.await("the lease to be released", func() bool {
		return !slices.ContainsFunc(dhcp.Leases(), func(l dhcpd.Lease) bool { return l.State == dhcpd.Bound })
	})
}

// TestEntrusted: what a node has leased on the link by itself is given back when its session ends, also over a crash of the
// router, and nothing else is taken over.
func TestEntrusted(t *testing.T) {
	for name, end := range map[string]func(b *bed){
		"ended": func(b *bed) { b.r.SessionClosed(1, errEnd) },
		"crash": func(b *bed) { b.restart() },
	} {
		t.Run(name, func(t *testing.T) {
			s := state.NewMemory()
			b, dhcp := leasing(t, s)
			l, err := b.r.six.source.client(elsewhere, duid(elsewhere), iaid(1)).acquire(t.Context(), func(lease) error { return nil })
			if err != nil {
				t.Fatal(err)
			}
			b.r.SessionOpened(1, "mn@home.example", netip.AddrPortFrom(l.Addr.Addr(), 1000), false, sessionKeys(1), time.Hour)
			b.r.SessionOpened(2, "other", netip.AddrPortFrom(b.outer, 1000), true, sessionKeys(2), time.Hour)
			m := &notify.Entrust{Header: header, Addr: l.Addr.Addr(), ClientID: l.ClientID, IAID: 1, ServerDUID: l.ServerDUID, MAC: elsewhere}
			foreign := *m
			foreign.IAID = 2
			b.r.SessionMessage(2, &foreign) // of another node
			other := *m
			other.Addr, other.IAID = other.Addr.Next(), 3
			b.r.SessionMessage(1, &other) // another address
			b.r.SessionMessage(1, m)
			b.await("the lease to be in the ledger", func() bool { return len(stored(t, s)) == 1 && stored(t, s)[0].Stage == stageArrived })
			time.Sleep(50 * time.Millisecond)
			if all := stored(t, s); len(all) != 1 || all[0].Lease.Addr != l.Addr {
				t.Errorf("in the ledger %+v", all)
			}
			if all := dhcp.Leases(); len(all) != 1 || all[0].State != dhcpd.Bound {
				t.Fatalf("leases %v", all)
			}
			end(b)
			b.await("the lease to be released", func() bool {
				return !slices.ContainsFunc(dhcp.Leases(), func(l dhcpd.Lease) bool { return l.State == dhcpd.Bound })
			})
		})
	}
}

// TestLease6AfterCrash: what the server may have granted before a crash is given back, though the router does not know which
// address it is.
func TestLease6AfterCrash(t *testing.T) {
	s := state.NewMemory()
	b, dhcp := leasing(t, s)
	cfg := b.r.cfg
	t1 := b.r.six.source.client(elsewhere, duid(elsewhere), iaid(1))
	if _, err := t1.acquire(t.Context(), func(lease) error { return nil }); err != nil {
		t.Fatal(err)
	}
	b.r.Close()
	rec := record{Identity: "mn@home.example", MAC: elsewhere.String(), Stage: stageLeased, Lease: lease{Addr: nowhere, ClientID: duid(elsewhere), IAID: iaid(1)}}
	if _, err := state.PutJSON(s, storeKey(rec.Lease.key()), rec, time.Time{}); err != nil {
		t.Fatal(err)
	}
	if l := dhcp.Leases(); len(l) != 1 {
		t.Fatalf("leases %v", l)
	}
	b.begin(cfg)
	b.await("the lease to be released", func() bool {
		return !slices.ContainsFunc(dhcp.Leases(), func(l dhcpd.Lease) bool { return l.State == dhcpd.Bound })
	})
	b.await("its record to be forgotten", func() bool { return len(stored(t, s)) == 0 })
	// One that is known is read from the store as it was written.
	if c := b.open(1, elsewhere); c.Reason != "" {
		t.Fatalf("%+v", c)
	}
	b.r.Close()
	if len(stored(t, s)) != 0 {
		t.Errorf("left %v", stored(t, s))
	}
}
