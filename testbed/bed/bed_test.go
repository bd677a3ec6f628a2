package bed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"

	"openmpa/testbed/radio"
	"openmpa/testbed/space"
	"openmpa/testbed/topo"
	"openmpa/testbed/traffic"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" || os.Getenv("OPENMPA_TEST_ALL") != "" {
		t.Fatal("network namespaces need root")
	}
	t.Skip("network namespaces need root")
}

func network(t *testing.T) *Bed {
	t.Helper()
	needRoot(t)
	b, err := StartNetwork(context.Background(), Options{Bin: t.TempDir(), Gap: 4 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRadiosAreSimulatedOnes: without any, a lab by 802.11 says where there are some, and leaves nothing.
func TestRadiosAreSimulatedOnes(t *testing.T) {
	needRoot(t)
	phys, err := radio.Phys()
	if err != nil {
		t.Fatal(err)
	}
	if len(phys) > 0 {
		t.Fatalf("this machine has simulated radios: %v; modprobe -r mac80211_hwsim takes them away", phys)
	}
	b, err := StartNetwork(context.Background(), Options{Bin: t.TempDir(), Wifi: &Wifi{}})
	if err == nil {
		b.Close()
		t.Fatal("started without radios")
	}
	if !strings.Contains(err.Error(), "lab wifi") {
		t.Errorf("got %v, expected where there are radios", err)
	}
}

// TestNetworkOfALab leases an address by DHCP over a point of attachment,
// carries traffic across the core with it, and leaves nothing.
func TestNetworkOfALab(t *testing.T) {
	b := network(t)
	prefix := b.Run.NamePrefix()
	var lease *nclient4.Lease
	err := b.Top.Space(topo.MN).Do(func() error {
		c, err := nclient4.New(topo.MNIf, nclient4.WithTimeout(2*time.Second), nclient4.WithRetry(2))
		if err != nil {
			return err
		}
		defer c.Close()
		lease, err = c.Request(context.Background())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := lease.ACK.YourIPAddr.String(); got != "10.1.0.100" {
		t.Errorf("leased %s", got)
	}
	if l, err := b.Bound(""); err != nil || len(l) != 1 || l[0].Network != "b" {
		t.Errorf("leases %v, %v", l, err)
	}
	mn := b.Top.Space(topo.MN).Netlink()
	eth, err := mn.LinkByName(topo.MNIf)
	if err != nil {
		t.Fatal(err)
	}
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: lease.ACK.YourIPAddr, Mask: lease.ACK.SubnetMask()}}
	if err := errors.Join(mn.AddrAdd(eth, addr), mn.RouteAdd(&netlink.Route{Gw: lease.ACK.Router()[0]})); err != nil {
		t.Fatal(err)
	}
	end := traffic.Endpoint{Space: b.Top.Space(topo.MN), Addr: netip.MustParseAddr("10.1.0.100")}
	f, err := traffic.Open(traffic.Spec{Name: "up", ID: 1, From: end, To: b.Endpoint(topo.CN), Port: 9000, Rate: traffic.PerSecond(500)})
	if err != nil {
		t.Fatal(err)
	}
	f.Start()
	for deadline := time.Now().Add(10 * time.Second); f.Seen() < 100; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no traffic")
		}
	}
	f.Stop(5 * time.Second)
	if s, err := f.Stats(); err != nil || s.Lost != 0 || s.Duplicated != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}

	// What this test put there is what the lab has to complain about.
	err = b.Close()
	for _, want := range []string{"left behind: mn: address 10.1.0.100/24 on eth0", "left behind: mn: route 0.0.0.0/0"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not told of: %v", want, err)
		}
	}
	if names, err := space.List(prefix); err != nil || len(names) != 0 {
		t.Errorf("left behind: %q, %v", names, err)
	}
	if _, err := os.Stat(b.Run.Path); !os.IsNotExist(err) {
		t.Errorf("the run directory is still there: %v", err)
	}
}

