package diameter

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"openmpa/internal/catest"
)

var netipLoopback = netip.MustParseAddr("127.0.0.1")

func testPKI(t *testing.T, name string) (tls.Certificate, *x509.CertPool) {
	a := catest.NewAuthority(t)
	return a.Issue(name), a.Roots()
}

func tlsConfig(cert tls.Certificate, pool *x509.CertPool) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: pool, ClientCAs: pool}
}

// play runs a node over real sockets until the test ends.
func play(t *testing.T, cfg Config) *Node {
	t.Helper()
	n, _ := playUntil(t, cfg)
	return n
}

// playUntil is play with what ends the node before.
func playUntil(t *testing.T, cfg Config) (n *Node, stop func()) {
	t.Helper()
	_, cfg.Realm, _ = strings.Cut(cfg.Identity, ".")
	if cfg.Patience == 0 {
		cfg.Patience = time.Minute // a busy machine may take its time to connect
	}
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := n.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	stop = func() { cancel(); wg.Wait() }
	t.Cleanup(stop)
	return n, stop
}

func listenLoopback(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestTLS(t *testing.T) {
	ca, other := catest.NewAuthority(t), catest.NewAuthority(t)
	const home, ar = "aaa.home.example", "ar-a.visited.example"
	for _, c := range []struct {
		name           string
		server, client tls.Certificate
		identity       string // as the client says
		peer           string // as the client has it
		clientTLS      func(*tls.Config)
		plain          bool
		good           bool
		says           string
	}{
		{name: "good", server: ca.Issue(home), client: ca.Issue(ar), identity: ar, peer: home, good: true},
		{name: "server of another authority", server: other.Issue(home), client: ca.Issue(ar), identity: ar, peer: home, says: "certificate"},
		{name: "server of another name", server: ca.Issue("aaa.evil.example"), client: ca.Issue(ar), identity: ar, peer: home, says: "aaa.evil.example"},
		{name: "client of another authority", server: ca.Issue(home), client: other.Issue(ar), identity: ar, peer: home},
		{name: "client with another's name", server: ca.Issue(home), client: ca.Issue("ar-b.visited.example"), identity: ar, peer: home, says: "certificate is not of"},
		{name: "server that calls itself otherwise", server: ca.Issue("aaa2.home.example"), client: ca.Issue(ar), identity: ar, peer: "aaa2.home.example", says: "calls itself aaa.home.example"},
		{name: "verification switched off by mistake", server: other.Issue(home), client: ca.Issue(ar), identity: ar, peer: home, says: "certificate", clientTLS: func(c *tls.Config) { c.InsecureSkipVerify = true }},
		{name: "TLS 1.2 at most", server: ca.Issue(home), client: ca.Issue(ar), identity: ar, peer: home, clientTLS: func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }},
		{name: "no TLS", server: ca.Issue(home), client: ca.Issue(ar), identity: ar, peer: home, plain: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := listenLoopback(t)
			var served atomic.Int64
			play(t, Config{
				Identity: home, Peers: []Peer{{Identity: ar, TLS: true}}, TLS: tlsConfig(c.server, ca.Roots()),
				Listeners: []Listener{{l, true}}, Handler: success(&served),
			})
			mine := tlsConfig(c.client, ca.Roots())
			if c.clientTLS != nil {
				c.clientTLS(mine)
			}
			n := play(t, Config{Identity: c.identity, TLS: mine, Peers: []Peer{{Identity: c.peer, Addr: l.Addr().String(), TLS: !c.plain}}})
			_, _, err := n.Send(within(t, time.Minute), der("s;1"), Target{Realm: homeRealm})
			if c.good {
				if err != nil || served.Load() != 1 || !n.Peers()[0].TLS {
					t.Errorf("%v, %+v", err, n.Peers())
				}
				return
			}
			if !errors.Is(err, ErrNoPeer) || served.Load() != 0 {
				t.Fatalf("got %v, %d requests served", err, served.Load())
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("it says %v, expected %q", err, c.says)
			}
		})
	}
	for name, cfg := range map[string]Config{
		"no certificate": {TLS: &tls.Config{RootCAs: ca.Roots(), ClientCAs: ca.Roots()}},
		"no authority":   {TLS: &tls.Config{Certificates: []tls.Certificate{ca.Issue(home)}}},
		"nothing":        {},
	} {
		cfg.Identity, cfg.Realm, cfg.Peers = home, homeRealm, []Peer{{Identity: ar, TLS: true}}
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// TestLingersBehindTLS: a peer may say twice that it ends TLS, as freeDiameter does: its socket must not be reset for that.
func TestLingersBehindTLS(t *testing.T) {
	cert, pool := testPKI(t, "aaa.home.example")
	l := listenLoopback(t)
	defer l.Close()
	var peer sync.WaitGroup
	peer.Go(func() {
		raw, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer raw.Close()
		s := tls.Server(raw, tlsConfig(cert, pool))
		if _, err := io.Copy(io.Discard, s); err != nil {
			t.Error(err)
		}
		if err := s.CloseWrite(); err != nil {
			t.Error(err)
		}
		_ = raw.SetWriteDeadline(time.Time{}) // CloseWrite has set one
		for range 3 {
			time.Sleep(20 * time.Millisecond)
			if _, err := raw.Write([]byte{0}); err != nil {
				t.Errorf("what is said behind the end of TLS: %v", err)
			}
		}
	})
	raw, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: pool, ServerName: "aaa.home.example"})
	if err != nil {
		t.Fatal(err)
	}
	c, ended := &conn{raw: raw}, make(chan struct{})
	peer.Go(func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, raw)
	})
	c.linger(ended)
	raw.Close()
	peer.Wait()
}
