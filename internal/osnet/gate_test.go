package osnet

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

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
	osnettest.Forward(t)
	b.node(func() {
		osnettest.IP(t, "address add 10.1.0.5/24 dev eth0")
		osnettest.IP(t, "address add 10.1.0.6/24 dev eth0")
		osnettest.IP(t, "route add default via 10.1.0.1")
	})
	b.server(func() {
		osnettest.IP(t, "address add 10.3.0.2/24 dev eth0")
		osnettest.IP(t, "address add 10.3.0.3/24 dev eth0")
		osnettest.IP(t, "route add default via 10.3.0.1")
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
			if c, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr))); err != nil {
				b.t.Fatal(err)
			}
		})
		return c
	}
	at := func(f func()) { f() }
	behind := "10.1.0.1:716"
	if netip.MustParseAddrPort(to).Addr() != netip.MustParseAddr("10.1.0.1") {
		at, behind = b.server, netip.AddrPortFrom(netip.MustParseAddrPort(to).Addr(), 67).String()
	}
	target, source := open(at, to), open(b.node, from)
	defer target.Close()
	defer source.Close()
	fence := target
	if behind != to {
		fence = open(at, behind)
		defer fence.Close()
	}
	for _, dst := range []string{to, behind} {
		if _, err := source.WriteToUDPAddrPort([]byte(dst), netip.MustParseAddrPort(dst)); err != nil {
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
)

func gateConfig() GateConfig {
	return GateConfig{Owner: OwnerLab, Dev: "lan0", PANA: 716, Open: []netip.Prefix{netip.MustParsePrefix("10.3.0.3/32")}, Grace: time.Minute}
}

func TestGate(t *testing.T) {
	b := newGateBed(t)
	b.expect("no gate", true, gateNode, gateServer)
	g, err := OpenGate(gateConfig())
	must(t, err)
	t.Cleanup(func() { must(t, g.Close()) })
	node := netip.MustParseAddr("10.1.0.5")
	closed := func(what string) {
		t.Helper()
		b.expect(what, false, gateNode, gateServer)
		b.expect(what, false, gateNode, gateRouter)
		b.expect(what, true, gateNode, "10.1.0.1:716")
		b.expect(what, true, gateNode, "10.1.0.1:67")
		b.expect(what, true, gateNode, gateOpen)
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
	if err := g.Permit(netip.IPv6Loopback(), time.Hour); err == nil {
		t.Error("an IPv6 address was permitted")
	}
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
	must(t, g.Close())
	b.expect("closed", true, gateNode, gateServer)
}

func TestGateConfig(t *testing.T) {
	osnettest.Enter(t)
	for _, dev := range []string{"", "a-name-of-sixteen"} {
		if _, err := OpenGate(GateConfig{Owner: OwnerLab, Dev: dev}); err == nil {
			t.Errorf("a gate at %q", dev)
		}
	}
}
