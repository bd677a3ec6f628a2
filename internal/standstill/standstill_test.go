package standstill_test

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"openmpa/internal/acd"
	"openmpa/internal/host"
	"openmpa/internal/osnet"
	"openmpa/internal/osnet/osnettest"
	"openmpa/internal/standstill"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const packets = 100 // fewer than the tap keeps

var (
	there  = netip.MustParseAddr("10.80.0.1")
	there6 = netip.MustParseAddr("2001:db8:80::1")
	mac    = net.HardwareAddr{2, 0, 0, 0, 0, 2}
)

// tap sees the packets that come.
type tap interface {
	ReadPacket(ctx context.Context, b []byte) (int, error)
	Close() error
}

// tap6 is that of IPv6, which notes whom the kernel asks for.
type tap6 struct {
	*os.File
	asked *atomic.Int32
}

func openTap6(t *testing.T, dev string, asked *atomic.Int32) tap6 {
	t.Helper()
	const proto = unix.ETH_P_IPV6&0xFF<<8 | unix.ETH_P_IPV6>>8 // in network order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, proto)
	must(t, err)
	link, err := net.InterfaceByName(dev)
	must(t, err)
	must(t, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: proto, Ifindex: link.Index}))
	return tap6{os.NewFile(uintptr(fd), "tap"), asked}
}

func (p tap6) ReadPacket(ctx context.Context, b []byte) (int, error) {
	until, _ := ctx.Deadline()
	must := p.SetReadDeadline(until)
	for must == nil {
		n, err := p.Read(b)
		switch {
		case err != nil:
			return 0, err
		case n > 40 && b[6] == unix.IPPROTO_UDP:
			return n, nil
		case n > 40 && b[6] == unix.IPPROTO_ICMPV6 && b[40] == byte(ipv6.ICMPTypeNeighborSolicitation) && b[48] == 0xFE: // not our own, of which duplicates are detected
			p.asked.Add(1)
		}
	}
	return 0, must
}

// bed is a kernel with an interface whose other end is watched.
type bed struct {
	host.Host
	t     *testing.T
	conn  net.Conn
	tap   tap
	six   bool
	there netip.Addr
	sent  uint32
	asked atomic.Int32 // requests for link-layer addresses, each answered by a stranger
	slow  func()       // with each route that has packets wait
}

func (b *bed) SetRoute(r osnet.Route) error {
	err := b.Host.SetRoute(r)
	if b.slow != nil {
		b.slow()
	}
	return err
}

func start(t *testing.T) *bed { return startFor(t, false) }

