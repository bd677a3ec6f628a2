package dhcp4

import (
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

func testIdentity() *identity {
	return &identity{xid: dhcpv4.TransactionID{1, 2, 3, 4}, mac: macA, clientID: []byte("\x00mn"), giaddr: giaddr, circuit: "lan0", subnet: subnet}
}

func ackBytes(t testing.TB, id *identity) []byte {
	t.Helper()
	m, err := dhcpv4.NewReplyFromRequest(id.discover(), dhcpv4.WithMessageType(dhcpv4.MessageTypeAck),
		dhcpv4.WithYourIP(net.IP{10, 2, 0, 100}), dhcpv4.WithNetmask(net.CIDRMask(24, 32)), dhcpv4.WithRouter(ip(giaddr)),
		dhcpv4.WithDNS(net.IP{10, 0, 4, 53}, net.IP{127, 0, 0, 1}), dhcpv4.WithLeaseTime(600), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(ip(serverA))))
	if err != nil {
		t.Fatal(err)
	}
	return m.ToBytes()
}

func TestMessageGolden(t *testing.T) {
	const head = "01010601" + "01020304" + "00000000" + "00000000" + "00000000" + "00000000" + "0a020001" + "02000000000a"
	b := testIdentity().discover().ToBytes()
	if got := hex.EncodeToString(b[:34]); got != head {
		t.Errorf("header\n got %s\nwant %s", got, head)
	}
	// cookie, 53 discover, 55 list, 57 1500, 61 identifier, 82 last, end
	const options = "63825363" + "350101" + "3709010306333a3b880f77" + "390205dc" + "3d03006d6e" + "52060104" + "6c616e30" + "ff"
	if got := hex.EncodeToString(b[236 : 236+len(options)/2]); got != options {
		t.Errorf("options\n got %s\nwant %s", got, options)
	}
}

// TestAgent: of the PANA authentication agents that a server names (RFC 5192 section 5) the
// first that can be one is taken.
func TestAgent(t *testing.T) {
	id := testIdentity()
	for _, c := range []struct {
		option []byte
		want   netip.Addr
	}{
		{nil, netip.Addr{}},
		{[]byte{10, 2, 0, 1}, giaddr},
		{[]byte{224, 0, 0, 1, 10, 2, 0, 1, 10, 2, 0, 9}, giaddr},
		{[]byte{0, 0, 0, 0}, netip.Addr{}},
		{[]byte{10, 2, 0}, netip.Addr{}},
	} {
		m, err := dhcpv4.FromBytes(ackBytes(t, id))
		if err != nil {
			t.Fatal(err)
		}
		if c.option != nil {
			m.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionPANAAuthenticationAgent, c.option))
		}
		l, ok, err := id.ack(m.ToBytes(), time.Unix(0, 0), netip.MustParseAddr("10.2.0.100"), serverA)
		if err != nil || !ok || l.PAA != c.want {
			t.Errorf("%x: PAA %v, %v, %v, expected %v", c.option, l.PAA, ok, err, c.want)
		}
	}
}

// TestDomains: those of the search list, and the link's own; what is no domain is left out.
func TestDomains(t *testing.T) {
	id := testIdentity()
	for _, c := range []struct {
		search, name string
		want         []string
	}{
		{"", "", nil},
		{"", "site.example\x00", []string{"site.example"}},
		{"\x01a\x00\x01b\xc0\x00", "b.a", []string{"a", "b.a"}},
		{"\x01a\x00\x01b\x00\x01c\x00\x01d\x00\x01e\x00", "f", []string{"a", "b", "c", "d"}},
		{"\xff\xff", "two words", nil},
	} {
		m, err := dhcpv4.FromBytes(ackBytes(t, id))
		if err != nil {
			t.Fatal(err)
		}
		m.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionDNSDomainSearchList, []byte(c.search)))
		m.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionDomainName, []byte(c.name)))
		l, ok, err := id.ack(m.ToBytes(), time.Unix(0, 0), netip.MustParseAddr("10.2.0.100"), serverA)
		if err != nil || !ok || !slices.Equal(l.Domains, c.want) {
			t.Errorf("%q, %q: %q, %v, %v, expected %q", c.search, c.name, l.Domains, ok, err, c.want)
		}
	}
}

