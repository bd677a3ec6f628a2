package radius

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"openmpa/paa/keys"
)

// fakeConn is a socket in memory. What the client sends goes to onSend, which may
// answer by inject.
type fakeConn struct {
	in     chan fakePacket
	closed chan struct{}
	once   sync.Once
	onSend func(c *fakeConn, b []byte, to netip.AddrPort)
	err    error // of every write
}

type fakePacket struct {
	b    []byte
	from netip.AddrPort
	err  error // in the place of a packet
}

func newFakeConn(onSend func(*fakeConn, []byte, netip.AddrPort)) *fakeConn {
	return &fakeConn{in: make(chan fakePacket, 1024), closed: make(chan struct{}), onSend: onSend}
}

func (c *fakeConn) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	select {
	case p := <-c.in:
		return copy(b, p.b), p.from, p.err
	case <-c.closed:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

func (c *fakeConn) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	if c.onSend != nil {
		c.onSend(c, bytes.Clone(b), to)
	}
	return len(b), nil
}

func (c *fakeConn) Close() error { c.once.Do(func() { close(c.closed) }); return nil }

func (c *fakeConn) inject(b []byte, from netip.AddrPort) { c.in <- fakePacket{b: b, from: from} }

var (
	serverA = netip.MustParseAddrPort("10.0.5.1:1812")
	serverB = netip.MustParseAddrPort("10.0.5.2:1812")
)

type sentPacket struct {
	at time.Duration
	b  []byte
	to netip.AddrPort
}

// recorder keeps what was sent and when.
type recorder struct {
	mu    sync.Mutex
	start time.Time
	sent  []sentPacket
}

func (r *recorder) note(b []byte, to netip.AddrPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent = append(r.sent, sentPacket{time.Since(r.start), b, to})
}

func newTestClient(t *testing.T, servers []netip.AddrPort, change func(*Config), onSend func(*fakeConn, []byte, netip.AddrPort)) (*Client, *fakeConn) {
	t.Helper()
	conn := newFakeConn(onSend)
	cfg := Config{NASIdentifier: "ar-a", Listen: func() (Conn, error) { return conn, nil }}
	for _, a := range servers {
		cfg.Servers = append(cfg.Servers, Server{Addr: a, Secret: secret("testing123")})
	}
	if change != nil {
		change(&cfg)
	}
	c, err := NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c, conn
}

// answer makes the reply a server with that secret gives to a request.
func answer(t *testing.T, b []byte, key string, reply Reply) []byte {
	req, err := ParseRequest(b, secret("testing123"))
	if err != nil {
		t.Error(err)
		return nil
	}
	out, err := req.Encode(reply, secret(key), bytes.NewReader(make([]byte, 64)))
	if err != nil {
		t.Error(err)
	}
	return out
}

func TestExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newTestClient(t, []netip.AddrPort{serverA}, nil, func(conn *fakeConn, b []byte, to netip.AddrPort) {
			time.Sleep(30 * time.Millisecond)
			conn.inject(answer(t, b, "testing123", Reply{Code: AccessAccept, EAP: []byte{3, 1, 0, 4}, MSK: keys.NewSecret(make([]byte, 64))}), to)
		})
		defer c.Close()
		r, err := c.Exchange(t.Context(), testRequest())
		if err != nil {
			t.Fatal(err)
		}
		if r.Code != AccessAccept || r.MSK.Len() != 64 || r.Server != serverA || r.Sent != 1 || r.RTT != 30*time.Millisecond {
			t.Errorf("%+v", r)
		}
	})
}

