package mn

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"openmpa/aaa/aaatest"
	"openmpa/internal/acd"
	"openmpa/internal/event"
	"openmpa/internal/ha"
	"openmpa/internal/host"
	"openmpa/internal/osnet"
	"openmpa/internal/osnet/osnettest"
	"openmpa/mn/link"
	"openmpa/mn/mobility/mip4"
	"openmpa/paa"
	"openmpa/paa/keys"
	"openmpa/paa/notify"
	"openmpa/paa/pana"
	"openmpa/par"
	"openmpa/testbed/dhcpd"
	"openmpa/testbed/space"
	"openmpa/tunnel/flow"
)

const patience = 20 * time.Second // for what takes milliseconds

var (
	homeAddress = netip.MustParseAddr("10.9.0.2")
	agentAddr   = netip.MustParseAddr("10.0.3.1")
	discard     = slog.New(slog.DiscardHandler)
	limits      = flow.Limits{Packets: 8192, Bytes: 16 << 20} // as mpa-mn has them
	dad         = acd.Timers{
		ProbeWait: time.Millisecond, ProbeNum: 1, ProbeMin: 5 * time.Millisecond, ProbeMax: 10 * time.Millisecond, AnnounceWait: 20 * time.Millisecond,
		AnnounceNum: 1, AnnounceInterval: time.Millisecond, MaxConflicts: 3, RateLimitInterval: time.Minute, DefendInterval: time.Second,
	}
)

// adapter moves the other end of the node's link between two bridges.
type adapter struct {
	*bed
	net host.Host
	dev string // the node's end
	far string // the other one

	mu     sync.Mutex
	point  string
	fails  map[string]error  // Attach to it fails, without leaving
	dead   map[string]bool   // no link there
	astray map[string]string // Attach to it fails, and the link is at another
	leave  func(to string)   // called with the old link still up
	looks  func()            // called when somebody asks where it is
	opens  time.Duration     // how long a point drops what comes, with the link up
}

func (a *adapter) Current(context.Context) (string, error) {
	a.mu.Lock()
	looks := a.looks
	a.mu.Unlock()
	if looks != nil {
		looks()
	}
	return a.at(), nil
}

// at is the point where the node was taken last.
func (a *adapter) at() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.point
}

// die makes points that no link comes up at, or no longer.
func (a *adapter) die(dead bool, points ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range points {
		a.dead[p] = dead
	}
}

// onLeave has fn called with the old link still up; nil: nothing.
func (a *adapter) onLeave(fn func(to string)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.leave = fn
}

func (a *adapter) Attach(_ context.Context, point string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.fails[point]; err != nil {
		return err
	}
	if a.leave != nil {
		a.leave(point)
	}
	asked := point
	if other := a.astray[point]; other != "" {
		point = other
	}
	a.point = point
	a.lost()
	a.air(func() {
		if a.opens == 0 {
			osnettest.IP(a.t, "link set "+a.far+" master "+point)
		} else {
			osnettest.IP(a.t, "link set "+a.far+" nomaster")
		}
		if !a.dead[point] {
			osnettest.IP(a.t, "link set "+a.far+" up")
		}
		if a.opens > 0 {
			time.Sleep(a.opens)
			osnettest.IP(a.t, "link set "+a.far+" master "+point)
		}
	})
	if point != asked {
		return &link.AttachError{Point: asked, Text: "connected to " + point + " instead"}
	}
	return nil
}

// lost cuts the link, and waits until the kernel has dealt with that: a carrier that is
// back before is told of before the bridge forwards, as no radio does.
func (a *adapter) lost() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cut := func() { a.air(func() { osnettest.IP(a.t, "link set "+a.far+" down") }) }
	if a.net == nil { // there is no node that looks
		cut()
		return
	}
	reports, err := a.net.WatchLink(ctx, a.dev)
	if err != nil {
		a.t.Error(err)
		return
	}
	up := (<-reports).Up
	cut()
	for up {
		s, ok := <-reports
		if up = s.Up && !s.Missed; !ok {
			a.t.Errorf("%s has a carrier without a peer", a.dev)
			return
		}
	}
}

