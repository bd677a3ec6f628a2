package par

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/osnet/osnettest"
	"openmpa/paa/notify"
	"openmpa/paa/pana"
	"openmpa/testbed/dhcpd"
	"openmpa/tunnel"
	"openmpa/tunnel/flow"
)

// TestHandover: packets of a correspondent that sends all the time reach the node
// through the tunnel, then on the link, each of them once and in order.
func TestHandover(t *testing.T) { families(t, handover) }

func handover(t *testing.T, start func(*testing.T, func(*Config)) *bed) {
	b := start(t, nil)
	idle := b.idle()
	n := b.prepare(1, b.mac)
	if n.inner != b.leased {
		t.Fatalf("leased %v", n.inner)
	}
	stop := b.stream(b.leased)
	seen := uint32(0)
	expect := func(k uint32, where string) {
		if k != seen {
			t.Fatalf("packet %d came %s, expected %d", k, where, seen)
		}
		seen++
	}
	for range 50 {
		expect(n.next(), "through the tunnel")
	}
	n.depart()
	if s := b.status(1); s.Mode != "hold" || s.Address != b.with(b.leased) || s.MAC != b.mac.String() || s.Handover == nil {
		t.Errorf("status %+v", s)
	}
	for len(n.packets) > 0 {
		expect(n.next(), "through the tunnel")
	}
	b.await("packets to be held", func() bool { return b.status(1).Packets-b.status(1).Tunneled > 20 })
	conn := b.onLink(b.leased)
	b.r.SessionActivated(1, netip.AddrPortFrom(b.leased, 1))
	b.r.SessionMessage(1, &notify.Arrival{Header: header})
	b.r.SessionMessage(1, &notify.Arrival{Header: header}) // repeated
	b.await("the flip", func() bool { return b.status(1).Mode == "direct" })
	var phases []event.Phase
	forced := false // a busy machine may have it so, and the order change a little
	for !slices.Contains(phases, event.PhaseFlip) {
		report := got[*notify.Report](b, 1)
		var events []event.Event
		if err := json.Unmarshal(report.Events, &events); err != nil || report.Handover != header.Handover {
			t.Fatalf("report %+v: %v", report, err)
		}
		for _, e := range events {
			phases = append(phases, e.Phase)
			forced = forced || e.Phase == event.PhaseFlip && e.Attrs["forced"] == true
		}
	}
	if !b.six && !slices.Contains(phases, event.PhaseDHCP) {
		t.Errorf("the report has no %s: %v", event.PhaseDHCP, phases)
	}
	for _, p := range []event.Phase{event.PhaseDAD, event.PhaseTunnel, event.PhaseHold, event.PhaseDrain} {
		if !slices.Contains(phases, p) {
			t.Errorf("the report has no %s: %v", p, phases)
		}
	}
	time.Sleep(20 * time.Millisecond) // of direct delivery
	sent := stop()
	if len(n.packets) != 0 {
		t.Errorf("%d packets went through the tunnel after the departure", len(n.packets))
	}
	var came []uint32
	for range sent - seen {
		came = append(came, b.number(conn))
	}
	if forced {
		slices.Sort(came)
	}
	for _, k := range came {
		expect(k, "on the link")
	}
	if s := b.status(1); s.Packets != s.Tunneled+s.Linked+s.Queued || s.Outer != "" || len(s.Dropped) != 0 {
		t.Errorf("status %+v", s)
	}
	if b.six { // for more than the second that the kernel takes to detect a duplicate
		time.Sleep(1500 * time.Millisecond)
		b.in(func() {
			if is := osnettest.IP(t, "-6 address show dev eth0 to "+b.leased.String()); strings.Contains(is, "dadfailed") || strings.Contains(is, "optimistic") {
				t.Errorf("the node's address when it has arrived: %s", is)
			}
		})
		if len(n.adverts) != 1 {
			t.Errorf("%d router advertisements have come through the tunnel", len(n.adverts))
		}
	}
	b.r.SessionClosed(1, &pana.ErrPeerTerminated{})
	if now := b.idle(); now != idle {
		t.Errorf("left of the visitor:\n%s\nbefore\n%s", now, idle)
	}
	b.await("the lease to be released", func() bool { return len(b.dhcp.Leases()) == 0 })
}

