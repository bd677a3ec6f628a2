package mn

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/osnet/osnettest"
	"openmpa/internal/state"
)

// remembering gives a node a store that outlives it.
func remembering(c *Config) { c.State = state.NewMemory() }

// asked counts the addresses the node itself has asked for.
func (b *bed) asked() (n int) {
	for _, e := range b.node.cfg.Recorder.Events(event.HandoverID{}) {
		if e.Phase == event.PhaseDHCP && e.Kind == event.KindEnd && e.Handover.IsZero() {
			n++
		}
	}
	return n
}

// knownTo reports whether the router of that network knows the node's session.
func (b *bed) knownTo(network string) bool {
	sid := b.node.Status().Session
	for _, v := range b.routers[network].Status().Visitors {
		if sid != 0 && v.SID == sid {
			return true
		}
	}
	return false
}

// works checks that packets go both ways.
func (b *bed) works() {
	b.t.Helper()
	stop := b.flow()
	time.Sleep(50 * time.Millisecond)
	stop()
}

// TestCrash: after a crash the node goes on with the address it had, whoever leased
// it, without asking for it again, and is authenticated anew.
func TestCrash(t *testing.T) {
	b := start(t, remembering)
	asked := b.asked()
	b.kill()
	b.boot()
	s := b.node.Status()
	if s.State != "attached" || s.Network != "b" || s.Bound != "10.1.0.100" || b.asked() != asked {
		t.Fatalf("status %+v, addresses asked for %d and %d", s, asked, b.asked())
	}
	b.eventually("the session", func(Status) bool { return b.knownTo("b") })
	b.works()

	if o, err := b.handover("a"); o != event.Completed || err != nil {
		t.Fatalf("%s, %v", o, err)
	}
	b.kill()
	b.boot()
	if s := b.node.Status(); s.Network != "a" || s.Bound != "10.2.0.100" || b.asked() != asked {
		t.Fatalf("status %+v, addresses asked for %d and %d", s, asked, b.asked())
	}
	b.eventually("the session", func(Status) bool { return b.knownTo("a") })
	b.works()
	if o, err := b.handover("b"); o != event.Completed || err != nil {
		t.Fatalf("%s, %v", o, err)
	}
	b.eventually("one lease", func(Status) bool { return len(b.dhcp.Leases()) == 1 })
}

// TestCrashAndMove: the link is elsewhere after the crash; the lease that the node
// had taken itself is given back from there.
func TestCrashAndMove(t *testing.T) {
	b := start(t, remembering)
	b.kill()
	if err := b.link.Attach(t.Context(), "poa-a"); err != nil {
		t.Fatal(err)
	}
	b.boot()
	if s := b.node.Status(); s.Network != "a" || s.Bound != "10.2.0.100" {
		t.Fatalf("status %+v", s)
	}
	b.works()
	b.eventually("the old lease given back", func(Status) bool {
		l := b.dhcp.Leases()
		return len(l) == 1 && l[0].Addr == netip.MustParseAddr("10.2.0.100")
	})
}

// TestCrashOnTheWay: the node dies with everything prepared, and comes back at the
// network it had prepared, where its address still stands in a tunnel.
func TestCrashOnTheWay(t *testing.T) {
	b := start(t, remembering)
	c, err := b.readied("a")
	if err != nil {
		t.Fatal(err)
	}
	asked := b.asked()
	b.kill(c)
	if err := b.link.Attach(t.Context(), "poa-a"); err != nil {
		t.Fatal(err)
	}
	b.boot()
	if s := b.node.Status(); s.Network != "a" || s.Bound != "10.2.0.100" || b.asked() != asked {
		t.Fatalf("status %+v, addresses asked for %d and %d", s, asked, b.asked())
	}
	b.works()
	b.eventually("the old lease given back", func(Status) bool { return len(b.dhcp.Leases()) == 1 })
}

// TestTakenMeanwhile: somebody else has the address after the crash; the node
// notices, and takes another.
func TestTakenMeanwhile(t *testing.T) {
	b := start(t, remembering)
	b.kill()
	b.air(func() {
		osnettest.IP(t, "link add other type veth peer name other0")
		osnettest.IP(t, "link set other master poa-b")
		osnettest.IP(t, "link set other up")
		osnettest.IP(t, "address add 10.1.0.100/24 dev other0")
		osnettest.IP(t, "link set other0 up")
	})
	b.boot()
	b.eventually("another address", func(s Status) bool { return s.State == "attached" && s.Network == "b" && s.Bound == "10.1.0.101" })
	b.eventually("the session", func(Status) bool { return b.knownTo("b") })
	b.works()
}

// TestRouterRestarts: the serving router forgets the node, which authenticates
// again and loses no packet.
func TestRouterRestarts(t *testing.T) {
	b := start(t, func(c *Config) { c.Ping = time.Second })
	before := b.node.Status().Session
	stop := b.flow()
	b.stopRouter("b")
	b.eventually("the end of the session", func(s Status) bool { return s.Session == 0 && s.Problem != "" })
	b.open["b"]()
	b.eventually("another session", func(s Status) bool { return s.Session != 0 && s.Session != before && s.Problem == "" && b.knownTo("b") })
	stop()
	if o, err := b.handover("a"); o != event.Completed || err != nil {
		t.Fatalf("%s, %v", o, err)
	}
	b.eventually("one lease", func(Status) bool { return len(b.dhcp.Leases()) == 1 })
}

// TestVoid: an address whose lease is over is not used any longer, and the node
// attaches anew as soon as it can.
func TestVoid(t *testing.T) {
	b := start(t, remembering)
	b.dhcp.Mute(true)
	c := b.serving()
	l := *c.address.lease.Load().Four
	l.Lifetime, l.T1, l.T2 = time.Since(l.Start)+2*time.Second, 0, 0
	c.address.lease.Store(&lease{Four: &l})
	b.node.wg.Go(func() { c.keepLease(b.node.ctx) }) // looks at the lease anew
	b.eventually("an end of its use", func(s Status) bool { return s.Bound == "" && s.Problem != "" })
	if _, ok := b.node.recall("b"); ok {
		t.Error("the address is still kept")
	}
	b.dhcp.Mute(false)
	b.eventually("another attachment", func(s Status) bool { return s.State == "attached" && s.Bound == "10.1.0.100" && s.Problem == "" })
	b.works()
}

// TestHomeAgentForgets: a binding that has expired is asked for until it is there.
func TestHomeAgentForgets(t *testing.T) {
	b := start(t, func(c *Config) { c.Home.Lifetime = 2 * time.Second })
	b.stopHA()
	time.Sleep(2 * time.Second) // the binding's lifetime
	b.agent()
	mn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: homeAddress.AsSlice(), Port: 7000})
	if err != nil {
		t.Fatal(err)
	}
	defer mn.Close()
	for end := time.Now().Add(patience); ; {
		if time.Now().After(end) {
			t.Fatal("no packet from the correspondent")
		}
		// Without a binding there is no route, and this fails.
		_, _ = b.cn.WriteToUDPAddrPort(binary.BigEndian.AppendUint32(nil, 1), netip.AddrPortFrom(homeAddress, 7000))
		_ = mn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if _, err := mn.Read(make([]byte, 4)); err == nil {
			break
		}
	}
}
