package tun

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"openmpa/internal/osnet/osnettest"
	"openmpa/tunnel/ipip"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bothModes runs a test without and with offload.
func bothModes(t *testing.T, test func(t *testing.T, offload bool)) {
	t.Run("plain", func(t *testing.T) { test(t, false) })
	t.Run("offload", func(t *testing.T) { test(t, true) })
}

// open makes a device in the calling thread's namespace, which the test has
// entered, and gives it an address without IPv6 noise.
func open(t *testing.T, cfg Config, prefix string) *Device {
	t.Helper()
	d, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	osnettest.IP(t, "address add "+prefix+" dev "+d.Name())
	return d
}

// readUDP reads packets until one carries UDP to port.
func readUDP(t *testing.T, d *Device, port uint16) []byte {
	t.Helper()
	buf := make([]byte, d.MTU())
	for {
		n, err := d.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		_, _, proto, head, total, err := ipip.ParseIPv4(buf[:n])
		if err == nil && proto == unix.IPPROTO_UDP && total == n && n >= head+8 && port == uint16(buf[head+2])<<8|uint16(buf[head+3]) {
			return buf[:n]
		}
	}
}

func udp(t *testing.T, local string) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(local)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// What the kernel routes into the device comes out of Read, and what is written
// is received by the kernel.
func TestPacketsBothWays(t *testing.T) { bothModes(t, testPacketsBothWays) }

func testPacketsBothWays(t *testing.T, offload bool) {
	osnettest.Enter(t)
	d := open(t, Config{Name: "tuntest0", MTU: 1300, QueueLen: 77, Offload: offload}, "10.77.0.1/24")

	show := osnettest.IP(t, "link show dev tuntest0")
	for _, want := range []string{"mtu 1300", "qlen 77", ",UP"} {
		if !strings.Contains(show, want) {
			t.Errorf("no %q in %s", want, show)
		}
	}
	if d.Name() != "tuntest0" || d.MTU() != 1300 || !strings.HasPrefix(show, fmt.Sprint(d.Index(), ": ")) {
		t.Errorf("%s %d %d in %s", d.Name(), d.MTU(), d.Index(), show)
	}

	c := udp(t, "10.77.0.1:7001")
	payload := bytes.Repeat([]byte("packet "), 100)
	if _, err := c.WriteToUDPAddrPort(payload, netip.MustParseAddrPort("10.77.0.2:7002")); err != nil {
		t.Fatal(err)
	}
	pkt := readUDP(t, d, 7002)
	if !bytes.Equal(pkt[28:], payload) {
		t.Fatalf("payload of %d octets came out as %d", len(payload), len(pkt)-28)
	}

	// Sent back with addresses and ports exchanged: the checksums stay right.
	var tmp [4]byte
	copy(tmp[:], pkt[12:16])
	copy(pkt[12:16], pkt[16:20])
	copy(pkt[16:20], tmp[:])
	pkt[20], pkt[21], pkt[22], pkt[23] = pkt[22], pkt[23], pkt[20], pkt[21]
	if n, err := d.Write(pkt); err != nil || n != len(pkt) {
		t.Fatal(n, err)
	}
	buf := make([]byte, 2000)
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	n, from, err := c.ReadFromUDPAddrPort(buf)
	if err != nil || !bytes.Equal(buf[:n], payload) || from != netip.MustParseAddrPort("10.77.0.2:7002") {
		t.Fatalf("%d octets from %v: %v", n, from, err)
	}
	if _, err := d.Write([]byte{0x10, 0, 0, 0}); !errors.Is(err, unix.EINVAL) {
		t.Fatalf("no packet: %v", err)
	}
	s, err := d.Stats()
	if err != nil || s.Read == 0 || s.Write != 1 || s.ReadDropped != 0 {
		t.Fatalf("%+v %v", s, err)
	}
}

// Two devices in two namespaces with this process as the wire.
func TestTwoDevices(t *testing.T) { bothModes(t, testTwoDevices) }

