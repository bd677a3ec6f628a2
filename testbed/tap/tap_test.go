package tap

import (
	"bytes"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

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
