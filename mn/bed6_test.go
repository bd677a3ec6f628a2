package mn

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"

	"openmpa/internal/acd"
	"openmpa/internal/acd/nd"
	"openmpa/internal/event"
	"openmpa/internal/ha/ha6"
	"openmpa/internal/host"
	"openmpa/internal/osnet"
	"openmpa/internal/osnet/osnettest"
	"openmpa/mn/mobility/mip6"
	"openmpa/par"
	"openmpa/testbed/dhcpd"
)

var (
	homeAddress6 = netip.MustParseAddr("2001:db8:9::2")
	homeAgent6   = netip.MustParseAddr("2001:db8:9::1")
	peerAddr6    = netip.MustParseAddr("2001:db8:3::7")
	dad6         = nd.Timers{Delay: time.Millisecond, Transmits: 1, Retrans: 50 * time.Millisecond, LoopTransmits: 1}
)

// bed6 is what there is to say about IPv6 in a bed.
type bed6 struct {
	local  netip.Addr // link-local, of both routers; the zero Addr: the kernel makes each its own
	leased bool       // addresses are of the DHCPv6 server
	over4  bool       // PANA and ESP are of IPv4, of which the node has addresses that somebody else keeps
	home   *ha6.Agent
}

// start6 is start with IPv6 beside IPv4, for a node of IPv6.
func start6(t *testing.T, edit func(*Config), routers ...func(*par.Config)) *bed {
	t.Helper()
	return startOf(t, &bed6{}, nil, func(*bed) {}, edit, routers...)
}

// forward6 makes the calling thread's namespace forward IPv6; its interfaces to be have
// addresses at once.
func forward6(t *testing.T) {
	osnettest.Sysctl(t, "ipv6/conf/default/disable_ipv6", "0")
	osnettest.Sysctl(t, "ipv6/conf/default/accept_dad", "0")
	osnettest.Sysctl(t, "ipv6/conf/all/forwarding", "1")
	osnettest.Sysctl(t, "ipv6/conf/default/forwarding", "1")
}

// linkLocal waits until an interface of the calling thread's namespace has its link-local
// address.
func linkLocal(t *testing.T, dev string) netip.Addr {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		fields := strings.Fields(osnettest.IP(t, "-6 -o address show dev "+dev+" scope link -tentative"))
		if len(fields) > 3 {
			return netip.MustParsePrefix(fields[3]).Addr()
		}
	}
	t.Fatalf("%s has no link-local address", dev)
	return netip.Addr{}
}

// router6 adds what network i and its router need of IPv6.
func (b *bed) router6(i int, n string) {
	t := b.t
	t.Helper()
	ip := func(format string, args ...any) { osnettest.IP(t, fmt.Sprintf(format, args...)) }
	lan := netip.MustParsePrefix(fmt.Sprintf("2001:db8:%d::/64", i))
	b.inside[n](func() {
		ip("address add 2001:db8:%d::1/64 dev lan0 nodad", i)
		ip("address add 2001:db8:c:%d::1/64 dev core0 nodad", i)
		ip("-6 route add default via 2001:db8:c:%d::2", i)
		own := linkLocal(t, "lan0")
		if b.six.local.IsValid() {
			ip("address add %s/64 dev lan0 nodad", b.six.local)
			ip("address del %s/64 dev lan0", own)
		}
	})
	b.core(func() {
		ip("address add 2001:db8:c:%d::2/64 dev c%s nodad", i, n)
		ip("-6 route add %s via 2001:db8:c:%d::1", lan, i)
	})
	b.adverts[n] = advertise(t, b.inside[n], "lan0", nd.RouterAdvert{
		HopLimit: 64, Lifetime: 30 * time.Minute, Managed: b.six.leased,
		Prefixes: []nd.PrefixInfo{{Prefix: lan, OnLink: true, Autonomous: !b.six.leased, Valid: time.Hour, Preferred: 30 * time.Minute}},
	})
}

// servers6 adds the networks' DHCPv6 servers to the pools.
func (b *bed) servers6() {
	if !b.six.leased {
		return
	}
	for _, n := range b.networks() {
		lan := fmt.Sprintf("2001:db8:%d::", n.number)
		_ = b.far.Do(func() error {
			osnettest.IP(b.t, "address add "+lan+"3/64 dev lan"+n.name+" nodad")
			return nil
		})
		b.pools = append(b.pools, dhcpd.Pool{
			Network: n.name, Interface: "lan" + n.name, Server: netip.MustParseAddr(lan + "3"), Prefix: netip.MustParsePrefix(lan + "/64"),
			Low: netip.MustParseAddr(lan + "100"), High: netip.MustParseAddr(lan + "110"), DNS: netip.MustParseAddr("2001:db8::53"),
		})
	}
}

