package nat

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"openmpa/internal/osnet/osnettest"
	"openmpa/testbed/topo"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestTranslator has a host in network b talk to the router of network a.
func TestTranslator(t *testing.T) {
	osnettest.NeedRoot(t)
	b, _ := topo.NetworkByName("b")
	a, _ := topo.NetworkByName("a")
	plan := topo.Standard()
	// The host that stands in both networks is to take the long way.
	plan.Routes = append(plan.Routes, topo.Route{Node: topo.DHCP, Dst: netip.PrefixFrom(a.Address, 32), Via: b.Address})
	top, err := topo.Build(context.Background(), fmt.Sprintf("nattest-%d-", os.Getpid()), plan, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := top.Close(); err != nil {
			t.Error(err)
		}
	}()
	tr, err := Start(top.Space(b.Router), Config{Out: "core", Inside: b.Prefix, To: a.Address, Ports: []uint16{716, 4500}, Outer: b.Outer})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
	}()
	open := func(node string, addr netip.Addr, port uint16) (c *net.UDPConn) {
		err := top.Space(node).Do(func() (err error) {
			c, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, port)))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	router, other := open(topo.RA, a.Address, 4500), open(topo.RA, a.Address, 4501)
	host := open(topo.DHCP, b.DHCP, 40000)
	buf := make([]byte, 16)
	// send sends from the host and returns what the router sees as the source.
	send := func(to *net.UDPConn) netip.AddrPort {
		t.Helper()
		if _, err := host.WriteTo([]byte("up"), to.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		to.SetReadDeadline(time.Now().Add(5 * time.Second))
		_, from, err := to.ReadFromUDPAddrPort(buf)
		if err != nil {
			t.Fatal(err)
		}
		return from
	}
	// answered reports whether an answer to an address reaches the host.
	answered := func(to netip.AddrPort, within time.Duration) bool {
		t.Helper()
		if _, err := router.WriteToUDPAddrPort([]byte("down"), to); err != nil {
			t.Fatal(err)
		}
		host.SetReadDeadline(time.Now().Add(within))
		_, _, err := host.ReadFromUDPAddrPort(buf)
		return err == nil
	}
	if from := send(other); from != netip.AddrPortFrom(b.DHCP, 40000) {
		t.Errorf("a port that is not to be translated: from %v", from)
	}
	first := send(router)
	if first.Addr() != b.Outer || !tr.Ports().Has(first.Port()) {
		t.Errorf("from %v, expected %v and a port of %v", first, b.Outer, tr.Ports())
	}
	if !answered(first, 5*time.Second) {
		t.Error("no answer comes through the translator")
	}
	list, err := tr.Mappings()
	if err != nil || len(list) != 1 {
		t.Fatalf("mappings %v, %v; expected one", list, err)
	}
	if m := list[0]; m.Outer != first || m.Inside.Addr() != b.DHCP || m.To.Port() != 4500 || m.Sent != 1 || m.Returned != 1 {
		t.Errorf("mapping %+v", m)
	}
	before := tr.Ports()
	if err := tr.Rebind(); err != nil {
		t.Fatal(err)
	}
	if answered(first, 200*time.Millisecond) {
		t.Error("the forgotten mapping still lets answers in")
	}
	second := send(router)
	if before.Has(second.Port()) || !tr.Ports().Has(second.Port()) || !answered(second, 5*time.Second) {
		t.Errorf("from %v after ports %v, expected one of %v", second, before, tr.Ports())
	}
}
