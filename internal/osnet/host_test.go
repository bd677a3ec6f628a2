package osnet

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/packet"

	"openmpa/internal/acd"
	"openmpa/internal/osnet/osnettest"
)

func TestCounters(t *testing.T) {
	osnettest.Enter(t)
	osnettest.Veth(t, "v0", "v1")
	n := open(t, OwnerMobileNode)
	c, err := n.OpenARP("v0")
	must(t, err)
	defer c.Close()
	before := map[string]Counters{}
	for _, name := range []string{"v0", "v1"} {
		before[name], err = n.Counters(name)
		must(t, err)
	}
	const frames = 7
	for range frames {
		must(t, c.SendGratuitous(addr("10.77.0.1")))
	}
	// The kernel may send of its own accord, too.
	if after, err := n.Counters("v0"); err != nil || after.Sent < before["v0"].Sent+frames {
		t.Errorf("sent %+v after %+v (%v), expected %d more", after, before["v0"], err, frames)
	}
	if after, err := n.Counters("v1"); err != nil || after.Received < before["v1"].Received+frames {
		t.Errorf("received %+v after %+v (%v), expected %d more", after, before["v1"], err, frames)
	}
	if _, err := n.Counters("nosuch"); err == nil {
		t.Error("want an error")
	}
}

func TestLinkByName(t *testing.T) {
	osnettest.Enter(t)
	osnettest.Veth(t, "v0", "v1")
	osnettest.IP(t, "link set v0 address 02:00:00:00:00:77 mtu 1400")
	n := open(t, OwnerMobileNode)
	must(t, n.AddAddress("v0", prefix("10.77.0.1/24"), AddrOptions{}))
	l, err := n.LinkByName("v0")
	must(t, err)
	if l.Name != "v0" || l.Index == 0 || l.MAC.String() != "02:00:00:00:00:77" || l.MTU != 1400 || !l.Up {
		t.Errorf("link %+v", l)
	}
	found := false
	for _, p := range l.Addrs {
		found = found || p == prefix("10.77.0.1/24")
	}
	if !found {
		t.Errorf("addresses %v, want 10.77.0.1/24 among them", l.Addrs)
	}
	if _, err := n.LinkByName("nosuch"); err == nil {
		t.Error("want an error")
	}
	// From a thread in another namespace the Net still works in its own.
	other := osnettest.Other(t)
	other(func() {
		if _, err := n.LinkByName("v0"); err != nil {
			t.Error(err)
		}
		if _, err := n.Sysctl("net/ipv4/conf/v0/forwarding"); err != nil {
			t.Error(err)
		}
		c, err := n.OpenARP("v0")
		if err != nil {
			t.Error(err)
			return
		}
		c.Close()
	})
}

func TestResolve(t *testing.T) {
	osnettest.Enter(t)
	other := osnettest.Other(t)
	osnettest.VethTo(t, "v0", "v1", other)
	other(func() {
		osnettest.IP(t, "address add 10.77.0.2/24 dev v1")
		osnettest.IP(t, "link set v1 address 02:00:00:00:00:02")
	})
	n := open(t, OwnerMobileNode)
	must(t, n.AddAddress("v0", prefix("10.77.0.1/24"), AddrOptions{}))
	if m, ok, err := n.Lookup("v0", addr("10.77.0.2")); ok || err != nil {
		t.Errorf("Lookup before: %v %v %v", m, ok, err)
	}
	m, err := n.Resolve(t.Context(), "v0", addr("10.77.0.2"))
	must(t, err)
	if m.String() != "02:00:00:00:00:02" {
		t.Errorf("resolved to %v", m)
	}
	if m, ok, err := n.Lookup("v0", addr("10.77.0.2")); !ok || err != nil || m.String() != "02:00:00:00:00:02" {
		t.Errorf("Lookup after: %v %v %v", m, ok, err)
	}
	must(t, n.DelNeighbour("v0", addr("10.77.0.2"))) // learned by the kernel: may go
	must(t, n.SetNeighbour("v0", addr("10.77.0.2"), mac(t, "02:00:00:00:00:03"), true))
	if m, err = n.Resolve(t.Context(), "v0", addr("10.77.0.2")); err != nil || m.String() != "02:00:00:00:00:03" {
		t.Errorf("permanent: %v %v", m, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := n.Resolve(ctx, "v0", addr("10.77.0.99")); !errors.Is(err, ErrUnresolved) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nobody there, short wait: %v", err)
	}
	must(t, n.SetSysctl("net/ipv4/neigh/v0/retrans_time_ms", "50"))
	if _, err := n.Resolve(t.Context(), "v0", addr("10.77.0.98")); !errors.Is(err, ErrUnresolved) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nobody there: %v", err)
	}
	if _, err := n.Resolve(t.Context(), "v0", addr("10.77.0.98")); !errors.Is(err, ErrUnresolved) {
		t.Errorf("nobody there, again: %v", err)
	}
}

