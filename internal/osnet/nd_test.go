package osnet

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"openmpa/internal/acd"
	"openmpa/internal/acd/nd"
	"openmpa/internal/osnet/osnettest"
)

var (
	target6 = addr("2001:db8:2::aabb:ccdd")
	here6   = addr("fe80::1")
	mac1    = acd.MAC{2, 0, 0, 0, 0, 1}
	mac2    = acd.MAC{2, 0, 0, 0, 0, 2}
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var advert6 = nd.RouterAdvert{
	HopLimit: 64, Managed: true, Other: true, Lifetime: 1800 * time.Second, Reachable: 30 * time.Second, Retrans: time.Second, MAC: mac1, MTU: 1500,
	Prefixes: []nd.PrefixInfo{
		{Prefix: prefix("2001:db8:2::/64"), OnLink: true, Autonomous: true, Valid: 24 * time.Hour, Preferred: 4 * time.Hour},
		{Prefix: prefix("2001:db8:3::/64"), OnLink: true, Valid: nd.Infinite, Preferred: nd.Infinite},
	},
	DNS: []netip.Addr{addr("2001:db8::53")},
}

// ndPackets are packets of every kind, with what the wire has.
var ndPackets = []struct {
	name string
	p    nd.Packet
	wire string
}{
	{
		"probe",
		nd.Packet{From: mac2, Src: addr("::"), Dst: addr("ff02::1:ffbb:ccdd"), Msg: nd.Solicit{Target: target6, Nonce: "\x01\x02\x03\x04\x05\x06"}},
		"6000000000203aff 00000000000000000000000000000000 ff0200000000000000000001ffbbccdd 8700f0a500000000 20010db80002000000000000aabbccdd 0e01010203040506",
	},
	{
		"asked",
		nd.Packet{From: mac2, Src: here6, Dst: addr("ff02::1:ffbb:ccdd"), Msg: nd.Solicit{Target: target6, MAC: mac2}},
		"6000000000203aff fe800000000000000000000000000001 ff0200000000000000000001ffbbccdd 8700062e00000000 20010db80002000000000000aabbccdd 0101020000000002",
	},
	{
		"answer",
		nd.Packet{From: mac2, Src: here6, Dst: addr("fe80::5"), Msg: nd.Advert{Target: target6, MAC: mac2, Solicited: true}},
		"6000000000203aff fe800000000000000000000000000001 fe800000000000000000000000000005 8800 9145 40000000 20010db80002000000000000aabbccdd 0201020000000002",
	},
	{
		"announcement",
		nd.Packet{From: mac2, Src: here6, Dst: addr("ff02::1"), Msg: nd.Advert{Target: target6, MAC: mac2, Override: true, Router: true}},
		"6000000000203aff fe800000000000000000000000000001 ff020000000000000000000000000001 8800 30c7 a0000000 20010db80002000000000000aabbccdd 0201020000000002",
	},
	{
		"router solicitation",
		nd.Packet{From: mac2, Src: here6, Dst: addr("ff02::2"), Msg: nd.RouterSolicit{MAC: mac2}},
		"6000000000103aff fe800000000000000000000000000001 ff020000000000000000000000000002 8500 7a2b 00000000 0101020000000002",
	},
}

func TestNDGolden(t *testing.T) {
	for _, c := range ndPackets {
		b, err := appendND(nil, c.p)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if want := unhex(t, c.wire); !bytes.Equal(b, want) {
			t.Errorf("%s:\n got %x\nwant %x", c.name, b, want)
		}
		got, err := parseND(b, mac2)
		if err != nil || got != c.p {
			t.Errorf("%s: read %+v (%v)", c.name, got, err)
		}
		for n := range b {
			if p, err := parseND(b[:n], mac2); !errors.Is(err, ErrND) {
				t.Errorf("%s cut after %d octets: %+v, %v", c.name, n, p, err)
			}
		}
		for _, at := range []int{4, 6, 7, 40, 41, 43, len(b) - 1} { // length, next header, hop limit, type, code, checksum, option
			bad := bytes.Clone(b)
			bad[at]++
			if p, err := parseND(bad, mac2); !errors.Is(err, ErrND) {
				t.Errorf("%s with octet %d changed: %+v, %v", c.name, at, p, err)
			}
		}
	}
}

// TestNDInvalid: what RFC 4861 sections 6.1 and 7.1 have a node discard, with right checksums.
func TestNDInvalid(t *testing.T) {
	for name, p := range map[string]nd.Packet{
		"probe with a hardware address":   {Src: addr("::"), Dst: addr("ff02::1:ffbb:ccdd"), Msg: nd.Solicit{Target: target6, MAC: mac2}},
		"probe to all nodes":              {Src: addr("::"), Dst: addr("ff02::1"), Msg: nd.Solicit{Target: target6}},
		"probe to another group":          {Src: addr("::"), Dst: addr("ff02::1:ffbb:ccde"), Msg: nd.Solicit{Target: target6}},
		"solicitation for a group":        {Src: here6, Dst: addr("ff02::1"), Msg: nd.Solicit{Target: addr("ff02::1")}},
		"solicitation from a group":       {Src: addr("ff02::5"), Dst: addr("ff02::1:ffbb:ccdd"), Msg: nd.Solicit{Target: target6}},
		"advertisement of a group":        {Src: here6, Dst: addr("ff02::1"), Msg: nd.Advert{Target: addr("ff02::1")}},
		"solicited to a group":            {Src: here6, Dst: addr("ff02::1"), Msg: nd.Advert{Target: target6, Solicited: true}},
		"advertisement without a source":  {Src: addr("::"), Dst: addr("ff02::1"), Msg: nd.Advert{Target: target6}},
		"router solicitation, no source":  {Src: addr("::"), Dst: addr("ff02::2"), Msg: nd.RouterSolicit{MAC: mac2}},
		"router with a global address":    {Src: addr("2001:db8::1"), Dst: addr("ff02::1"), Msg: nd.RouterAdvert{}},
		"router without a source":         {Src: addr("::"), Dst: addr("ff02::1"), Msg: nd.RouterAdvert{}},
		"solicitation for nothing at all": {Src: here6, Dst: addr("ff02::1:ff00:0"), Msg: nd.Solicit{Target: addr("::")}},
	} {
		b, err := appendND(nil, p)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, err := parseND(b, mac2); !errors.Is(err, ErrND) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for name, p := range map[string]nd.Packet{
		"short nonce": {Src: addr("::"), Dst: addr("ff02::1"), Msg: nd.Solicit{Target: target6, Nonce: "abc"}},
		"long nonce":  {Src: addr("::"), Dst: addr("ff02::1"), Msg: nd.Solicit{Target: target6, Nonce: nd.Nonce(make([]byte, 70))}},
		"nothing":     {Src: addr("::"), Dst: addr("ff02::1")},
		"IPv4 target": {Src: here6, Dst: addr("ff02::1"), Msg: nd.Solicit{Target: addr("10.0.0.1")}},
		"prefixes":    {Src: here6, Dst: addr("ff02::1"), Msg: nd.RouterAdvert{Prefixes: make([]nd.PrefixInfo, nd.MaxPrefixes+1)}},
	} {
		if _, err := appendND(nil, p); err == nil {
			t.Errorf("%s: written", name)
		}
	}
}

func TestRouterAdvertCarried(t *testing.T) {
	b, err := AppendRouterAdvert([]byte("before"), advert6)
	must(t, err)
	b = b[len("before"):]
	got, err := ParseRouterAdvert(b)
	if err != nil || !reflect.DeepEqual(got, advert6) {
		t.Errorf("%+v, %v", got, err)
	}
	whole, parts := 0, map[int]bool{16: true, 24: true, 32: true, 64: true, 96: true}
	for n := range b {
		ra, err := ParseRouterAdvert(b[:n])
		switch {
		case err == nil && parts[n]: // between two options it is a shorter advertisement
			whole++
		case !errors.Is(err, ErrND):
			t.Errorf("cut after %d octets: %+v, %v", n, ra, err)
		}
	}
	if whole != len(parts) {
		t.Errorf("%d of %d cuts between options were read", whole, len(parts))
	}
	// An option that is malformed or unknown is passed over, the others count; one of length 0 ends it all.
	for name, c := range map[string]struct {
		option string
		ok     bool
	}{
		"unknown":               {"c801000000000000", true},
		"servers, none":         {"1901000000000000", true},
		"search list, broken":   {"1f020000ffffffffff00000000000000", true},
		"hardware address, two": {"01020000000000000000000000000000", true},
		"prefix of 129 bits":    {"030481c0000000100000001000000000" + "20010db8000900000000000000000000", true},
		"length 0":              {"c800000000000000", false},
		"beyond the end":        {"c802000000000000", false},
		"one octet":             {"c8", false},
	} {
		got, err := ParseRouterAdvert(append(bytes.Clone(b), unhex(t, c.option)...))
		if c.ok != (err == nil) || c.ok && !reflect.DeepEqual(got, advert6) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if _, err := ParseRouterAdvert(unhex(t, ndPackets[0].wire)[ipv6Header:]); !errors.Is(err, ErrND) {
		t.Errorf("a solicitation: %v", err)
	}
	many := advert6
	many.DNS = nil
	for i := range nd.MaxPrefixes + 2 {
		many.Prefixes = append(many.Prefixes[:i:i], nd.PrefixInfo{Prefix: prefix("2001:db8:2::/64"), Valid: time.Hour})
	}
	if _, err := AppendRouterAdvert(nil, many); err == nil {
		t.Error("too many prefixes were written")
	}
}

func FuzzND(f *testing.F) {
	for _, c := range ndPackets {
		f.Add(unhex(f, c.wire))
	}
	b, err := appendND(nil, nd.Packet{Src: here6, Dst: addr("ff02::1"), Msg: advert6})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parseND(b, mac2)
		if err != nil {
			if !errors.Is(err, ErrND) {
				t.Errorf("error of another kind: %v", err)
			}
			return
		}
		again, err := appendND(nil, p)
		if err != nil {
			t.Fatalf("%+v was read and cannot be written: %v", p, err)
		}
		if q, err := parseND(again, mac2); err != nil || !reflect.DeepEqual(p, q) {
			t.Fatalf("read %+v, written and read %+v: %v", p, q, err)
		}
	})
}

// FuzzRouterAdvert is what comes inside another protocol: no checksum stands before the parser.
func FuzzRouterAdvert(f *testing.F) {
	b, err := AppendRouterAdvert(nil, advert6)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:16])
	f.Fuzz(func(t *testing.T, b []byte) {
		ra, err := ParseRouterAdvert(b)
		if err != nil {
			if !errors.Is(err, ErrND) {
				t.Errorf("error of another kind: %v", err)
			}
			return
		}
		for _, p := range ra.Autonomous() {
			if _, err := nd.Form(p, nd.IID{7: 1}); err != nil {
				t.Errorf("an address is to be formed from %v: %v", p, err)
			}
		}
		again, err := AppendRouterAdvert(nil, ra)
		if err != nil {
			t.Fatalf("%+v was read and cannot be written: %v", ra, err)
		}
		if q, err := ParseRouterAdvert(again); err != nil || !reflect.DeepEqual(ra, q) {
			t.Fatalf("read %+v, written and read %+v: %v", ra, q, err)
		}
	})
}

