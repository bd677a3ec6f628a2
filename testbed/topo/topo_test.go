package topo

import (
	"context"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"openmpa/testbed/space"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" || os.Getenv("OPENMPA_TEST_ALL") != "" {
		t.Fatal("network namespaces need root")
	}
	t.Skip("network namespaces need root")
}

func TestDrawShowsEverything(t *testing.T) {
	p := Standard()
	for what, text := range map[string]string{"text": Draw(p), "dot": Dot(p)} {
		for _, n := range p.Nodes {
			if n.Name != Air && !strings.Contains(text, n.Name) {
				t.Errorf("%s: node %s is missing", what, n.Name)
			}
			for _, b := range n.Bridges {
				if n.Name == Air && !strings.Contains(text, b) {
					t.Errorf("%s: bridge %s is missing", what, b)
				}
			}
		}
	}
	for _, l := range p.Links {
		for _, e := range []End{l.A, l.B} {
			if e.Addr.IsValid() && !strings.Contains(Draw(p), e.Addr.String()) {
				t.Errorf("address %v is missing", e.Addr)
			}
		}
	}
}

func TestPlansAreSound(t *testing.T) {
	t.Run("standard", func(t *testing.T) { sound(t, Standard()) })
	t.Run("two interfaces", func(t *testing.T) { sound(t, WithSecond(Standard())) })
	t.Run("wireless", func(t *testing.T) { sound(t, Wireless()) })
	t.Run("with a third network", func(t *testing.T) { sound(t, WithFurther(Standard(), 1)) })
	t.Run("with five networks", func(t *testing.T) {
		sound(t, WithFurther(Standard(), 3))
		for _, n := range slices.Concat(Networks, Further) {
			if got, ok := NetworkByName(n.Name); !ok || got.Address != n.Address || NetworkOf(n.Points[0]) != n.Name {
				t.Errorf("network %s is not found", n.Name)
			}
		}
	})
	t.Run("with more authentication servers", func(t *testing.T) { sound(t, WithFurther(WithAAA(WithAAA(Standard(), Visited), Spare), 3)) })
}

func sound(t *testing.T, p Plan) {
	t.Helper()
	nodes := make(map[string]Node)
	for _, n := range p.Nodes {
		if _, twice := nodes[n.Name]; twice {
			t.Errorf("node %s stands there twice", n.Name)
		}
		nodes[n.Name] = n
	}
	seen := make(map[string]bool)
	addrs := make(map[netip.Addr]bool)
	for _, l := range p.Links {
		for _, e := range []End{l.A, l.B} {
			n, ok := nodes[e.Node]
			if !ok {
				t.Fatalf("link to unknown node %q", e.Node)
			}
			key := e.Node + "/" + e.If
			if seen[key] || len(e.If) > 15 {
				t.Errorf("interface %s stands there twice or is too long", key)
			}
			seen[key] = true
			if e.Bridge != "" && !strings.Contains(" "+strings.Join(n.Bridges, " ")+" ", " "+e.Bridge+" ") {
				t.Errorf("%s joins %s, which %s does not have", key, e.Bridge, e.Node)
			}
			if e.Addr.IsValid() {
				if addrs[e.Addr.Addr()] {
					t.Errorf("address %v stands there twice", e.Addr)
				}
				addrs[e.Addr.Addr()] = true
			}
		}
	}
	for _, r := range p.Routes {
		if _, ok := nodes[r.Node]; !ok {
			t.Errorf("route of unknown node %q", r.Node)
		}
	}
}

// TestAntennas checks that every point has a radio, and what it joins is there.
func TestAntennas(t *testing.T) {
	bridges := make(map[string]bool)
	for _, n := range Wireless().Nodes {
		for _, b := range n.Bridges {
			bridges[n.Name+"/"+b] = true
		}
	}
	of := make(map[string]Antenna)
	for _, a := range Antennas() {
		if !bridges[a.Node+"/"+a.Bridge] || !a.Address.IsValid() {
			t.Errorf("%+v: no such bridge, or no address", a)
		}
		of[a.Point] = a
	}
	for _, n := range Networks {
		ssid := of[n.Points[0]].SSID
		for _, p := range n.Points {
			if of[p].SSID != ssid || ssid == "" {
				t.Errorf("%s is in the ESS %q, expected that of its network, %q", p, of[p].SSID, ssid)
			}
		}
	}
}

