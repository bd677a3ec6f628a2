package mn

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"openmpa/aaa/aaatest"
	"openmpa/internal/dhcp4"
	"openmpa/paa/notify"
	"openmpa/paa/pana"
)

// TestNoIdentities: a PAA that is none of ours is told apart.
func TestNoIdentities(t *testing.T) {
	c := &session{net: Network{PAA: netip.MustParseAddrPort("10.2.0.1:716")}}
	secret := aaatest.MSK([]byte("x"))
	for name, avps := range map[string][]pana.AVP{
		"none":           nil,
		"another vendor": {{Code: notify.AVPIdentities, Vendor: pana.VendorID + 1, Data: []byte{1, 'a', 1, 'b'}}},
	} {
		err := c.derive(pana.Opened{SID: 1, MSK: secret, AVPs: avps})
		if err == nil || !strings.Contains(err.Error(), "did not name its configuration agent") || secret.Len() != 0 || c.channel != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := c.derive(pana.Opened{MSK: aaatest.MSK(nil), AVPs: []pana.AVP{{Code: notify.AVPIdentities, Vendor: pana.VendorID}}}); !errors.Is(err, notify.ErrMalformed) {
		t.Errorf("malformed: %v", err)
	}
}

// TestExplain: only a rejection's own vendor AVP is shown, made printable.
func TestExplain(t *testing.T) {
	reason := func(vendor uint32, text string) error {
		return &pana.ErrAuthRejected{Code: 1, AVPs: []pana.AVP{{Code: notify.AVPReason, Vendor: vendor, Data: []byte(text)}}}
	}
	var rejected *pana.ErrAuthRejected
	err := explain(reason(pana.VendorID, "a\x1b[2Jb"))
	if err.Error() != `the router says: "a?[2Jb" (not authenticated)` || !errors.As(err, &rejected) {
		t.Errorf("got %v", err)
	}
	lost := reason(pana.VendorID, "lost").(*pana.ErrAuthRejected)
	lost.AVPs = append(lost.AVPs, pana.AVP{Code: notify.AVPAgain, Vendor: pana.VendorID})
	if said := (*saidError)(nil); !errors.As(explain(lost), &said) || !said.again || errors.As(err, &said) && said.again {
		t.Errorf("got %v, %v", explain(lost), err)
	}
	for _, in := range []error{
		reason(pana.VendorID+1, "x"), reason(pana.VendorID, ""), reason(pana.VendorID, strings.Repeat("x", notify.MaxReason+1)), pana.ErrTerminated,
	} {
		if got := explain(in); got != in {
			t.Errorf("%v became %v", in, got)
		}
	}
}

// TestFits: what the node has already, it cannot be given.
func TestFits(t *testing.T) {
	eth0, eth1 := &port{name: "eth0"}, &port{name: "eth1"}
	old := &candidate{port: eth0, address: newAddress(lease4(dhcp4.Lease{Addr: netip.MustParsePrefix("10.1.0.100/24"), Router: netip.MustParseAddr("10.1.0.1")}))}
	n := &Node{home: &home{address: homeAddress}, serving: old}
	n.guests.Store(&map[netip.Addr]*path{netip.MustParseAddr("10.2.0.7"): {}})
	for addr, ok := range map[string]bool{"10.2.0.100": true, "10.2.0.7": false, "10.9.0.2": false, "10.1.0.100": false} {
		r := lease4(dhcp4.Lease{Addr: netip.PrefixFrom(netip.MustParseAddr(addr), 24), Router: netip.MustParseAddr("10.2.0.1")})
		if err := (&candidate{n: n, port: eth0}).fits(r); (err == nil) != ok {
			t.Errorf("%s: %v", addr, err)
		}
	}
	r := lease4(dhcp4.Lease{Addr: netip.MustParsePrefix("10.1.0.101/24"), Router: netip.MustParseAddr("10.1.0.1")})
	if err := (&candidate{n: n, port: eth0}).fits(r); err == nil || !strings.Contains(err.Error(), "number the networks apart") {
		t.Errorf("the same router: %v", err)
	}
	if err := (&candidate{n: n, port: eth1}).fits(r); err != nil {
		t.Errorf("the same router by another interface: %v", err)
	}
}