// TestSwitchBack: what was held goes through the tunnel again when the node is
// back at its old network.
func TestSwitchBack(t *testing.T) { families(t, switchBack) }

func switchBack(t *testing.T, start func(*testing.T, func(*Config)) *bed) {
	b := start(t, nil)
	n := b.prepare(1, elsewhere)
	b.r.SessionMessage(1, &notify.SwitchBack{Header: header}) // not away: nothing
	n.depart()
	b.send(b.leased, 1, 2, 3)
	b.await("packets to be held", func() bool { return b.status(1).Packets == 3 })
	if len(n.packets) != 0 {
		t.Error("packets came through the tunnel while held")
	}
	b.r.SessionMessage(1, &notify.SwitchBack{Header: header})
	b.send(b.leased, 4)
	for want := uint32(1); want <= 4; want++ {
		if k := n.next(); k != want {
			t.Errorf("packet %d, expected %d", k, want)
		}
	}
	if s := b.status(1); s.Mode != "tunnel" {
		t.Errorf("mode %s", s.Mode)
	}
	n.depart() // a second attempt
	n.depart() // and the answer was lost
}

// TestSwitchBackAfterArrival: only the router heard of the arrival, and the node
// went back.
func TestSwitchBackAfterArrival(t *testing.T) {
	b := start(t, nil)
	n := b.prepare(1, elsewhere)
	n.depart()
	b.send(leased, 1)
	b.await("the packet to be held", func() bool { return b.status(1).Packets == 1 })
	b.r.fence.close() // no flip comes to its end
	b.r.SessionMessage(1, &notify.Arrival{Header: header})
	b.await("the queue to be sent", func() bool { return b.status(1).Linked == 1 })
	b.r.SessionMessage(1, &notify.SwitchBack{Header: header})
	b.send(leased, 2)
	if k := n.next(); k != 2 {
		t.Errorf("packet %d through the tunnel, expected 2", k)
	}
	n.depart() // a second attempt
}

// TestOneAddress: a session has one lease, and what it has is not lost by asking
// for more.
func TestOneAddress(t *testing.T) {
	b := start(t, nil)
	n := b.prepare(1, elsewhere)
	b.r.SessionMessage(1, &notify.ConfigRequest{Header: header, ClientID: []byte{9, 9}, MAC: elsewhere})
	if r := got[*notify.ConfigReply](b, 1); !strings.Contains(r.Reason, "10.2.0.100") {
		t.Errorf("reason %q", r.Reason)
	}
	if l := b.dhcp.Leases(); len(l) != 1 {
		t.Errorf("leases %v", l)
	}
	b.send(leased, 5)
	if k := n.next(); k != 5 {
		t.Errorf("packet %d", k)
	}
}

// TestRefusedTunnel: a request that is refused changes nothing.
func TestRefusedTunnel(t *testing.T) {
	b := start(t, nil)
	b.r.SessionOpened(2, "mn@home.example", netip.AddrPortFrom(outer, 1000), true, sessionKeys(2), time.Hour)
	n := b.prepare(1, elsewhere)
	stands := b.idle()
	nonce := make([]byte, 32)
	for name, c := range map[string]struct {
		sid  uint32
		m    notify.TunnelRequest
		want string
	}{
		"no address":    {2, notify.TunnelRequest{Header: header, Inner: leased, SPI: 300, Nonce: nonce}, "ask for one first"},
		"no handover":   {1, notify.TunnelRequest{Inner: leased, SPI: 300, Nonce: nonce}, "names no handover"},
		"other address": {1, notify.TunnelRequest{Header: header, Inner: outer, SPI: 300, Nonce: nonce}, "not the one leased"},
		"second":        {1, notify.TunnelRequest{Header: header, Inner: leased, SPI: 300, Nonce: nonce}, "delete it first"},
	} {
		b.r.SessionMessage(c.sid, &c.m)
		if r := got[*notify.TunnelReply](b, c.sid); !strings.Contains(r.Reason, c.want) {
			t.Errorf("%s: reason %q", name, r.Reason)
		}
		if now := b.idle(); now != stands {
			t.Errorf("%s: the kernel has\n%s\nbefore\n%s", name, now, stands)
		}
	}
	b.send(leased, 5)
	if k := n.next(); k != 5 {
		t.Errorf("packet %d", k)
	}
	b.r.SessionMessage(77, &notify.SwitchBack{Header: header}) // of no session
	b.r.SessionMessage(1, &notify.Report{Header: header})      // not for a router
}

