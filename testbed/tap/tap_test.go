package tap

import (
	"bytes"
	"errors"
	"maps"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"openmpa/testbed/space"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestBothSides listens to the loopback interface, where each datagram goes out and comes in.
func TestBothSides(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	const name = "mpa-tap-test"
	s, err := space.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer space.Remove(name)
	defer s.Close()
	lo, err := s.Netlink().LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Netlink().LinkSetUp(lo); err != nil {
		t.Fatal(err)
	}
	payload := []byte("what was said")
	var mu sync.Mutex
	var seen []Frame
	both := make(chan struct{})
	tap, err := Open(s, func(f Frame) {
		mu.Lock()
		defer mu.Unlock()
		if !bytes.HasSuffix(f.Bytes, payload) {
			return
		}
		f.Bytes = nil
		if seen = append(seen, f); len(seen) == 2 {
			close(both)
		}
	}, "lo")
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	err = s.Do(func() error {
		c, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.WriteTo(payload, c.LocalAddr())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-both:
	case <-time.After(10 * time.Second):
		t.Error("not heard on both sides within 10 s")
	}
	if n, err := tap.Missed(); err != nil || n != 0 {
		t.Errorf("missed %d, %v; expected none", n, err)
	}
	if err := tap.Close(); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(seen) != 2 || !seen[0].Outgoing || seen[1].Outgoing {
		t.Fatalf("heard %+v, expected one frame out and one in", seen)
	}
	for _, f := range seen {
		if f.Interface != "lo" || f.At.Before(began) || f.At.After(time.Now()) {
			t.Errorf("%+v: expected lo, and a time after %v", f, began)
		}
	}
}

// TestMerged: packets that are sent as one are reported one by one, all of them once they have settled.
func TestMerged(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	const name, size, last, times = "mpa-tap-test2", 1200, 77, 30
	s, err := space.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer space.Remove(name)
	defer s.Close()
	lo, err := s.Netlink().LinkByName("lo")
	if err == nil {
		err = s.Netlink().LinkSetUp(lo)
	}
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	out := map[string]int{}
	tap, err := Open(s, func(f Frame) {
		data, ok := udpData(f.Bytes)
		if !f.Outgoing || !ok {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		out[string(f.Bytes[data:])]++
	}, "lo")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{}
	if err := s.Do(func() error {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return err
		}
		defer c.Close()
		raw, err := c.SyscallConn()
		if err != nil {
			return err
		}
		if e := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT, size) }); e != nil || err != nil {
			return errors.Join(e, err)
		}
		for i := range times {
			var all []byte
			for j := range 10 {
				one := bytes.Repeat([]byte{byte(i), byte(j)}, size/2)
				if j == 9 {
					one = one[:last]
				}
				all = append(all, one...)
				want[string(one)]++
			}
			if _, err := c.WriteTo(all, c.LocalAddr()); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := tap.Settle(); err != nil {
		t.Error(err)
	}
	mu.Lock()
	if !maps.Equal(out, want) {
		t.Errorf("%d different packets were reported, expected %d, each once", len(out), len(want))
	}
	mu.Unlock()
	if n, err := tap.Missed(); err != nil || n != 0 {
		t.Errorf("missed %d, %v; expected none", n, err)
	}
	if err := tap.Close(); err != nil {
		t.Error(err)
	}
}

func TestNoSuchInterface(t *testing.T) {
	s, err := space.Current()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if tap, err := Open(s, func(Frame) {}, "nowhere0"); err == nil {
		tap.Close()
		t.Fatal("opened on an interface that is not there")
	}
}
