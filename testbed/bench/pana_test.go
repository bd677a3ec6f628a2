package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"openmpa/paa/pana"
	"openmpa/testbed/bench/pac"
)

// TestMachineSession: a session without sockets comes about, again and again.
func TestMachineSession(t *testing.T) {
	paa, err := pana.NewPAA(pana.PAAConfig{})
	if err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread() // whose processor time it is
	defer runtime.UnlockOSThread()
	for i := range byte(20) {
		if took, err := machineSession(paa, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, i}), 716)); err != nil || took <= 0 {
			t.Fatalf("session %d: %v, %v", i, took, err)
		}
	}
	if paa.Sessions() != 20 {
		t.Errorf("%d sessions", paa.Sessions())
	}
}

// TestPAAEnd: sessions by sockets, honest nodes beside a flood, and what the PAA says of it.
func TestPAAEnd(t *testing.T) {
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		e := &PAAEnd{Listen: netip.MustParseAddrPort("127.0.0.1:0"), Sessions: 1000, Rate: 1e9}
		err := e.Run(t.Context(), inR, outW)
		_ = outW.CloseWithError(io.ErrClosedPipe)
		ended <- err
	}()
	c := &paaChild{in: inW, lines: bufio.NewScanner(outR)}
	first, err := c.read()
	if err != nil {
		t.Fatal(err)
	}
	c.addr = first.Listen
	if err := logins(t.Context(), pac.Loopback(1, 4), c.addr, 40); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		s, err := c.state(true)
		if err != nil {
			t.Fatal(err)
		}
		if s.Live == 40 && s.Opened == 40 {
			if s.Heap == 0 || s.CPU == 0 || s.Kernel == 0 || s.Kernel >= s.CPU || s.Sent < 3*40 {
				t.Errorf("%+v", s)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v, expected 40 sessions", s)
		}
	}
	offered, _, err := flooding(t.Context(), c, 1000, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		defer cancel()
		took, err := preauthenticate(ctx, c.addr)
		if len(took) != floodHonest {
			t.Errorf("%d honest nodes complete beside a small flood", len(took))
		}
		return err
	})
	if err != nil || offered <= 0 {
		t.Errorf("%v: offered %g", err, offered)
	}
	_ = inW.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestPAAEndJSON: what the measurer says is what the process reads.
func TestPAAEndJSON(t *testing.T) {
	e := PAAEnd{Listen: netip.MustParseAddrPort("127.0.0.1:716"), Sessions: 1, Rate: 2, PerHost: 3, Pending: 4}
	b, err := json.Marshal(&e)
	if err != nil {
		t.Fatal(err)
	}
	var got PAAEnd
	if err := json.Unmarshal(b, &got); err != nil || got != e {
		t.Errorf("%s: %+v, %v", b, got, err)
	}
}
