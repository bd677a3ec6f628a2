package osnet

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/nftables"

	"openmpa/internal/osnet/osnettest"
)

// gateBed is a router with a node at lan0 and a server behind wan0.
//
//	node 10.1.0.5 --- 10.1.0.1 lan0 [router] wan0 10.3.0.1 --- 10.3.0.2 server
type gateBed struct {
	t            *testing.T
	node, server func(func())
}

func newGateBed(t *testing.T) *gateBed {
	osnettest.Enter(t)
	b := &gateBed{t, osnettest.Other(t), osnettest.Other(t)}
	osnettest.VethTo(t, "lan0", "eth0", b.node)
	osnettest.VethTo(t, "wan0", "eth0", b.server)
	osnettest.IP(t, "address add 10.1.0.1/24 dev lan0")
	osnettest.IP(t, "address add 10.3.0.1/24 dev wan0")
	osnettest.IP(t, "address add fd01::1/64 dev lan0 nodad")
	osnettest.IP(t, "address add fd03::1/64 dev wan0 nodad")
	osnettest.Forward(t)
	must(t, os.WriteFile("/proc/sys/net/ipv6/conf/all/forwarding", []byte("1"), 0))
	b.node(func() {
		osnettest.IP(t, "address add 10.1.0.5/24 dev eth0")
		osnettest.IP(t, "address add 10.1.0.6/24 dev eth0")
		osnettest.IP(t, "address add fd01::5/64 dev eth0 nodad")
		osnettest.IP(t, "route add default via 10.1.0.1")
		osnettest.IP(t, "route add default via fd01::1")
	})
	b.server(func() {
		osnettest.IP(t, "address add 10.3.0.2/24 dev eth0")
		osnettest.IP(t, "address add 10.3.0.3/24 dev eth0")
		osnettest.IP(t, "address add 10.3.0.4/24 dev eth0")
		for _, a := range []string{"fd03::2", "fd03::2:3", "fd03::2:4"} {
			osnettest.IP(t, "address add "+a+"/64 dev eth0 nodad")
		}
		osnettest.IP(t, "route add default via 10.3.0.1")
		osnettest.IP(t, "route add default via fd03::1")
	})
	return b
}

// passes says whether a datagram from the node gets to where it is sent. A second one, which
// may always pass, comes behind it on the same way, so nothing has to be waited for in vain.
func (b *gateBed) passes(from, to string) bool {
	b.t.Helper()
	open := func(do func(func()), addr string) (c *net.UDPConn) {
		do(func() {
			var err error
			if c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr))); err != nil {
				b.t.Fatal(err)
			}
		})
		return c
	}
	at, fenceFrom, behind := func(f func()) { f() }, "10.1.0.5:4999", "10.1.0.1:716"
	switch netip.MustParseAddrPort(to).Addr() {
	case netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("fd01::1"):
	default:
		at, behind = b.server, gateDHCP
	}
	target, source, second := open(at, to), open(b.node, from), open(b.node, fenceFrom)
	defer target.Close()
	defer source.Close()
	defer second.Close()
	fence := target
	if behind != to {
		fence = open(at, behind)
		defer fence.Close()
	}
	for _, send := range []struct {
		by  *net.UDPConn
		dst string
	}{{source, to}, {second, behind}} {
		if _, err := send.by.WriteToUDPAddrPort([]byte(send.dst), netip.MustParseAddrPort(send.dst)); err != nil {
			b.t.Fatal(err)
		}
	}
	buf := make([]byte, 64)
	must(b.t, fence.SetReadDeadline(time.Now().Add(10*time.Second)))
	if n, err := fence.Read(buf); err != nil || string(buf[:n]) != behind && behind != to {
		b.t.Fatalf("what always passes did not: %q, %v", buf[:n], err)
	}
	if behind == to {
		return true
	}
	must(b.t, target.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	_, err := target.Read(buf)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		b.t.Fatal(err)
	}
	return err == nil
}

func (b *gateBed) expect(what string, want bool, from, to string) {
	b.t.Helper()
	if got := b.passes(from, to); got != want {
		b.t.Errorf("%s: from %s to %s passes: %v, expected %v", what, from, to, got, want)
	}
}

const (
	gateNode, gateOther = "10.1.0.5:5000", "10.1.0.6:5000"
	gateRouter          = "10.1.0.1:4000"
	gateServer          = "10.3.0.2:4000"
	gateOpen            = "10.3.0.3:4000"
	gateDHCP            = "10.3.0.4:67"
)

func gateConfig() GateConfig {
	return GateConfig{Owner: OwnerLab, Dev: "lan0", PANA: 716, DHCP: netip.MustParseAddr("10.3.0.4"), Open: []netip.Prefix{netip.MustParsePrefix("10.3.0.3/32")}, Grace: time.Minute}
}

