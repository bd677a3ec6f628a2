package impair

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"openmpa/mn/mobility/mip4"
	"openmpa/mn/mobility/mip6"
	"openmpa/paa/keys"
	"openmpa/tunnel"
	"openmpa/tunnel/esp"
	"openmpa/tunnel/ipip"
)

var (
	home   = netip.MustParseAddr("10.9.0.2")
	agent  = netip.MustParseAddr("10.0.3.1")
	careOf = netip.MustParseAddr("10.2.0.100")
	far    = netip.MustParseAddr("10.0.4.1")
	router = netip.MustParseAddr("10.2.0.1")
	ofLab  = Traffic{
		Home: home, FlowPort: 20000, ProbePort: 21000, Down: 1372, Up: 172, Probe: 64, TunnelPort: 4500, Marker: mip4.HMACSHA256,
	}
)

func ethernet(kind uint16, packet []byte) []byte {
	return append(binary.BigEndian.AppendUint16(make([]byte, 12), kind), packet...)
}

func udp(t *testing.T, src, dst netip.Addr, from, to uint16, payload []byte) []byte {
	t.Helper()
	b, err := ipip.AppendHeader(nil, ipip.Header{Src: src, Dst: dst, Protocol: protocolUDP}, udpLen+len(payload))
	if err != nil {
		t.Fatal(err)
	}
	b = binary.BigEndian.AppendUint16(b, from)
	b = binary.BigEndian.AppendUint16(b, to)
	b = binary.BigEndian.AppendUint16(b, uint16(udpLen+len(payload)))
	return append(append(b, 0, 0), payload...)
}

