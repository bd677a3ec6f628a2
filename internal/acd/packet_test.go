package acd

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
)

var goldens = []struct {
	name string
	p    Packet
	hex  string
}{
	{"probe", ProbePacket(addr, ours), "0001080006040001" + "020000000001" + "00000000" + "000000000000" + "0a020064"},
	{"announcement", AnnouncementPacket(addr, ours), "0001080006040001" + "020000000001" + "0a020064" + "000000000000" + "0a020064"},
	{
		"request",
		Packet{Op: OpRequest, SenderMAC: them, SenderIP: other, TargetIP: addr},
		"0001080006040001" + "020000000009" + "0a020065" + "000000000000" + "0a020064",
	},
	{
		"reply",
		ReplyPacket(Packet{Op: OpRequest, SenderMAC: them, SenderIP: other, TargetIP: addr}, addr, ours),
		"0001080006040002" + "020000000001" + "0a020064" + "020000000009" + "0a020065",
	},
	{"RARP", Packet{Op: 3, SenderIP: other, TargetIP: addr}, "0001080006040003" + "000000000000" + "0a020065" + "000000000000" + "0a020064"},
}

func TestPacketGoldens(t *testing.T) {
	for _, g := range goldens {
		want := unhex(t, g.hex)
		got, err := g.p.AppendBinary([]byte("before"))
		if err != nil || !bytes.Equal(got, append([]byte("before"), want...)) {
			t.Errorf("%s: want %x, got %x, %v", g.name, want, got, err)
		}
		back, err := ParseARP(want)
		if err != nil || back != g.p {
			t.Errorf("%s: want %+v, got %+v, %v", g.name, g.p, back, err)
		}
		padded, err := ParseARP(append(want, make([]byte, 18)...)) // the least Ethernet payload is 46 octets
		if err != nil || padded != g.p {
			t.Errorf("%s, padded: got %+v, %v", g.name, padded, err)
		}
		for n := range want {
			if _, err := ParseARP(want[:n]); !errors.Is(err, ErrPacket) {
				t.Errorf("%s cut at %d: want ErrPacket, got %v", g.name, n, err)
			}
		}
		for i := range 6 { // types and lengths
			bad := bytes.Clone(want)
			bad[i] ^= 0x10
			if _, err := ParseARP(bad); !errors.Is(err, ErrPacket) {
				t.Errorf("%s, octet %d changed: want ErrPacket, got %v", g.name, i, err)
			}
		}
	}
}

func TestAppendBinaryNeedsIPv4(t *testing.T) {
	six := netip.MustParseAddr("2001:db8::1")
	for _, p := range []Packet{{}, {SenderIP: addr}, {TargetIP: addr}, {SenderIP: six, TargetIP: addr}, {SenderIP: addr, TargetIP: netip.AddrFrom16(addr.As16())}} {
		if b, err := p.AppendBinary(nil); err == nil || b != nil {
			t.Errorf("%+v: want an error and nothing appended, got %x, %v", p, b, err)
		}
	}
}

func TestIsProbe(t *testing.T) {
	reply := ProbePacket(addr, ours)
	reply.Op = OpReply
	for _, c := range []struct {
		p    Packet
		want bool
	}{{ProbePacket(addr, ours), true}, {AnnouncementPacket(addr, ours), false}, {reply, false}, {Packet{}, false}} {
		if c.p.IsProbe() != c.want {
			t.Errorf("%+v: want %v", c.p, c.want)
		}
	}
}

func TestMAC(t *testing.T) {
	m, err := MACFrom(net.HardwareAddr{2, 0, 0, 0, 0, 1})
	if err != nil || m != ours || m.String() != "02:00:00:00:00:01" {
		t.Errorf("got %v, %v", m, err)
	}
	for _, n := range []int{0, 5, 8, 20} {
		if _, err := MACFrom(make(net.HardwareAddr, n)); err == nil {
			t.Errorf("%d octets: want an error", n)
		}
	}
	hw := ours.HardwareAddr()
	hw[0] = 0xff
	Broadcast()[0] = 0
	if ours[0] != 2 || Broadcast().String() != "ff:ff:ff:ff:ff:ff" {
		t.Error("results share memory")
	}
	if OpRequest.String() != "request" || OpReply.String() != "reply" || !strings.Contains(Op(8).String(), "8") {
		t.Error("names of operations")
	}
}

func FuzzParseARP(f *testing.F) {
	for _, g := range goldens {
		f.Add(unhex(f, g.hex))
	}
	f.Add(make([]byte, PacketLen))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseARP(b)
		if err != nil {
			if !errors.Is(err, ErrPacket) {
				t.Errorf("untyped error %v", err)
			}
			return
		}
		out, err := p.AppendBinary(nil)
		if err != nil || !bytes.Equal(out, b[:PacketLen]) {
			t.Errorf("parsed %x to %+v, appended %x, %v", b, p, out, err)
		}
	})
}