func (a *adapter) Watch(ctx context.Context) (<-chan osnet.LinkState, error) {
	return a.net.WatchLink(ctx, a.dev)
}

// bed is a node in this process's namespace, two networks with their routers, a
// DHCP server on both, and a home agent that is the correspondent too.
type bed struct {
	t       *testing.T
	air     func(func())
	core    func(func())
	far     *space.Space // of the DHCP server
	pools   []dhcpd.Pool
	dhcp    *dhcpd.Server
	aaa     map[string]*aaatest.Backend
	routers map[string]*par.Router
	agents  map[string]*paa.Service
	link    *adapter
	cfg     Config
	node    *Node
	halt    func()                  // ends Run of node, and waits until it has
	open    map[string]func()       // starts the router of that network
	inside  map[string]func(func()) // runs in its router's namespace
	probes  acd.Timers              // of routers
	keyed   map[string]*points
	edits   []func(*par.Config)
	stopHA  func()
	cn      *net.UDPConn
	before  string
	six     *bed6               // there is IPv6, too, and the node is of that; nil: there is not
	third   bool                // there is a third network, c
	fourth  bool                // and a fourth, d
	ping    time.Duration       // silence after which routers ask whether a node is there; 0: they do not
	most    int                 // care-of addresses that the home agent binds; 0: as many as it does
	home    *ha.Agent           // of IPv4
	adverts map[string]*adverts // by network
}

// bedNetwork is one of its networks, with the number that its addresses have.
type bedNetwork struct {
	number int
	name   string
}

// networks are the bed's.
func (b *bed) networks() []bedNetwork {
	list := []bedNetwork{{1, "b"}, {2, "a"}}
	if b.third {
		list = append(list, bedNetwork{5, "c"})
	}
	if b.fourth {
		list = append(list, bedNetwork{6, "d"})
	}
	return list
}

// addresses are the node's home address and its correspondent's.
func (b *bed) addresses() (home, peer netip.Addr) {
	if b.six != nil {
		return homeAddress6, peerAddr6
	}
	return homeAddress, agentAddr
}

// start makes a bed, with a node that is attached to b.
func start(t *testing.T, edit func(*Config), routers ...func(*par.Config)) *bed {
	t.Helper()
	return startWith(t, nil, edit, routers...)
}

// startWith is start with access points of routers, which take keys.
func startWith(t *testing.T, keyed map[string]*points, edit func(*Config), routers ...func(*par.Config)) *bed {
	t.Helper()
	return startOn(t, keyed, func(*bed) {}, edit, routers...)
}

// startOn is startWith with more cables, which lay lays.
func startOn(t *testing.T, keyed map[string]*points, lay func(*bed), edit func(*Config), routers ...func(*par.Config)) *bed {
	t.Helper()
	return startOf(t, nil, keyed, lay, edit, routers...)
}

// startOf is startOn for a node of IPv6, if six is there.
func startOf(t *testing.T, six *bed6, keyed map[string]*points, lay func(*bed), edit func(*Config), routers ...func(*par.Config)) *bed {
	t.Helper()
	b := &bed{six: six}
	b.start(t, keyed, lay, edit, routers...)
	return b
}