func TestTimesAndDefaults(t *testing.T) {
	id := testIdentity()
	for _, c := range []struct {
		name             string
		life, t1, t2     uint32 // 0: option absent
		wantT1, wantT2   time.Duration
		wantLife         time.Duration
		noMask, noRouter bool
	}{
		{name: "defaults", life: 800, wantLife: 800 * time.Second, wantT1: 400 * time.Second, wantT2: 700 * time.Second},
		{name: "given", life: 800, t1: 100, t2: 200, wantLife: 800 * time.Second, wantT1: 100 * time.Second, wantT2: 200 * time.Second},
		{name: "out of order", life: 800, t1: 300, t2: 200, wantLife: 800 * time.Second, wantT1: 400 * time.Second, wantT2: 700 * time.Second},
		{name: "T2 too late", life: 800, t1: 300, t2: 900, wantLife: 800 * time.Second, wantT1: 400 * time.Second, wantT2: 700 * time.Second},
		{name: "for ever", life: 0xffffffff, wantLife: infinite, wantT1: infinite / 2, wantT2: infinite / 8 * 7},
		{name: "no mask", life: 8, noMask: true, noRouter: true, wantLife: 8 * time.Second, wantT1: 4 * time.Second, wantT2: 7 * time.Second},
	} {
		m, err := dhcpv4.FromBytes(ackBytes(t, id))
		if err != nil {
			t.Fatal(err)
		}
		m.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionIPAddressLeaseTime, u32(c.life)))
		if c.t1 != 0 {
			m.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionRenewTimeValue, u32(c.t1)))
		}
		if c.t2 != 0 {
			m.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionRebindingTimeValue, u32(c.t2)))
		}
		if c.noMask {
			m.Options.Del(dhcpv4.OptionSubnetMask)
		}
		if c.noRouter {
			m.Options.Del(dhcpv4.OptionRouter)
		}
		l, ok, err := id.ack(m.ToBytes(), time.Unix(0, 0), netip.MustParseAddr("10.2.0.100"), serverA)
		if err != nil || !ok || l.Lifetime != c.wantLife || l.T1 != c.wantT1 || l.T2 != c.wantT2 || l.Addr.Bits() != 24 {
			t.Errorf("%s: %+v %v %v", c.name, l, ok, err)
		}
		if len(l.DNS) != 1 {
			t.Errorf("%s: name servers %v, want the one that is not loopback", c.name, l.DNS)
		}
		if l.Router.IsValid() == c.noRouter {
			t.Errorf("%s: router %v", c.name, l.Router)
		}
	}
	id.subnet = netip.Prefix{}
	m, err := dhcpv4.FromBytes(ackBytes(t, id))
	if err != nil {
		t.Fatal(err)
	}
	m.Options.Del(dhcpv4.OptionSubnetMask)
	if _, err := id.lease(m, time.Unix(0, 0)); !errors.Is(err, ErrMalformed) {
		t.Errorf("neither mask nor subnet: %v", err)
	}
}

func TestCutAtEveryByte(t *testing.T) {
	id := testIdentity()
	b := ackBytes(t, id)
	end := len(b)
	for end > 0 && b[end-1] == 0 { // padding after the end option
		end--
	}
	for i := range end {
		if _, ok, err := id.ack(b[:i], time.Unix(0, 0), netip.MustParseAddr("10.2.0.100"), serverA); ok {
			t.Errorf("taken at %d of %d octets (%v)", i, end, err)
		}
	}
	p := udpPacket(serverA, giaddr, serverPort, clientPort, 1, b)
	for i := range p {
		if _, ok := udpPayload(p[:i]); ok {
			t.Errorf("packet taken at %d of %d octets", i, len(p))
		}
	}
	if got, ok := udpPayload(append(p, 0, 0, 0)); !ok || string(got) != string(b) {
		t.Error("payload does not come back")
	}
	if c := fold(sum(uint32(17+len(p)-20), p[12:])); c != 0xffff {
		t.Errorf("UDP checksum over the packet is %04x, want ffff", c)
	}
	for i, v := range map[int]byte{0: 0x65, 6: 0x20, 9: 6, 10: p[10] ^ 1, 21: 68, 23: 67, 24: 0xff} {
		q := append([]byte(nil), p...)
		q[i] = v
		if _, ok := udpPayload(q); ok {
			t.Errorf("packet taken with octet %d = %#x", i, v)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	id := testIdentity()
	f.Add(ackBytes(f, id))
	f.Add(id.discover().ToBytes())
	f.Add(make([]byte, 240))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, ok, err := id.ack(b, time.Unix(0, 0), netip.MustParseAddr("10.2.0.100"), netip.Addr{})
		if !ok {
			return
		}
		if err != nil || !subnet.Contains(l.Addr.Addr()) || l.Addr.Bits() < 24 || l.Lifetime <= 0 || l.T1 <= 0 && l.Lifetime > 2 ||
			l.T1 > l.T2 || l.T2 >= l.Lifetime || len(l.DNS) > maxDNS || l.Router.IsValid() && !l.Addr.Contains(l.Router) {
			t.Errorf("believed %+v (%v)", l, err)
		}
	})
}

func FuzzPacket(f *testing.F) {
	f.Add(udpPacket(serverA, giaddr, serverPort, clientPort, 1, []byte("x")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, ok := udpPayload(b); ok && len(p) > len(b)-28 {
			t.Errorf("%d octets of payload in %d", len(p), len(b))
		}
	})
}
