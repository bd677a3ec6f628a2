package radius

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"openmpa/internal/catest"
)

// station is a server in memory behind a fakeConn.
type station struct {
	mu     sync.Mutex
	down   bool
	deaf   bool // to Status-Server
	busy   bool // answers Status-Server only
	delay  time.Duration
	probes int
	asked  int
}

func (s *station) set(f func(*station)) { s.mu.Lock(); defer s.mu.Unlock(); f(s) }

func (s *station) seen() (probes, asked int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.probes, s.asked
}

// stations make an onSend of servers by address.
func stations(t *testing.T, all map[netip.AddrPort]*station) func(*fakeConn, []byte, netip.AddrPort) {
	return func(conn *fakeConn, b []byte, to netip.AddrPort) {
		s := all[to]
		if s == nil {
			t.Errorf("sent to %v", to)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		status := Code(b[0]) == StatusServer
		if status {
			s.probes++
		} else {
			s.asked++
		}
		if s.down || status && s.deaf || !status && s.busy {
			return
		}
		req, err := ParseRequest(b, secret("testing123"), AccessRequest, StatusServer)
		if err != nil {
			t.Error(err)
			return
		}
		reply := Reply{Code: AccessAccept}
		if !status {
			reply = *challenge(req)
		}
		out, err := req.Encode(reply, secret("testing123"), bytes.NewReader(make([]byte, 64)))
		if err != nil {
			t.Error(err)
			return
		}
		time.AfterFunc(s.delay+time.Millisecond, func() { conn.inject(out, to) })
	}
}

func states(c *Client) (out []State) {
	for _, s := range c.Servers() {
		out = append(out, s.State)
	}
	return out
}

// TestWatch: a server falls silent. A request under way goes to the next long before its
// own time is over, a conversation ends at once, others do not try it; when it has come
// back it is asked first again.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := &station{}, &station{}
		c, _ := newTestClient(t, []netip.AddrPort{serverA, serverB}, nil, stations(t, map[netip.AddrPort]*station{serverA: a, serverB: b}))
		defer c.Close()
		run(t, c, nil)
		time.Sleep(time.Second)
		if s := states(c); s[0] != Alive || s[1] != Alive {
			t.Fatalf("at the start: %v", s)
		}
		if r, err := c.Exchange(t.Context(), firstRequest()); err != nil || r.Server != serverA {
			t.Fatalf("%+v, %v", r, err)
		}
		a.set(func(s *station) { s.down = true })
		began := time.Now()
		r, err := c.Exchange(t.Context(), firstRequest())
		if err != nil || r.Server != serverB {
			t.Fatalf("%+v, %v", r, err)
		}
		if took := time.Since(began); took > 2500*time.Millisecond || took < 500*time.Millisecond {
			t.Errorf("the next was asked after %v", took)
		}
		pinned := testRequest()
		pinned.Server = serverA
		began = time.Now()
		var silent *TimeoutError
		if _, err := c.Exchange(t.Context(), pinned); !errors.As(err, &silent) || !errors.Is(err, errDead) || time.Since(began) > 0 {
			t.Errorf("a conversation with it: %v after %v", err, time.Since(began))
		}
		_, asked := a.seen()
		for range 5 {
			if r, err := c.Exchange(t.Context(), firstRequest()); err != nil || r.Server != serverB || r.RTT > 10*time.Millisecond {
				t.Errorf("%+v, %v", r, err)
			}
		}
		if _, n := a.seen(); n != asked {
			t.Error("the dead one was asked")
		}
		time.Sleep(time.Hour)
		if s := states(c); s[0] != Dead || s[1] != Alive {
			t.Errorf("after an hour: %v", s)
		}
		if n, _ := a.seen(); n > 100 {
			t.Errorf("%d probes of a dead server in an hour", n)
		}
		if n, _ := b.seen(); n > 150 || n < 90 {
			t.Errorf("%d probes of an idle one in an hour", n)
		}
		a.set(func(s *station) { s.down = false; s.probes = 0 })
		time.Sleep(backoffMax + backoffMax/10 + 3*reopenGap)
		r, err = c.Exchange(t.Context(), firstRequest())
		if n, _ := a.seen(); err != nil || r.Server != serverA || n < reopenTries {
			t.Errorf("after it has come back: %+v, %v, %d probes", r, err, n)
		}
	})
}

// TestWatchDeaf: a server that knows no Status-Server is used like any other.
func TestWatchDeaf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := &station{deaf: true}, &station{}
		c, _ := newTestClient(t, []netip.AddrPort{serverA, serverB}, nil, stations(t, map[netip.AddrPort]*station{serverA: a, serverB: b}))
		defer c.Close()
		run(t, c, nil)
		for range 5 {
			time.Sleep(10 * time.Minute)
			if r, err := c.Exchange(t.Context(), firstRequest()); err != nil || r.Server != serverA {
				t.Fatalf("%+v, %v", r, err)
			}
		}
		a.set(func(s *station) { s.down = true })
		if r, err := c.Exchange(t.Context(), firstRequest()); err != nil || r.Server != serverB {
			t.Fatalf("%+v, %v", r, err)
		}
		if s := states(c); s[0] != Dead {
			t.Errorf("%v", s)
		}
		a.set(func(s *station) { s.down = false })
		time.Sleep(61 * time.Second) // DeadTime
		if r, err := c.Exchange(t.Context(), firstRequest()); err != nil || r.Server != serverA {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

// TestWatchBusy: a server whose requests go unanswered lives as long as it answers
// Status-Server: it may be the one behind it that is away.
func TestWatchBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &station{}
		c, _ := newTestClient(t, []netip.AddrPort{serverA}, func(cfg *Config) { cfg.Timeout = 10 * time.Second }, stations(t, map[netip.AddrPort]*station{serverA: a}))
		defer c.Close()
		run(t, c, nil)
		time.Sleep(time.Second)
		a.set(func(s *station) { s.busy = true })
		began := time.Now()
		if _, err := c.Exchange(t.Context(), firstRequest()); err == nil || time.Since(began) != 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		time.Sleep(time.Second)
		if s := states(c); s[0] != Alive {
			t.Errorf("%v", s)
		}
		if n := c.Counters().Probes; n > 10 {
			t.Errorf("%d probes", n)
		}
	})
}

