package tunnel

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"golang.org/x/sys/unix"

	"openmpa/tunnel/bind"
)

func newBatch() *bind.Batch { return bind.NewBatch(8, 2000) }

func TestAllocateSPI(t *testing.T) {
	e, s := endpoint(t)
	// Reserved values are passed over, taken ones too.
	stream := "\x00\x00\x00\x00" + "\x00\x00\x00\xff" + "\x00\x00\x01\x00" + "\x00\x00\x01\x00" + "\xff\xff\xff\xff"
	rnd := strings.NewReader(stream)
	for _, want := range []uint32{256, 1<<32 - 1} {
		if got, err := e.AllocateSPI(rnd); err != nil || got != want {
			t.Fatalf("%#x %v, want %#x", got, err, want)
		}
	}
	if _, err := e.AllocateSPI(rnd); !errors.Is(err, io.EOF) {
		t.Fatalf("at the end of the random source: %v", err)
	}
	if e.Tunnels() != 0 || e.lookup(256) != nil {
		t.Fatal("a reserved SPI counts as a tunnel")
	}
	tun := add(t, e, TunnelConfig{Socket: s, Peer: s.LocalAddr(), Out: outbound(t, 256, 1), In: inbound(t, 256, 1), Receive: func([]byte) {}})
	e.ReleaseSPI(256) // has a tunnel: stays
	if e.lookup(256) != tun {
		t.Fatal("ReleaseSPI took the SPI of a tunnel")
	}
	same := bytes.NewReader(bytes.Repeat([]byte{0, 0, 1, 0}, 100))
	if _, err := e.AllocateSPI(same); err == nil || !strings.Contains(err.Error(), "random source broken") {
		t.Fatalf("a source that repeats itself: %v", err)
	}
	tun.Close()
	if got, err := e.AllocateSPI(strings.NewReader("\x00\x00\x01\x00")); err != nil || got != 256 {
		t.Fatal(got, err)
	}
	e.ReleaseSPI(256)
	e.ReleaseSPI(256)
	if got, err := e.AllocateSPI(strings.NewReader("\x00\x00\x01\x00")); err != nil || got != 256 {
		t.Fatal(got, err)
	}
	if _, err := e.AllocateSPI(iotest.ErrReader(io.ErrClosedPipe)); !errors.Is(err, io.ErrClosedPipe) {
		t.Fatal(err)
	}
}

func TestEndpointClose(t *testing.T) {
	e := NewEndpoint(nil)
	s := listen(t, e)
	cfg := TunnelConfig{Socket: s, Peer: s.LocalAddr(), Out: outbound(t, 256, 1), In: inbound(t, 256, 1), Receive: func([]byte) {}}
	tun := add(t, e, cfg)
	for range 2 {
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := tun.Send(up(t, "x")); !errors.Is(err, ErrClosed) {
		t.Errorf("send: %v", err)
	}
	if _, err := e.Add(cfg); !errors.Is(err, ErrClosed) {
		t.Errorf("add: %v", err)
	}
	if _, err := e.Listen(loopback, ""); !errors.Is(err, ErrClosed) {
		t.Errorf("listen: %v", err)
	}
	if _, err := e.AllocateSPI(rand.Reader); !errors.Is(err, ErrClosed) {
		t.Errorf("allocate: %v", err)
	}
	if len(e.Sockets()) != 0 || e.Tunnels() != 0 {
		t.Error("something is left")
	}
}

func TestListenErrors(t *testing.T) {
	e, s := endpoint(t)
	if _, err := e.Listen(s.LocalAddr(), ""); !errors.Is(err, unix.EADDRINUSE) || !strings.HasPrefix(err.Error(), "tunnel: ") {
		t.Errorf("the same port: %v", err)
	}
	if _, err := e.Listen(loopback, "nosuchdevice"); !errors.Is(err, unix.ENODEV) {
		t.Errorf("no such device: %v", err)
	}
}

// Every reason can be counted, and each under its own name.
func TestReasons(t *testing.T) {
	var d drops
	for i, r := range reasons {
		for range i + 1 {
			d.add(r)
		}
	}
	got := d.counts()
	if len(got) != len(reasons) {
		t.Fatalf("%d names for %d reasons", len(got), len(reasons))
	}
	for i, r := range reasons {
		if got[r] != uint64(i+1) {
			t.Errorf("%s: %d, want %d", r, got[r], i+1)
		}
	}
}
