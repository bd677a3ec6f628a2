package ha

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/ha/hatest"
	"openmpa/internal/osnet/osnettest"
	"openmpa/mn/mobility/mip4"
	"openmpa/tunnel/bind"
)

func TestHomeAgent(t *testing.T) {
	l := newLab(t)
	l.start()
	first := l.register(coa1)
	if first.PathMarkers || first.Lifetime != 600*time.Second || first.Code != mip4.CodeAccepted {
		t.Errorf("%+v", first)
	}
	if out := osnettest.IP(t, "route show proto 163"); !strings.Contains(out, "10.9.0.2 dev hatest0") {
		t.Errorf("routes of ours: %s", out)
	}

	// The host asks for 10.9.0.2 on its own link: the home agent answers.
	l.host.Send(1, 1) // alone: the kernel may reorder what waits for an ARP reply
	hatest.Equal(l, "down", l.at(coa1, 1), hatest.Numbers(1, 1))
	l.host.Send(2, 20)
	hatest.Equal(l, "down", l.at(coa1, 19), hatest.Numbers(2, 20))
	var neighbours string
	l.inHost(func() { neighbours = osnettest.IP(t, "neigh show 10.9.0.2") })
	if mac := l.agent.home.mac.String(); !strings.Contains(neighbours, mac) {
		t.Errorf("the host knows %q, the home agent has %s", neighbours, mac)
	}
	l.up(coa1, 1, 20)
	hatest.Equal(l, "up", l.host.Read(20), hatest.Numbers(1, 20))

	// Nothing passes that is not bound.
	l.up(coa2, 90, 90)
	l.until("the packet from elsewhere is dropped", func() bool { return l.agent.core.Counters()["up_dropped_not_bound"] == 1 })

	// The move, with traffic both ways around it.
	l.host.Send(21, 40)
	moved := l.register(coa2)
	if !moved.PathMarkers || moved.ID == first.ID {
		t.Errorf("%+v", moved)
	}
	l.host.Send(41, 60)
	var down []string
	end := fmt.Sprintf("marker %x", moved.ID)
	for len(down) == 0 || down[len(down)-1] != end {
		down = append(down, l.at(coa1, 1)...)
	}
	down = down[:len(down)-1]
	hatest.Equal(l, "down", append(down, l.at(coa2, 40-len(down))...), hatest.Numbers(21, 60))
	l.up(coa2, 31, 40) // overtakes what follows
	l.up(coa1, 21, 30)
	l.upMarker(coa1, moved.ID)
	l.up(coa2, 41, 50)
	hatest.Equal(l, "up", l.host.Read(30), hatest.Numbers(21, 50))

	s := l.agent.Status()
	if b := s.Bindings[0]; *b.CareOf != coa2 || b.Gate.ByMarker != 1 || b.Gate.Held != 10 {
		t.Errorf("%+v", b)
	}
	if s.Counters["up_dropped_not_bound"] != 1 || s.ARPAnswer == 0 || s.Tunnel.Received == 0 {
		t.Errorf("%+v", s)
	}

	l.Deregister(coa2)
	if out := osnettest.IP(t, "route show proto 163"); out != "" {
		t.Errorf("routes of ours: %s", out)
	}
	var names []string
	l.until("the timeline has four records", func() bool {
		names = nil
		for _, e := range l.rec.Events(event.HandoverID{}) {
			names = append(names, e.Name)
		}
		return len(names) >= 4
	})
	hatest.Equal(l, "timeline", names, []string{NoticeBound, NoticeMoved, NoticeMarker, NoticeUnbound})
	l.end()
}

// TestEndWithBindings: routes and all are gone at the end, and after a crash at the next start.
func TestEndWithBindings(t *testing.T) {
	l := newLab(t)
	l.start()
	l.register(coa1)
	l.end()

	osnettest.IP(t, "route add 10.9.0.2/32 dev home0 proto 163") // what a crash left
	l.start()
	if out := osnettest.IP(t, "route show proto 163"); out != "" {
		t.Errorf("left: %s", out)
	}
	l.end()
}

// TestTOSCopied: the class of a packet is seen outside, both ways.
func TestTOSCopied(t *testing.T) {
	l := newLab(t)
	l.start()
	l.register(coa1)
	if err := l.agent.To(coa1, datagram(hostPort, mnPort, 0xb8, 1)); err != nil {
		t.Fatal(err)
	}
	watch := time.AfterFunc(hatest.Patience, func() { l.paths[coa1].Close() })
	defer watch.Stop()
	packets, err := l.paths[coa1].ReadBatch(bind.NewBatch(1, 2048))
	if err != nil || len(packets) != 1 || packets[0].TOS != 0xb8 {
		t.Errorf("%+v, %v", packets, err)
	}
}

