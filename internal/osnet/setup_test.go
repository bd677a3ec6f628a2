package osnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"openmpa/internal/osnet/osnettest"
	"openmpa/tunnel/bind"
)

// TestSetUp: an interface is set up and down, with what the kernel does then.
func TestSetUp(t *testing.T) {
	osnettest.Enter(t)
	osnettest.Veth(t, "v0", "v1")
	n := open(t, OwnerMobileNode)
	must(t, n.AddAddress("v0", prefix("10.77.0.1/24"), AddrOptions{}))
	for _, up := range []bool{false, false, true, true} {
		must(t, n.SetUp("v0", up))
		l, err := n.LinkByName("v0")
		must(t, err)
		if l.Up != up || !up && l.Carrier || len(l.Addrs) == 0 {
			t.Errorf("set up %v: %+v", up, l)
		}
	}
	if err := n.SetUp("nosuch", true); err == nil {
		t.Error("an interface that is not there: expected an error")
	}
}

// TestSetARPIgnore: the kernel takes the setting, without /proc/sys being written.
func TestSetARPIgnore(t *testing.T) {
	osnettest.Enter(t)
	osnettest.Veth(t, "v0", "v1")
	n := open(t, OwnerMobileNode)
	for _, mode := range []int{1, 0} {
		must(t, n.SetARPIgnore("v0", mode))
		if v, err := n.ARPIgnore("v0"); v != mode || err != nil {
			t.Errorf("it is %d (%v), expected %d", v, err, mode)
		}
	}
	if err := n.SetARPIgnore("nosuch", 1); err == nil {
		t.Error("an interface that is not there: expected an error")
	}
}

// TestWriteWhenUpAgain: a socket from before its interface was set up writes.
func TestWriteWhenUpAgain(t *testing.T) {
	osnettest.Enter(t)
	osnettest.Veth(t, "v0", "v1")
	n := open(t, OwnerMobileNode)
	must(t, n.SetUp("v0", false))
	c, err := n.OpenARP("v0")
	must(t, err)
	defer c.Close()
	if err := c.SendGratuitous(prefix("10.77.0.1/24").Addr()); err == nil {
		t.Error("written while the interface is down")
	}
	for range 2 {
		must(t, n.SetUp("v0", true))
		must(t, c.SendGratuitous(prefix("10.77.0.1/24").Addr()))
		must(t, n.SetUp("v0", false))
	}
}

// TestLocalAtOnce: an IPv6 address for which the kernel is to detect no duplicates is this
// host's when AddAddress returns, at each interface that has it.
func TestLocalAtOnce(t *testing.T) {
	osnettest.Enter(t)
	osnettest.Sysctl(t, "ipv6/conf/default/disable_ipv6", "0")
	osnettest.Veth(t, "v0", "v1")
	n := open(t, OwnerMobileNode)
	for i := range 100 {
		a := addr(fmt.Sprintf("2001:db8::%x", i+1))
		for _, dev := range []string{"v0", "v1"} {
			must(t, n.AddAddress(dev, netip.PrefixFrom(a, 128), AddrOptions{NoPrefixRoute: true, NoDAD: true}))
			d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
				var err error
				return errors.Join(c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), dev) }), err)
			}}
			c, err := d.Dial("udp6", netip.AddrPortFrom(a, 9).String())
			must(t, err)
			if got := c.LocalAddr().(*net.UDPAddr).AddrPort().Addr(); got != a {
				t.Errorf("%s on %s is reached from %s", a, dev, got)
			}
			must(t, c.Close())
		}
	}
	must(t, n.SetUp("v1", false))
	must(t, n.AddAddress("v1", prefix("2001:db8::ffff/128"), AddrOptions{NoDAD: true})) // nothing to wait for
}

// TestTakeRouted: nobody is told that a routing header of type 2 to the home address is not
// understood, which somebody reads; of others the sender is.
func TestTakeRouted(t *testing.T) {
	osnettest.Enter(t)
	for _, a := range []string{"2001:db8::1", "2001:db8::2"} {
		osnettest.IP(t, "address add "+a+"/128 dev lo nodad")
	}
	home, other := addr("2001:db8:9::2"), addr("2001:db8:9::3")
	raw, err := bind.OpenRaw(addr("2001:db8::1"), bind.Options{})
	must(t, err)
	defer raw.Close()
	errs, err := bind.OpenProto6(addr("2001:db8::1"), unix.IPPROTO_ICMPV6, bind.Options{})
	must(t, err)
	defer errs.Close()
	routed := func(to netip.Addr) {
		t.Helper()
		b := append([]byte{0x60, 0, 0, 0, 0, 24, unix.IPPROTO_ROUTING, 64}, addr("2001:db8::1").AsSlice()...)
		b = append(append(b, addr("2001:db8::2").AsSlice()...), 59, 2, 2, 1, 0, 0, 0, 0)
		must(t, raw.Send(append(b, to.AsSlice()...)))
	}
	told := func() netip.Addr {
		t.Helper()
		packets, err := errs.ReadBatch(bind.NewBatch(1, 2000))
		must(t, err)
		b := packets[0].Data
		if len(b) != 8+ipv6Header+24 || b[0] != 4 || b[1] != 0 {
			t.Fatalf("%x: expected a parameter problem", b)
		}
		return netip.AddrFrom16([16]byte(b[8+ipv6Header+8:]))
	}
	routed(home)
	if got := told(); got != home {
		t.Skipf("this kernel knows the header, or tells of %v", got)
	}
	n := open(t, OwnerMobileNode)
	for range 2 { // also where there is one
		must(t, n.TakeRouted(home))
		routed(home)
		routed(other)
		if got := told(); got != other {
			t.Errorf("told of %v", got)
		}
	}
	must(t, n.Close())
	routed(home)
	if got := told(); got != home {
		t.Errorf("told of %v after Close", got)
	}
	if err := n.TakeRouted(addr("10.0.0.1")); err == nil {
		t.Error("an IPv4 address was taken")
	}
}