func testTwoDevices(t *testing.T, offload bool) {
	osnettest.Enter(t)
	near := open(t, Config{Name: "tuntest%d", Offload: offload}, "10.78.0.1/24")
	var far *Device
	var server *net.UDPConn
	osnettest.Other(t)(func() {
		far = open(t, Config{Offload: offload}, "10.78.0.2/24")
		server = udp(t, "10.78.0.2:7003")
	})
	if near.Name() != "tuntest0" || far.Name() != "tun0" || near.MTU() != DefaultMTU {
		t.Fatalf("names %s and %s, MTU %d", near.Name(), far.Name(), near.MTU())
	}
	client := udp(t, "10.78.0.1:7004")
	if _, err := client.WriteToUDPAddrPort([]byte("over the wire"), netip.MustParseAddrPort("10.78.0.2:7003")); err != nil {
		t.Fatal(err)
	}
	if _, err := far.Write(readUDP(t, near, 7003)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	n, from, err := server.ReadFromUDPAddrPort(buf)
	if err != nil || string(buf[:n]) != "over the wire" || from.Addr() != netip.MustParseAddr("10.78.0.1") {
		t.Fatalf("%q from %v: %v", buf[:n], from, err)
	}
	if _, err := server.WriteToUDPAddrPort([]byte("and back"), from); err != nil {
		t.Fatal(err)
	}
	if _, err := near.Write(readUDP(t, far, 7004)); err != nil {
		t.Fatal(err)
	}
	n, err = client.Read(buf)
	if err != nil || string(buf[:n]) != "and back" {
		t.Fatalf("%q: %v", buf[:n], err)
	}
}

// Packets for which the queue had no room are counted, none is missing.
func TestQueueFullIsCounted(t *testing.T) { bothModes(t, testQueueFullIsCounted) }

func testQueueFullIsCounted(t *testing.T, offload bool) {
	osnettest.Enter(t)
	const queue, sent = 10, 100
	d := open(t, Config{QueueLen: queue, Offload: offload}, "10.79.0.1/24")
	c := udp(t, "10.79.0.1:7005")
	before, err := d.Stats()
	if err != nil {
		t.Fatal(err)
	}
	for range sent {
		_, _ = c.WriteToUDPAddrPort([]byte("x"), netip.MustParseAddrPort("10.79.0.2:7006")) // ENOBUFS is what we provoke
	}
	s, err := d.Stats()
	if err != nil {
		t.Fatal(err)
	}
	dropped := s.ReadDropped - before.ReadDropped
	if dropped == 0 || dropped > sent {
		t.Fatalf("%d sent into a queue of %d, %d counted as dropped", sent, queue, dropped)
	}
	buf := make([]byte, 2000)
	for range queue { // all that is in it
		if _, err := d.Read(buf); err != nil {
			t.Fatal(err)
		}
	}
	s, err = d.Stats()
	if err != nil || s.Read-before.Read != queue || s.Read-before.Read+s.ReadDropped-before.ReadDropped < sent {
		t.Fatalf("%d sent, counters before %+v and after %+v, %v", sent, before, s, err)
	}
}

func TestCloseWakesRead(t *testing.T) { bothModes(t, testCloseWakesRead) }

func testCloseWakesRead(t *testing.T, offload bool) {
	osnettest.Enter(t)
	d, err := Open(Config{Offload: offload})
	if err != nil {
		t.Fatal(err)
	}
	osnettest.IP(t, "-6 address flush dev "+d.Name()) // no router solicitations to read
	got := make(chan error)
	go func() {
		buf := make([]byte, 2000)
		for {
			if _, err := d.Read(buf); err != nil {
				got <- err
				return
			}
		}
	}()
	time.Sleep(20 * time.Millisecond) // so that Read most likely waits; either way it must end
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-got; !errors.Is(err, os.ErrClosed) {
		t.Fatalf("read ended with %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatalf("second close: %v", err)
	}
	if _, err := d.Stats(); !errors.Is(err, os.ErrClosed) {
		t.Fatalf("counters after close: %v", err)
	}
	if out := osnettest.IP(t, "link show"); strings.Contains(out, d.Name()+":") {
		t.Fatalf("the device is still there:\n%s", out)
	}
}

func TestDescriptors(t *testing.T) { bothModes(t, testDescriptors) }

func testDescriptors(t *testing.T, offload bool) {
	osnettest.Enter(t)
	before, err := cloneDescriptors()
	if err != nil {
		t.Fatal(err)
	}
	d := open(t, Config{Name: "tuntest0", Offload: offload}, "10.80.0.1/24")
	for range 20 {
		_, err := Open(Config{Name: "tuntest0", Offload: offload})
		if !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), "another process holds the device") {
			t.Fatalf("second open: %v", err)
		}
		want := map[bool]error{false: unix.EINVAL, true: unix.EBUSY}[offload]
		if _, err := Open(Config{Name: "lo", Offload: offload}); !errors.Is(err, want) {
			t.Fatalf("a device of another kind: %v, expected %v", err, want)
		}
	}
	after, err := cloneDescriptors()
	if err != nil {
		t.Fatal(err)
	}
	if len(after) != len(before)+1 {
		t.Fatalf("descriptors of %s before %v, after one success and 40 failures %v", cloneDevice, before, after)
	}
	var file syscall.Conn
	if offload {
		file = d.off.dev.File()
	} else {
		file = d.ifce.ReadWriteCloser.(syscall.Conn)
	}
	raw, err := file.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		flags, err := unix.FcntlInt(fd, unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("close-on-exec is not set: %#x %v", flags, err)
		}
	}); err != nil {
		t.Fatal(err)
	}
}

func TestConfigRefused(t *testing.T) {
	for _, cfg := range []Config{
		{Name: "a-name-of-16-oct"},
		{MTU: 500},
		{MTU: 65536},
		{MTU: -1},
		{QueueLen: -1},
		{QueueLen: 1<<20 + 1},
	} {
		if d, err := Open(cfg); err == nil {
			_ = d.Close()
			t.Errorf("%+v was taken", cfg)
		}
	}
}

func TestErrorsNameTheRemedy(t *testing.T) {
	for err, want := range map[error]string{
		unix.ENOENT: "modprobe tun",
		unix.EPERM:  "CAP_NET_ADMIN",
		unix.EBUSY:  "another process",
		unix.EINVAL: "another kind",
	} {
		got := explain("mpa0", err)
		if !errors.Is(got, err) || !strings.Contains(got.Error(), want) {
			t.Errorf("%v: %v", err, got)
		}
	}
}
