package notify

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"openmpa/internal/event"
	"openmpa/paa/keys"
)

var (
	testID    = event.HandoverID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	testMAC   = net.HardwareAddr{2, 0, 0, 0, 0, 7}
	testNonce = bytes.Repeat([]byte{0xa5}, nonceLen)
	testRA    = []byte{134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0} // for 1800 s, without prefixes
)

func messages() []Message {
	h := Header{Handover: testID}
	return []Message{
		&ConfigRequest{Header: h, Family: 4, ClientID: []byte{1, 2, 0, 0, 0, 0, 7}, MAC: testMAC},
		&ConfigReply{Header: h, Reason: "no address left"},
		&ConfigReply{
			Header: h, Addr: netip.MustParsePrefix("10.2.0.100/24"), Router: netip.MustParseAddr("10.2.0.1"), RouterMAC: testMAC,
			DNS: []netip.Addr{netip.MustParseAddr("10.0.4.53")}, ServerID: netip.MustParseAddr("10.2.0.3"), Age: 1500 * time.Millisecond,
			Lifetime: time.Hour, T1: 30 * time.Minute, T2: 50 * time.Minute, DHCP: 12 * time.Millisecond, DAD: 400 * time.Millisecond,
		},
		&TunnelRequest{Header: h, Inner: netip.MustParseAddr("10.2.0.100"), SPI: 0x1234, Nonce: testNonce},
		&TunnelReply{Header: h, Outer: netip.MustParseAddr("10.2.0.1"), Port: 4500, SPI: 0x5678, Nonce: testNonce, Suite: 1, MTU: 1428},
		&TunnelReply{Header: h, Reason: "no lease"},
		&TunnelDelete{Header: h},
		&SwitchBack{Header: h},
		&Arrival{Header: h},
		&Report{Header: h, Events: []byte(`[{"node":"a"}]`)},
		&LinkKeysRequest{Header: h, Station: [6]byte(testMAC)},
		&LinkKeysReply{Header: h, Reason: "another node has this address"},
		&LinkKeysReply{Header: h},
		&TunnelRequest{
			Header: h, Inner: netip.MustParseAddr("10.1.0.100"), SPI: 0x1234, Nonce: testNonce,
			Serving: true, MAC: testMAC, Numbered: true, Suites: []uint8{3, 1, 77},
		},
		&TunnelRequest{Header: h, Inner: netip.MustParseAddr("10.1.0.100"), SPI: 0x1234, Nonce: testNonce, Standby: true},
		&TunnelReply{Header: h, Outer: netip.MustParseAddr("10.2.0.1"), Port: 4500, SPI: 0x5678, Nonce: testNonce, Suite: 3, MTU: 1428, Numbered: true},
		&Follow{Header: h},
		&Deliver{Header: h, How: Guard},
		&Deliver{Header: h, How: Unguard},
		&Deliver{Header: h, How: Both, Outer: netip.MustParseAddrPort("10.2.0.100:40001")},
		&DeliverReply{Header: h, How: Both},
		&DeliverReply{Header: h, Reason: "nothing was prepared"},
		&RekeyRequest{Header: h, Old: 0x1234, SPI: 0x2345, Nonce: testNonce, Suites: []uint8{2}},
		&RekeyRequest{Header: h, Old: 0x1234, SPI: 0x2345, Nonce: testNonce},
		&RekeyReply{Header: h, Old: 0x1234, SPI: 0x3456, Nonce: testNonce, Suite: 2},
		&RekeyReply{Header: h, Reason: "no such tunnel"},
		&RekeyDue{Header: h, Old: 0x1234},
		&ConfigReply{
			Header: h, Addr: netip.MustParsePrefix("10.2.0.100/24"), Router: netip.MustParseAddr("10.2.0.1"), RouterMAC: testMAC,
			ServerID: netip.MustParseAddr("10.2.0.3"), Lifetime: time.Hour, T1: 30 * time.Minute, T2: 50 * time.Minute, ClientID: []byte{0, 9},
		},
		&ConfigRequest{Header: h, Family: 6, ClientID: []byte{0, 3, 0, 1, 2, 0, 0, 0, 0, 7}, MAC: testMAC, IAID: 0x7},
		&Entrust{
			Header: h, Addr: netip.MustParseAddr("2001:db8:2::8"), ClientID: []byte{0, 4, 1}, IAID: 7, ServerDUID: []byte{0, 3, 0, 1}, MAC: testMAC,
		},
		&ConfigRequest{Header: h, Family: 6, ClientID: []byte{0, 4}, MAC: testMAC, Addr: netip.MustParseAddr("2001:db8:2::7")},
		&ConfigReply{Header: h, Router: netip.MustParseAddr("fe80::1"), RouterMAC: testMAC, RA: testRA, DNS: []netip.Addr{netip.MustParseAddr("2001:db8::53")}},
		&ConfigReply{
			Header: h, Addr: netip.MustParsePrefix("2001:db8:2::7/64"), Router: netip.MustParseAddr("fe80::1"), RouterMAC: testMAC,
			Lifetime: (1<<32 - 1) * time.Second, Preferred: (1<<32 - 1) * time.Second, DAD: time.Second,
		},
		&ConfigReply{
			Header: h, Addr: netip.MustParsePrefix("2001:db8:2::8/128"), Router: netip.MustParseAddr("fe80::1"), RouterMAC: testMAC, RA: testRA,
			Lifetime: time.Hour, Preferred: 40 * time.Minute, T1: 30 * time.Minute, T2: 50 * time.Minute, Age: time.Second,
			ServerDUID: []byte{0, 3, 0, 1, 2, 0, 0, 0, 0, 1}, ClientID: []byte{0, 4, 1},
		},
		&LinkKeysReply{Header: h, Lifetime: time.Hour, Points: []LinkPoint{{[6]byte{2, 0, 0, 0, 1, 0}, 1}, {[6]byte{2, 0, 0, 0, 1, 1}, 5}}},
		&NeighboursRequest{Header: h, Have: Revision{1, 2}, Part: 3},
		&NeighboursReply{Header: h, Reason: "asked too often"},
		&NeighboursReply{Header: h, Revision: Revision{1}, Lives: []time.Duration{time.Minute, 0}},
		&NeighboursReply{Header: h, Revision: Revision{1}, Parts: 1, Lives: []time.Duration{time.Hour}, Data: []byte{0}},
		&NeighboursReply{Header: h, Revision: Revision{1}, Part: 1, Parts: 3, Data: bytes.Repeat([]byte{7}, NeighboursPart)},
		&NeighboursChanged{Header: h, Revision: Revision{9}},
	}
}