func TestAcceptLocal(t *testing.T) {
	osnettest.Enter(t)
	osnettest.Veth(t, "v0.1", "v1")
	n := open(t, OwnerAccessRouter)
	must(t, n.AcceptLocal("v0.1"))
	for key, want := range map[string]string{"net/ipv4/conf/v0.1/accept_local": "1", "net/ipv4/conf/v1/accept_local": "0"} {
		if v, err := n.Sysctl(key); v != want || err != nil {
			t.Errorf("%s=%q %v, want %s", key, v, err, want)
		}
	}
	if err := n.AcceptLocal("none"); err == nil || strings.Count(err.Error(), "osnet:") != 1 {
		t.Errorf("%v", err)
	}
}

func TestSysctl(t *testing.T) {
	osnettest.Enter(t)
	osnettest.Veth(t, "v0.1", "v1")
	n := open(t, OwnerAccessRouter)
	key := "net/ipv4/conf/v0.1/rp_filter"
	old, err := n.Sysctl(key)
	must(t, err)
	other := map[string]string{"0": "2", "1": "2", "2": "0"}[old]
	must(t, n.SetSysctl(key, other))
	must(t, n.SetSysctl(key, "1"))
	must(t, n.SetSysctl(key, other))
	if v, err := n.Sysctl(key); v != other || err != nil {
		t.Errorf("%s=%q %v, want %s", key, v, err, other)
	}
	must(t, n.SetSysctl("net.ipv4.conf.v1.rp_filter", other))
	osnettest.IP(t, "link del v1") // v0.1 goes too: nothing to restore, no error
	must(t, n.Close())
	n = open(t, OwnerAccessRouter)
	before, err := n.Sysctl("net.ipv4.ip_forward")
	must(t, err)
	must(t, n.SetSysctl("net.ipv4.ip_forward", "1"))
	must(t, n.Close())
	n = open(t, OwnerAccessRouter)
	if v, err := n.Sysctl("net.ipv4.ip_forward"); err != nil || v != before {
		t.Errorf("not restored: %q %v, was %q", v, err, before)
	}
	for _, bad := range []string{"", "kernel.hostname", "net..ipv4", "net/../kernel/hostname", "net.ipv4.nosuch", "/net/ipv4/ip_forward"} {
		if _, err := n.Sysctl(bad); err == nil || strings.Count(err.Error(), "osnet:") != 1 {
			t.Errorf("Sysctl(%q): %v", bad, err)
		}
	}
	if err := n.SetSysctl("net.ipv4.ip_forward", "many"); err == nil {
		t.Error("want an error")
	}
	if _, err := n.Sysctl("net/ipv4/conf/nosuch/rp_filter"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no interface: %v", err)
	}
}

