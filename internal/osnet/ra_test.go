package osnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"openmpa/internal/acd"
	"openmpa/internal/acd/nd"
	"openmpa/internal/osnet/osnettest"
)

// TestRouterAdverts: what a real router daemon advertises is read on its own host and across the link, and an address can be
// formed from it; what is not valid is not.
func TestRouterAdverts(t *testing.T) {
	radvd, err := exec.LookPath("radvd")
	if err != nil {
		radvd = "/usr/sbin/radvd"
	}
	if _, err := os.Stat(radvd); err != nil {
		if os.Getenv("CI") != "" || os.Getenv("OPENMPA_TEST_ALL") != "" {
			t.Fatalf("%v: apt-get install --no-install-recommends radvd", err)
		}
		t.Skipf("%v: apt-get install --no-install-recommends radvd", err)
	}
	osnettest.Enter(t)
	osnettest.NoLinkLocal(t)
	other := osnettest.Other(t)
	other(func() { osnettest.NoLinkLocal(t) })
	osnettest.VethTo(t, "lan0", "v1", other)
	osnettest.IP(t, "link set lan0 address 02:00:00:00:00:01")
	osnettest.Sysctl(t, "ipv6/conf/all/forwarding", "1")
	osnettest.IP(t, "address add fe80::1/64 dev lan0 nodad")
	osnettest.IP(t, "address add 2001:db8:2::1/64 dev lan0 nodad")

	n := open(t, OwnerAccessRouter)
	here, err := n.OpenRouterAdverts("lan0")
	must(t, err)
	defer here.Close()
	var far *NDConn
	other(func() {
		m := open(t, OwnerMobileNode)
		if far, err = m.OpenND("v1"); err != nil {
			t.Error(err)
		}
	})
	if far == nil {
		t.FailNow()
	}
	defer far.Close()

	// Not from a router: a node advertises from an address that is not link-local, and through a router.
	other(func() {
		osnettest.IP(t, "address add 2001:db8:2::66/64 dev v1 nodad")
		eventually(t, "-6 route show table local dev v1", "local 2001:db8:2::66 ")
	})
	must(t, far.WriteND(nd.Packet{Src: addr("2001:db8:2::66"), Dst: nd.AllNodes(), Msg: nd.RouterAdvert{Lifetime: time.Hour}}))

	dir := t.TempDir()
	conf := filepath.Join(dir, "radvd.conf")
	must(t, os.WriteFile(conf, []byte(`interface lan0 {
	AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; AdvDefaultLifetime 1800; AdvManagedFlag on; AdvLinkMTU 1428;
	prefix 2001:db8:2::/64 { AdvOnLink on; AdvAutonomous on; AdvValidLifetime 86400; AdvPreferredLifetime 14400; };
	RDNSS 2001:db8::53 { AdvRDNSSLifetime 600; };
};
`), 0o600))
	cmd := exec.Command(radvd, "-n", "-C", conf, "-p", filepath.Join(dir, "pid"), "-m", "stderr")
	var said strings.Builder
	cmd.Stderr = &said
	must(t, cmd.Start())
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("radvd says:\n%s", said.String())
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	want := nd.RouterAdvert{
		HopLimit: 64, Managed: true, Lifetime: 1800 * time.Second, MAC: mac1, MTU: 1428, DNS: []netip.Addr{addr("2001:db8::53")},
		Prefixes: []nd.PrefixInfo{{Prefix: prefix("2001:db8:2::/64"), OnLink: true, Autonomous: true, Valid: 24 * time.Hour, Preferred: 4 * time.Hour}},
	}
	heard, err := here.Next(ctx)
	ra := heard.RouterAdvert
	if err != nil || heard.From != addr("fe80::1") || !reflect.DeepEqual(ra, want) {
		t.Errorf("here: %+v, %v; want %+v", heard, err, want)
	}
	if here.Dropped() != 1 {
		t.Errorf("%d advertisements were not valid, want 1", here.Dropped())
	}
	for {
		p, err := far.ReadND(ctx)
		must(t, err)
		if got, ok := p.Msg.(nd.RouterAdvert); ok {
			if p.From != mac1 || !reflect.DeepEqual(got, want) {
				t.Errorf("across the link: %+v", p)
			}
			break
		}
	}
	// Carried elsewhere, and an address formed from it, it holds on the link.
	carried, err := ParseRouterAdvert(heard.Raw)
	must(t, err)
	p, err := parseND(AdvertPacket(heard.From, addr("2001:db8:2::7"), heard.Raw), mac1)
	if err != nil || !reflect.DeepEqual(p.Msg, want) || p.Src != heard.From || p.Dst != addr("2001:db8:2::7") {
		t.Errorf("as a packet: %+v, %v", p, err)
	}
	stable := nd.Stable{Secret: []byte("0123456789abcdef"), Iface: "v1"}
	for _, p := range carried.Autonomous() {
		a, err := stable.Addr(p, 0)
		if err != nil || !ra.Holds(a) {
			t.Errorf("formed %v, %v", a, err)
		}
		e, err := nd.Form(p, nd.EUI64(acd.MAC{2, 0, 0, 0, 0, 9}))
		if err != nil || fmt.Sprint(e) != "2001:db8:2::ff:fe00:9" {
			t.Errorf("formed %v, %v", e, err)
		}
	}
	if len(carried.Autonomous()) != 1 {
		t.Errorf("autonomous %v", carried.Autonomous())
	}
	// Who asks is answered, by a daemon on its own host, too.
	must(t, here.Solicit())
	if again, err := here.Next(ctx); err != nil || !reflect.DeepEqual(again.RouterAdvert, want) {
		t.Errorf("solicited: %+v, %v", again, err)
	}

	short, stop := context.WithTimeout(t.Context(), time.Millisecond)
	defer stop()
	<-short.Done()
	if _, err := here.Next(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ended: %v", err)
	}
	must(t, here.Close())
	must(t, here.Close())
	if _, err := here.Next(ctx); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	if _, err := n.OpenRouterAdverts("nosuch"); err == nil {
		t.Error("want an error")
	}
}
