package traffic

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"

	"openmpa/testbed/space"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wire makes two namespaces with a veth pair between them.
func wire(t *testing.T) (a, b Endpoint, cut func(bool)) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" || os.Getenv("OPENMPA_TEST_ALL") != "" {
			t.Fatal("network namespaces need root")
		}
		t.Skip("network namespaces need root")
	}
	ends := make([]Endpoint, 2)
	for i := range ends {
		s, err := space.Create(fmt.Sprintf("traffictest-%d-%d", os.Getpid(), i))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := errors.Join(s.Close(), space.Remove(s.Name())); err != nil {
				t.Error(err)
			}
		})
		ends[i] = Endpoint{Space: s, Addr: netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)})}
	}
	la := netlink.NewLinkAttrs()
	la.Name, la.Index = "v", 50
	if err := ends[0].Space.Netlink().LinkAdd(&netlink.Veth{LinkAttrs: la, PeerName: "v", PeerNamespace: netlink.NsFd(ends[1].Space.FD())}); err != nil {
		t.Fatal(err)
	}
	var links []netlink.Link
	for _, e := range ends {
		nl := e.Space.Netlink()
		l, err := nl.LinkByName("v")
		if err != nil {
			t.Fatal(err)
		}
		links = append(links, l)
		addr := &netlink.Addr{IPNet: &net.IPNet{IP: e.Addr.AsSlice(), Mask: net.CIDRMask(24, 32)}}
		if err := errors.Join(nl.AddrAdd(l, addr), nl.LinkSetUp(l)); err != nil {
			t.Fatal(err)
		}
	}
	// Or what waits for an answer to ARP, after a cut, would be overtaken.
	far, err := ends[1].Space.Netlink().LinkByName("v")
	if err == nil {
		err = ends[0].Space.Netlink().NeighSet(&netlink.Neigh{
			LinkIndex: links[0].Attrs().Index, IP: ends[1].Addr.AsSlice(), HardwareAddr: far.Attrs().HardwareAddr, State: netlink.NUD_PERMANENT,
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		l, err := ends[0].Space.Netlink().LinkByName("v")
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("the wire does not come up (%v)", err)
		}
		if l.Attrs().OperState == netlink.OperUp {
			break
		}
	}
	return ends[0], ends[1], func(down bool) {
		change := ends[1].Space.Netlink().LinkSetUp
		if down {
			change = ends[1].Space.Netlink().LinkSetDown
		}
		if err := change(links[1]); err != nil {
			t.Error(err)
		}
	}
}

func TestFlowOverAWire(t *testing.T) {
	a, b, cut := wire(t)
	f, err := Open(Spec{Name: "test", ID: 1, From: a, To: b, Port: 5000, Rate: PerSecond(500)})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.Start()
	waitFor(t, func() bool { return f.Seen() > 50 })
	cut(true)
	down := time.Now()
	before := f.Sent()
	waitFor(t, func() bool { return f.Sent() > before+20 })
	silent := time.Since(down) // sent late, they are sent faster
	cut(false)
	seen := f.Seen()
	waitFor(t, func() bool { return f.Seen() > seen+50 })
	f.Stop(time.Second)
	s, err := f.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if s.Lost < 20 || len(s.Losses) == 0 || s.Duplicated != 0 || s.Reordered != 0 || s.Sent != int(f.Sent()) {
		t.Errorf("%+v", s)
	}
	if s.MedianLate <= 0 || s.P99Late < s.MedianLate || s.P99Late > time.Minute {
		t.Errorf("sent %v late (median), %v (99th percentile)", s.MedianLate, s.P99Late)
	}
	if s.MaxGap < silent {
		t.Errorf("longest silence %v, and the link was cut for %v", s.MaxGap, silent)
	}
}

func TestProbeStopsAtItsFirstArrival(t *testing.T) {
	a, b, cut := wire(t)
	p, err := OpenProbe(a, b, 6000, 10, ProbeRate)
	if err != nil {
		t.Fatal(err)
	}
	p.Start()
	waitFor(t, func() bool { return p.down.Seen() > 100 && p.up.Seen() > 100 })
	if _, _, ok := p.First(); ok || p.Done() {
		t.Error("the probe ended before the link was up")
	}
	cut(true)
	up := time.Now()
	cut(false)
	p.LinkUp(up)
	waitFor(t, p.Done)
	d, direction, ok := p.First()
	if !ok || d <= 0 || (direction != "down" && direction != "up") {
		t.Errorf("first arrival %v, %q, %v", d, direction, ok)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	a, b, _ := wire(t)
	if f, err := Open(Spec{From: a, To: b, Port: 5000, Rate: Rate{PerSecond: 1, Payload: 3}}); err == nil {
		f.Close()
		t.Error("a datagram without room for its number was taken")
	}
	b.Addr = netip.MustParseAddr("203.0.113.1")
	if f, err := Open(Spec{From: a, To: b, Port: 5000, Rate: PerSecond(1)}); err == nil {
		f.Close()
		t.Error("a flow to an address that is not there was opened")
	}
}

func waitFor(t *testing.T, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not happen")
		}
	}
}