// TestExpiredLease: an address that may be somebody else's by now gets no tunnel.
func TestExpiredLease(t *testing.T) { families(t, expiredLease) }

func expiredLease(t *testing.T, start func(*testing.T, func(*Config)) *bed) {
	b := start(t, nil)
	b.open(1, elsewhere)
	v := b.r.visitor(1)
	v.mu.Lock()
	v.lease.Start = v.lease.Start.Add(-2 * time.Hour)
	v.mu.Unlock()
	if b.six { // what the link's router says is newer
		b.join(1, b.leased)
		b.r.SessionMessage(1, &notify.TunnelDelete{Header: header})
		other := ra()
		other.Prefixes[0].Valid, other.Prefixes[0].Preferred = 0, 0
		b.ra.say(t, &other)
		b.await("the router to hear it", func() bool { return b.r.Status().IPv6.Advertiser == "" })
	}
	b.r.SessionMessage(1, &notify.TunnelRequest{Header: header, Inner: b.leased, SPI: 300, Nonce: make([]byte, 32)})
	if r := got[*notify.TunnelReply](b, 1); !strings.Contains(r.Reason, "has expired") {
		t.Errorf("reason %q", r.Reason)
	}
}

// TestTunnelGoes: a tunnel nobody arrives through, or that the node deletes, is
// taken out of the kernel; the address stays the session's.
func TestTunnelGoes(t *testing.T) {
	for name, how := range map[string]func(b *bed){
		"asked":  func(b *bed) { b.r.SessionMessage(1, &notify.TunnelDelete{Header: header}) },
		"unused": func(*bed) {},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, func(c *Config) {
				if name == "unused" {
					c.Unused = 300 * time.Millisecond
				}
			})
			c := b.open(1, elsewhere)
			idle := b.idle()
			n := b.join(1, c.Addr.Addr())
			how(b)
			b.await("the tunnel to be deleted", func() bool { return b.status(1).Mode == "released" })
			if now := b.idle(); now != idle {
				t.Errorf("the kernel has\n%s\nbefore\n%s", now, idle)
			}
			b.r.SessionMessage(1, &notify.Arrival{Header: header}) // too late: nothing
			b.r.SessionMessage(1, &notify.SwitchBack{Header: header})
			if err := n.t.SendMarker(n.marker()); err != nil {
				t.Fatal(err)
			}
			if len(b.dhcp.Leases()) != 1 {
				t.Error("the lease went with the tunnel")
			}
			b.join(1, c.Addr.Addr())
		})
	}
}

// TestTunnelKept: while the node sends something through it, the tunnel stays.
func TestTunnelKept(t *testing.T) {
	b := start(t, func(c *Config) { c.Unused = 2 * time.Second })
	c := b.open(1, elsewhere)
	n := b.join(1, c.Addr.Addr())
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if err := n.t.Refresh(); err != nil {
			t.Fatal(err)
		}
	}
	if m := b.status(1).Mode; m != "tunnel" {
		t.Errorf("mode %s, expected that the tunnel stands", m)
	}
	b.await("the tunnel to be deleted", func() bool { return b.status(1).Mode == "released" })
}

