package bed

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"openmpa/testbed/impair"
	"openmpa/testbed/peers"
	"openmpa/testbed/topo"
)

// TestRefused gives a device datagrams as the mobile node does, one by one and several at once, while its link is up, when
// it has gone, and when they wait for ARP: those and only those that it has not taken are counted.
func TestRefused(t *testing.T) {
	needRoot(t)
	t.Run("IPv4", func(t *testing.T) { refused(t, 4, 24) })
	t.Run("IPv6", func(t *testing.T) {
		installed(t, peers.Radvd{}.Program)
		refused(t, 6, 64)
	})
}

func refused(t *testing.T, ip, bits int) {
	b, err := StartNetwork(context.Background(), Options{
		Bin: t.TempDir(), IP: ip, Gap: 4 * time.Millisecond, Count: true, Traffic: impair.Traffic{FlowPort: 7000, ProbePort: 7001, Down: 1302, Up: 1300, Probe: 64},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.discard(); err != nil {
			t.Error(err)
		}
	}()
	mn := b.Top.Space(topo.MN)
	eth, err := mn.Netlink().LinkByName(topo.MNIf)
	if err != nil {
		t.Fatal(err)
	}
	home := b.opt.at(topo.HomeAddress)
	addr, err := netlink.ParseAddr(netip.PrefixFrom(home, bits).String())
	if err != nil {
		t.Fatal(err)
	}
	addr.Flags = unix.IFA_F_NODAD
	if err := mn.Netlink().AddrAdd(eth, addr); err != nil {
		t.Fatal(err)
	}
	known, unknown := home.Next(), home.Next().Next()
	mac, _ := net.ParseMAC("02:00:00:00:00:99")
	if err := mn.Netlink().NeighSet(&netlink.Neigh{
		LinkIndex: eth.Attrs().Index, IP: known.AsSlice(), HardwareAddr: mac, State: netlink.NUD_PERMANENT,
	}); err != nil {
		t.Fatal(err)
	}
	var c *net.UDPConn
	if err := mn.Do(func() error {
		c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(home, 0)))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	native := func(to netip.Addr, n int) {
		for range n {
			if _, err := c.WriteToUDPAddrPort(make([]byte, 1300), netip.AddrPortFrom(to, 7000)); err != nil {
				t.Error(err)
			}
		}
	}
	inESP := func(n int) { // at once
		segment := b.Air.classifier.UpInESP()
		control := binary.NativeEndian.AppendUint64(nil, uint64(unix.CmsgLen(2)))
		control = binary.NativeEndian.AppendUint32(control, unix.SOL_UDP)
		control = binary.NativeEndian.AppendUint32(control, unix.UDP_SEGMENT)
		control = binary.NativeEndian.AppendUint64(control, uint64(segment)) // a short one, and padding
		if _, _, err := c.WriteMsgUDPAddrPort(make([]byte, n*segment), control, netip.AddrPortFrom(known, TunnelPort)); err != nil {
			t.Error(err)
		}
	}
	expect := func(when string, refused int) {
		t.Helper()
		if err := b.Air.Settle(); err != nil {
			t.Fatal(err)
		}
		if n, err := b.Air.Refused(); err != nil || n != refused {
			t.Errorf("%s: %d refused, %v; expected %d", when, n, err, refused)
		}
	}
	native(known, 5)
	inESP(3)
	expect("with a link", 0)
	native(unknown, 2)
	expect("nobody answers for the address", 2)
	// The kernel tells when it has taken the device's queue away.
	updates, done, handle := make(chan netlink.LinkUpdate), make(chan struct{}), netns.NsHandle(mn.FD())
	if err := netlink.LinkSubscribeWithOptions(updates, done, netlink.LinkSubscribeOptions{Namespace: &handle}); err != nil {
		t.Fatal(err)
	}
	if err := b.Link.Detach(); err != nil {
		t.Fatal(err)
	}
	for u := range updates {
		if u.Attrs().Index == eth.Attrs().Index && u.Attrs().RawFlags&unix.IFF_LOWER_UP == 0 {
			break
		}
	}
	close(done)
	for range updates { // until it is closed
	}
	native(known, 4)
	inESP(6)
	expect("without a link", 12)
}