func TestCheckRouter(t *testing.T) {
	osnettest.Enter(t)
	osnettest.Veth(t, "lan0", "tun0")
	n := open(t, OwnerAccessRouter)
	set := func(forward, all, lan, tun string) {
		t.Helper()
		for k, v := range map[string]string{
			"net.ipv4.ip_forward": forward, "net.ipv4.conf.all.rp_filter": all,
			"net.ipv4.conf.lan0.rp_filter": lan, "net.ipv4.conf.tun0.rp_filter": tun,
		} {
			must(t, n.SetSysctl(k, v))
		}
	}
	for _, c := range []struct{ forward, all, lan, tun, want string }{
		{"1", "0", "0", "0", ""},
		{"1", "2", "1", "1", ""}, // the larger counts: loose
		{"1", "0", "2", "2", ""},
		{"0", "0", "0", "0", "sysctl -w net.ipv4.ip_forward=1"},
		{"1", "1", "0", "0", "sysctl -w net.ipv4.conf.all.rp_filter=2"},
		{"1", "0", "0", "1", "sysctl -w net/ipv4/conf/tun0/rp_filter=2"},
		{"1", "0", "1", "0", "sysctl -w net/ipv4/conf/lan0/rp_filter=2"},
	} {
		set(c.forward, c.all, c.lan, c.tun)
		err := n.CheckRouter("lan0", "tun0")
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	set("1", "0", "0", "0")
	must(t, n.CheckRouter("lan0", ""))
	must(t, n.SetSysctl("net.ipv4.conf.lan0.forwarding", "0"))
	if err := n.CheckRouter("lan0", "tun0"); err == nil || !strings.Contains(err.Error(), "net/ipv4/conf/lan0/forwarding=1") {
		t.Errorf("forwarding off: %v", err)
	}
	if err := n.CheckRouter("nosuch", ""); err == nil || !strings.Contains(err.Error(), `"nosuch"`) {
		t.Errorf("no interface: %v", err)
	}
}

func TestCheckRouter6(t *testing.T) {
	osnettest.Enter(t)
	osnettest.Veth(t, "lan0", "lan1")
	n := open(t, OwnerHomeAgent)
	for _, c := range []struct{ all, lan, want string }{
		{"1", "1", ""},
		{"1", "0", "net/ipv6/conf/lan0/forwarding=1"},
		{"0", "1", "net/ipv6/conf/all/forwarding=1"},
	} {
		must(t, n.SetSysctl("net/ipv6/conf/all/forwarding", c.all)) // sets those of the interfaces, too
		must(t, n.SetSysctl("net/ipv6/conf/lan0/forwarding", c.lan))
		err := n.CheckRouter6("lan0")
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if err := n.CheckRouter6("nosuch"); err == nil || !strings.Contains(err.Error(), `"nosuch"`) {
		t.Errorf("no interface: %v", err)
	}
}

func TestARP(t *testing.T) {
	osnettest.Enter(t)
	osnettest.Veth(t, "v0", "v1")
	n := open(t, OwnerAccessRouter)
	a, err := n.OpenARP("v0")
	must(t, err)
	defer a.Close()
	b, err := n.OpenARP("v1")
	must(t, err)
	defer b.Close()
	bounded, end := context.WithTimeout(t.Context(), 10*time.Second)
	defer end()
	am, err := acd.MACFrom(a.MAC())
	must(t, err)
	probe := acd.ProbePacket(addr("10.77.0.5"), am)
	reply := acd.ReplyPacket(probe, addr("10.77.0.5"), am)

	// What the filter must keep out, then what it must let through.
	raw := func(mangle func(p []byte) []byte) {
		t.Helper()
		p, err := probe.AppendBinary(nil)
		must(t, err)
		_, err = a.c.WriteTo(mangle(p), hwAddr(acd.Broadcast()))
		must(t, err)
	}
	raw(func(p []byte) []byte { return p[:20] })
	raw(func(p []byte) []byte { p[1] = 6; return p })
	raw(func(p []byte) []byte { p[2] = 0x86; return p })
	raw(func(p []byte) []byte { p[4] = 8; return p })
	raw(func(p []byte) []byte { p[7] = 3; return p }) // RARP
	raw(func(p []byte) []byte { p[6] = 1; return p })
	must(t, a.WriteARP(acd.Broadcast(), probe))
	must(t, a.SendGratuitous(addr("10.77.0.6")))
	must(t, a.WriteARP(b.MAC(), reply))
	for _, want := range []acd.Packet{probe, acd.AnnouncementPacket(addr("10.77.0.6"), am), reply} {
		got, err := b.ReadARP(bounded)
		must(t, err)
		if got != want {
			t.Errorf("read %+v, want %+v", got, want)
		}
	}
	if d := b.Dropped(); d != 0 {
		t.Errorf("%d packets came through the filter and did not parse", d)
	}

	// ctx ends a read, and the next one works.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := b.ReadARP(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("read under a deadline: %v", err)
	}
	// The interface goes down and comes back while the socket is open.
	osnettest.IP(t, "link set v1 down")
	if err := a.WriteARP(acd.Broadcast(), probe); err == nil {
		t.Log("writing without carrier is silent here") // the kernel may take it and drop it
	}
	ch, err := n.WatchLink(t.Context(), "v0")
	must(t, err)
	osnettest.IP(t, "link set v1 up")
	for s := next(t, ch); !s.Up; s = next(t, ch) { // before that the kernel drops what is sent
	}
	must(t, a.Announce(t.Context(), addr("10.77.0.7"), 2, time.Millisecond))
	for range 2 {
		got, err := b.ReadARP(bounded)
		must(t, err)
		if got != acd.AnnouncementPacket(addr("10.77.0.7"), am) {
			t.Errorf("after down and up: %+v", got)
		}
	}
	// Close ends a read.
	done := make(chan error)
	go func() { _, err := b.ReadARP(context.Background()); done <- err }()
	time.Sleep(10 * time.Millisecond) // not needed for the result, only to meet the read more often
	must(t, b.Close())
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after Close: %v", err)
	}
	must(t, b.Close())
	if _, err := n.OpenARP("nosuch"); err == nil {
		t.Error("want an error")
	}
	if err := a.WriteARP(acd.Broadcast(), acd.Packet{}); err == nil {
		t.Error("a packet without addresses: want an error")
	}
}

func hwAddr(a net.HardwareAddr) net.Addr { return &packet.Addr{HardwareAddr: a} }