func TestAppendParse(t *testing.T) {
	for _, m := range messages() {
		b, err := Append(nil, m)
		if err != nil {
			t.Fatalf("%s: %v", m.Kind(), err)
		}
		got, err := Parse(b)
		if err != nil {
			t.Fatalf("%s: %v", m.Kind(), err)
		}
		if d := cmp.Diff(m, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); d != "" {
			t.Errorf("%s: %s", m.Kind(), d)
		}
		// A message cut anywhere is refused, since what may be missing comes first.
		for n := range b {
			if _, err := Parse(b[:n]); err == nil {
				t.Errorf("%s: cut to %d of %d octets was accepted", m.Kind(), n, len(b))
			} else if !errors.Is(err, ErrMalformed) {
				t.Errorf("%s: cut to %d: %v is not ErrMalformed", m.Kind(), n, err)
			}
		}
	}
}

func TestGolden(t *testing.T) {
	const want = "03" + "0102030405060708090a0b0c0d0e0f10" + "0b00040a020064" + "0c000400001234" + "0d0020" +
		"a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5"
	b, err := Append(nil, messages()[3])
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(b); got != want {
		t.Errorf("tunnel request\n got %s\nwant %s", got, want)
	}
}

func TestRefused(t *testing.T) {
	head := append([]byte{byte(KindTunnelRequest)}, testID[:]...)
	good, _ := Append(nil, messages()[3])
	reply, _ := Append(nil, messages()[2])
	request := append([]byte{byte(KindConfigRequest)}, testID[:]...)
	six := put(put(put(put(bytes.Clone(request), fClientID, []byte{0, 4}), fMAC, testMAC), fFamily, []byte{6}), fIAID, u32(1))
	linkLocal, global := netip.MustParseAddr("fe80::1").AsSlice(), netip.MustParseAddr("2001:db8::1").AsSlice()
	took := put(put(append([]byte{byte(KindConfigReply)}, testID[:]...), fRouterMAC, testMAC), fTook, u32(0), u32(0))
	for name, b := range map[string][]byte{
		"unknown kind":      append([]byte{99}, testID[:]...),
		"field twice":       append(bytes.Clone(good), put(nil, fSPI, u32(300))...),
		"missing fields":    head,
		"reserved SPI":      put(put(put(bytes.Clone(head), fInner, []byte{10, 0, 0, 1}), fSPI, u32(255)), fNonce, testNonce),
		"multicast address": put(put(put(bytes.Clone(head), fInner, []byte{224, 0, 0, 1}), fSPI, u32(256)), fNonce, testNonce),
		"broadcast MAC": put(put(append([]byte{byte(KindConfigRequest)}, testID[:]...), fClientID, []byte{1}),
			fMAC, bytes.Repeat([]byte{255}, 6)),
		"router elsewhere":          bytes.Replace(reply, put(nil, fRouter, []byte{10, 2, 0, 1}), put(nil, fRouter, []byte{10, 3, 0, 1}), 1),
		"family 5":                  put(put(put(bytes.Clone(request), fClientID, []byte{1}), fMAC, testMAC), fFamily, []byte{5}),
		"no IAID":                   put(put(put(bytes.Clone(request), fClientID, []byte{1}), fMAC, testMAC), fFamily, []byte{6}),
		"wants link-local":          put(bytes.Clone(six), fWanted, linkLocal),
		"wants IPv4":                put(bytes.Clone(six), fWanted, []byte{10, 0, 0, 1}),
		"neither address nor RA":    put(bytes.Clone(took), fRouter, linkLocal),
		"router not link-local":     put(put(bytes.Clone(took), fRouter, global), fRA, testRA),
		"RA too short":              put(put(bytes.Clone(took), fRouter, linkLocal), fRA, testRA[:15]),
		"RA too long":               put(put(bytes.Clone(took), fRouter, linkLocal), fRA, make([]byte, MaxRA+1)),
		"preferred beyond valid":    put(put(put(put(bytes.Clone(took), fRouter, linkLocal), fAddr, global, []byte{64}), fPreferred, u32(11)), fLease, u32(0), u32(10), u32(0), u32(0)),
		"link-local address leased": put(put(put(put(bytes.Clone(took), fRouter, linkLocal), fAddr, linkLocal, []byte{64}), fPreferred, u32(1)), fLease, u32(0), u32(10), u32(0), u32(0)),
		"address without router":    put(put(put(put(bytes.Clone(took), fRouter, []byte{10, 0, 0, 1}), fAddr, global, []byte{64}), fPreferred, u32(1)), fLease, u32(0), u32(10), u32(0), u32(0)),
		"empty reason":              put(append([]byte{byte(KindTunnelReply)}, testID[:]...), fReason),
	} {
		if m, err := Parse(b); err == nil {
			t.Errorf("%s: accepted as %+v", name, m)
		}
	}
}