// TestBuildWireless makes the topology without radios, and reaches the access
// point that is a machine of its own from the authentication server.
func TestBuildWireless(t *testing.T) {
	needRoot(t)
	top, err := Build(context.Background(), "topotestw-", Wireless(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer top.Close()
	var in *net.UDPConn
	err = top.Space(AAA).Do(func() (err error) {
		in, err = net.ListenUDP("udp4", &net.UDPAddr{IP: AAAServer.AsSlice()})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	err = top.Space(AP2).Do(func() error {
		c, err := net.Dial("udp4", in.LocalAddr().String())
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("request"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	in.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, from, err := in.ReadFromUDPAddrPort(make([]byte, 16)); err != nil || from.Addr() != AP2Address {
		t.Errorf("heard from %v, %v; expected %v", from, err, AP2Address)
	}
}

// TestBuild makes the whole topology and sends a datagram from the
// correspondent to each router and host across the core.
func TestBuild(t *testing.T) {
	needRoot(t)
	const prefix = "topotest-"
	top, err := Build(context.Background(), prefix, Standard(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range []struct{ node, addr string }{
		{RB, "10.1.0.1"}, {RA, "10.2.0.1"}, {DHCP, "10.1.0.3"}, {DHCP, "10.2.0.3"}, {HA, "10.0.3.1"}, {HL, "10.9.0.9"}, {AAA, "10.0.5.1"},
	} {
		addr := netip.MustParseAddr(target.addr)
		hears(t, top, target.node, addr, Correspondent)
		hears(t, top, target.node, Six(addr), Six(Correspondent))
	}
	mn, err := top.Space(MN).Netlink().LinkByName(MNIf)
	if err != nil {
		t.Fatal(err)
	}
	if a := mn.Attrs(); a.Index == a.ParentIndex {
		t.Errorf("the mobile node's link and its peer have the same index %d", a.Index)
	}
	if err := top.Close(); err != nil {
		t.Fatal(err)
	}
	if names, err := space.List(prefix); err != nil || len(names) != 0 {
		t.Errorf("left behind: %q, %v", names, err)
	}
}

// hears has a node hear the correspondent at one of its addresses.
func hears(t *testing.T, top *Topology, node string, at, correspondent netip.Addr) {
	t.Helper()
	var in *net.UDPConn
	err := top.Space(node).Do(func() (err error) {
		in, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(at, 0)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	err = top.Space(CN).Do(func() error {
		c, err := net.Dial("udp", in.LocalAddr().String())
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte(node))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	in.SetReadDeadline(time.Now().Add(5 * time.Second))
	buf := make([]byte, 16)
	n, from, err := in.ReadFromUDPAddrPort(buf)
	if err != nil || string(buf[:n]) != node || from.Addr() != correspondent {
		t.Errorf("%s at %v: got %q from %v, %v", node, at, buf[:n], from, err)
	}
}

func TestSix(t *testing.T) {
	for four, six := range map[string]string{"10.2.0.250": "2001:db8:2::250", "10.0.4.1": "2001:db8:0:4::1", "10.9.0.2": "2001:db8:9::2"} {
		if got := Six(netip.MustParseAddr(four)); got != netip.MustParseAddr(six) {
			t.Errorf("%s: %v, want %s", four, got, six)
		}
	}
	for four, six := range map[string]string{"10.1.0.0/24": "2001:db8:1::/64", "10.0.1.1/30": "2001:db8:0:1::1/64", "0.0.0.0/0": "::/0"} {
		if got := SixPrefix(netip.MustParsePrefix(four)); got != netip.MustParsePrefix(six) {
			t.Errorf("%s: %v, want %s", four, got, six)
		}
	}
}

func TestBuildCancelledLeavesNothing(t *testing.T) {
	needRoot(t)
	const prefix = "topotestc-"
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if top, err := Build(ctx, prefix, Standard(), nil); err == nil {
		top.Close()
		t.Fatal("built although it was cancelled")
	}
	bad := Standard()
	bad.Routes = append(bad.Routes, Route{CN, netip.MustParsePrefix("10.77.0.0/16"), netip.MustParseAddr("172.31.255.1")})
	if top, err := Build(context.Background(), prefix, bad, nil); err == nil {
		top.Close()
		t.Fatal("built a route without a way to its next hop")
	}
	if names, err := space.List(prefix); err != nil || len(names) != 0 {
		t.Errorf("left behind: %q, %v", names, err)
	}
}