// TestReturnHome: the mobile node deregisters from its home address, while the home agent still
// routes that into the tunnel; the neighbours learn its own link-layer address.
func TestReturnHome(t *testing.T) {
	l := newLab(t)
	l.start()
	l.register(coa1)
	l.host.Send(1, 1)
	hatest.Equal(l, "down", l.at(coa1, 1), hatest.Numbers(1, 1))

	// The node is back: its address is on the home link, in the host's namespace here.
	inNode := osnettest.Other(t)
	l.inHost(func() {
		osnettest.VethTo(t, "h1", "n0", inNode)
		osnettest.IP(t, "link add br0 type bridge")
		osnettest.IP(t, "link set br0 up")
		osnettest.IP(t, "address del 10.9.0.9/24 dev h0")
		osnettest.IP(t, "link set h0 master br0")
		osnettest.IP(t, "link set h1 master br0")
		osnettest.IP(t, "address add 10.9.0.9/24 dev br0")
	})
	var conn *net.UDPConn
	var mac string
	inNode(func() {
		osnettest.IP(t, "address add 10.9.0.2/24 dev n0")
		osnettest.IP(t, "route add default via 10.9.0.1")
		var err error
		if conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(home, mip4.Port))); err != nil {
			t.Error(err)
		}
		if i, err := net.InterfaceByName("n0"); err == nil {
			mac = i.HardwareAddr.String()
		}
	})
	if conn == nil {
		t.FailNow()
	}
	defer conn.Close()
	l.signal[home] = conn
	// A request that is denied is answered at home, too, past the binding.
	old := mip4.Request{Flags: mip4.FlagD, HomeAddress: home, HomeAgent: agent, CareOf: home, ID: 1}
	b, err := old.AppendSigned(nil, sa)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.WriteToUDPAddrPort(b, netip.AddrPortFrom(agent, mip4.Port)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2048)
	_ = conn.SetReadDeadline(time.Now().Add(hatest.Patience))
	n, _, err := conn.ReadFromUDPAddrPort(buf)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := mip4.ParseReply(buf[:n]); err != nil || r.Code != mip4.CodeIdentification {
		t.Errorf("%+v, %v", r, err)
	}

	// What the neighbour knows so far is the home agent.
	l.inHost(func() {
		osnettest.IP(t, "neigh replace 10.9.0.2 lladdr "+l.agent.home.mac.String()+" dev br0 nud stale")
	})
	l.client.Deregister(time.Now(), home)
	if o, ok := l.exchange().(mip4.Deregistered); !ok {
		t.Fatalf("%+v", o)
	}
	l.until("the host knows that "+mac+" has the home address", func() (ok bool) {
		l.inHost(func() { ok = strings.Contains(osnettest.IP(t, "neigh show 10.9.0.2"), mac) })
		return ok
	})
}

// TestSetUpWrong: what keeps a host from being a home agent is said, with the remedy.
func TestSetUpWrong(t *testing.T) {
	l := newLab(t)
	for name, c := range map[string]struct {
		make, undo func()
		change     func(*Config)
		want       string
	}{
		"strict reverse path filter": {
			make: func() { osnettest.Sysctl(t, "ipv4/conf/all/rp_filter", "1") }, undo: func() { osnettest.Sysctl(t, "ipv4/conf/all/rp_filter", "0") }, want: "rp_filter=2",
		},
		"no forwarding": {
			make: func() { osnettest.Sysctl(t, "ipv4/ip_forward", "0") }, undo: func() { osnettest.Sysctl(t, "ipv4/ip_forward", "1") }, want: "ip_forward=1",
		},
		"no such interface": {change: func(c *Config) { c.HomeInterface = "nowhere" }, want: "nowhere"},
		"not our address":   {change: func(c *Config) { c.Core.Address = peer }, want: "10.0.4.1"},
		"not at home":       {change: func(c *Config) { c.HomePrefix = netip.MustParsePrefix("10.8.0.0/24") }, want: "10.8.0.0/24"},
	} {
		if c.make != nil {
			c.make()
		}
		cfg := l.config()
		if c.change != nil {
			c.change(&cfg)
		}
		a, err := Open(cfg)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want something about %q", name, err, c.want)
		}
		if err == nil {
			a.Close()
		}
		if c.undo != nil {
			c.undo()
		}
	}
	if after := osnettest.Snapshot(t); after != l.before {
		t.Errorf("left in the kernel:\n%s\nbefore:\n%s", after, l.before)
	}
}
