package tun

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	wgtun "golang.zx2c4.com/wireguard/tun"

	"openmpa/internal/osnet/osnettest"
	"openmpa/tunnel/ipip"
)

// carry writes into one device what comes out of another, as a reader does that has
// several packets in hand, until either is closed. It returns the length of the longest
// packet and the largest number that were in hand.
func carry(t *testing.T, from, to *Device) (longest, inHand int) {
	buf := make([]byte, 65536)
	corked := false
	for {
		n, err := from.Read(buf)
		if err != nil {
			if !errors.Is(err, os.ErrClosed) {
				t.Error(err)
			}
			return longest, inHand
		}
		if !corked {
			to.Cork()
			corked = true
		}
		longest, inHand = max(longest, n), max(inHand, from.Buffered())
		if n > from.MTU() {
			t.Errorf("a packet of %d octets came out of a device with an MTU of %d", n, from.MTU())
		}
		if _, err := to.Queue(buf[:n]); err != nil && !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
		if from.Buffered() == 0 {
			if err := to.Uncork(); err != nil && !errors.Is(err, os.ErrClosed) {
				t.Error(err)
			}
			corked = false
		}
	}
}

// A stream through two devices arrives as it was sent, and with offload several of its
// segments come at a time.
func TestStream(t *testing.T) { bothModes(t, testStream) }

func testStream(t *testing.T, offload bool) {
	osnettest.Enter(t)
	near, err := Open(Config{Offload: offload})
	if err != nil {
		t.Fatal(err)
	}
	osnettest.IP(t, "address add 10.81.0.1/24 dev "+near.Name())
	var far *Device
	var server net.Listener
	osnettest.Other(t)(func() {
		if far, err = Open(Config{Offload: offload}); err != nil {
			t.Fatal(err)
		}
		osnettest.IP(t, "address add 10.81.0.2/24 dev "+far.Name())
		if server, err = net.Listen("tcp4", "10.81.0.2:7007"); err != nil {
			t.Fatal(err)
		}
	})
	defer server.Close()
	var wg sync.WaitGroup
	var inHand int
	wg.Go(func() { _, inHand = carry(t, near, far) })
	wg.Go(func() { carry(t, far, near) })
	defer func() {
		near.Close()
		far.Close()
		wg.Wait()
		if offload != (inHand > 0) {
			t.Errorf("offload %v, and %d segments were in hand at most", offload, inHand)
		}
	}()

	client, err := net.Dial("tcp4", "10.81.0.2:7007")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	sent := make([]byte, 8<<20)
	for i := range sent {
		sent[i] = byte(i * i >> 8)
	}
	wg.Go(func() {
		if _, err := client.Write(sent); err != nil {
			t.Error(err)
		}
		client.(*net.TCPConn).CloseWrite()
	})
	conn, err := server.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(io.LimitReader(conn, int64(len(sent))+1))
	if err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("%d octets of %d arrived, %v", len(got), len(sent), err)
	}
}

// Queued packets wait for Uncork, unless nobody holds the device corked; Write goes at
// once, and behind them.
func TestCork(t *testing.T) {
	osnettest.Enter(t)
	d := open(t, Config{Offload: true}, "10.82.0.1/24")
	c := udp(t, "10.82.0.1:7008")
	packet := func(n byte) []byte {
		b, err := ipip.Encapsulate(nil, ipip.Header{Src: netip.MustParseAddr("10.82.0.2"), Dst: netip.MustParseAddr("10.82.0.1"), TTL: 3, ID: uint16(n)},
			[]byte{0x45, 0, 0, 20, 0, 0, 0, 0, 9, 0, 0, 0, 10, 82, 0, 9, 10, 82, 0, 1})
		if err != nil {
			t.Fatal(err)
		}
		copy(b[20:], []byte{0x1b, 0x60, 0x1b, 0x60, 0, 20, 0, 0, n}) // UDP from and to port 7008, no checksum
		b[9], b[10], b[11] = unix.IPPROTO_UDP, 0, 0
		var sum uint32
		for i := 0; i < 20; i += 2 {
			sum += uint32(b[i])<<8 | uint32(b[i+1])
		}
		sum = sum>>16 + sum&0xffff
		b[10], b[11] = byte(^sum>>8), byte(^sum)
		return b
	}
	expect := func(want string) {
		t.Helper()
		var got []string
		buf := make([]byte, 100)
		for range strings.Fields(want) {
			if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Read(buf); err != nil {
				t.Fatal(err)
			}
			got = append(got, string(buf[0]))
		}
		if g := strings.Join(got, " "); g != want {
			t.Fatalf("%q arrived, expected %q", g, want)
		}
		if err := c.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("behind %q came %q, %v", want, buf[0], err)
		}
	}
	give := func(how func([]byte) (int, error), n byte) {
		t.Helper()
		if _, err := how(packet(n)); err != nil {
			t.Fatal(err)
		}
	}
	give(d.Queue, 'a')
	expect("a")
	d.Cork()
	give(d.Queue, 'b')
	give(d.Queue, 'c')
	expect("")
	give(d.Write, 'd')
	expect("b c d")
	give(d.Queue, 'e')
	if err := d.Uncork(); err != nil {
		t.Fatal(err)
	}
	expect("e")
	// What no kernel takes does not spoil the others.
	d.Cork()
	give(d.Queue, 'f')
	for _, bad := range [][]byte{nil, {0x10}, make([]byte, 1<<16)} {
		if _, err := d.Queue(bad); !errors.Is(err, unix.EINVAL) {
			t.Errorf("a packet of %d octets: %v", len(bad), err)
		}
	}
	if err := d.Uncork(); err != nil {
		t.Fatal(err)
	}
	expect("f")
}

