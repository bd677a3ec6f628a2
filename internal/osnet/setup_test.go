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