// TestDeleteAfterArrival: the node is here, so its packets are not dropped.
func TestDeleteAfterArrival(t *testing.T) {
	b := start(t, nil)
	n := b.prepare(1, b.mac)
	n.depart()
	b.send(leased, 1, 2, 3)
	b.await("packets to be held", func() bool { return b.status(1).Packets == 3 })
	conn := b.onLink(leased)
	v := b.r.visitor(1)
	b.r.SessionMessage(1, &notify.Arrival{Header: header})
	v.deleteTunnel()
	for want := uint32(1); want <= 3; want++ {
		if k := b.number(conn); k != want {
			t.Errorf("packet %d, expected %d", k, want)
		}
	}
	b.await("the flip", func() bool { return b.status(1).Mode == "direct" })
}

// TestClosedWhileDraining: a session may end at any moment of the arrival.
func TestClosedWhileDraining(t *testing.T) {
	b := start(t, nil)
	idle := b.idle()
	for sid := uint32(1); sid <= 20; sid++ {
		n := b.prepare(sid, b.mac)
		n.depart()
		b.send(n.inner, 1, 2, 3)
		b.r.SessionMessage(sid, &notify.Arrival{Header: header})
		time.Sleep(time.Duration(sid) * 100 * time.Microsecond)
		b.r.SessionClosed(sid, &pana.ErrPeerTerminated{})
		b.await("the lease to be released", func() bool { return len(b.dhcp.Leases()) == 0 })
	}
	if now := b.idle(); now != idle {
		t.Errorf("the kernel has\n%s\nbefore\n%s", now, idle)
	}
}

// TestClosedAfterFlip: between the flip and what follows it the session ends.
func TestClosedAfterFlip(t *testing.T) {
	b := start(t, nil)
	b.prepare(1, b.mac)
	v := b.r.visitor(1)
	v.mu.Lock()
	v.apply(flow.Arrival)
	v.mu.Unlock()
	if _, ok := v.flip(v.gen, false); !ok {
		t.Fatal("no flip")
	}
	b.r.SessionClosed(1, errors.New("the end"))
	if v.settle(false) { // would take what is not there any more
		t.Error("settled")
	}
	if len(b.messages(1)) != 0 {
		t.Errorf("sent %+v", <-b.messages(1))
	}
}

// TestClaimedIdentifier: who claims another node's client identifier, or its
// address, gets neither its address nor its session.
func TestClaimedIdentifier(t *testing.T) {
	b := start(t, nil)
	n := b.prepare(1, elsewhere)
	b.r.SessionOpened(2, "other@home.example", netip.AddrPortFrom(leased, 1000), false, sessionKeys(2), time.Hour)
	b.r.SessionMessage(2, &notify.ConfigRequest{Header: header, ClientID: append([]byte{1}, elsewhere...), MAC: elsewhere})
	if c := got[*notify.ConfigReply](b, 2); !strings.Contains(c.Reason, "in use in the session of another node") {
		t.Errorf("%+v", c)
	}
	b.r.SessionClosed(2, errors.New("the end"))
	b.send(leased, 5)
	if k := n.next(); k != 5 {
		t.Errorf("packet %d", k)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.term[1] {
		t.Error("the session of the other node was terminated")
	}
	if len(b.dhcp.Leases()) != 1 {
		t.Errorf("leases %v", b.dhcp.Leases())
	}
}

// TestBeginAgain: a node that has forgotten its session is served under the new
// one, with the address it had, and the old session ends.
func TestBeginAgain(t *testing.T) {
	b := start(t, nil)
	idle := b.idle()
	b.prepare(1, elsewhere)
	n := b.prepare(2, elsewhere)
	if n.inner != leased {
		t.Errorf("the node got %v", n.inner)
	}
	b.mu.Lock()
	if !b.term[1] || b.term[2] {
		t.Errorf("terminated %v", b.term)
	}
	b.mu.Unlock()
	b.r.SessionClosed(1, errors.New("superseded"))
	b.send(leased, 5)
	if k := n.next(); k != 5 {
		t.Errorf("packet %d", k)
	}
	if len(b.dhcp.Leases()) != 1 {
		t.Errorf("leases %v", b.dhcp.Leases())
	}
	b.r.SessionClosed(2, errors.New("the end"))
	if now := b.idle(); now != idle {
		t.Errorf("the kernel has\n%s\nbefore\n%s", now, idle)
	}
}

// TestLockOrder: looking for a superseded session must not wait for a visitor
// while holding what the visitor wants.
func TestLockOrder(t *testing.T) {
	b := start(t, nil)
	b.open(1, elsewhere)
	b.r.SessionOpened(2, "mn@home.example", netip.AddrPortFrom(outer, 1000), true, sessionKeys(2), time.Hour)
	old := b.r.visitor(1)
	old.mu.Lock() // as in createTunnel
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.r.supersede(b.r.visitor(2), netip.MustParseAddr("10.2.0.105"))
	}()
	time.Sleep(50 * time.Millisecond)
	captured := make(chan struct{})
	go func() {
		defer close(captured)
		b.r.capture(leased, old)
		b.r.capture(leased, nil)
	}()
	select {
	case <-captured:
	case <-time.After(5 * time.Second):
		t.Error("deadlock")
	}
	old.mu.Unlock()
	<-done
}

