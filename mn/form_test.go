package mn

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"openmpa/internal/acd/nd"
	"openmpa/internal/dhcp6"
	"openmpa/internal/osnet"
	"openmpa/paa/notify"
)

// TestConfigured: the router describes its link, the node forms an address, the router says
// that it is in use, and verifies the next one.
func TestConfigured(t *testing.T) {
	i := &ip6{
		p:  &port{name: "eth0", mac: net.HardwareAddr{2, 0, 0, 0, 0, 1}, n: &Node{cfg: Config{Family: 6}}},
		id: &identity6{DUID: []byte{0, 4, 1}, Secret: make([]byte, 32)}, conflicts: map[string]uint8{},
	}
	raw, err := osnet.AppendRouterAdvert(nil, advertising())
	if err != nil {
		t.Fatal(err)
	}
	router := netip.MustParseAddr("fe80::1")
	link := &notify.ConfigReply{Router: router, RA: raw}
	r := i.request(notify.Header{})
	if r.Family != 6 || string(r.ClientID) != string(i.id.DUID) || r.Addr.IsValid() {
		t.Errorf("%+v", r)
	}
	answer := func(m *notify.ConfigReply) *lease {
		t.Helper()
		l, err := i.configured("a", m, r)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	if l := answer(link); l != nil || !prefix6.Contains(r.Addr) {
		t.Fatalf("%+v, to be verified %s", l, r.Addr)
	}
	first := r.Addr
	if l := answer(&notify.ConfigReply{Reason: notify.Conflict + "it is in use by 02:00:00:00:00:09"}); l != nil || r.Addr.IsValid() {
		t.Fatalf("%+v, to be verified %s", l, r.Addr)
	}
	if answer(link); r.Addr == first || !prefix6.Contains(r.Addr) {
		t.Fatalf("to be verified %s, %s before", r.Addr, first)
	}
	verified := &notify.ConfigReply{
		Router: router, RA: raw, Addr: netip.PrefixFrom(r.Addr, 64), Lifetime: time.Hour, Preferred: 30 * time.Minute, Age: time.Minute,
	}
	l := answer(verified)
	if l == nil || l.addr() != r.Addr || !l.formed() || l.Six.OnLink != prefix6 || l.router() != router || l.Six.T1 != 30*time.Minute ||
		time.Until(l.expires()) > 59*time.Minute {
		t.Fatalf("%+v", l)
	}

	other := *verified
	other.Addr = netip.MustParsePrefix("2001:db8:1::77/64")
	for name, m := range map[string]*notify.ConfigReply{
		"another address":    &other,
		"the link once more": link,
		"a refusal":          {Reason: "no address"},
		"no prefix":          {Router: router, RA: raw[:16]},
		"not an RA":          {Router: router, RA: append([]byte{136}, raw[1:]...)},
		"IPv4":               {Router: netip.MustParseAddr("10.2.0.1"), Addr: netip.MustParsePrefix("10.2.0.7/24")},
	} {
		question := *r
		if name == "no prefix" {
			question.Addr = netip.Addr{}
		}
		if l, err := i.configured("a", m, &question); err == nil {
			t.Errorf("%s: taken: %+v", name, l)
		}
	}

	// One that the router had verified before anybody asked, and one of a server.
	r.Addr = netip.Addr{}
	other.ClientID, other.ServerDUID, other.T1, other.T2 = []byte{0, 4, 9}, []byte{0, 3, 7}, time.Minute, 2*time.Minute
	l = answer(&other)
	if l == nil || l.formed() || string(l.Six.ClientID) != string(other.ClientID) || l.Six.IAID != iaidAhead || l.Six.T2 != 2*time.Minute {
		t.Fatalf("%+v", l)
	}
	ra := advertising()
	ra.Prefixes[0].OnLink = false
	if other.RA, err = osnet.AppendRouterAdvert(nil, ra); err != nil {
		t.Fatal(err)
	}
	if l = answer(&other); l.prefix() != single(l.addr()) { // neighbours are behind the router
		t.Errorf("%s on link", l.prefix())
	}
	if s := i.id.String(); !strings.Contains(s, "redacted") {
		t.Error(s)
	}
}

// FuzzRouterAdvert: whatever a router puts into its answer, an address that is formed of it is of
// a prefix it advertises, and never one that nobody may have; and what comes by the tunnel ends
// at worst what is prepared.
func FuzzRouterAdvert(f *testing.F) {
	ra := advertising()
	for _, edit := range []func(){
		func() {}, func() { ra.Prefixes[0].Valid = 0 }, func() { ra.Managed = true }, func() { ra.Prefixes = append(ra.Prefixes, ra.Prefixes[0]) },
	} {
		edit()
		raw, err := osnet.AppendRouterAdvert(nil, ra)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		i := &ip6{
			p:  &port{name: "eth0", mac: net.HardwareAddr{2, 0, 0, 0, 0, 1}, n: &Node{cfg: Config{Family: 6, Log: discard}}},
			id: &identity6{DUID: []byte{0, 4, 1}, Secret: make([]byte, 32)}, conflicts: map[string]uint8{},
		}
		r := i.request(notify.Header{})
		m := &notify.ConfigReply{Router: netip.MustParseAddr("fe80::1"), RA: raw}
		l, err := i.configured("a", m, r)
		if l != nil {
			t.Fatalf("an address that nobody has verified: %+v", l)
		}
		if err == nil {
			said, err := osnet.ParseRouterAdvert(raw)
			if err != nil || !said.Holds(r.Addr) || !nd.Unicast(r.Addr) || r.Addr.IsLinkLocalUnicast() || nd.IID(r.Addr.AsSlice()[8:]).Reserved() {
				t.Fatalf("%s of %+v, %v", r.Addr, said, err)
			}
		}
		six := lease6{Lease: dhcp6.Lease{Addr: netip.MustParseAddr("2001:db8:1::5")}}.lasting(time.Now(), time.Hour, time.Hour)
		c := &candidate{n: i.p.n, address: newAddress(lease{Six: &six}), path: &path{}}
		c.advertised(raw)
		if now := c.address.lease.Load(); now.addr() != six.Addr || now.Six.Preferred > now.Six.Valid || now.Six.T1 > now.Six.T2 || now.Six.T2 > now.Six.Valid {
			t.Fatalf("%+v became %+v", six, now.Six)
		}
	})
}
