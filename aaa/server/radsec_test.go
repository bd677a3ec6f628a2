package server

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"openmpa/aaa"
	"openmpa/aaa/radius"
	"openmpa/internal/catest"
)

// radsecSite is a site whose server is asked over TLS, too, on the loopback interface.
type radsecSite struct {
	*site
	ca    *catest.Authority
	front *RadSec
	addr  netip.AddrPort
}

func newRadSecSite(t *testing.T, change func(*Config)) *radsecSite {
	t.Helper()
	s := &radsecSite{site: newSite(t, change), ca: catest.NewAuthority(t)}
	var err error
	s.front, err = NewRadSec(s.server, RadSecConfig{
		TLS:     &tls.Config{Certificates: []tls.Certificate{s.ca.Issue(serverName)}, ClientCAs: s.ca.Roots()},
		Clients: []string{"*.visited.example", "ar-x.other.example"},
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = netip.MustParseAddrPort(l.Addr().String())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.front.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if n := s.front.Counters().Open; n != 0 {
			t.Errorf("%d connections left", n)
		}
	})
	return s
}

func (s *radsecSite) router(t *testing.T, name string, orders aaa.Orders) (*radius.Client, *aaa.Realms) {
	t.Helper()
	c, err := radius.NewClient(radius.Config{
		NASIdentifier: name, Servers: []radius.Server{{Addr: s.addr, Accounting: s.addr, Name: serverName}}, Timeout: 10 * time.Second,
		TLS: &tls.Config{Certificates: []tls.Certificate{s.ca.Issue(name)}, RootCAs: s.ca.Roots()},
	})
	if err != nil {
		t.Fatal(err)
	}
	carrier := aaa.NewRADIUSCarrier(c)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- carrier.Run(ctx, orders) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, c.Close()); err != nil {
			t.Error(err)
		}
	})
	realms, err := aaa.NewRealms(aaa.Operator{Name: "radsec", Carrier: carrier})
	if err != nil {
		t.Fatal(err)
	}
	return c, realms
}

// TestRadSec authenticates nodes at once over one connection.
func TestRadSec(t *testing.T) {
	s := newRadSecSite(t, nil)
	for _, name := range []string{"ar-a.visited.example", "AR-X.other.example"} {
		_, backend := s.router(t, name, nil)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				p, r, err := authenticate(t, backend, s.node)
				if err != nil || r.Decision != aaa.Accept {
					t.Errorf("%v, %v, node: %v", r.Decision, err, p.Err())
					return
				}
				_, success, msk := p.Result()
				if !success || !msk.Equal(r.MSK) || r.SessionTimeout != time.Hour || r.Grant.Server != s.addr.String() || len(r.Grant.Session) < 16 {
					t.Errorf("success %v, MSK equal %v, %+v", success, msk.Equal(r.MSK), r.Grant)
				}
			})
		}
		wg.Wait()
	}
	if n := s.front.Counters(); n.Connections != 2 || n.Refused != 0 || n.Bad != 0 {
		t.Errorf("%+v", n)
	}
}

// TestRadSecStrangers: a certificate is not enough, and what is no RADIUS ends a
// connection.
func TestRadSecStrangers(t *testing.T) {
	s := newRadSecSite(t, nil)
	for _, name := range []string{"ar-a.evil.example", "deep.ar-a.visited.example", "visited.example"} {
		client, _ := s.router(t, name, nil)
		_, err := client.Exchange(t.Context(), radius.Request{UserName: nodeName, EAP: []byte{2, 1, 0, 5, 1}})
		if err == nil || !strings.Contains(err.Error(), "does it know the name of our certificate?") {
			t.Errorf("%s: %v", name, err)
		}
	}
	cert := s.ca.Issue("ar-a.visited.example")
	good := &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: s.ca.Roots(), ServerName: serverName}
	for name, c := range map[string]struct {
		change func(*tls.Config)
		octets []byte
	}{
		"no certificate":    {func(c *tls.Config) { c.Certificates = nil }, nil},
		"TLS 1.2":           {func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, nil},
		"length":            {nil, []byte("GET / HTTP/1.1\r\nHost: aaa\r\n\r\n")},
		"no authenticator":  {nil, append([]byte{12, 1, 0, 20}, make([]byte, 16)...)},
		"unexpected answer": {nil, append([]byte{2, 1, 0, 20}, make([]byte, 16)...)},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := good.Clone()
			if c.change != nil {
				c.change(cfg)
			}
			conn, err := tls.Dial("tcp", s.addr.String(), cfg)
			if err == nil {
				defer conn.Close()
				_, _ = conn.Write(c.octets)
				_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
				_, err = conn.Read(make([]byte, 1))
			}
			if timeout := net.Error(nil); err == nil || errors.As(err, &timeout) && timeout.Timeout() {
				t.Errorf("%v", err)
			}
		})
	}
	// Each of the last three has ended its connection, and none was a request. The server
	// counts when the peer has seen the end already.
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		n := s.front.Counters()
		if n.Bad == 3 && n.Open == 0 && n.Requests == 0 {
			break
		}
		if n.Requests > 0 || time.Now().After(end) {
			t.Fatalf("%+v", n)
		}
	}
}