// ipv6 is what the router of network i is told of it.
func (b *bed) ipv6(i int) *par.IPv6 {
	six := &par.IPv6{Address: netip.MustParseAddr(fmt.Sprintf("2001:db8:%d::1", i)), DAD: dad6}
	if b.six.leased {
		six.Server, six.Managed = netip.MustParseAddr(fmt.Sprintf("2001:db8:%d::3", i)), true
	}
	return six
}

// adverts are what one router says of its link.
type adverts struct {
	mu    sync.Mutex // of whoever says it, or changes it: nothing of before is said when say has returned
	says  atomic.Pointer[nd.RouterAdvert]
	asked atomic.Int32 // solicitations
	conn  *icmp.PacketConn
	dev   string
}

// say changes what the router says.
func (a *adverts) say(change func(*nd.RouterAdvert)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	ra := *a.says.Load()
	ra.Prefixes = slices.Clone(ra.Prefixes)
	change(&ra)
	a.says.Store(&ra)
}

// now has the router say it unasked.
func (a *adverts) now() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	b, err := osnet.AppendRouterAdvert(nil, *a.says.Load())
	if err == nil {
		_, err = a.conn.WriteTo(b, &net.IPAddr{IP: nd.AllNodes().AsSlice(), Zone: a.dev})
	}
	return err
}

// advertise says that on dev, in a namespace, whenever it is asked and now and then, until
// the test ends.
func advertise(t *testing.T, in func(func()), dev string, ra nd.RouterAdvert) *adverts {
	t.Helper()
	a := &adverts{dev: dev}
	var asked *osnet.NDConn
	in(func() {
		local := linkLocal(t, dev)
		reader, err := osnet.OpenReader()
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { _ = reader.Close() })
		if asked, err = reader.OpenND(dev); err == nil {
			a.conn, err = icmp.ListenPacket("ip6:ipv6-icmp", local.WithZone(dev).String())
		}
		if err != nil {
			t.Error(err)
		}
	})
	if a.conn == nil {
		t.FailNow()
	}
	ra.MAC = acd.MAC(asked.MAC())
	a.says.Store(&ra)
	var none ipv6.ICMPFilter
	none.SetAll(true)
	p := a.conn.IPv6PacketConn()
	for _, err := range []error{p.SetICMPFilter(&none), p.SetMulticastHopLimit(255), p.SetMulticastLoopback(true)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	say := func() {
		if err := a.now(); err != nil {
			t.Error(err)
		}
	}
	done.Go(func() {
		for {
			p, err := asked.ReadND(ctx)
			if err != nil {
				return
			}
			if _, ok := p.Msg.(nd.RouterSolicit); ok {
				a.asked.Add(1)
				say()
			}
		}
	})
	done.Go(func() { // unasked, too: what asks on its own machine is not heard
		for ctx.Err() == nil {
			say()
			sleep(ctx, 100*time.Millisecond)
		}
	})
	t.Cleanup(func() {
		cancel()
		done.Wait()
		_, _ = asked.Close(), a.conn.Close()
	})
	return a
}

// agent6 starts the home agent of IPv6.
func (b *bed) agent6() {
	b.t.Helper()
	var a *ha6.Agent
	var h host.IPv6
	var err error
	b.core(func() {
		if h, err = host.LinuxIPv6(discard, osnet.OwnerHomeAgent); err != nil {
			return
		}
		a, err = ha6.Open(ha6.Config{
			Device: "mpa6", Host: h, Recorder: event.NewRecorder("ha", nil, 1000), Log: discard,
			Core: ha6.CoreConfig{Agent: mip6.AgentConfig{
				Address: homeAgent6, Prefixes: []netip.Prefix{netip.MustParsePrefix("2001:db8:9::/64")},
				Nodes: []mip6.Node{{Home: homeAddress6, Security: security6()}}, MaxCareOf: b.most,
			}},
		})
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.six.home = a
	b.serve(a.Run, func() { _ = h.Close() })
}

func security6() mip6.Security { return mip6.Security{SPI: 256, Key: homeKey()} }

// homeOf6 has the node bind by Mobile IPv6.
func homeOf6(c *Config) {
	c.Home6 = mip6.ClientConfig{Home: homeAddress6, HomeAgent: homeAgent6, Security: security6(), Rand: rand.Reader}
}
