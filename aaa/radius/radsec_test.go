package radius

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"openmpa/internal/catest"
)

// host is a RadSec server in memory, which can be switched off.
type host struct {
	t      testing.TB
	tls    *tls.Config
	answer func(req *ServerRequest) *Reply // nil: no answer

	mu    sync.Mutex
	down  bool
	conns []net.Conn
	dials int
	wg    sync.WaitGroup
	seen  []*ServerRequest
}

// eager is a pipe whose writers do not wait, as TCP's do not.
type eager struct {
	net.Conn
	out  chan []byte
	once sync.Once
	done chan struct{} // closed by Close
}

func (e *eager) Write(b []byte) (n int, err error) {
	select {
	case <-e.done:
		return 0, net.ErrClosed
	default:
	}
	select {
	case e.out <- bytes.Clone(b):
		return len(b), nil
	case <-e.done:
		return 0, net.ErrClosed
	}
}

// run carries what was written, up to the end.
func (e *eager) run() {
	defer e.Conn.Close()
	for {
		select {
		case b := <-e.out:
			if _, err := e.Conn.Write(b); err != nil {
				return
			}
			continue
		default:
		}
		select {
		case b := <-e.out:
			if _, err := e.Conn.Write(b); err != nil {
				return
			}
		case <-e.done:
			if len(e.out) == 0 {
				return
			}
		}
	}
}

func (e *eager) Close() error {
	e.once.Do(func() { close(e.done) })
	return nil
}

func newHost(t testing.TB, ca *catest.Authority, name string, answer func(*ServerRequest) *Reply) *host {
	return &host{t: t, answer: answer, tls: &tls.Config{
		Certificates: []tls.Certificate{ca.Issue(name)}, ClientCAs: ca.Roots(),
		ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13,
	}}
}

func (h *host) dial() (net.Conn, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.dials++; h.down {
		return nil, errors.New("connection refused")
	}
	ours, far := net.Pipe()
	theirs := &eager{Conn: far, out: make(chan []byte, 64), done: make(chan struct{})}
	h.wg.Go(theirs.run)
	h.conns = append(h.conns, theirs)
	h.wg.Go(func() { h.serve(theirs) })
	return ours, nil
}

func (h *host) serve(raw net.Conn) {
	defer raw.Close()
	conn := tls.Server(raw, h.tls)
	b := make([]byte, MaxPacket)
	for {
		n, err := ReadPacket(conn, b)
		if err != nil {
			return
		}
		req, err := ParseRequest(b[:n], RadSecSecret(), AccessRequest, StatusServer, AccountingRequest)
		if err != nil {
			h.t.Error(err)
			return
		}
		reply := &Reply{Code: AccessAccept}
		if req.Code != StatusServer {
			h.mu.Lock()
			h.seen = append(h.seen, req)
			h.mu.Unlock()
		}
		if req.Code != StatusServer || h.answer == nil {
			if h.answer == nil {
				continue
			}
			if reply = h.answer(req); reply == nil {
				continue
			}
		}
		out, err := req.Encode(*reply, RadSecSecret(), rand.Reader)
		if err != nil {
			h.t.Error(err)
			return
		}
		if _, err := conn.Write(out); err != nil {
			return
		}
	}
}

// kill ends it and its connections.
func (h *host) kill() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.down = true
	for _, c := range h.conns {
		_ = c.Close()
	}
}

func (h *host) start() { h.mu.Lock(); h.down = false; h.mu.Unlock() }

// radsec makes a client of hosts.
func radsec(t *testing.T, ca *catest.Authority, ours tls.Certificate, change func(*Config), hosts map[netip.AddrPort]*host, order ...netip.AddrPort) *Client {
	t.Helper()
	cfg := Config{
		NASIdentifier: "ar-a", TLS: &tls.Config{Certificates: []tls.Certificate{ours}, RootCAs: ca.Roots()},
		Dial: func(_ context.Context, to netip.AddrPort) (net.Conn, error) { return hosts[to].dial() },
	}
	for _, a := range order {
		cfg.Servers = append(cfg.Servers, Server{Addr: a, Accounting: a, Name: "aaa.home.example"})
	}
	if change != nil {
		change(&cfg)
	}
	c, err := NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		for _, h := range hosts {
			h.kill()
			h.wg.Wait()
		}
	})
	return c
}

