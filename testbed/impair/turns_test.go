package impair

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// said is a frame of UDP or TCP with octets of an application.
func said(from, to string, proto byte, octets int) []byte {
	src, dst := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	head := 8
	if proto == 6 {
		head = 20
	}
	f := make([]byte, 14+20+head+octets)
	f[12], f[13] = 8, 0
	ip := f[14:]
	ip[0], ip[9] = 0x45, proto
	binary.BigEndian.PutUint16(ip[2:], uint16(20+head+octets)) //nolint:gosec // short
	copy(ip[12:], src.Addr().AsSlice())
	copy(ip[16:], dst.Addr().AsSlice())
	binary.BigEndian.PutUint16(ip[20:], src.Port())
	binary.BigEndian.PutUint16(ip[22:], dst.Port())
	if proto == 6 {
		ip[20+12] = 5 << 4
	}
	return f
}

func TestTripwire(t *testing.T) {
	const router, other, server = "10.0.2.1:40000", "10.0.1.1:40000", "10.0.5.1:1812"
	for _, proto := range []byte{6, 17} {
		var w Tripwire
		var tripped []netip.Addr
		ask := func(octets int) { w.Frame(Out, said(router, server, proto, octets)) }
		answer := func() { w.Frame(In, said(server, router, proto, 50)) }
		ask(10)
		if n := w.Disarm(); len(n) != 0 {
			t.Errorf("protocol %d: %v turns before anybody counts", proto, n)
		}
		w.Arm(netip.MustParseAddr("10.0.2.1"), []uint16{1812}, 3, func(s netip.Addr) { tripped = append(tripped, s) })
		ask(100) // 1
		ask(100) // again, or its second half
		answer()
		answer()
		w.Frame(Out, said(other, server, proto, 100))
		w.Frame(Out, said(router, "10.0.5.1:1813", proto, 100))
		ask(0)   // nothing but a header
		ask(100) // 2
		w.Frame(In, said("10.0.5.1:1813", router, proto, 50))
		ask(100)
		for range 2 {
			w.Frame(Out, said(router, "10.0.8.1:1812", proto, 100))
			w.Frame(In, said("10.0.8.1:1812", router, proto, 100))
		}
		if tripped != nil {
			t.Errorf("protocol %d: tripped in turn 2", proto)
		}
		answer()
		ask(100) // 3
		answer()
		ask(100)                                                // 4
		w.Frame(Out, said(router, "10.0.8.1:1812", proto, 100)) // 3 with this one
		n := w.Disarm()
		if len(tripped) != 1 || tripped[0].String() != "10.0.5.1" {
			t.Errorf("protocol %d: tripped by %v, expected 10.0.5.1 once", proto, tripped)
		}
		if d := cmp.Diff(map[string]int{"10.0.5.1": 4, "10.0.8.1": 3}, map[string]int{"10.0.5.1": n[tripped[0]], "10.0.8.1": n[netip.MustParseAddr("10.0.8.1")]}); d != "" {
			t.Error(d)
		}
	}
}

// TestTripwireReadsAnything: a frame that is cut or made up does no harm.
func TestTripwireReadsAnything(t *testing.T) {
	whole := said("10.0.2.1:40000", "10.0.5.1:1812", 6, 4)
	for n := range len(whole) {
		if _, ok := parseSpoken(whole[:n]); ok {
			t.Errorf("%d of %d octets are taken for a whole frame", n, len(whole))
		}
	}
	if _, ok := parseSpoken(whole); !ok {
		t.Error("a whole frame is not read")
	}
	later := said("10.0.2.1:40000", "10.0.5.1:1812", 17, 40)
	later[14+7] = 1 // a later fragment
	if _, ok := parseSpoken(later); ok {
		t.Error("a later fragment has no ports")
	}
}