func inIP(t *testing.T, src, dst netip.Addr, inner []byte) []byte {
	t.Helper()
	b, err := ipip.Encapsulate(nil, ipip.Header{Src: src, Dst: dst}, inner)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestClassify makes the packets as the daemons make them.
func TestClassify(t *testing.T) {
	c, err := NewClassifier(ofLab)
	if err != nil {
		t.Fatal(err)
	}
	out, err := esp.NewOutbound(1000, keys.NewSecret(make([]byte, 20)))
	if err != nil {
		t.Fatal(err)
	}
	seal := func(inner []byte, next byte) []byte {
		b, err := out.Seal(nil, inner, next)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	marker := func(k tunnel.MarkerKind) []byte {
		b, err := tunnel.Marker{Kind: k}.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		return seal(b, esp.NextHeaderDummy)
	}
	sa := mip4.Security{SPI: 256, Key: keys.NewSecret(make([]byte, 32)), Algorithm: mip4.HMACSHA256}
	pathEnd := func(down bool) []byte {
		b, err := mip4.AppendMarkerPacket(nil, mip4.Marker{HomeAddress: home, HomeAgent: agent, Down: down}, sa)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	up := func(inner []byte) []byte { return inIP(t, careOf, agent, inner) }
	down := func(inner []byte) []byte { return inIP(t, agent, careOf, inner) }
	toRouter := func(b []byte) []byte { return udp(t, careOf, router, 40000, 4500, b) }
	toNode := func(b []byte) []byte { return udp(t, router, careOf, 4500, 40000, b) }
	upData := udp(t, home, far, 20001, 20000, make([]byte, 172))
	downData := udp(t, far, home, 20001, 20000, make([]byte, 1372))
	probe := udp(t, far, home, 21001, 21000, make([]byte, 64))
	for _, x := range []struct {
		what   string
		packet []byte
		want   Kind
	}{
		{"plain up", upData, KindUp},
		{"plain down", downData, KindDown},
		{"plain probe", probe, KindProbe},
		{"up", up(upData), KindUp},
		{"down", down(downData), KindDown},
		{"probe", down(probe), KindProbe},
		{"up in ESP", toRouter(seal(up(upData), 4)), KindUp},
		{"down in ESP", toNode(seal(down(downData), 4)), KindDown},
		{"probe in ESP", toNode(seal(down(probe), 4)), KindProbe},
		{"depart", toRouter(marker(tunnel.Depart)), KindDepart},
		{"departed", toNode(marker(tunnel.Departed)), KindDeparted},
		{"path end up", up(pathEnd(false)), KindPathUp},
		{"path end down", down(pathEnd(true)), KindPathDown},
		{"path end up in ESP", toRouter(seal(up(pathEnd(false)), 4)), KindPathUp},
		{"path end down in ESP", toNode(seal(down(pathEnd(true)), 4)), KindPathDown},
		{"dummy", toRouter(seal(nil, esp.NextHeaderDummy)), KindRefresh},
		{"other in ESP", toRouter(seal(up(udp(t, home, far, 1, 2, make([]byte, 40))), 4)), KindTunnelUp},
		{"other in ESP to the node", toNode(seal(down(udp(t, far, home, 1, 2, make([]byte, 40))), 4)), KindOther},
		{"keepalive", toRouter([]byte{esp.Keepalive}), KindOther},
		{"flow of somebody else", udp(t, far, router, 20001, 20000, make([]byte, 172)), KindOther},
		{"datagrams of another port", down(udp(t, far, home, 5, 6, make([]byte, 172))), KindOther},
		{"twice in IP", down(inIP(t, far, agent, upData)), KindOther},
	} {
		if got := c.Classify(ethernet(etherIPv4, x.packet)); got != x.want {
			t.Errorf("%s is taken for %v, expected %v", x.what, got, x.want)
		}
		frame := ethernet(etherIPv4, x.packet)
		for n := range frame { // cut off anywhere it is nothing, and no panic
			if got := c.Classify(frame[:n]); got != KindOther {
				t.Errorf("%s cut to %d octets is taken for %v", x.what, n, got)
			}
		}
	}
	fragment := append([]byte(nil), upData...)
	fragment[6] = 0x20
	if got := c.Classify(ethernet(etherIPv4, fragment)); got != KindOther {
		t.Errorf("a fragment is taken for %v", got)
	}
	if got := c.Classify(ethernet(etherARP, nil)); got != KindARP {
		t.Errorf("ARP is taken for %v", got)
	}
	same := ofLab
	same.Probe = same.Up
	if _, err := NewClassifier(same); err == nil {
		t.Error("probe and flow cannot be told apart, and nobody says so")
	}
}

// TestClassify6 makes the packets of IPv6 as the daemons make them.
func TestClassify6(t *testing.T) {
	a := netip.MustParseAddr
	home, agent, careOf, far, router := a("2001:db8:9::2"), a("2001:db8:9::a"), a("2001:db8:2::77"), a("2001:db8:0:4::1"), a("2001:db8:2::1")
	of6 := ofLab
	of6.Home = home
	c, err := NewClassifier(of6)
	if err != nil {
		t.Fatal(err)
	}
	out, err := esp.NewOutbound(1000, keys.NewSecret(make([]byte, 20)))
	if err != nil {
		t.Fatal(err)
	}
	seal := func(inner []byte) []byte {
		b, err := out.Seal(nil, inner, ipip.Protocol6)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	packet := func(src, dst netip.Addr, next byte, payload []byte) []byte {
		s, d := src.As16(), dst.As16()
		b := append([]byte{0x60, 0, 0, 0, byte(len(payload) >> 8), byte(len(payload)), next, 64}, s[:]...)
		return append(append(b, d[:]...), payload...)
	}
	udp := func(src, dst netip.Addr, from, to uint16, payload []byte) []byte {
		b := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, from), to)
		b = binary.BigEndian.AppendUint16(b, uint16(udpLen+len(payload)))
		return packet(src, dst, protocolUDP, append(append(b, 0, 0), payload...))
	}
	inIP := func(src, dst netip.Addr, inner []byte) []byte { return packet(src, dst, ipip.Protocol6, inner) }
	pathEnd := func(down bool) []byte {
		b, err := mip6.AppendMarkerPacket(nil, mip6.Marker{Home: home, HomeAgent: agent, Down: down}, mip6.Security{SPI: 256, Key: keys.NewSecret(make([]byte, 32))})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	up := func(inner []byte) []byte { return inIP(careOf, agent, inner) }
	down := func(inner []byte) []byte { return inIP(agent, careOf, inner) }
	toRouter := func(b []byte) []byte { return udp(careOf, router, 40000, 4500, b) }
	upData := udp(home, far, 20001, 20000, make([]byte, 172))
	downData := udp(far, home, 20001, 20000, make([]byte, 1372))
	optimised := func(b []byte, err error) []byte {
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, x := range []struct {
		what   string
		packet []byte
		want   Kind
	}{
		{"plain up", upData, KindUp},
		{"up", up(upData), KindUp},
		{"down", down(downData), KindDown},
		{"probe", down(udp(far, home, 21001, 21000, make([]byte, 64))), KindProbe},
		{"up with route optimisation", optimised(mip6.AppendFromHome(nil, upData, careOf)), KindUp},
		{"down with route optimisation", optimised(mip6.AppendToCareOf(nil, downData, careOf)), KindDown},
		{"up in ESP", toRouter(seal(up(upData))), KindUp},
		{"down in ESP", udp(router, careOf, 4500, 40000, seal(down(downData))), KindDown},
		{"down in ESP by IPv4", ipv4(t, seal(down(downData))), KindDown},
		{"path end up", up(pathEnd(false)), KindPathUp},
		{"path end down", down(pathEnd(true)), KindPathDown},
		{"path end up in ESP", toRouter(seal(up(pathEnd(false)))), KindPathUp},
		{"neighbour solicitation", packet(careOf, router, protocolICMPv6, []byte{135, 0, 0, 0}), KindARP},
		{"echo", packet(careOf, router, protocolICMPv6, []byte{128, 0, 0, 0}), KindOther},
		{"flow of somebody else", udp(far, router, 20001, 20000, make([]byte, 172)), KindOther},
	} {
		kind := uint16(etherIPv6)
		if x.packet[0]>>4 == 4 {
			kind = etherIPv4
		}
		frame := ethernet(kind, x.packet)
		if got := c.Classify(frame); got != x.want {
			t.Errorf("%s is taken for %v, expected %v", x.what, got, x.want)
		}
		for n := range frame { // cut off anywhere it is nothing, and no panic
			if got := c.Classify(frame[:n]); got != KindOther {
				t.Errorf("%s cut to %d octets is taken for %v", x.what, n, got)
			}
		}
	}
	if n, ok := c.InTunnel(ethernet(etherIPv6, toRouter(seal(up(upData))))); !ok || n != c.UpInESP() {
		t.Errorf("a packet of the flow in the tunnel has %d octets, %v; expected %d", n, ok, c.UpInESP())
	}
	if _, ok := c.InTunnel(ethernet(etherIPv6, upData)); ok {
		t.Error("a plain packet is taken for one in the tunnel")
	}
}

// ipv4 is what a router sends in UDP to a node with an IPv4 address.
func ipv4(t *testing.T, esp []byte) []byte { return udp(t, router, careOf, 4500, 40000, esp) }

func TestThief(t *testing.T) {
	var told []Kind
	th := &Thief{}
	takes := func(k Kind) bool { return th.take(k) }
	if takes(KindDepart) {
		t.Error("a marker is taken although no handover has begun")
	}
	for range 2 {
		th.Begin(func(k Kind) { told = append(told, k) }, KindDepart, KindPathUp)
		got := []bool{takes(KindUp), takes(KindDepart), takes(KindDepart), takes(KindDeparted), takes(KindPathUp)}
		for i, want := range []bool{false, true, false, false, true} {
			if got[i] != want {
				t.Errorf("frame %d: taken is %v", i, got[i])
			}
		}
		if list := th.End(); len(list) != 2 || takes(KindDepart) {
			t.Errorf("taken are %v, expected two; and nothing after the end", list)
		}
	}
	if len(told) != 4 {
		t.Errorf("told of %v", told)
	}
	if (*Thief)(nil).take(KindDepart) {
		t.Error("nobody takes a marker")
	}
}