// start makes what b is to be, and starts the node.
func (b *bed) start(t *testing.T, keyed map[string]*points, lay func(*bed), edit func(*Config), routers ...func(*par.Config)) {
	t.Helper()
	osnettest.NeedRoot(t)
	six := b.six
	ip := func(cmd string) { osnettest.IP(t, cmd) }
	ip("link set lo up")
	if osnettest.Forward(t); six != nil {
		osnettest.Sysctl(t, "ipv6/conf/default/disable_ipv6", "0")
		osnettest.Sysctl(t, "ipv6/conf/default/accept_dad", "0")
		osnettest.Sysctl(t, "ipv6/conf/default/accept_ra", "0") // or what the kernel does would be found behind the node
	}
	b.t, b.adverts, b.air, b.core = t, map[string]*adverts{}, osnettest.Other(t), osnettest.Other(t)
	b.aaa, b.routers, b.agents = map[string]*aaatest.Backend{}, map[string]*par.Router{}, map[string]*paa.Service{}
	b.open, b.inside, b.probes, b.keyed, b.edits = map[string]func(){}, map[string]func(func()){}, dad, keyed, routers
	far, in := elsewhere(t)
	var err error
	for _, do := range []func(func()){b.air, b.core, in} {
		do(func() { osnettest.Forward(t); ip("link set lo up") })
	}
	if six != nil {
		b.core(func() { forward6(t) })
		in(func() { forward6(t) })
	}
	b.air(func() {
		for _, n := range b.networks() {
			ip("link add poa-" + n.name + " type bridge")
			ip("link set poa-" + n.name + " up")
			osnettest.VethTo(t, "d"+n.name, "lan"+n.name, in)
			ip("link set d" + n.name + " master poa-" + n.name)
		}
	})
	b.far = far
	for _, n := range b.networks() {
		lan := fmt.Sprintf("10.%d.0.", n.number)
		in(func() { ip("address add " + lan + "3/24 dev lan" + n.name) })
		b.pools = append(b.pools, dhcpd.Pool{
			Network: n.name, Interface: "lan" + n.name, Server: netip.MustParseAddr(lan + "3"), Prefix: netip.MustParsePrefix(lan + "0/24"),
			Low: netip.MustParseAddr(lan + "100"), High: netip.MustParseAddr(lan + "110"), Router: netip.MustParseAddr(lan + "1"), DNS: netip.MustParseAddr("10.0.4.53"),
			PAA: netip.MustParseAddr(lan + "1"),
		})
	}
	if six != nil {
		b.servers6()
	}
	if b.dhcp, err = dhcpd.Serve(far, b.pools, time.Minute); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.dhcp.Close() })
	for _, n := range b.networks() {
		b.router(n.number, n.name)
	}
	b.core(func() {
		ip("address add 10.0.3.1/32 dev lo")
		if six != nil {
			ip("address add 2001:db8:3::7/128 dev lo nodad")
		}
		for _, n := range b.networks() {
			ip(fmt.Sprintf("route add 10.%d.0.0/24 via 10.0.%d.1", n.number, n.number))
		}
	})
	b.agent()
	_, peer := b.addresses()
	b.core(func() { b.cn, err = net.ListenUDP("udp", &net.UDPAddr{IP: peer.AsSlice(), Port: 7000}) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.cn.Close() })

	osnettest.VethTo(t, "eth0", "mn0", b.air)
	t.Cleanup(func() { ip("link del eth0") })
	b.air(func() { ip("link set mn0 master poa-b") })
	b.link = &adapter{bed: b, dev: "eth0", far: "mn0", point: "poa-b", fails: map[string]error{}, dead: map[string]bool{}}
	lay(b)
	if six != nil {
		linkLocal(t, "eth0") // which the kernel puts there when it has noticed that the link is up
	}
	b.before = osnettest.Snapshot(t)
	cfg := Config{
		Device: "mpa0", MTU: 1380, NewEAP: func() (pana.EAPPeer, error) { return &aaatest.Peer{}, nil },
		Home: mip4.ClientConfig{HomeAddress: homeAddress, HomeAgent: agentAddr, SPI: 256, Key: homeKey(), Algorithm: mip4.HMACSHA256, Rand: rand.Reader},
		DAD:  dad, Timers: DefaultTimers(), Buffer: limits, Prepare: true, Rand: rand.Reader, Recorder: event.NewRecorder("mn", nil, 1000), Log: discard,
		Interfaces: []Interface{{Name: "eth0", Link: func(n host.Host) (link.Adapter, error) { b.link.net = n; return b.link, nil }}},
	}
	for _, n := range b.networks() {
		paa := fmt.Sprintf("10.%d.0.1:716", n.number)
		if six != nil && !six.over4 {
			paa = fmt.Sprintf("[2001:db8:%d::1]:716", n.number)
		}
		cfg.Networks = append(cfg.Networks, Network{Name: n.name, PAA: netip.MustParseAddrPort(paa), Points: []string{"poa-" + n.name}})
	}
	if six != nil {
		cfg.Family, cfg.DAD6, cfg.Home = 6, dad6, mip4.ClientConfig{}
		homeOf6(&cfg)
	}
	if os.Getenv("OPENMPA_TEST_LOG") != "" {
		cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	// Those in which it is found that somebody is dead are shorter than they are by default, where it costs a test little.
	cfg.Timers.Auth, cfg.Timers.Bind, cfg.Timers.Configure = 3*time.Second, 1500*time.Millisecond, 3*time.Second
	cfg.Timers.Arrive, cfg.Timers.Settle = time.Second, time.Second
	cfg.Timers.Depart = 2 * time.Second // a machine under load is no dead router
	cfg.Timers.Hold = 0                 // what is left of a network is looked at right behind the move; hold_test.go has the hold
	if edit != nil {
		edit(&cfg)
	}
	b.cfg = cfg
	t.Cleanup(func() {
		b.halt()
		b.node.Close()
		if after := osnettest.Snapshot(t); after != b.before {
			t.Errorf("the node left something in the kernel: before\n%s\nafter\n%s", b.before, after)
		}
	})
	b.boot()
}