// TestRetransmission checks the times of RFC 5080 section 2.2.1 and that every
// transmission is the same packet.
func TestRetransmission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := recorder{start: time.Now()}
		c, _ := newTestClient(t, []netip.AddrPort{serverA}, nil, func(_ *fakeConn, b []byte, to netip.AddrPort) { rec.note(b, to) })
		defer c.Close()
		_, err := c.Exchange(t.Context(), testRequest())
		var silent *TimeoutError
		if !errors.As(err, &silent) || silent.Sent != len(rec.sent) || !strings.Contains(err.Error(), "10.0.5.1:1812") {
			t.Fatalf("%v", err)
		}
		if silent.Waited > 30*time.Second || silent.Waited < 27*time.Second {
			t.Errorf("waited %v, MRD is 30 s", silent.Waited)
		}
		// 0, 2, 6, 14: each interval twice the one before, give or take a tenth.
		if len(rec.sent) < 4 || len(rec.sent) > 5 {
			t.Fatalf("%d transmissions", len(rec.sent))
		}
		prev := time.Duration(0)
		for i, s := range rec.sent {
			if !bytes.Equal(s.b, rec.sent[0].b) {
				t.Errorf("transmission %d differs", i)
			}
			if i == 0 {
				continue
			}
			rt := s.at - rec.sent[i-1].at
			low, high := 1800*time.Millisecond, 2200*time.Millisecond
			if prev != 0 {
				low, high = prev*19/10, prev*21/10
				if high > 16*time.Second { // MRT, give or take a tenth
					low, high = min(low, 14400*time.Millisecond), min(high, 17600*time.Millisecond)
				}
			}
			if rt < low || rt > high {
				t.Errorf("interval %d is %v, expected %v to %v", i, rt, low, high)
			}
			prev = rt
		}
		if n := c.Counters(); n.Sent != uint64(len(rec.sent)) || n.Retransmitted != n.Sent-1 || n.Timeouts != 1 {
			t.Errorf("%+v", n)
		}
	})
}

func TestTimingCap(t *testing.T) {
	timing := Timing{MRT: 5 * time.Second}.withDefaults()
	var rt time.Duration
	for i, want := range []time.Duration{2, 4, 5, 5, 5} {
		if rt = timing.next(rt, 0); rt != want*time.Second {
			t.Errorf("RT %d is %v, expected %v", i, rt, want*time.Second)
		}
	}
	if got := timing.next(5*time.Second, 0.1); got != 5500*time.Millisecond {
		t.Errorf("with RAND 0.1: %v", got)
	}
	if (Timing{}).tries(true) != 2 || (Timing{}).tries(false) != 5 || (Timing{MRC: 3}).tries(true) != 3 {
		t.Error("tries")
	}
}

// TestLateReply answers the first transmission after the second.
func TestLateReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		c, _ := newTestClient(t, []netip.AddrPort{serverA}, nil, func(conn *fakeConn, b []byte, to netip.AddrPort) {
			if n++; n == 2 {
				out := answer(t, b, "testing123", Reply{Code: AccessReject, EAP: []byte{4, 1, 0, 4}})
				conn.inject(out, to)
				conn.inject(out, to) // and again: dropped
			}
		})
		defer c.Close()
		r, err := c.Exchange(t.Context(), testRequest())
		if err != nil || r.Sent != 2 || r.Code != AccessReject {
			t.Fatalf("%+v, %v", r, err)
		}
		synctest.Wait()
		if got := c.Counters().Unsolicited; got != 1 {
			t.Errorf("%d unsolicited", got)
		}
	})
}

// TestDrops sends every kind of reply that does not count, then the right one.
func TestDrops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stranger := netip.MustParseAddrPort("10.0.5.66:1812")
		n := 0
		c, _ := newTestClient(t, []netip.AddrPort{serverA, serverB}, func(cfg *Config) { cfg.Timing.MRC = 3 }, func(conn *fakeConn, b []byte, to netip.AddrPort) {
			good := answer(t, b, "testing123", Reply{Code: AccessReject, EAP: []byte{4, 1, 0, 4}})
			if n++; n == 2 {
				conn.inject(good, to)
				return
			}
			conn.inject(good, stranger)
			conn.inject(good, serverB) // one of ours, but it was not asked
			conn.inject(good[:10], to)
			other := bytes.Clone(good)
			other[1]++
			conn.inject(other, to)
			conn.inject(answer(t, b, "another secret", Reply{Code: AccessAccept}), to)
			plain := append(bytes.Clone(good[:headerLen]), good[headerLen+18:]...)
			plain[3] -= 18
			copy(plain[4:], b[4:headerLen])
			sum := responseAuthenticator(plain, []byte("testing123"))
			copy(plain[4:], sum[:])
			conn.inject(plain, to)
			forged := bytes.Clone(good)
			forged[headerLen+2] ^= 1
			copy(forged[4:], b[4:headerLen])
			sum = responseAuthenticator(forged, []byte("testing123"))
			copy(forged[4:], sum[:])
			conn.inject(forged, to)
		})
		defer c.Close()
		r, err := c.Exchange(t.Context(), testRequest())
		if err != nil || r.Sent != 2 {
			t.Fatalf("%+v, %v", r, err)
		}
		got := c.Counters()
		want := Counters{
			Sent: 2, Retransmitted: 1, Replies: 1, WrongAddress: 2, Unsolicited: 1, Malformed: 1,
			BadAuthenticator: 1, NoMessageAuthenticator: 1, BadMessageAuthenticator: 1,
		}
		if got != want {
			t.Errorf("%+v, expected %+v", got, want)
		}
	})
}