// TestWatchLie: what somebody says by ICMP of a server that lives changes nothing.
func TestWatchLie(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := &station{}, &station{}
		c, conn := newTestClient(t, []netip.AddrPort{serverA, serverB}, nil, stations(t, map[netip.AddrPort]*station{serverA: a, serverB: b}))
		defer c.Close()
		run(t, c, nil)
		time.Sleep(time.Second)
		a.set(func(s *station) { s.delay = 300 * time.Millisecond })
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 200 {
				conn.in <- fakePacket{err: syscall.ECONNREFUSED}
				time.Sleep(50 * time.Millisecond)
			}
		}()
		a.set(func(s *station) { s.delay = 20 * time.Millisecond })
		for range 20 {
			if r, err := c.Exchange(t.Context(), firstRequest()); err != nil || r.Server != serverA {
				t.Errorf("%+v, %v", r, err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		<-done
	})
}

// TestRefused: nobody is at the port, on the loopback interface, and the host says so.
func TestRefused(t *testing.T) {
	free, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	dead := free.LocalAddr().(*net.UDPAddr).AddrPort()
	live, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	serve := func(conn *net.UDPConn) {
		wg.Go(func() {
			b := make([]byte, MaxPacket)
			for {
				n, from, err := conn.ReadFromUDPAddrPort(b)
				if err != nil {
					return
				}
				req, err := ParseRequest(b[:n], secret("testing123"), AccessRequest, StatusServer)
				if err != nil {
					t.Error(err)
					return
				}
				reply := Reply{Code: AccessAccept}
				if req.Code == AccessRequest {
					reply = *challenge(req)
				}
				out, err := req.Encode(reply, secret("testing123"), bytes.NewReader(make([]byte, 64)))
				if err != nil {
					t.Error(err)
				}
				_, _ = conn.WriteToUDPAddrPort(out, from)
			}
		})
	}
	serve(free)
	serve(live)
	c, err := NewClient(Config{NASIdentifier: "ar-a", Servers: []Server{
		{Addr: dead, Secret: secret("testing123")}, {Addr: live.LocalAddr().(*net.UDPAddr).AddrPort(), Secret: secret("testing123")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	run(t, c, nil)
	first, err := c.Exchange(t.Context(), firstRequest())
	if err != nil || first.Server != dead {
		t.Fatalf("%+v, %v", first, err)
	}
	_ = free.Close() // as a server that was killed
	began := time.Now()
	pinned := testRequest()
	pinned.Server = dead
	var silent *TimeoutError
	if _, err := c.Exchange(t.Context(), pinned); !errors.As(err, &silent) {
		t.Errorf("%v", err)
	}
	took := time.Since(began)
	r, err := c.Exchange(t.Context(), firstRequest())
	if err != nil || r.Server == dead {
		t.Errorf("%+v, %v", r, err)
	}
	t.Logf("given up after %v: %+v", took, c.Counters())
	if took > c.cfg.Timing.IRT {
		t.Errorf("given up after %v, as if the host had said nothing", took)
	}
	_ = c.Close()
	_ = live.Close()
	wg.Wait()
}

// TestWatchAlone: where there is no other server, a request waits for the one to come
// back, over UDP and over TLS, for as long as it may.
func TestWatchAlone(t *testing.T) {
	t.Run("UDP", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := &station{}
			c, _ := newTestClient(t, []netip.AddrPort{serverA}, func(cfg *Config) { cfg.Timeout = 8 * time.Second }, stations(t, map[netip.AddrPort]*station{serverA: a}))
			defer c.Close()
			run(t, c, nil)
			time.Sleep(time.Second)
			a.set(func(s *station) { s.down = true })
			time.AfterFunc(5*time.Second, func() { a.set(func(s *station) { s.down = false }) })
			if r, err := c.Exchange(t.Context(), firstRequest()); err != nil || r.Server != serverA {
				t.Errorf("%+v, %v", r, err)
			}
		})
	})
	t.Run("TLS", func(t *testing.T) {
		ca := catest.NewAuthority(t)
		ours, a := ca.Issue("ar-a.visited.example"), newHost(t, ca, "aaa.home.example", challenge)
		synctest.Test(t, func(t *testing.T) {
			a.t = t
			c := radsec(t, ca, ours, func(cfg *Config) { cfg.Timeout = 8 * time.Second }, map[netip.AddrPort]*host{serverA: a}, serverA)
			run(t, c, nil)
			if _, err := c.Exchange(t.Context(), firstRequest()); err != nil {
				t.Fatal(err)
			}
			a.kill()
			time.AfterFunc(5*time.Second, a.start)
			if r, err := c.Exchange(t.Context(), firstRequest()); err != nil || r.Server != serverA {
				t.Errorf("%+v, %v", r, err)
			}
			a.kill()
			began := time.Now()
			var silent *TimeoutError
			if _, err := c.Exchange(t.Context(), firstRequest()); !errors.As(err, &silent) || time.Since(began) != 8*time.Second || !strings.Contains(err.Error(), "connection refused") {
				t.Errorf("%v after %v", err, time.Since(began))
			}
		})
	})
}