func run(t *testing.T, c *Client, handle func(Order) Cause) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx, handle) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func challenge(*ServerRequest) *Reply {
	return &Reply{Code: AccessChallenge, EAP: []byte{1, 2, 0, 6, 13, 32}, State: []byte{1}}
}

func firstRequest() Request {
	r := testRequest()
	r.State = nil
	return r
}

func TestRadSec(t *testing.T) {
	ca := catest.NewAuthority(t)
	ours, theirs := ca.Issue("ar-a.visited.example"), newHost(t, ca, "aaa.home.example", challenge)
	synctest.Test(t, func(t *testing.T) {
		theirs.t = t
		c := radsec(t, ca, ours, nil, map[netip.AddrPort]*host{serverA: theirs}, serverA)
		run(t, c, nil)
		synctest.Wait()
		if s := c.Servers(); s[0].State != Alive || s[0].Err != "" {
			t.Fatalf("%+v", s)
		}
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if r, err := c.Exchange(t.Context(), firstRequest()); err != nil || r.Code != AccessChallenge || r.Server != serverA {
					t.Errorf("%+v, %v", r, err)
				}
			})
		}
		wg.Wait()
		if theirs.dials != 1 || len(theirs.seen) != 100 {
			t.Errorf("%d connections, %d requests", theirs.dials, len(theirs.seen))
		}
		// No request goes twice, whatever the time.
		theirs.answer = func(*ServerRequest) *Reply { return nil }
		_, err := c.Exchange(t.Context(), firstRequest())
		var silent *TimeoutError
		if !errors.As(err, &silent) || silent.Sent != 1 {
			t.Errorf("%v", err)
		}
	})
}

// TestRadSecMany opens more connections when one has no identifier left.
func TestRadSecMany(t *testing.T) {
	ca := catest.NewAuthority(t)
	ours, theirs := ca.Issue("ar-a.visited.example"), newHost(t, ca, "aaa.home.example", nil)
	synctest.Test(t, func(t *testing.T) {
		theirs.t = t
		c := radsec(t, ca, ours, nil, map[netip.AddrPort]*host{serverA: theirs}, serverA)
		var wg sync.WaitGroup
		for range 600 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, _ = c.Exchange(ctx, firstRequest())
			})
		}
		wg.Wait()
		if theirs.dials != 3 {
			t.Errorf("%d connections", theirs.dials)
		}
	})
}

// TestRadSecRefusals: whoever is not whom we want, or does not want us, is named, and
// nothing is sent to it.
func TestRadSecRefusals(t *testing.T) {
	ca, rogue := catest.NewAuthority(t), catest.NewAuthority(t)
	for name, c := range map[string]struct {
		ours  tls.Certificate
		host  func() *host
		wants string
	}{
		"its name": {ca.Issue("ar-a"), func() *host { return newHost(t, ca, "aaa.evil.example", challenge) }, "aaa.evil.example"},
		"its authority": {ca.Issue("ar-a"), func() *host {
			h := newHost(t, rogue, "aaa.home.example", challenge)
			h.tls.ClientCAs = ca.Roots()
			return h
		}, "unknown authority"},
		"our certificate": {rogue.Issue("ar-a"), func() *host { return newHost(t, ca, "aaa.home.example", challenge) }, "does it know the name of our certificate?"},
		"TLS 1.2": {ca.Issue("ar-a"), func() *host {
			h := newHost(t, ca, "aaa.home.example", challenge)
			h.tls.MinVersion, h.tls.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
			return h
		}, "protocol version"},
	} {
		t.Run(name, func(t *testing.T) {
			h := c.host()
			synctest.Test(t, func(t *testing.T) {
				h.t = t
				client := radsec(t, ca, c.ours, func(cfg *Config) { cfg.Timeout = 5 * time.Second }, map[netip.AddrPort]*host{serverA: h}, serverA)
				began := time.Now()
				_, err := client.Exchange(t.Context(), firstRequest())
				var silent *TimeoutError
				if time.Since(began) > time.Second {
					t.Errorf("waited %v for what time does not mend", time.Since(began))
				}
				if !errors.As(err, &silent) || !strings.Contains(err.Error(), c.wants) || strings.Contains(err.Error(), "\n") {
					t.Errorf("%v", err)
				}
				if s := client.Servers(); s[0].State != Dead || !strings.Contains(s[0].Err, c.wants) {
					t.Errorf("%+v", s)
				}
				if len(h.seen) != 0 {
					t.Error("a request was sent")
				}
				if h.dials > 10 {
					t.Errorf("%d connections tried", h.dials)
				}
			})
		})
	}
}