// What makes no message of IPv6 is not sent.
func TestNotAppended(t *testing.T) {
	h, router := Header{Handover: testID}, netip.MustParseAddr("fe80::1")
	for name, m := range map[string]Message{
		"family 5":             &ConfigRequest{Header: h, Family: 5, ClientID: []byte{1}, MAC: testMAC},
		"DUID too long":        &ConfigRequest{Header: h, Family: 6, ClientID: make([]byte, 131), MAC: testMAC},
		"IPv4 wants":           &ConfigRequest{Header: h, Family: 4, ClientID: []byte{1}, MAC: testMAC, Addr: netip.MustParseAddr("2001:db8::1")},
		"no RA and no address": &ConfigReply{Header: h, Router: router, RouterMAC: testMAC},
		"RA too long":          &ConfigReply{Header: h, Router: router, RouterMAC: testMAC, RA: make([]byte, MaxRA+1)},
		"families mixed":       &ConfigReply{Header: h, Router: router, RouterMAC: testMAC, Addr: netip.MustParsePrefix("10.2.0.100/24"), Lifetime: time.Hour},
		"entrusted IPv4":       &Entrust{Header: h, Addr: netip.MustParseAddr("10.2.0.100"), ClientID: []byte{1}, ServerDUID: []byte{1}, MAC: testMAC},
		"entrusted nobody's":   &Entrust{Header: h, Addr: netip.MustParseAddr("2001:db8::1"), ServerDUID: []byte{1}, MAC: testMAC},
		"DNS of IPv4":          &ConfigReply{Header: h, Router: router, RouterMAC: testMAC, RA: testRA, DNS: []netip.Addr{netip.MustParseAddr("10.0.4.53")}},
	} {
		if b, err := Append(nil, m); err == nil {
			t.Errorf("%s: appended as %x", name, b)
		}
	}
}