func TestReleasedLeaseIsGone(t *testing.T) {
	b := network(t)
	mn := b.Top.Space(topo.MN)
	var lease *nclient4.Lease
	err := mn.Do(func() error {
		c, err := nclient4.New(topo.MNIf, nclient4.WithTimeout(2*time.Second), nclient4.WithRetry(2))
		if err != nil {
			return err
		}
		defer c.Close()
		lease, err = c.Request(context.Background())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	eth, err := mn.Netlink().LinkByName(topo.MNIf)
	if err != nil {
		t.Fatal(err)
	}
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: lease.ACK.YourIPAddr, Mask: lease.ACK.SubnetMask()}}
	if err := mn.Netlink().AddrAdd(eth, addr); err != nil {
		t.Fatal(err)
	}
	release, err := dhcpv4.NewReleaseFromACK(lease.ACK)
	if err != nil {
		t.Fatal(err)
	}
	err = mn.Do(func() error {
		c, err := net.DialUDP("udp4", &net.UDPAddr{IP: lease.ACK.YourIPAddr, Port: 68}, &net.UDPAddr{IP: lease.ACK.ServerIdentifier(), Port: 67})
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write(release.ToBytes())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(b.leasesGone(), mn.Netlink().AddrDel(eth, addr)); err != nil {
		t.Error(err)
	}
	if err := b.Close(); err != nil {
		t.Errorf("left behind by nobody: %v", err)
	}
}

// TestKilledDHCP has nobody answer between death and restart, and the lease
// known after.
func TestKilledDHCP(t *testing.T) {
	b := network(t)
	ask := func() error {
		return b.Top.Space(topo.MN).Do(func() error {
			c, err := nclient4.New(topo.MNIf, nclient4.WithTimeout(300*time.Millisecond), nclient4.WithRetry(2))
			if err != nil {
				return err
			}
			defer c.Close()
			_, err = c.Request(context.Background())
			return err
		})
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Kill(DHCPName); err != nil {
		t.Fatal(err)
	}
	if err := ask(); err == nil {
		t.Error("somebody who was killed has answered")
	}
	if err := b.Restart(context.Background(), DHCPName); err != nil {
		t.Fatal(err)
	}
	if l, err := b.Bound("b"); len(l) != 1 || err != nil {
		t.Errorf("leases after the restart: %v, %v", l, err)
	}
	if err := ask(); err != nil {
		t.Errorf("after the restart: %v", err)
	}
	for _, err := range []error{func() error { _, err := b.Kill("nobody"); return err }(), b.Restart(context.Background(), "nobody")} {
		if err == nil {
			t.Error("nobody was killed, or started")
		}
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

func TestTwoLabsBesideOneAnother(t *testing.T) {
	a, b := network(t), network(t)
	if a.Run.ID == b.Run.ID || a.Run.NamePrefix() == b.Run.NamePrefix() {
		t.Errorf("two labs with id %d", a.Run.ID)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if _, err := b.Link.Attach(context.Background(), "poa-a1"); err != nil {
		t.Errorf("the other lab is broken: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

func TestStartThatFailsLeavesNothing(t *testing.T) {
	needRoot(t)
	id := 0
	b, err := Start(context.Background(), Options{Bin: t.TempDir(), Say: func(format string, args ...any) {
		if strings.HasPrefix(format, "building") {
			id = args[0].(int)
		}
	}})
	if err == nil {
		b.Close()
		t.Fatal("started without any daemon")
	}
	if id == 0 {
		t.Fatalf("it is not told which lab was built: %v", err)
	}
	names, err := space.List(fmt.Sprintf("mpa-%d-", id))
	if err != nil || len(names) != 0 {
		t.Errorf("left behind: %q, %v", names, err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []Options{{}, {Bin: "x", DAD: "slow"}, {Bin: "x", OwnAAA: "z"}, {Bin: "x", AAA: "z"}, {Bin: "x", DHCP: "z"}, {Bin: "x", TLS: "1.1"}} {
		if b, err := StartNetwork(context.Background(), o); err == nil {
			b.Close()
			t.Errorf("%+v was taken", o)
		}
	}
}