// However many packets are merged, what goes to the kernel is no longer than an IP packet
// may be: all of them arrive.
func TestManyAtOnce(t *testing.T) {
	osnettest.Enter(t)
	near := open(t, Config{Offload: true}, "10.84.0.1/24")
	var far *Device
	var server *net.UDPConn
	osnettest.Other(t)(func() {
		far = open(t, Config{Offload: true}, "10.84.0.2/24")
		server = udp(t, "10.84.0.2:7011")
	})
	if err := server.SetReadBuffer(1 << 20); err != nil {
		t.Fatal(err)
	}
	client := udp(t, "10.84.0.1:7012")
	for _, size := range []int{1372, 1000, 1371, 500, 1} {
		const many = 60
		far.Cork()
		for i := range many {
			if _, err := client.WriteToUDPAddrPort(bytes.Repeat([]byte{byte(i)}, size), netip.MustParseAddrPort("10.84.0.2:7011")); err != nil {
				t.Fatal(err)
			}
			if _, err := far.Queue(readUDP(t, near, 7011)); err != nil {
				t.Fatal(err)
			}
		}
		if err := far.Uncork(); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 2000)
		for i := range many {
			if err := server.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if n, err := server.Read(buf); err != nil || n != size || buf[0] != byte(i) {
				t.Fatalf("%d octets: of %d packets number %d came as number %d with %d octets, %v", size, many, i, buf[0], n, err)
			}
		}
	}
}

// ReadNow returns what is in hand, or at the kernel, and does not wait.
func TestReadNowWithOffload(t *testing.T) {
	osnettest.Enter(t)
	d := open(t, Config{Offload: true}, "10.83.0.1/24")
	osnettest.IP(t, "-6 address flush dev "+d.Name())
	buf := make([]byte, 2000)
	for { // what the kernel said at the start
		n, err := d.ReadNow(buf)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
	}
	c := udp(t, "10.83.0.1:7009")
	for range 3 {
		if _, err := c.WriteToUDPAddrPort([]byte("x"), netip.MustParseAddrPort("10.83.0.2:7010")); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		n, err := d.ReadNow(buf)
		if err != nil || n != 29 || d.Buffered() != 2-i {
			t.Fatalf("packet %d: %d octets, %v, %d in hand", i, n, err, d.Buffered())
		}
	}
	if n, err := d.ReadNow(buf); n != 0 || err != nil {
		t.Fatalf("%d octets, %v", n, err)
	}
}

// oddDevice gives frames that cannot be taken apart, as many as there are octets in its pipe.
type oddDevice struct {
	wgtun.Device
	r *os.File
}

func (d oddDevice) File() *os.File { return d.r }

func (d oddDevice) Read([][]byte, []int, int) (int, error) {
	var b [1]byte
	if _, err := d.r.Read(b[:]); err != nil {
		return 0, err
	}
	return 0, errors.New("no segments of anything")
}

// A frame of no use, with nothing behind it, does not have ReadNow wait.
func TestReadNowPassesOddFrames(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	o, err := newOffload(oddDevice{r: r}, 100)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte{1, 2}); err != nil {
		t.Fatal(err)
	}
	type result struct {
		n   int
		err error
	}
	done := make(chan result, 1)
	go func() {
		n, err := o.read(make([]byte, 100), false)
		done <- result{n, err}
	}()
	select {
	case got := <-done:
		if got.n != 0 || got.err != nil || o.odd.Load() != 2 {
			t.Errorf("%+v, and %d odd frames; expected nothing, and 2", got, o.odd.Load())
		}
	case <-time.After(10 * time.Second):
		t.Error("it waits")
	}
	if err := errors.Join(w.Close(), r.Close()); err != nil {
		t.Error(err)
	}
}