// TestConflicts: an address in use is declined and another one tried, a few times;
// then the rate limit of RFC 5227 is told, at once.
func TestConflicts(t *testing.T) {
	b := start(t, func(c *Config) { c.Configure = 10 * time.Second })
	b.in(func() { osnettest.IP(t, "address add 10.2.0.100/24 dev eth0") })
	if c := b.open(1, elsewhere); c.Reason != "" || c.Addr.Addr() != leased.Next() || c.DAD == 0 || c.DHCP == 0 {
		t.Errorf("got %+v", c)
	}
	declined := 0
	for _, l := range b.dhcp.Leases() {
		if l.Addr == leased && l.State == dhcpd.Declined {
			declined++
		}
	}
	if declined != 1 {
		t.Errorf("leases %v", b.dhcp.Leases())
	}
	b.in(func() {
		for _, a := range []string{"102", "103", "104", "105"} {
			osnettest.IP(t, "address add 10.2.0."+a+"/24 dev eth0")
		}
	})
	second := net.HardwareAddr{2, 0, 0, 0, 0, 8}
	if c := b.open(2, second); !strings.Contains(c.Reason, "each of 3 leased was in use by another host") {
		t.Errorf("reason %q", c.Reason)
	}
	asked := time.Now()
	if c := b.open(3, second); c.Reason != "no address: 3 conflicts on this link: RFC 5227 limits probing to one address in 1m0s; try again after that" {
		t.Errorf("reason %q", c.Reason)
	}
	if d := time.Since(asked); d > 9*time.Second {
		t.Errorf("the node waited %v for it", d)
	}
	b.await("the address not probed to be released", func() bool {
		return !slices.ContainsFunc(b.dhcp.Leases(), func(l dhcpd.Lease) bool { return l.Addr.String() == "10.2.0.105" })
	})
}

// TestNoAddress: why there is none is told, and nothing is left behind.
func TestNoAddress(t *testing.T) {
	b := start(t, func(c *Config) {
		c.DHCPTimeout, c.Configure = 300*time.Millisecond, time.Second
		c.DAD.AnnounceWait = 5 * time.Second
	})
	b.dhcp.Mute(true)
	if c := b.open(1, elsewhere); !strings.HasPrefix(c.Reason, "no address: dhcp4: ") {
		t.Errorf("DHCP silent: reason %q", c.Reason)
	}
	b.dhcp.Mute(false)
	if c := b.open(1, elsewhere); c.Reason != "no address: none was found free in 1s; 0 leased were in use by other hosts" {
		t.Errorf("DAD too long: reason %q", c.Reason)
	}
	b.await("the lease to be released", func() bool { return len(b.dhcp.Leases()) == 0 })
	b.r.SessionMessage(1, &notify.ConfigRequest{ClientID: []byte{0, 1}, MAC: elsewhere})
	if r := got[*notify.ConfigReply](b, 1); !strings.Contains(r.Reason, "names no handover") {
		t.Errorf("no handover: reason %q", r.Reason)
	}
	b.r.SessionMessage(1, &notify.ConfigRequest{Header: header, ClientID: []byte{0, 1}, MAC: elsewhere})
	b.r.SessionMessage(1, &notify.ConfigRequest{Header: header, ClientID: []byte{0, 1}, MAC: elsewhere}) // repeated: one answer
	b.await("an offer", func() bool { return len(b.dhcp.Leases()) == 1 })
	b.r.SessionClosed(1, errors.New("gone")) // while configuring
	b.await("the lease to be released", func() bool { return len(b.dhcp.Leases()) == 0 })
}