// TestNDConn: what another kernel sends is read and valid, with its hardware address; groups are joined and left.
func TestNDConn(t *testing.T) {
	osnettest.Enter(t)
	osnettest.NoLinkLocal(t)
	other := osnettest.Other(t)
	other(func() { osnettest.NoLinkLocal(t) })
	osnettest.VethTo(t, "v0", "v1", other)
	other(func() { osnettest.IP(t, "link set v1 address 02:00:00:00:00:02") })
	n := open(t, OwnerMobileNode)
	c, err := n.OpenND("v0")
	must(t, err)
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()

	for range 2 {
		must(t, c.Join(target6))
	}
	contains(t, "maddress show dev v0", "ff02::1:ffbb:ccdd")
	contains(t, "maddress show dev v0", "33:33:ff:bb:cc:dd")
	must(t, c.Leave(target6))
	contains(t, "maddress show dev v0", "ff02::1:ffbb:ccdd")

	other(func() { osnettest.IP(t, "address add 2001:db8:2::aabb:ccdd/64 dev v1") })
	for {
		p, err := c.ReadND(ctx)
		must(t, err)
		if s, ok := p.Msg.(nd.Solicit); ok {
			if s.Target != target6 || p.From != mac2 || !p.Src.IsUnspecified() || len(s.Nonce) != 6 {
				t.Errorf("the kernel's probe is %+v", p)
			}
			break
		}
	}
	// The kernel believes an answer that we make.
	must(t, c.WriteND(nd.Packet{Src: target6, Dst: nd.AllNodes(), Msg: nd.Advert{Target: target6, MAC: acd.MAC(c.MAC())}}))
	other(func() { eventually(t, "address show dev v1", "dadfailed") })
	if c.Dropped() != 0 {
		t.Errorf("%d packets of a kernel were not valid", c.Dropped())
	}

	must(t, c.Leave(target6))
	lacks(t, "maddress show dev v0", "ff02::1:ffbb:ccdd")
	must(t, c.Leave(target6))
	if err := c.WriteND(nd.Packet{Src: here6, Dst: target6, Msg: nd.Solicit{Target: target6}}); err == nil {
		t.Error("sent to nobody's hardware address")
	}
	must(t, c.Close())
	must(t, c.Close())
	if _, err := c.ReadND(ctx); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	if err := c.Join(target6); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	if _, err := n.OpenND("nosuch"); err == nil {
		t.Error("want an error")
	}
}

