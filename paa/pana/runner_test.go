package pana

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second // for what takes milliseconds

func loopback(t testing.TB) (*net.UDPConn, netip.AddrPort) {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	return conn, conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// serve runs a Server whose owner is a fakeServer for each session.
func serve(t testing.TB) (*Server, netip.AddrPort, chan Output) {
	t.Helper()
	conn, addr := loopback(t)
	outs := make(chan Output, 100)
	eap := map[uint32]*fakeServer{}
	var s *Server
	ready := make(chan struct{})
	reply := func(sid uint32, r EAPReply) {
		_ = s.Post(func(now time.Time, p *PAA) { _ = p.EAPReply(now, sid, r) })
	}
	s, err := Serve(t.Context(), conn, PAAConfig{}, func(o Output) {
		<-ready
		switch o := o.(type) {
		case EAPStart:
			eap[o.SID] = &fakeServer{rounds: 2}
			reply(o.SID, eap[o.SID].start())
		case EAPResponse:
			reply(o.SID, eap[o.SID].next(o.Packet))
		default:
			outs <- o
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	close(ready)
	t.Cleanup(s.Close)
	return s, addr, outs
}

// want takes outputs until one of type T comes.
func want[T Output](t testing.TB, outs chan Output) T {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case o := <-outs:
			if o, ok := o.(T); ok {
				return o
			}
		case <-timeout:
			var none T
			t.Fatalf("no %T in %v", none, patience)
			return none
		}
	}
}

func dial(t testing.TB, paa netip.AddrPort, cfg PaCConfig) (*Client, chan Output) {
	t.Helper()
	conn, _ := loopback(t)
	outs := make(chan Output, 100)
	cfg.NewEAP = func() (EAPPeer, error) { return &fakePeer{}, nil }
	c, err := Dial(t.Context(), conn, paa, cfg, func(o Output) { outs <- o })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, outs
}

// TestRunners: a pre-authentication over UDP, a change of socket, the arrival,
// a notification from the PAA to the new socket, logout.
func TestRunners(t *testing.T) {
	server, paa, atPAA := serve(t)
	client, atPaC := dial(t, paa, PaCConfig{Preauth: true})
	o := want[Opened](t, atPaC)
	if p := want[Opened](t, atPAA); !sameSecret(o.MSK, p.MSK) || o.SID != p.SID {
		t.Error("the sides have different keys")
	}
	conn, addr := loopback(t)
	client.Rebind(conn)
	if err := client.Do(func(now time.Time, p *PaC) {
		if _, err := p.Notify(now, vendorAVP("arrival"), NotifyOptions{Activate: true, Urgent: true}); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if a := want[Activated](t, atPAA); a.From != addr {
		t.Errorf("activated from %v, expected %v", a.From, addr)
	}
	if n := want[Notified](t, atPAA); string(n.AVPs[0].Data) != "arrival" {
		t.Errorf("told %+v", n)
	}
	want[NotifyDone](t, atPaC)
	if err := server.Do(func(now time.Time, p *PAA) {
		if _, err := p.Notify(now, o.SID, vendorAVP("welcome"), NotifyOptions{}); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if n := want[Notified](t, atPaC); string(n.AVPs[0].Data) != "welcome" {
		t.Errorf("told %+v", n)
	}
	if err := client.Do(func(now time.Time, p *PaC) { p.Terminate(now) }); err != nil {
		t.Fatal(err)
	}
	if c := want[Closed](t, atPaC); !errors.Is(c.Reason, ErrTerminated) {
		t.Errorf("closed with %v", c.Reason)
	}
	want[Closed](t, atPAA)
	client.Close()
	client.Close() // again is harmless
	if err := client.Do(func(time.Time, *PaC) {}); !errors.Is(err, ErrRunnerClosed) {
		t.Errorf("Do after Close: %v", err)
	}
	if err := client.Post(func(time.Time, *PaC) {}); !errors.Is(err, ErrRunnerClosed) {
		t.Errorf("Post after Close: %v", err)
	}
	conn, _ = loopback(t)
	client.Rebind(conn) // closes it
	if _, err := conn.Write(nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("socket handed to a closed Client: %v", err)
	}
	if server.SendErrors() != 0 {
		t.Errorf("%d send errors", server.SendErrors())
	}
}

// TestContextEnds: both runners end with their context, their sockets closed.
func TestContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	conn, addr := loopback(t)
	s, err := Serve(ctx, conn, PAAConfig{}, func(Output) {})
	if err != nil {
		t.Fatal(err)
	}
	other, _ := loopback(t)
	c, err := Dial(ctx, other, addr, PaCConfig{NewEAP: func() (EAPPeer, error) { return &fakePeer{}, nil }}, func(Output) {})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	<-s.Done()
	<-c.Done()
	for _, conn := range []*net.UDPConn{conn, other} {
		if _, err := conn.Write(nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("socket is still open: %v", err)
		}
	}
	s.Close()
	c.Close()
}

// TestDoFromMany: calls from many goroutines while the Client closes neither
// race nor hang.
func TestDoFromMany(t *testing.T) {
	_, paa, _ := serve(t)
	client, outs := dial(t, paa, PaCConfig{})
	want[Opened](t, outs)
	var wg sync.WaitGroup
	ran := 0
	for range 8 {
		wg.Go(func() {
			for {
				if err := client.Do(func(time.Time, *PaC) { ran++ }); err != nil {
					if !errors.Is(err, ErrRunnerClosed) {
						t.Error(err)
					}
					return
				}
			}
		})
	}
	for range 3 {
		conn, _ := loopback(t)
		client.Rebind(conn)
	}
	if err := client.Do(func(time.Time, *PaC) { ran++ }); err != nil {
		t.Fatal(err)
	}
	client.Close()
	wg.Wait()
	if ran == 0 {
		t.Error("nothing ran")
	}
}

// TestForeignSource: a PaC listens to its PAA only.
func TestForeignSource(t *testing.T) {
	_, paa, _ := serve(t)
	conn, addr := loopback(t)
	outs := make(chan Output, 100)
	c, err := Dial(t.Context(), conn, paa, PaCConfig{NewEAP: func() (EAPPeer, error) { return &fakePeer{}, nil }}, func(o Output) { outs <- o })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	foreign, _ := loopback(t)
	t.Cleanup(func() { _ = foreign.Close() })
	if _, err := foreign.WriteToUDPAddrPort(pciE, addr); err != nil {
		t.Fatal(err)
	}
	want[Opened](t, outs)
	deadline := time.Now().Add(patience)
	for {
		var n uint64
		if err := c.Do(func(_ time.Time, p *PaC) { n = p.Counters()[DiscardAddress] }); err != nil {
			t.Fatal(err)
		}
		if n == 1 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d datagrams discarded for their source, expected 1", n)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestRunnerConfig(t *testing.T) {
	conn, addr := loopback(t)
	if _, err := Dial(t.Context(), conn, addr, PaCConfig{}, func(Output) {}); !errors.Is(err, ErrConfig) {
		t.Errorf("Dial without EAP: %v", err)
	}
	if _, err := Dial(t.Context(), conn, netip.AddrPort{}, PaCConfig{}, func(Output) {}); !errors.Is(err, ErrConfig) {
		t.Errorf("Dial without a PAA: %v", err)
	}
	if _, err := Serve(t.Context(), conn, PAAConfig{Lifetime: -1}, func(Output) {}); !errors.Is(err, ErrConfig) {
		t.Errorf("Serve with a negative lifetime: %v", err)
	}
	if err := conn.Close(); err != nil { // it stayed ours
		t.Error(err)
	}
}

// TestClientAbandons: a Client that is closed in the middle of EAP closes its peer,
// which may have a goroutine of its own.
func TestClientAbandons(t *testing.T) {
	conn, addr := loopback(t)
	asked, ready := make(chan struct{}, 1), make(chan struct{})
	var s *Server
	s, err := Serve(t.Context(), conn, PAAConfig{}, func(o Output) {
		<-ready
		switch o := o.(type) {
		case EAPStart:
			_ = s.Post(func(now time.Time, p *PAA) { _ = p.EAPReply(now, o.SID, new(fakeServer).start()) })
		case EAPResponse:
			asked <- struct{}{} // and no answer
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	close(ready)
	defer s.Close()
	other, _ := loopback(t)
	peer := &fakePeer{}
	c, err := Dial(t.Context(), other, addr, PaCConfig{NewEAP: func() (EAPPeer, error) { return peer, nil }}, func(Output) {})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-asked:
	case <-time.After(patience):
		t.Fatal("EAP did not begin")
	}
	c.Close()
	if !peer.closed {
		t.Error("the EAP peer was left open")
	}
}
