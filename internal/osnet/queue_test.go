package osnet

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"openmpa/internal/acd"
	"openmpa/internal/osnet/osnettest"
)

const queueOf = "ipv4/neigh/v0/unres_qlen_bytes"

// TestRaiseQueue: it is as long as it was when the last has lowered it, whatever happened to the interface.
func TestRaiseQueue(t *testing.T) {
	still(t)
	n := open(t, OwnerAccessRouter)
	expect := func(want string) {
		t.Helper()
		for _, family := range []string{"ipv4", "ipv6"} {
			if is, err := n.Sysctl("net/" + family + "/neigh/v0/unres_qlen_bytes"); err != nil || is != want {
				t.Errorf("%s: it is %s octets (%v), expected %s", family, is, err, want)
			}
		}
	}
	osnettest.Sysctl(t, queueOf, "100000")
	osnettest.Sysctl(t, "ipv6/neigh/v0/unres_qlen_bytes", "100000")
	for range 2 {
		must(t, n.RaiseQueue("v0", 1<<22))
		expect("4194304")
	}
	must(t, n.LowerQueue("v0"))
	expect("4194304")
	must(t, n.LowerQueue("v0"))
	expect("100000")
	if err := n.LowerQueue("v0"); err == nil {
		t.Error("lowered more often than raised: expected an error")
	}
	for _, octets := range []int{0, -1, 1 << 40} {
		if err := n.RaiseQueue("v0", octets); err == nil {
			t.Errorf("raised to %d", octets)
		}
	}
	if err := n.RaiseQueue("nosuch", 1<<22); err == nil {
		t.Error("an interface that is not there: expected an error")
	}
	must(t, n.RaiseQueue("v0", 1<<22))
	osnettest.IP(t, "link del v0")
	must(t, n.LowerQueue("v0"))
}

// TestRaisedByACrash: what a crash has left is put back to the kernel's default; Close puts back, too.
func TestRaisedByACrash(t *testing.T) {
	still(t)
	first := open(t, OwnerAccessRouter)
	initial, err := first.Sysctl("net/ipv4/neigh/v0/unres_qlen_bytes")
	must(t, err)
	must(t, first.RaiseQueue("v0", 1<<22))
	must(t, first.Close())
	osnettest.Sysctl(t, queueOf, fmt.Sprint(1<<22)) // as if there had been no Close
	n := open(t, OwnerAccessRouter)
	must(t, n.RaiseQueue("v0", 1<<22))
	must(t, n.LowerQueue("v0"))
	if is, err := n.Sysctl("net/ipv4/neigh/v0/unres_qlen_bytes"); err != nil || is != initial {
		t.Errorf("it is %s octets (%v), expected %s", is, err, initial)
	}
}

// TestHoldNeighbour: packets wait, all of them and for longer than the kernel would ask, and nobody is asked whose
// address that is.
func TestHoldNeighbour(t *testing.T) {
	still(t)
	n := open(t, OwnerAccessRouter)
	must(t, n.AddAddress("v0", prefix("10.77.0.1/24"), AddrOptions{}))
	asked, err := n.OpenARP("v1")
	must(t, err)
	defer asked.Close()
	hop, dst := addr("240.1.2.3"), addr("10.80.0.1")
	must(t, n.RaiseQueue("v0", 32<<20))
	must(t, n.HoldNeighbour("v0", hop))
	must(t, n.SetRoute(Route{Dst: prefix("10.80.0.1/32"), Dev: "v0", Via: hop, OnLink: true}))
	const senders, each = 60, 50 // packets of 2304 octets each as the kernel counts: 30 times what it keeps unless told otherwise
	const packets = senders * each
	sent := func() uint64 {
		t.Helper()
		c, err := n.Counters("v0")
		must(t, err)
		return c.Sent
	}
	before := sent()
	for range senders { // what waits is in the sender's buffer, too
		conn, err := net.Dial("udp", dst.String()+":9")
		must(t, err)
		defer conn.Close()
		for range each {
			if _, err := conn.Write(make([]byte, 1400)); err != nil {
				t.Fatal(err)
			}
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 1200*time.Millisecond) // the kernel would have asked twice
	defer cancel()
	for {
		p, err := asked.ReadARP(ctx)
		if err != nil {
			break
		}
		if p.Op == acd.OpRequest && p.TargetIP == hop {
			t.Error("somebody was asked for the link-layer address of the next hop")
		}
	}
	if now := sent(); now != before {
		t.Errorf("%d packets were sent", now-before)
	}
	if err := n.HoldNeighbour("v0", hop); err == nil {
		t.Error("held twice: expected an error")
	}
	must(t, n.SetNeighbour("v0", hop, mac(t, "02:00:00:00:00:02"), true))
	if now := sent() - before; now != packets {
		t.Errorf("%d of %d packets were sent", now, packets)
	}
	must(t, n.LowerQueue("v0"))
	must(t, n.DelNeighbour("v0", hop))
	lacks(t, "neigh show dev v0", hop.String())
	must(t, n.HoldNeighbour("v0", hop))
	must(t, n.Close())
	lacks(t, "neigh show dev v0", hop.String())
}

// TestNoDestination: a route to nowhere does not become the default route.
func TestNoDestination(t *testing.T) {
	still(t)
	n := open(t, OwnerAccessRouter)
	for _, err := range []error{n.SetRoute(Route{Dev: "v0"}), n.DelRoute(Route{})} {
		if err == nil || !strings.Contains(err.Error(), "expected a destination") {
			t.Errorf("error %v", err)
		}
	}
	lacks(t, "route show", "default")
}