// elsewhere is a network namespace with a name, and what runs in it.
func elsewhere(t *testing.T) (far *space.Space, in func(func())) {
	t.Helper()
	name := fmt.Sprintf("mn-%d", os.Getpid())
	far, err := space.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(far.Close(), space.Remove(name)); err != nil {
			t.Error(err)
		}
	})
	return far, func(f func()) { _ = far.Do(func() error { f(); return nil }) }
}

// boot starts the node and waits until it is attached.
func (b *bed) boot() {
	t := b.t
	t.Helper()
	var err error
	b.halt = func() {}
	if b.node, err = Open(b.cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	node := b.node
	go func() { done <- node.Run(ctx, func() { close(ready) }) }()
	b.halt = func() {
		cancel()
		<-done
	}
	select {
	case <-ready:
	case err := <-done:
		done <- err
		t.Fatalf("not attached: %v", err)
	case <-time.After(patience):
		t.Fatal("not attached")
	}
}

// kill ends the node without a word to anybody. What a process leaves in the kernel
// is removed here, and not when the next one starts.
func (b *bed) kill(prepared ...*candidate) {
	b.halt()
	n := b.node
	n.cancel()
	n.standing.Wait()
	for _, c := range append(prepared, b.serving()) {
		c.mapping.stop()
		c.keeper.stop()
		if s := c.session.Load(); s != nil {
			s.close()
		}
		if c.path != nil {
			_ = c.path.wire.close()
		}
	}
	_ = n.endpoint.Close()
	n.home.wait()
	_ = n.dev.Close()
	n.wg.Wait()
	for _, p := range n.ports {
		_ = p.ip.close()
	}
	if err := n.net.Close(); err != nil {
		b.t.Error(err)
	}
	b.link.net = nil
}

func homeKey() *keys.Secret { return keys.NewSecret([]byte("0123456789abcdef")) }

// router makes network i with access router n.
func (b *bed) router(i int, n string) {
	t := b.t
	t.Helper()
	ip := func(cmd string) { osnettest.IP(t, cmd) }
	do := osnettest.Other(t)
	do(func() {
		if osnettest.Forward(t); b.six != nil {
			forward6(t)
		}
		osnettest.VethTo(t, "lan0", "u"+n, b.air)
		osnettest.VethTo(t, "core0", "c"+n, b.core)
		ip(fmt.Sprintf("address add 10.%d.0.1/24 dev lan0", i))
		ip(fmt.Sprintf("address add 10.0.%d.1/30 dev core0", i))
		ip(fmt.Sprintf("route add default via 10.0.%d.2", i))
	})
	b.air(func() { ip("link set u" + n + " master poa-" + n) })
	b.core(func() { ip(fmt.Sprintf("address add 10.0.%d.2/30 dev c%s", i, n)) })
	addr := netip.MustParseAddr(fmt.Sprintf("10.%d.0.1", i))
	b.aaa[n] = &aaatest.Backend{}
	b.inside[n] = do
	if b.six != nil {
		b.router6(i, n)
	}
	b.open[n] = func() { do(func() { b.openRouter(i, n, addr) }) }
	b.open[n]()
	t.Cleanup(func() { b.stopRouter(n) })
}

func (b *bed) stopRouter(n string) {
	b.agents[n].Close()
	b.routers[n].Close()
}

// openRouter starts the router of network i in the namespace of the calling thread.
func (b *bed) openRouter(i int, n string, addr netip.Addr) {
	b.t.Helper()
	recorder := event.NewRecorder(n, nil, 1000)
	var points par.AccessPoints
	if p := b.keyed[n]; p != nil {
		points = p
	}
	cfg := par.Config{
		Points: points, Access: "lan0", Address: addr, Port: 4500, Device: "mpa0", Fence: netip.MustParsePrefix("169.254.62.52/31"), MTU: par.DefaultMTU,
		DHCPServer: netip.MustParseAddr(fmt.Sprintf("10.%d.0.3", i)), DHCPTimeout: time.Second, DAD: b.probes, Buffer: par.DefaultBuffer(),
		Unused: time.Minute, Rand: rand.Reader, Recorder: recorder, Log: discard,
	}
	var listen6 netip.AddrPort
	if b.six != nil {
		cfg.IPv6 = b.ipv6(i)
		listen6 = netip.AddrPortFrom(cfg.IPv6.Address, 716)
	}
	for _, edit := range b.edits {
		edit(&cfg)
	}
	r, err := par.Open(cfg)
	if err != nil {
		b.t.Error(err)
		return
	}
	a, err := paa.Open(paa.Config{
		Listen: netip.AddrPortFrom(addr, 716), Listen6: listen6, Identities: notify.Identities{CA: "ca." + n, AR: "ar." + n}, Backend: b.aaa[n],
		Ping: b.ping, Rand: rand.Reader, Recorder: recorder, Log: discard,
	}, r)
	if err != nil {
		b.t.Error(err)
		r.Close()
		return
	}
	r.Bind(a)
	b.routers[n], b.agents[n] = r, a
}

// agent starts the home agent.
func (b *bed) agent() {
	b.t.Helper()
	if b.six != nil {
		b.agent6()
		return
	}
	var a *ha.Agent
	var err error
	b.core(func() {
		a, err = ha.Open(ha.Config{
			Node: "ha", Device: "mpa0", Recorder: event.NewRecorder("ha", nil, 1000), Log: discard,
			Core: ha.CoreConfig{Address: agentAddr, Nodes: []ha.Node{{HomeAddress: homeAddress, Security: mip4.Security{SPI: 256, Key: homeKey(), Algorithm: mip4.HMACSHA256}}}, MaxBindings: b.most},
		})
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.home = a
	b.serve(a.Run, func() {})
}

// serve runs the home agent until stopHA, or the end of the test, and calls after then.
func (b *bed) serve(run func(context.Context) error, after func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	b.stopHA = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Error(err)
		}
		after()
	})
	b.t.Cleanup(b.stopHA)
}

// handover runs one to its end.
func (b *bed) handover(name string) (event.Outcome, error) {
	b.t.Helper()
	h, err := b.node.Handover(name)
	if err != nil {
		return event.Failed, err
	}
	ctx, cancel := context.WithTimeout(b.t.Context(), 30*time.Second)
	defer cancel()
	return h.Wait(ctx)
}
