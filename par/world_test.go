package par

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"openmpa/internal/acd/nd"
	"openmpa/internal/osnet"
	"openmpa/internal/osnet/osnettest"
	"openmpa/paa/notify"
	"openmpa/tunnel/ipip"
)

// world is where everybody is, in one family.
type world struct {
	six, dual                 bool // the node's family; the network has both
	router, leased, outer, cn netip.Addr
	bits                      int        // of every network
	previous, old, core, next netip.Addr // the previous router, the node's address there, and between the routers
}

var (
	world4 = world{
		router: routerAddr, leased: leased, outer: outer, cn: netip.MustParseAddr("10.3.0.2"), bits: 24,
		previous: previousAddr, old: before, core: netip.MustParseAddr("10.5.0.1"), next: netip.MustParseAddr("10.5.0.2"),
	}
	world6 = world{
		six: true, dual: true, router: netip.MustParseAddr("2001:db8:2::1"), leased: netip.MustParseAddr("2001:db8:2::100"), outer: netip.MustParseAddr("2001:db8:1::100"),
		cn: netip.MustParseAddr("2001:db8:3::2"), bits: 64, previous: netip.MustParseAddr("2001:db8:4::1"), old: netip.MustParseAddr("2001:db8:4::100"),
		core: netip.MustParseAddr("2001:db8:5::1"), next: netip.MustParseAddr("2001:db8:5::2"),
	}
	routerLink = netip.MustParseAddr("fe80::1")
	farLink    = netip.MustParseAddr("fe80::f")
)

// families runs a test for each family.
func families(t *testing.T, test func(t *testing.T, start func(*testing.T, func(*Config)) *bed)) {
	t.Run("IPv4", func(t *testing.T) { test(t, start) })
	t.Run("IPv6", func(t *testing.T) {
		test(t, func(t *testing.T, edit func(*Config)) *bed { return startIn(t, world6, time.Minute, edit) })
	})
}

// mixed runs a test for tunnels of one family that carry the other.
func mixed(t *testing.T, test func(t *testing.T, start func(*testing.T, func(*Config)) *bed)) {
	for name, c := range map[string]struct{ inside, outside world }{"IPv6 over IPv4": {world6, world4}, "IPv4 over IPv6": {world4, world6}} {
		w := c.inside
		w.dual, w.outer = true, c.outside.outer
		t.Run(name, func(t *testing.T) {
			test(t, func(t *testing.T, edit func(*Config)) *bed { return startIn(t, w, time.Minute, edit) })
		})
	}
}

// with is an address with the prefix length of its network.
func (w world) with(a netip.Addr) string { return netip.PrefixFrom(a, w.bits).String() }

// payload is what UDP carries in an IP packet.
func payload(p []byte) []byte {
	if p[0]>>4 == 6 {
		return p[ipip.HeaderLen6+8:]
	}
	return p[28:]
}

// twin has an interface speak IPv6 with its addresses.
func twin(t *testing.T, dev string, addrs ...string) {
	t.Helper()
	osnettest.Sysctl(t, "ipv6/conf/"+dev+"/addr_gen_mode", "1")
	osnettest.Sysctl(t, "ipv6/conf/"+dev+"/disable_ipv6", "0")
	for _, a := range addrs {
		osnettest.IP(t, "address add "+a+" dev "+dev+" nodad")
	}
	for !strings.Contains(osnettest.IP(t, "-6 route show table local dev "+dev), "ff00::/8 ") {
		time.Sleep(time.Millisecond) // the kernel makes it some time after the interface is up
	}
}