func TestReasonIsPrintable(t *testing.T) {
	b := put(append([]byte{byte(KindTunnelReply)}, testID[:]...), fReason, []byte("no\x1b[2Jway\n"))
	m, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if got := m.(*TunnelReply).Reason; got != "no?[2Jway?" {
		t.Errorf("reason %q", got)
	}
}

func channels(t *testing.T, sidNode, sidRouter uint32) (node, router *Channel) {
	t.Helper()
	k := keys.DeriveSession(keys.PRFHMACSHA256, bytes.Repeat([]byte{1}, 64), 7, 9, "ca", "ar")
	node, err := NewChannel(sidNode, k, keys.ToRouter)
	if err != nil {
		t.Fatal(err)
	}
	router, err = NewChannel(sidRouter, k, keys.ToNode)
	if err != nil {
		t.Fatal(err)
	}
	return node, router
}

func TestSealOpen(t *testing.T) {
	node, router := channels(t, 7, 7)
	for _, m := range messages() {
		code, v, err := node.Seal(m)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(v, testID[:]) {
			t.Errorf("%s: the handover id is readable", m.Kind())
		}
		got, err := router.Open(code, v)
		if err != nil || got.Kind() != m.Kind() || got.ID() != testID {
			t.Errorf("%s: got %v, %v", m.Kind(), got, err)
		}
		if _, err := router.Open(code, v); err == nil {
			t.Errorf("%s: replay accepted", m.Kind())
		}
		if _, err := node.Open(code, v); err == nil {
			t.Errorf("%s: reflection accepted", m.Kind())
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	node, router := channels(t, 7, 8)
	code, v, _ := node.Seal(&Arrival{})
	if _, err := router.Open(code, v); err == nil {
		t.Error("a message of another session was accepted")
	}
	node, router = channels(t, 7, 7)
	code, v, _ = node.Seal(&Arrival{})
	if _, err := router.Open(AVPForCA, v); err == nil {
		t.Error("a message for the AR was accepted under the CA's key")
	}
	for i := range v {
		bad := bytes.Clone(v)
		bad[i] ^= 1
		if _, err := router.Open(code, bad); err == nil {
			t.Errorf("octet %d changed and accepted", i)
		}
	}
	if _, err := router.Open(code, v); err != nil {
		t.Errorf("refused after forgeries: %v", err)
	}
	// The right seal around a message that belongs under the other key.
	plain, _ := Append(nil, messages()[0])
	sealed, err := node.ar.Seal(plain, node.aad(AVPForAR))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := router.Open(AVPForAR, sealed); err == nil {
		t.Error("a config request under MN-AR was accepted")
	}
}

func TestIdentities(t *testing.T) {
	want := Identities{CA: "ca.a.example", AR: "ar.a.example"}
	b, err := want.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseIdentities(b); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	for n := range b {
		if _, err := ParseIdentities(b[:n]); err == nil {
			t.Errorf("cut to %d accepted", n)
		}
	}
	if _, err := ParseIdentities(append(b, 0)); err == nil {
		t.Error("a trailing octet was accepted")
	}
	if _, err := (Identities{CA: "x"}).AppendBinary(nil); err == nil {
		t.Error("an empty name was appended")
	}
}

func FuzzParse(f *testing.F) {
	for _, m := range append(messages(), testArrival) {
		b, _ := Append(nil, m)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(b)
		if err != nil {
			return
		}
		again, err := Append(nil, m)
		if err != nil {
			t.Fatalf("parsed %+v but could not append: %v", m, err)
		}
		if _, err := Parse(again); err != nil {
			t.Fatalf("appended %x but could not parse: %v", again, err)
		}
	})
}