// eventually waits for text in what ip(8) says.
func eventually(t *testing.T, cmd, want string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !strings.Contains(osnettest.IP(t, cmd), want); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("ip %s never says %q:\n%s", cmd, want, osnettest.IP(t, cmd))
			return
		}
	}
}

// TestOptimistic: an address that was probed before is used at once, one that was not is not (RFC 4429); its neighbour's
// hardware address is entered ahead, and nothing has to be resolved.
func TestOptimistic(t *testing.T) {
	osnettest.Enter(t)
	osnettest.NoLinkLocal(t)
	other := osnettest.Other(t)
	other(func() { osnettest.NoLinkLocal(t) })
	osnettest.VethTo(t, "v0", "v1", other)
	other(func() {
		osnettest.IP(t, "link set v1 address 02:00:00:00:00:02")
		osnettest.IP(t, "address add 2001:db8:2::1/64 dev v1 nodad")
	})
	eventually(t, "link show dev v0", "state UP") // carrier takes neighbours along when it comes
	if _, err := os.Stat("/proc/sys/net/ipv6/conf/v0/optimistic_dad"); err != nil {
		t.Skipf("this kernel has no optimistic duplicate address detection: %v", err)
	}
	n := open(t, OwnerMobileNode)
	must(t, n.SetSysctl("net.ipv6.conf.v0.optimistic_dad", "1"))
	must(t, n.AddAddress("v0", prefix("2001:db8:2::7/64"), AddrOptions{}))
	contains(t, "-6 address show dev v0", "tentative")
	if c, err := listen6("[2001:db8:2::7]:0"); err == nil {
		c.Close()
		t.Error("a tentative address can be used")
	}
	must(t, n.DelAddress("v0", prefix("2001:db8:2::7/64")))

	must(t, n.SetNeighbour("v0", addr("2001:db8:2::1"), mac2.HardwareAddr(), false))
	contains(t, "-6 neighbour show dev v0", "2001:db8:2::1 lladdr 02:00:00:00:00:02 REACHABLE proto 161")
	must(t, n.AddAddress("v0", prefix("2001:db8:2::8/64"), AddrOptions{Optimistic: true, NoPrefixRoute: true}))
	contains(t, "-6 address show dev v0", "optimistic")
	contains(t, "-6 address show dev v0", "noprefixroute")
	must(t, n.SetRoute(Route{Dst: prefix("2001:db8:2::/64"), Dev: "v0"}))
	var far net.PacketConn
	other(func() {
		var err error
		if far, err = listen6("[2001:db8:2::1]:0"); err != nil {
			t.Error(err)
		}
	})
	if far == nil {
		t.FailNow()
	}
	defer far.Close()
	near, err := listen6("[2001:db8:2::8]:0")
	must(t, err)
	defer near.Close()
	_, err = near.WriteTo([]byte("at once"), far.LocalAddr())
	must(t, err)
	contains(t, "-6 address show dev v0", "optimistic") // still
	must(t, far.SetReadDeadline(time.Now().Add(30*time.Second)))
	b := make([]byte, 16)
	k, from, err := far.ReadFrom(b)
	if err != nil || string(b[:k]) != "at once" || from.String() != near.LocalAddr().String() {
		t.Errorf("%q from %v: %v", b[:k], from, err)
	}
}

func listen6(local string) (net.PacketConn, error) { return net.ListenPacket("udp6", local) }