func TestOpenFails(t *testing.T) {
	network(t, world4)
	before := osnettest.Snapshot(t)
	for name, c := range map[string]struct {
		edit func(*Config)
		want string
	}{
		"no interface":  {func(c *Config) { c.Access = "lan9" }, "lan9"},
		"other address": {func(c *Config) { c.Address = leased }, "set address to one of them"},
		"fence":         {func(c *Config) { c.Fence = netip.MustParsePrefix("169.254.62.52/30") }, "length 31"},
		"port taken":    {func(c *Config) { c.Address, c.Access, c.Port = netip.MustParseAddr("10.2.0.1"), "lan0", 67 }, "67"},
		"DHCP server":   {func(c *Config) { c.DHCPServer = netip.Addr{} }, "DHCP"},
		"timers":        {func(c *Config) { c.DAD.ProbeNum = -1 }, "acd"},
	} {
		cfg := config()
		c.edit(&cfg)
		var taken *net.UDPConn
		if cfg.Port == 67 {
			var err error
			if taken, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(10, 2, 0, 1), Port: 67}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Open(cfg); err == nil || !strings.HasPrefix(err.Error(), "par: ") || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(c.want)) {
			t.Errorf("%s: %v", name, err)
		}
		if taken != nil {
			taken.Close()
		}
		if after := osnettest.Snapshot(t); after != before {
			t.Errorf("%s: left behind\n%s\nbefore\n%s", name, after, before)
		}
	}
}

// TestRebinding: a translator takes another port for the node's tunnel. What is
// authenticated moves the tunnel there, at once, whatever is under way; nothing else
// does.
func TestRebinding(t *testing.T) {
	b := start(t, nil)
	n := b.prepare(1, elsewhere)
	b.send(leased, 1)
	if k := n.next(); k != 1 {
		t.Fatalf("packet %d", k)
	}
	var other *tunnel.Socket
	var err error
	b.in(func() { other, err = n.e.Listen(netip.AddrPortFrom(outer, 0), "") })
	if err != nil {
		t.Fatal(err)
	}
	var stranger *net.UDPConn
	b.in(func() { stranger, err = net.ListenUDP("udp4", &net.UDPAddr{IP: outer.AsSlice()}) })
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	forged := make([]byte, 100)
	binary.BigEndian.PutUint32(forged, n.routerSPI)
	if _, err := stranger.WriteToUDPAddrPort(forged, netip.AddrPortFrom(routerAddr, 4500)); err != nil {
		t.Fatal(err)
	}
	before := b.status(1).Outer
	b.send(leased, 2)
	if k := n.next(); k != 2 || b.status(1).Outer != before {
		t.Fatalf("packet %d, the tunnel leads to %s", k, b.status(1).Outer)
	}
	if err := n.t.Rebind(other, netip.AddrPortFrom(routerAddr, 4500)); err != nil {
		t.Fatal(err)
	}
	n.depart() // the router's marker comes by the new port
	if o := b.status(1).Outer; o != other.LocalAddr().String() {
		t.Errorf("the tunnel leads to %s, expected %s", o, other.LocalAddr())
	}
}