func TestGate(t *testing.T) {
	b := newGateBed(t)
	elsewhere := [][2]string{{gateNode, "10.3.0.2:67"}, {"[fd01::5]:5000", "[fd03::2]:67"}, {"[fd01::5]:5000", "[fd01::1]:67"}}
	b.expect("no gate", true, gateNode, gateServer)
	for _, way := range elsewhere { // what is for an address that nobody knows waits, and others overtake it
		deadline := time.Now().Add(10 * time.Second)
		for !b.passes(way[0], way[1]) {
			if time.Now().After(deadline) {
				t.Fatalf("no gate: nothing passes from %s to %s", way[0], way[1])
			}
		}
	}
	g, err := OpenGate(gateConfig())
	must(t, err)
	t.Cleanup(func() { must(t, g.Close(0)) })
	node := netip.MustParseAddr("10.1.0.5")
	closed := func(what string) {
		t.Helper()
		b.expect(what, false, gateNode, gateServer)
		b.expect(what, false, gateNode, gateRouter)
		b.expect(what, true, gateNode, "10.1.0.1:716")
		b.expect(what, true, gateNode, "10.1.0.1:67")
		b.expect(what, true, gateNode, gateOpen)
		for _, way := range elsewhere { // the port of DHCP is nobody else's way through
			b.expect(what, false, way[0], way[1])
		}
	}
	closed("unauthorised")
	must(t, g.Forbid(node)) // who is not permitted is no error
	must(t, g.Permit(node, time.Hour))
	b.expect("authorised", true, gateNode, gateServer)
	b.expect("authorised", true, gateNode, gateRouter)
	b.expect("authorised", false, gateOther, gateServer)
	must(t, g.Permit(node, 2*time.Hour)) // again
	b.expect("authorised again", true, gateNode, gateServer)
	must(t, g.Forbid(node))
	closed("forbidden")

	must(t, g.Permit(node, 300*time.Millisecond))
	b.expect("for a moment", true, gateNode, gateServer)
	deadline := time.Now().Add(10 * time.Second)
	for b.passes(gateNode, gateServer) {
		if time.Now().After(deadline) {
			t.Fatal("an authorisation did not end")
		}
	}
	must(t, g.Permit(node, time.Hour))
	must(t, g.Permit(node, 0)) // it is over
	closed("no life")

	if v, err := FilterCheck(Flow{Hook: HookForward, In: "lan0", Out: "wan0", From: netip.MustParseAddrPort(gateNode), To: netip.MustParseAddrPort(gateServer), Protocol: 17}); err != nil || v.Drop {
		t.Errorf("the gate is taken for somebody else's filter: %+v, %v", v, err)
	}
	if err := g.Permit(netip.MustParseAddr("fe80::1%lan0"), time.Hour); err == nil {
		t.Error("an address of one link was permitted")
	}
}

// TestGate6: it judges IPv6 likewise.
func TestGate6(t *testing.T) {
	b := newGateBed(t)
	const node, server, open = "[fd01::5]:5000", "[fd03::2]:4000", "[fd03::2:3]:4000"
	ways := []struct {
		to  string
		all bool // may always pass
	}{{server, false}, {open, true}, {"[fd03::2]:547", false}, {"[fd03::2:4]:547", true}, {"[fd03::2:4]:4000", false}, {"[fd01::1]:716", true}, {"[fd01::1]:547", true}, {"[fd01::1]:4000", false}}
	for _, way := range ways {
		for deadline := time.Now().Add(10 * time.Second); !b.passes(node, way.to); {
			if time.Now().After(deadline) {
				t.Fatalf("no gate: nothing passes to %s", way.to)
			}
		}
	}
	cfg := gateConfig()
	cfg.DHCP6, cfg.Open = netip.MustParseAddr("fd03::2:4"), append(cfg.Open, netip.MustParsePrefix("fd03::2:3/128"))
	g, err := OpenGate(cfg)
	must(t, err)
	judged := func(what string, permitted bool) {
		t.Helper()
		for _, way := range ways {
			b.expect(what, permitted || way.all, node, way.to)
		}
	}
	judged("unauthorised", false)
	four, six := netip.MustParseAddr("10.1.0.5"), netip.MustParseAddr("fd01::5")
	must(t, g.Permit(four, time.Hour))
	judged("authorised by IPv4", false)
	must(t, g.Permit(six, time.Hour))
	judged("authorised", true)
	must(t, g.conn.CloseLasting()) // as kill -9 does
	if left, there, err := GateLeft(OwnerLab); err != nil || !there || !slices.Equal(left, []netip.Addr{four, six}) {
		t.Errorf("left behind: %v, %v, %v, expected both", left, there, err)
	}
	g, err = OpenGate(cfg)
	must(t, err)
	judged("after a restart", true)
	must(t, g.Forbid(six))
	judged("forbidden", false)
	b.expect("IPv4", true, gateNode, gateServer)
	must(t, g.Permit(six, time.Hour))
	must(t, g.Close(time.Minute))
	judged("its process has ended", true)
	must(t, RemoveGate(OwnerLab))
}

