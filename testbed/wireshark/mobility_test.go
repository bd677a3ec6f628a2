package wireshark

import (
	"crypto/rand"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"openmpa/mn/mobility/mip6"
	"openmpa/paa/keys"
)

var (
	mipHome  = netip.MustParseAddr("2001:db8:1::100")
	mipAgent = netip.MustParseAddr("2001:db8:1::1")
	mipPeer  = netip.MustParseAddr("2001:db8:c::c")
	mipCareA = netip.MustParseAddr("2001:db8:a::100")
	mipCareB = netip.MustParseAddr("2001:db8:b::100")
)

// mobile has a mobile node, its home agent and a correspondent talk, and keeps what
// they say.
type mobile struct {
	*testing.T
	now      time.Time
	security mip6.Security
	client   *mip6.Client
	route    *mip6.Route
	agent    *mip6.Agent
	peer     *mip6.Correspondent
	said     [][]byte
}

func newMobile(t *testing.T) *mobile {
	sa := mip6.Security{SPI: 256, Key: keys.NewSecret([]byte("0123456789abcdef"))}
	m := &mobile{T: t, now: time.Unix(1_700_000_000, 0), security: sa}
	var err error
	must := func() {
		if err != nil {
			t.Fatal(err)
		}
	}
	m.client, err = mip6.NewClient(mip6.ClientConfig{Home: mipHome, HomeAgent: mipAgent, Security: sa, Identifier: "mn@example.com", Rand: rand.Reader})
	must()
	m.route, err = mip6.NewRoute(mip6.RouteConfig{Home: mipHome, Correspondent: mipPeer, Rand: rand.Reader})
	must()
	m.agent, err = mip6.NewAgent(mip6.AgentConfig{
		Address: mipAgent, Prefixes: []netip.Prefix{netip.MustParsePrefix("2001:db8:1::/64")}, Nodes: []mip6.Node{{Home: mipHome, Security: sa}},
	})
	must()
	m.peer, err = mip6.NewCorrespondent(mip6.CorrespondentConfig{Address: mipPeer, Rand: rand.Reader})
	must()
	return m
}

// talk carries packets until there are none.
func (m *mobile) talk() {
	m.Helper()
	for moved := true; moved; {
		moved = false
		for _, from := range []interface{ Poll() (mip6.Output, bool) }{m.client, m.route, m.agent, m.peer} {
			for o, ok := from.Poll(); ok; o, ok = from.Poll() {
				moved = true
				switch o := o.(type) {
				case mip6.DAD:
					m.agent.DADDone(m.now, o.Home, true)
				case mip6.Send:
					m.said = append(m.said, o.Packet)
					m.deliver(o.Packet)
				}
			}
		}
	}
	m.now = m.now.Add(time.Second)
}

func (m *mobile) deliver(pkt []byte) {
	m.Helper()
	p, err := mip6.ParsePacket(pkt)
	switch {
	case err != nil:
	case p.Dst == mipAgent:
		err = m.agent.HandlePacket(m.now, pkt)
	case p.Dst == mipPeer:
		err = m.peer.HandlePacket(m.now, pkt)
	case p.Src == mipAgent:
		err = m.client.HandlePacket(m.now, pkt)
	default:
		err = m.route.HandlePacket(m.now, pkt, p.Dst == mipHome)
	}
	if err != nil {
		m.Error(err)
	}
}

// udp6 is a packet of an application, its checksum right for the home address.
func udp6(src, dst netip.Addr) []byte {
	b := append([]byte{0x60, 0, 0, 0, 0, 12, 17, 64}, src.AsSlice()...)
	b = append(append(b, dst.AsSlice()...), 0x30, 0x39, 0x30, 0x3a, 0, 12, 0, 0, 't', 'e', 's', 't')
	sum := uint32(17 + 12)
	for i := 8; i < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	b[46], b[47] = byte(^sum>>8), byte(^sum)
	return b
}