func startFor(t *testing.T, six bool) *bed {
	t.Helper()
	osnettest.Enter(t)
	osnettest.NoLinkLocal(t)
	osnettest.Veth(t, "v0", "v1")
	kernel, err := host.Linux(slog.New(slog.DiscardHandler), osnet.OwnerAccessRouter)
	must(t, err)
	b := &bed{Host: kernel, t: t, six: six, there: there}
	near := netip.MustParsePrefix("10.77.0.1/24")
	if six {
		near, b.there = netip.MustParsePrefix("2001:db8:77::1/64"), there6
		b.tap = openTap6(t, "v1", &b.asked)
	} else {
		b.tap, err = kernel.OpenUDPTap("v1", 9)
		must(t, err)
	}
	must(t, kernel.AddAddress("v0", near, osnet.AddrOptions{NoDAD: true})) // or the kernel would add its route some time later
	must(t, kernel.SetRoute(b.route(netip.Addr{})))
	must(t, kernel.SetNeighbour("v0", b.there, mac, true))
	arp, err := kernel.OpenARP("v1")
	must(t, err)
	b.conn, err = net.Dial("udp", netip.AddrPortFrom(b.there, 9).String())
	must(t, err)
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	wg.Go(func() {
		for {
			p, err := arp.ReadARP(ctx)
			if err != nil {
				return
			}
			if p.Op == acd.OpRequest {
				b.asked.Add(1)
				_ = arp.WriteARP(p.SenderMAC.HardwareAddr(), acd.ReplyPacket(p, p.TargetIP, acd.MAC{2, 0, 0, 0, 0, 9}))
			}
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		for _, c := range []interface{ Close() error }{b.conn, arp, b.tap, kernel} {
			must(t, c.Close())
		}
	})
	return b
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (b *bed) send(n int) {
	for range n {
		if _, err := b.conn.Write(binary.BigEndian.AppendUint32(nil, b.sent)); err != nil {
			b.t.Error(err)
		}
		b.sent++
	}
}

// came reads all that has come in order, from the packet of this number on, and returns the
// number of the next.
func (b *bed) came(from uint32) uint32 {
	b.t.Helper()
	buf := make([]byte, 2048)
	for {
		ctx, cancel := context.WithTimeout(b.t.Context(), 200*time.Millisecond)
		n, err := b.tap.ReadPacket(ctx, buf)
		cancel()
		if err != nil {
			return from
		}
		if is := binary.BigEndian.Uint32(buf[n-4:]); n < 32 || is != from {
			b.t.Fatalf("packet %d of %d octets, expected %d", is, n, from)
		}
		from++
	}
}

func (b *bed) way() *standstill.Way {
	return &standstill.Way{Host: b, Dev: "v0", IPv6: b.six, Lead: func(via netip.Addr) error { return b.SetRoute(b.route(via)) }}
}

// route is that of the packets, by way of a next hop or none.
func (b *bed) route(via netip.Addr) osnet.Route {
	return osnet.Route{Dst: netip.PrefixFrom(b.there, b.there.BitLen()), Dev: "v0", Via: via, OnLink: via.IsValid()}
}

// TestInOrder: what is sent while its way changes waits until it may go, though a stranger
// says that it is whoever is asked for, and arrives whole and in order; and nothing is left.
func TestInOrder(t *testing.T) {
	for name, slow := range map[string]time.Duration{"kernel at once": 0, "kernel slow": 2 * time.Millisecond} {
		t.Run(name, func(t *testing.T) { inOrder(t, false, slow) })
		t.Run(name+", IPv6", func(t *testing.T) { inOrder(t, true, slow) })
	}
}

func inOrder(t *testing.T, six bool, slow time.Duration) {
	b := startFor(t, six)
	before := osnettest.Snapshot(t)
	neighbours := osnettest.IP(t, "neigh show")
	b.send(10)
	next := b.came(0)
	w := b.way()
	must(t, w.Prepare())
	must(t, w.Wait())
	b.send(packets)
	if now := b.came(next); now != next {
		t.Errorf("%d packets did not wait", now-next)
	}
	leads := 0
	b.slow = func() { leads++; b.send(5); time.Sleep(slow) }
	must(t, w.Release(mac))
	b.slow = nil
	must(t, b.SetRoute(b.route(netip.Addr{})))
	b.send(10)
	w.Settle()
	for range 2 {
		must(t, w.Forget())
	}
	if slow > 0 && leads != standstill.Turns-1 {
		t.Errorf("packets were led %d times, expected %d", leads, standstill.Turns-1)
	}
	if next = b.came(next); next != b.sent {
		t.Errorf("%d packets have come, expected %d", next, b.sent)
	}
	if after := osnettest.Snapshot(t); after != before {
		t.Errorf("left:\n%s\nbefore\n%s", after, before)
	}
	if now := osnettest.IP(t, "neigh show"); now != neighbours {
		t.Errorf("left:\n%s\nbefore\n%s", now, neighbours)
	}
	if n := b.asked.Load(); n > 0 {
		t.Errorf("somebody was asked for link-layer addresses %d times", n)
	}
}

// TestHurry: where somebody waits for the end, packets change their way once.
func TestHurry(t *testing.T) {
	b := start(t)
	w := b.way()
	w.Hurry = func() bool { return true }
	must(t, w.Prepare())
	must(t, w.Wait())
	leads := 0
	b.slow = func() { leads++; time.Sleep(2 * time.Millisecond) }
	must(t, w.Release(mac))
	if leads != 1 {
		t.Errorf("packets were led %d times, expected once", leads)
	}
	must(t, w.Forget())
}

// TestUnprepared: without a next hop nothing waits, and nothing is sent.
func TestUnprepared(t *testing.T) {
	b := start(t)
	w := b.way()
	if err := w.Wait(); err == nil || !strings.Contains(err.Error(), "Prepare") {
		t.Errorf("error %v", err)
	}
	must(t, w.Release(mac))
	w.Settle()
	must(t, w.Forget())
	b.send(3)
	if n := b.came(0); n != 3 {
		t.Errorf("%d packets have come, expected 3", n)
	}
}

// TestNobody: nobody has such an address, and each is another.
func TestNobody(t *testing.T) {
	for six, reserved := range map[bool]netip.Prefix{false: netip.MustParsePrefix("240.0.0.0/4"), true: netip.MustParsePrefix("fe80::/64")} {
		seen := map[netip.Addr]bool{}
		for range 1000 {
			a := standstill.Nobody(six)
			if !reserved.Contains(a) || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
				t.Errorf("address %s", a)
			}
			seen[a] = true
		}
		if len(seen) < 990 {
			t.Errorf("%d addresses of 1000", len(seen))
		}
	}
}
