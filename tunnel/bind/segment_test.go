package bind

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"openmpa/internal/osnet/osnettest"
)

// arrived reads until n packets have come, and returns them joined, with the number of
// reads that brought several from one call.
func arrived(t *testing.T, u *UDP, n int) (packets []string) {
	t.Helper()
	b := NewBatch(32, 1<<16)
	if err := u.conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for len(packets) < n {
		got, err := u.ReadBatch(b)
		if err != nil {
			t.Fatalf("after %d of %d packets: %v", len(packets), n, err)
		}
		for _, p := range got {
			packets = append(packets, fmt.Sprintf("%s, TOS %#x", p.Data, p.TOS))
		}
	}
	return packets
}

// A batch arrives as the packets it is made of, in their order and with their TOS,
// whatever either end can do about it.
func TestSendBatch(t *testing.T) {
	osnettest.Enter(t)
	far := osnettest.Other(t)
	osnettest.VethTo(t, "near0", "far0", far)
	osnettest.IP(t, "address add 10.1.0.1/24 dev near0")
	osnettest.IP(t, "address add 2001:db8::1/64 dev near0 nodad")
	far(func() {
		osnettest.IP(t, "address add 10.1.0.2/24 dev far0")
		osnettest.IP(t, "address add 2001:db8::2/64 dev far0 nodad")
	})
	for _, x := range []struct{ near, far, six bool }{
		{true, true, false},
		{true, false, false},
		{false, true, false},
		{false, false, false},
		{true, true, true},
		{true, false, true},
		{false, true, true},
		{false, false, true},
	} {
		here, there := netip.MustParseAddrPort("10.1.0.1:0"), netip.MustParseAddrPort("10.1.0.2:0")
		if x.six {
			here, there = netip.MustParseAddrPort("[2001:db8::1]:0"), netip.MustParseAddrPort("[2001:db8::2]:0")
		}
		near, err := OpenUDP(here, Options{Offload: x.near})
		if err != nil {
			t.Fatal(err)
		}
		var peer *UDP
		far(func() { peer, err = OpenUDP(there, Options{Offload: x.far}) })
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			name             string
			count, size, end int
		}{
			{"equal", 40, 1000, 1000},
			{"the last one shorter", 3, 1000, 1},
			{"single", 1, 1000, 1000},
			{"too many for one call", MaxSegments + 3, 100, 7},
			{"longer than the link's MTU", 3, 2000, 1999},
		} {
			var pkts []byte
			var want []string
			for i := range c.count {
				n := c.size
				if i == c.count-1 {
					n = c.end
				}
				p := bytes.Repeat([]byte{byte('a' + i%26)}, n)
				pkts = append(pkts, p...)
				want = append(want, fmt.Sprintf("%s, TOS 0xb9", p))
			}
			before, was := near.Stats(), peer.Stats()
			if n, err := near.SendBatch(peer.LocalAddr(), pkts, c.size, 0xb9); n != c.count || err != nil {
				t.Fatalf("%+v %s: %d of %d sent, %v", x, c.name, n, c.count, err)
			}
			got := arrived(t, peer, c.count)
			if strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("%+v %s: %d packets arrived, not what was sent", x, c.name, len(got))
			}
			if s, r := near.Stats().Sent-before.Sent, peer.Stats().Received-was.Received; s != uint64(c.count) || r != s {
				t.Errorf("%+v %s: %d counted as sent and %d as received", x, c.name, s, r)
			}
		}
		if x.near && !near.offload.Load() {
			t.Errorf("%+v: offload was given up", x)
		}
		near.Close()
		peer.Close()
	}
}

// Nobody to send to: each packet is counted.
func TestSendBatchFails(t *testing.T) {
	osnettest.Enter(t)
	u, err := OpenUDP(netip.MustParseAddrPort("127.0.0.1:0"), Options{Offload: true})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	for _, to := range []string{"192.0.2.1:4500", "127.0.0.1:0", "[::1]:4500"} {
		before := u.Stats().SendErrors
		if n, err := u.SendBatch(netip.MustParseAddrPort(to), make([]byte, 250), 100, 0); n != 0 || err == nil {
			t.Errorf("to %s: %d sent, %v", to, n, err)
		}
		if n := u.Stats().SendErrors - before; n != 3 {
			t.Errorf("to %s: %d errors counted, expected 3", to, n)
		}
	}
}
