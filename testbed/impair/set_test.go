package impair

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"openmpa/internal/osnet/osnettest"
	"openmpa/testbed/space"
	"openmpa/testbed/traffic"
)

// joined is a link between two namespaces with an address at each end, which knows that of the other:
// what waits until a delayed answer to ARP has come is passed by what is sent while the
// kernel sends that, and more than it keeps is lost.
func joined(t *testing.T, text string) (*Set, [2]traffic.Endpoint) {
	t.Helper()
	osnettest.NeedRoot(t)
	asked, err := Parse([]string{"x=" + text})
	if err != nil {
		t.Fatal(err)
	}
	here := ofLab // one end is the mobile node
	here.Home = netip.AddrFrom4([4]byte{192, 0, 2, 1})
	set, err := NewSet(asked, here, nil)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]traffic.Endpoint
	for i := range ends {
		name := fmt.Sprintf("impairtest-%d-%d", os.Getpid(), i)
		s, err := space.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if err := space.Remove(name); err != nil {
				t.Error(err)
			}
		})
		ends[i] = traffic.Endpoint{Space: s, Addr: netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + i)})}
	}
	if made, err := set.Join("y", ends[0].Space, "eth0", ends[1].Space, "eth0"); made || err != nil {
		t.Fatalf("a link that is not to be bad: %v, %v", made, err)
	}
	if made, err := set.Join("x", ends[0].Space, "eth0", ends[1].Space, "eth0"); !made || err != nil {
		t.Fatalf("%v, %v", made, err)
	}
	var macs [2]net.HardwareAddr
	for i, e := range ends {
		nl := e.Space.Netlink()
		l, err := nl.LinkByName("eth0")
		if err == nil {
			macs[i] = l.Attrs().HardwareAddr
			err = nl.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: e.Addr.AsSlice(), Mask: net.CIDRMask(24, 32)}})
		}
		if err == nil {
			err = nl.LinkSetUp(l)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for i, e := range ends {
		l, err := e.Space.Netlink().LinkByName("eth0")
		if err == nil {
			err = e.Space.Netlink().NeighSet(&netlink.Neigh{LinkIndex: l.Attrs().Index, IP: ends[1-i].Addr.AsSlice(), HardwareAddr: macs[1-i], State: netlink.NUD_PERMANENT})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return set, ends
}

// send sends datagrams from one end to the other and returns what came of them.
func send(t *testing.T, from, to traffic.Endpoint, rate float64, d time.Duration) (traffic.Stats, []traffic.Arrival) {
	t.Helper()
	f, err := traffic.Open(traffic.Spec{Name: "test", ID: 1, From: from, To: to, Port: ofLab.FlowPort, Rate: traffic.PerSecond(rate)})
	if err != nil {
		t.Fatal(err)
	}
	f.Start()
	time.Sleep(d)
	f.Stop(500 * time.Millisecond)
	s, err := f.Stats()
	if err != nil {
		t.Error(err)
	}
	arrivals := f.Arrivals()
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	return s, arrivals
}

// TestLink sends datagrams over a real link, out and in, and compares what the
// sockets saw with what the link says.
func TestLink(t *testing.T) {
	set, ends := joined(t, "delay:40ms,loss:5%,seed:3")
	up, _ := send(t, ends[0], ends[1], 500, time.Second)
	down, arrivals := send(t, ends[1], ends[0], 500, time.Second)
	late := 0
	for _, a := range arrivals {
		switch d := time.Duration(a.At - a.Sent); {
		case d < 40*time.Millisecond:
			t.Errorf("a datagram took %v, less than the delay", d)
		case d > 60*time.Millisecond:
			late++
		}
	}
	// The machine may be busy: half of them have to be good.
	if late > len(arrivals)/2 {
		t.Errorf("%d of %d datagrams took more than half again as long as the delay", late, len(arrivals))
	}
	if err := set.Close(); err != nil {
		t.Error(err)
	}
	r := set.Report()["x"]
	if r.Seed != 3 {
		t.Errorf("seed %d", r.Seed)
	}
	for _, x := range []struct {
		name  string
		stats traffic.Stats
		lost  uint64
	}{{"out", down, r.Out.DataLost.Down}, {"in", up, r.In.DataLost.Up}} {
		if x.lost == 0 || x.stats.Lost != int(x.lost) || x.stats.Duplicated+x.stats.Reordered > 0 {
			t.Errorf("%s: %d lost of %d by the sockets, %d by the link; %d duplicated, %d reordered", x.name,
				x.stats.Lost, x.stats.Sent, x.lost, x.stats.Duplicated, x.stats.Reordered)
		}
	}
	t.Logf("out: %v\nin: %v", r.Out, r.In)
	for _, e := range ends {
		if _, err := e.Space.Netlink().LinkByName("eth0"); err == nil {
			t.Errorf("the device in %s is still there", e.Space.Name())
		}
	}
}

// TestNarrowLink: a flow of 800 kbit/s finds half of that.
func TestNarrowLink(t *testing.T) {
	set, ends := joined(t, "rate:400k,queue:20")
	s, arrivals := send(t, ends[0], ends[1], 468, 2*time.Second) // 214 octets each
	if err := set.Close(); err != nil {
		t.Error(err)
	}
	r := set.Report()["x"].In
	if uint64(s.Lost) != r.DataLost.Up || r.DataLost.Up > r.Refused || r.Lost != 0 {
		t.Errorf("%d lost, the link refused %d, %d of them datagrams", s.Lost, r.Refused, r.DataLost.Up)
	}
	octets := 8 * 214 * float64(len(arrivals)-1)
	took := time.Duration(arrivals[len(arrivals)-1].At - arrivals[0].At).Seconds()
	if rate := octets / took; rate < 300e3 || rate > 420e3 {
		t.Errorf("%.0f bit/s came through a link of 400 kbit/s", rate)
	}
}

// TestCopies: every copy a link makes arrives, and none takes the place of a
// datagram that is still under way when the sender stops.
func TestCopies(t *testing.T) {
	set, ends := joined(t, "delay:100ms,dup:50%")
	s, _ := send(t, ends[0], ends[1], 500, 500*time.Millisecond)
	if err := set.Close(); err != nil {
		t.Error(err)
	}
	// The receiver may have ended before the last copies came.
	const last = 5
	made := int(set.Report()["x"].In.Duplicated) //nolint:gosec // small
	if s.Lost != 0 || s.Reordered != 0 || s.Duplicated > made || s.Duplicated < made-last {
		t.Errorf("%d lost, %d reordered, %d duplicated; the link made %d copies", s.Lost, s.Reordered, s.Duplicated, made)
	}
}