// TestGateAgain: a gate instead of one that was left by a process that died.
func TestGateAgain(t *testing.T) {
	b := newGateBed(t)
	old, err := OpenGate(gateConfig())
	must(t, err)
	node, other := netip.MustParseAddr("10.1.0.5"), netip.MustParseAddr("10.1.0.6")
	must(t, old.Permit(node, time.Hour))
	must(t, old.Permit(other, time.Hour))
	must(t, old.conn.CloseLasting()) // as kill -9 does
	b.expect("the process is dead", true, gateNode, gateServer)
	dead, there, err := GateLeft(OwnerLab)
	if err != nil || !there || !slices.Equal(dead, []netip.Addr{node, other}) {
		t.Errorf("left behind: %v, %v, %v, expected both", dead, there, err)
	}

	cfg := gateConfig()
	g, err := OpenGate(cfg)
	must(t, err)
	list, err := g.Permitted()
	must(t, err)
	if !slices.Equal(list, []netip.Addr{node, other}) {
		t.Errorf("after the restart %v may pass, expected both", list)
	}
	must(t, g.conn.CloseLasting())
	cfg.Grace = 500 * time.Millisecond
	g, err = OpenGate(cfg)
	must(t, err)
	must(t, g.Permit(node, time.Hour)) // it has authenticated again
	deadline := time.Now().Add(20 * time.Second)
	for b.passes(gateOther, gateServer) {
		if time.Now().After(deadline) {
			t.Fatal("who did not authenticate again may pass for ever")
		}
	}
	b.expect("authenticated again", true, gateNode, gateServer)
	must(t, g.conn.CloseLasting())

	cfg.Grace = 0
	g, err = OpenGate(cfg)
	must(t, err)
	b.expect("without grace", false, gateNode, gateServer)
	must(t, g.Close(time.Minute))
	b.expect("its process has ended", false, gateNode, gateServer)
	for range 2 { // that there is none is no error
		must(t, RemoveGate(OwnerLab))
		b.expect("removed", true, gateNode, gateServer)
		if list, there, err := GateLeft(OwnerLab); err != nil || there || len(list) > 0 {
			t.Errorf("removed, and there is %v, %v, %v", list, there, err)
		}
	}
}

// TestGateRestart: between a router that ends in order and the one after it the link is open to
// those who were let pass, and to nobody else.
func TestGateRestart(t *testing.T) {
	b := newGateBed(t)
	cfg := gateConfig()
	g, err := OpenGate(cfg)
	must(t, err)
	node := netip.MustParseAddr("10.1.0.5")
	must(t, g.Permit(node, time.Hour))
	must(t, g.Close(time.Minute))
	b.expect("between two routers", true, gateNode, gateServer)
	b.expect("between two routers", false, gateOther, gateServer)
	g, err = OpenGate(cfg)
	must(t, err)
	list, err := g.Permitted()
	must(t, err)
	if !slices.Equal(list, []netip.Addr{node}) {
		t.Errorf("after the restart %v may pass, expected %v", list, node)
	}
	must(t, g.Permit(node, time.Hour))
	must(t, g.Close(300*time.Millisecond))
	deadline := time.Now().Add(20 * time.Second)
	for b.passes(gateNode, gateServer) {
		if time.Now().After(deadline) {
			t.Fatal("no router came, and who was let pass may do so for ever")
		}
	}
	must(t, RemoveGate(OwnerLab))
}

// TestGateMany: as many as an address plan may have survive a restart, in order or not.
func TestGateMany(t *testing.T) {
	osnettest.Enter(t)
	cfg := gateConfig()
	g, err := OpenGate(cfg)
	must(t, err)
	const many = 20_000
	list := make([]nftables.SetElement, many)
	addr := netip.MustParseAddr("10.64.0.0")
	for i := range list {
		list[i] = nftables.SetElement{Key: addr.AsSlice(), Timeout: time.Hour}
		addr = addr.Next()
	}
	must(t, g.add(0, list))
	must(t, g.conn.Flush())
	for _, end := range []func() error{g.conn.CloseLasting, func() error { return g.Close(time.Hour) }} {
		must(t, end())
		g, err = OpenGate(cfg)
		must(t, err)
		kept, err := g.Permitted()
		must(t, err)
		if len(kept) != many {
			t.Fatalf("after the restart %d addresses may pass, expected %d", len(kept), many)
		}
	}
	must(t, g.Close(0))
	must(t, RemoveGate(OwnerLab))
}

func TestGateConfig(t *testing.T) {
	osnettest.Enter(t)
	for _, dev := range []string{"", "a-name-of-sixteen"} {
		if _, err := OpenGate(GateConfig{Owner: OwnerLab, Dev: dev}); err == nil {
			t.Errorf("a gate at %q", dev)
		}
	}
}
