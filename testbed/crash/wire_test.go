package crash

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"openmpa/paa/pana"
)

// udp is a frame with a datagram in it.
func udp(t *testing.T, from, to string, data []byte) []byte {
	t.Helper()
	src, dst := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	f := make([]byte, 14+20+8, 14+20+8+len(data))
	binary.BigEndian.PutUint16(f[12:], 0x0800)
	ip := f[14:]
	ip[0], ip[8], ip[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(ip[2:], uint16(28+len(data)))
	copy(ip[12:], src.Addr().AsSlice())
	copy(ip[16:], dst.Addr().AsSlice())
	binary.BigEndian.PutUint16(ip[20:], src.Port())
	binary.BigEndian.PutUint16(ip[22:], dst.Port())
	binary.BigEndian.PutUint16(ip[24:], uint16(8+len(data)))
	return append(f, data...)
}

func arp(op uint16, sender, target string) []byte {
	f := make([]byte, 14+28)
	binary.BigEndian.PutUint16(f[12:], 0x0806)
	copy(f[14:], []byte{0, 1, 8, 0, 6, 4})
	binary.BigEndian.PutUint16(f[20:], op)
	copy(f[28:], netip.MustParseAddr(sender).AsSlice())
	copy(f[38:], netip.MustParseAddr(target).AsSlice())
	return f
}

func TestMessage(t *testing.T) {
	par, err := (&pana.Message{Type: pana.TypeAuth, Flags: pana.FlagR | pana.FlagS}).AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	pta, err := (&pana.Message{Type: pana.TypeTerm}).AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	release, err := dhcpv4.New(dhcpv4.WithMessageType(dhcpv4.MessageTypeRelease))
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		what, ifname string
		frame        []byte
		want         string
	}{
		{"from afar", tapCore, udp(t, "10.2.0.1:716", "10.1.0.100:5000", par), "next PAR[S]"},
		{"on the link", tapLink, udp(t, "10.2.0.1:716", "10.2.0.100:5000", par), "next PAR[S]"},
		{"with the other router", tapCore, udp(t, "10.1.0.1:716", "10.2.0.100:5000", pta), "previous PTA[]"},
		{"the same on its way", tapLink, udp(t, "10.2.0.100:5000", "10.1.0.1:716", pta), ""},
		{"with a stranger", tapCore, udp(t, "10.7.0.1:716", "10.2.0.100:5000", par), ""},
		{"cut", tapCore, udp(t, "10.2.0.1:716", "10.1.0.100:5000", par[:7]), ""},
		{"RADIUS", tapCore, udp(t, "10.0.5.1:1812", "10.0.2.1:4000", []byte{11, 1, 0, 20}), "RADIUS Access-Challenge"},
		{"RADIUS elsewhere", tapLink, udp(t, "10.0.5.1:1812", "10.0.2.1:4000", []byte{11, 1, 0, 20}), ""},
		{"registration", tapCore, udp(t, "10.2.0.100:434", "10.0.3.1:434", []byte{1}), "registration request"},
		{"its reply", tapCore, udp(t, "10.0.3.1:434", "10.2.0.100:40000", []byte{3}), "registration reply"},
		{"DHCP", tapDHCP, udp(t, "10.2.0.1:67", "10.2.0.3:67", release.ToBytes()), "DHCP RELEASE"},
		{"DHCP, from afar", tapCore, udp(t, "10.2.0.100:68", "10.1.0.3:67", release.ToBytes()), "DHCP RELEASE"},
		{"DHCP, twice", tapLink, udp(t, "10.2.0.1:67", "10.2.0.3:67", release.ToBytes()), ""},
		{"no DHCP", tapDHCP, udp(t, "10.2.0.1:67", "10.2.0.3:67", []byte{1, 2}), ""},
		{"traffic", tapCore, udp(t, "10.0.4.1:20001", "10.9.0.2:20000", make([]byte, 172)), ""},
		{"empty", tapCore, udp(t, "10.0.5.1:1812", "10.0.2.1:4000", nil), ""},
		{"another interface", "", udp(t, "10.2.0.1:716", "10.1.0.100:5000", par), ""},
		{"probe", tapLink, arp(1, "0.0.0.0", "10.2.0.100"), "ARP probe"},
		{"announcement", tapLink, arp(1, "10.2.0.100", "10.2.0.100"), "ARP announcement"},
		{"question", tapLink, arp(1, "10.2.0.1", "10.2.0.100"), ""},
		{"answer", tapLink, arp(2, "10.2.0.100", "10.2.0.1"), ""},
		{"short ARP", tapLink, arp(1, "0.0.0.0", "10.2.0.100")[:30], ""},
		{"nothing", tapLink, []byte{1, 2, 3}, ""},
	} {
		if got := message(x.ifname, x.frame); got != x.want {
			t.Errorf("%s: %q, expected %q", x.what, got, x.want)
		}
	}
	c, err := ParseCell("mn@wire next PAR[S] 1")
	if err != nil || !c.Point.isMessage() || Points[0].isMessage() {
		t.Errorf("%v, %v", c, err)
	}
}