// TestRadSecFailover: the connection is lost in the middle of a conversation; the next
// request of it says so at once, new conversations go elsewhere, and back when the server
// has come back.
func TestRadSecFailover(t *testing.T) {
	ca := catest.NewAuthority(t)
	ours, a, b := ca.Issue("ar-a.visited.example"), newHost(t, ca, "aaa.home.example", challenge), newHost(t, ca, "aaa.home.example", challenge)
	synctest.Test(t, func(t *testing.T) {
		a.t, b.t = t, t
		c := radsec(t, ca, ours, nil, map[netip.AddrPort]*host{serverA: a, serverB: b}, serverA, serverB)
		run(t, c, nil)
		r, err := c.Exchange(t.Context(), firstRequest())
		if err != nil || r.Server != serverA {
			t.Fatalf("%+v, %v", r, err)
		}
		a.kill()
		pinned := testRequest()
		pinned.Server = serverA
		began := time.Now()
		_, err = c.Exchange(t.Context(), pinned)
		var silent *TimeoutError
		if next, ok := c.Next(serverA); !errors.As(err, &silent) || !ok || next != serverB || time.Since(began) > time.Second {
			t.Fatalf("%v after %v", err, time.Since(began))
		}
		if r, err = c.Exchange(t.Context(), firstRequest()); err != nil || r.Server != serverB {
			t.Fatalf("%+v, %v", r, err)
		}
		if s := c.Servers(); s[0].State != Dead || s[1].State != Alive {
			t.Errorf("%+v", s)
		}
		time.Sleep(10 * time.Minute)
		a.mu.Lock()
		dials := a.dials
		a.mu.Unlock()
		if dials > 25 {
			t.Errorf("%d connections tried in ten minutes", dials)
		}
		a.start()
		time.Sleep(backoffMax * 2)
		if r, err = c.Exchange(t.Context(), firstRequest()); err != nil || r.Server != serverA {
			t.Errorf("after it has come back: %+v, %v", r, err)
		}
	})
}

// TestRadSecHalfOpen: a peer that neither answers nor closes is given up.
func TestRadSecHalfOpen(t *testing.T) {
	ca := catest.NewAuthority(t)
	ours, a, b := ca.Issue("ar-a.visited.example"), newHost(t, ca, "aaa.home.example", challenge), newHost(t, ca, "aaa.home.example", challenge)
	synctest.Test(t, func(t *testing.T) {
		a.t, b.t = t, t
		c := radsec(t, ca, ours, nil, map[netip.AddrPort]*host{serverA: a, serverB: b}, serverA, serverB)
		run(t, c, nil)
		if _, err := c.Exchange(t.Context(), firstRequest()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // it has answered Status-Server, too, which makes silence tell sooner
		a.mu.Lock()
		a.answer, a.down = nil, true // not even Status-Server
		a.mu.Unlock()
		began := time.Now()
		r, err := c.Exchange(t.Context(), firstRequest())
		if err != nil || r.Server != serverB || time.Since(began) > 4*time.Second {
			t.Errorf("%+v, %v after %v", r, err, time.Since(began))
		}
	})
}

func TestReadPacket(t *testing.T) {
	b := make([]byte, MaxPacket)
	wire := unhex(t, goldenRequest)
	r := bytes.NewReader(append(bytes.Clone(wire), wire...))
	for range 2 {
		if n, err := ReadPacket(r, b); err != nil || !bytes.Equal(b[:n], wire) {
			t.Fatalf("%d, %v", n, err)
		}
	}
	if _, err := ReadPacket(r, b); !errors.Is(err, io.EOF) {
		t.Errorf("%v", err)
	}
	for n := range wire {
		if _, err := ReadPacket(bytes.NewReader(wire[:n]), b); n > 0 && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d octets: %v", n, err)
		}
	}
	for _, length := range []uint16{0, 19, 4097, 65535} {
		bad := bytes.Clone(wire)
		bad[2], bad[3] = byte(length>>8), byte(length)
		if _, err := ReadPacket(bytes.NewReader(bad), b); err == nil || !strings.Contains(err.Error(), "is it RADIUS") {
			t.Errorf("length %d: %v", length, err)
		}
	}
}