// TestMobileIPv6: Wireshark's own dissector finds nothing wrong with any of our messages.
func TestMobileIPv6(t *testing.T) {
	m := newMobile(t)
	one := mip6.CareOf{Addr: mipCareA}
	all := []mip6.CareOf{{Addr: mipCareA, ID: 1}, {Addr: mipCareB, ID: 2}}
	for i, list := range [][]mip6.CareOf{{one}, all, {one}} { // one, all candidates, one again
		m.client.OfferPathMarkers(i > 0)
		if err := m.client.Register(m.now, mipCareA, list...); err != nil {
			t.Fatal(err)
		}
		m.talk()
	}
	m.route.Start(m.now, mipCareA, time.Time{})
	m.talk()
	up, err := m.route.AppendOutgoing(nil, udp6(mipHome, mipPeer))
	if err != nil {
		t.Fatal(err)
	}
	down, err := m.peer.AppendOutgoing(nil, udp6(mipPeer, mipHome))
	if err != nil {
		t.Fatal(err)
	}
	m.said = append(m.said, up, down)
	m.now = m.now.Add(411 * time.Second) // in use, about to end: a refresh request
	m.peer.OnDeadline(m.now)
	m.talk()
	m.route.Delete(m.now, mipCareA)
	m.talk()
	if _, err := m.peer.AppendIncoming(m.now, nil, up); err == nil { // a binding error
		t.Error("a packet without a binding was taken")
	}
	if o, ok := m.peer.Poll(); ok {
		m.said = append(m.said, o.(mip6.Send).Packet)
	}
	m.client.Deregister(m.now, mipCareA)
	m.talk()
	for _, down := range []bool{false, true} {
		b, err := mip6.AppendMarkerPacket(nil, mip6.Marker{Home: mipHome, HomeAgent: mipAgent, ID: 1, Down: down}, m.security)
		if err != nil {
			t.Fatal(err)
		}
		m.said = append(m.said, b)
	}

	capture := writePackets(t, m.said)
	checked := []string{"-o", "udp.check_checksum:TRUE"}
	var types []string
	fields := []string{"-T", "fields", "-E", "separator=|", "-E", "aggregator= ", "-e", "mip6.mhtype", "-e", "mip6.ba.status", "-e", "_ws.expert.message", "-e", "_ws.malformed"}
	for i, line := range tshark(t, capture, append(checked, fields...)...) {
		col := strings.Split(line, "|")
		if !slices.Contains(types, col[0]) {
			types = append(types, col[0])
		}
		if col[1] != "" && col[1] != "0" {
			t.Errorf("packet %d: status %s", i+1, col[1])
		}
		if col[2] != "" || col[3] != "" {
			t.Errorf("packet %d of %d, type %s, is found wrong: %s %s", i+1, len(m.said), col[0], col[2], col[3])
		}
	}
	slices.Sort(types)
	if want := []string{"", "0", "1", "11", "2", "3", "4", "5", "6", "7"}; !slices.Equal(types, want) {
		t.Errorf("types %q, expected all: %q", types, want)
	}
	verbose := strings.Join(tshark(t, capture, append(checked, "-V")...), "\n")
	for _, want := range []string{
		"Mobile Node Identifier", "mn@example.com", "Binding ID (BID): 2", "Mobility SPI: 256", "Home nonce index",
		"Alternate care-of address: 2001:db8:a::100", "Experimental", "Type 2", "MIPv6 Home Address: 2001:db8:1::100",
	} {
		if !strings.Contains(verbose, want) {
			t.Errorf("tshark does not show %q", want)
		}
	}
	for _, bad := range []string{"incorrect", "Malformed", "not dissected"} {
		for line := range strings.Lines(verbose) {
			if strings.Contains(line, bad) {
				t.Errorf("tshark says: %s", strings.TrimSpace(line))
			}
		}
	} // It would say so: an option that does not end within its message, a changed payload.
	long := slices.Clone(m.said[0])
	long[len(long)-18] += 40 // the length of the authentication option
	changed := slices.Clone(up)
	changed[len(changed)-1]++
	capture = writePackets(t, [][]byte{long, changed})
	for i, line := range tshark(t, capture, append(checked, fields...)...) {
		if col := strings.Split(line, "|"); col[2] == "" && col[3] == "" {
			t.Errorf("bad packet %d is found right", i+1)
		}
	}
}