// sixth adds IPv6 to the network.
func (b *bed) sixth(cn func(func())) {
	t := b.t
	t.Helper()
	osnettest.Sysctl(t, "ipv6/conf/all/forwarding", "1")
	t.Cleanup(func() { osnettest.Sysctl(t, "ipv6/conf/all/forwarding", "0") })
	osnettest.Sysctl(t, "ipv6/conf/default/forwarding", "1")
	osnettest.Sysctl(t, "ipv6/conf/default/disable_ipv6", "0") // of the TUN
	osnettest.Sysctl(t, "ipv6/conf/default/addr_gen_mode", "1")
	twin(t, "lan0", "2001:db8:2::1/64", "fe80::1/64")
	twin(t, "old0", "2001:db8:1::1/64", "fe80::1/64")
	twin(t, "cn0", "2001:db8:3::1/64", "fe80::1/64")
	cn(func() {
		twin(t, "cn1", "2001:db8:3::2/64", "fe80::2/64")
		osnettest.IP(t, "-6 route add default via 2001:db8:3::1")
	})
	b.in(func() {
		twin(t, "eth0", "2001:db8:2::3/64", "fe80::f/64")
		osnettest.Sysctl(t, "ipv6/conf/eth0/optimistic_dad", "1")
		twin(t, "old1", "2001:db8:1::100/64", "fe80::f/64")
		osnettest.IP(t, "-6 route add default via 2001:db8:1::1")
	})
}

// ra is what the link's router advertises unless a test says otherwise.
func ra() nd.RouterAdvert {
	return nd.RouterAdvert{
		HopLimit: 64, Lifetime: 30 * time.Minute, DNS: []netip.Addr{netip.MustParseAddr("2001:db8::53")},
		Prefixes: []nd.PrefixInfo{{
			Prefix: netip.MustParsePrefix("2001:db8:2::/64"), OnLink: true, Autonomous: true, Valid: time.Hour, Preferred: 30 * time.Minute,
		}},
	}
}

// advertiser is a router of the link that is not ours.
type advertiser struct {
	conn *osnet.NDConn
	mu   sync.Mutex
	ra   *nd.RouterAdvert // nil: it is silent
}

// advertise has somebody on the link, who answers whoever asks.
func (b *bed) advertise(first nd.RouterAdvert) {
	t := b.t
	t.Helper()
	a := &advertiser{}
	var err error
	b.in(func() {
		var n *osnet.Net
		if n, err = osnet.OpenReader(); err == nil {
			a.conn, err = n.OpenND("eth0")
			_ = n.Close()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	a.ra, b.ra = &first, a
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			p, err := a.conn.ReadND(ctx)
			if err != nil {
				return
			}
			if _, asks := p.Msg.(nd.RouterSolicit); asks {
				a.send(t)
			}
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		_ = a.conn.Close()
	})
}

func (a *advertiser) send(t *testing.T) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ra == nil {
		return
	}
	if err := a.conn.WriteND(nd.Packet{Src: farLink, Dst: nd.AllNodes(), Msg: *a.ra}); err != nil {
		t.Error(err)
	}
}

// say changes what is advertised.
func (a *advertiser) say(t *testing.T, ra *nd.RouterAdvert) {
	a.mu.Lock()
	a.ra = ra
	a.mu.Unlock()
	a.send(t)
}

// duid is a node's.
func duid(mac net.HardwareAddr) []byte { return append([]byte{0, 3, 0, 1}, mac...) }

// form has the router say what its link is like, and verify an address.
func (b *bed) form(sid uint32, mac net.HardwareAddr, a netip.Addr) *notify.ConfigReply {
	b.t.Helper()
	b.r.SessionMessage(sid, &notify.ConfigRequest{Header: header, Family: 6, ClientID: duid(mac), IAID: sid, MAC: mac})
	c := got[*notify.ConfigReply](b, sid)
	if c.Reason != "" || c.Addr.IsValid() {
		return c
	}
	carried, err := osnet.ParseRouterAdvert(c.RA)
	if err != nil || !carried.Holds(a) || c.Router != routerLink || len(c.DNS) != 1 {
		b.t.Errorf("the link is %+v, %v", c, err)
	}
	return b.want(sid, mac, a)
}

// want has the router verify an address.
func (b *bed) want(sid uint32, mac net.HardwareAddr, a netip.Addr) *notify.ConfigReply {
	b.t.Helper()
	b.r.SessionMessage(sid, &notify.ConfigRequest{Header: header, Family: 6, ClientID: duid(mac), IAID: sid, MAC: mac, Addr: a})
	return got[*notify.ConfigReply](b, sid)
}