// TestFailover: the first server is silent, the second answers; then the first is
// asked last until its dead time is over.
func TestFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := recorder{start: time.Now()}
		c, _ := newTestClient(t, []netip.AddrPort{serverA, serverB}, nil, func(conn *fakeConn, b []byte, to netip.AddrPort) {
			rec.note(b, to)
			if to == serverB {
				conn.inject(answer(t, b, "testing123", Reply{Code: AccessChallenge, EAP: []byte{1, 2, 0, 6, 13, 32}, State: []byte{1}}), to)
			}
		})
		defer c.Close()
		first := testRequest()
		first.State = nil
		r, err := c.Exchange(t.Context(), first)
		if err != nil || r.Server != serverB {
			t.Fatalf("%+v, %v", r, err)
		}
		if len(rec.sent) != 3 || rec.sent[0].to != serverA || rec.sent[1].to != serverA || rec.sent[2].to != serverB {
			t.Fatalf("%d sent", len(rec.sent))
		}
		a, b := rec.sent[0].b, rec.sent[2].b
		if bytes.Equal(a[4:20], b[4:20]) {
			t.Error("the next server got the same authenticator")
		}
		if n := c.Counters(); n.Failovers != 1 || n.Timeouts != 1 {
			t.Errorf("%+v", n)
		}
		// The first is dead: the second at once.
		if r, err = c.Exchange(t.Context(), first); err != nil || r.Server != serverB || len(rec.sent) != 4 {
			t.Errorf("%+v, %v, %d sent", r, err, len(rec.sent))
		}
		// A conversation stays with its server, dead or not.
		pinned := testRequest()
		pinned.Server = serverA
		var silent *TimeoutError
		if _, err = c.Exchange(t.Context(), pinned); !errors.As(err, &silent) || len(silent.Tried) != 1 || silent.Tried[0] != serverA {
			t.Errorf("%v", err)
		}
		time.Sleep(61 * time.Second)
		rec.sent = nil
		if _, err = c.Exchange(t.Context(), first); err != nil || rec.sent[0].to != serverA {
			t.Errorf("after the dead time %v was asked first", rec.sent[0].to)
		}
		pinned.Server = netip.MustParseAddrPort("10.9.9.9:1812")
		if _, err = c.Exchange(t.Context(), pinned); err == nil {
			t.Error("a server that is none of ours")
		}
	})
}

// TestContext ends a wait early, by deadline and by cancellation.
func TestContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newTestClient(t, []netip.AddrPort{serverA, serverB}, func(cfg *Config) { cfg.Timing.MRC = 5 }, nil)
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err := c.Exchange(ctx, testRequest())
		var silent *TimeoutError
		if !errors.As(err, &silent) || !errors.Is(err, context.DeadlineExceeded) || silent.Waited != 10*time.Second {
			t.Errorf("%v", err)
		}
		// It was silent for longer than a retransmission time: the other one is next.
		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, err = c.Exchange(ctx, testRequest()); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		order, _ := c.order(c.servers, netip.AddrPort{})
		if order[0].Addr != serverB {
			t.Errorf("first is %v", order[0].Addr)
		}
	})
}

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newTestClient(t, []netip.AddrPort{serverA, serverB}, func(cfg *Config) { cfg.Timeout = 8 * time.Second }, nil)
		defer c.Close()
		_, err := c.Exchange(t.Context(), testRequest())
		var silent *TimeoutError
		if !errors.As(err, &silent) || silent.Waited != 8*time.Second || len(silent.Tried) != 2 || silent.Sent < 3 {
			t.Errorf("%v", err)
		}
	})
}

func TestErrorsSayWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := newTestClient(t, []netip.AddrPort{serverA}, func(cfg *Config) { cfg.Timing.MRC = 2 }, func(conn *fakeConn, b []byte, to netip.AddrPort) {
			conn.inject(answer(t, b, "another secret", Reply{Code: AccessReject}), to)
		})
		defer c.Close()
		_, err := c.Exchange(t.Context(), testRequest())
		if !errors.Is(err, ErrBadAuthenticator) || !strings.Contains(err.Error(), "same secret") {
			t.Errorf("%v", err)
		}
		conn.err = errors.New("network is unreachable")
		if _, err = c.Exchange(t.Context(), testRequest()); !strings.Contains(err.Error(), "network is unreachable") {
			t.Errorf("%v", err)
		}
	})
}

// TestIdentifiers fills a socket's identifiers, sees the second socket open, and the
// least recently used identifier come back.
func TestIdentifiers(t *testing.T) {
	var conns []*fakeConn
	c, _ := newTestClient(t, []netip.AddrPort{serverA}, func(cfg *Config) {
		cfg.Listen = func() (Conn, error) {
			conns = append(conns, newFakeConn(nil))
			return conns[len(conns)-1], nil
		}
	}, nil)
	defer c.Close()
	type key struct {
		s  *socket
		id uint8
	}
	seen := map[key]bool{}
	var all []*pending
	for range 256 * maxSockets {
		p, err := c.reserve(t.Context(), c.servers[0], Request{})
		if err != nil {
			t.Fatal(err)
		}
		if seen[key{p.sock, p.id}] {
			t.Fatal("an identifier twice at once")
		}
		seen[key{p.sock, p.id}] = true
		all = append(all, p)
	}
	if len(conns) != maxSockets {
		t.Errorf("%d sockets", len(conns))
	}
	if _, err := c.reserve(t.Context(), c.servers[0], Request{}); !errors.Is(err, ErrBusy) {
		t.Errorf("%v", err)
	}
	for _, i := range []int{7, 3, 250} {
		c.release(all[i])
	}
	for _, i := range []int{7, 3, 250} {
		p, err := c.reserve(t.Context(), c.servers[0], Request{})
		if err != nil || p.id != all[i].id {
			t.Errorf("got identifier %d, expected %d: %v", p.id, all[i].id, err)
		}
	}
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newTestClient(t, []netip.AddrPort{serverA}, nil, nil)
		time.AfterFunc(time.Second, func() { _ = c.Close() })
		if _, err := c.Exchange(t.Context(), testRequest()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%v", err)
		}
		if _, err := c.Exchange(t.Context(), testRequest()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%v", err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestLostSocket breaks the socket under the client: the next request opens another.
func TestLostSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var conns []*fakeConn
		c, _ := newTestClient(t, []netip.AddrPort{serverA}, func(cfg *Config) {
			cfg.Listen = func() (Conn, error) {
				conns = append(conns, newFakeConn(func(conn *fakeConn, b []byte, to netip.AddrPort) {
					conn.inject(answer(t, b, "testing123", Reply{Code: AccessReject}), to)
				}))
				return conns[len(conns)-1], nil
			}
		}, nil)
		defer c.Close()
		for i := range 2 {
			if _, err := c.Exchange(t.Context(), testRequest()); err != nil {
				t.Fatalf("%d: %v", i, err)
			}
			_ = conns[i].Close()
			synctest.Wait()
		}
		if len(conns) != 2 {
			t.Errorf("%d sockets", len(conns))
		}
	})
}

func TestNewClientChecks(t *testing.T) {
	good := Config{NASIdentifier: "a", Servers: []Server{{Addr: serverA, Secret: secret("x")}}}
	for name, change := range map[string]func(*Config){
		"no servers":    func(c *Config) { c.Servers = nil },
		"no identifier": func(c *Config) { c.NASIdentifier = "" },
		"no port": func(c *Config) {
			c.Servers = []Server{{Addr: netip.AddrPortFrom(serverA.Addr(), 0), Secret: secret("x")}}
		},
		"no secret": func(c *Config) { c.Servers = []Server{{Addr: serverA}} },
	} {
		cfg := good
		change(&cfg)
		if _, err := NewClient(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
