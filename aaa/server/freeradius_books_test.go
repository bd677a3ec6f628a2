package server

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openmpa/aaa"
	"openmpa/aaa/radius"
	"openmpa/internal/catest"
	"openmpa/testbed/peers"
)

// transport is a certificate with its authority, in files.
func transport(t *testing.T, ca *catest.Authority, name string) peers.Transport {
	t.Helper()
	dir := t.TempDir()
	ca.Write(dir, "server", name)
	return peers.Transport{CA: filepath.Join(dir, "ca.pem"), Certificate: filepath.Join(dir, "server.pem"), Key: filepath.Join(dir, "server.key")}
}

// TestFreeRADIUSWatched: FreeRADIUS answers our Status-Server on both ports and over TLS,
// authenticates over TLS 1.3, and has in its books what we account; what it signs its
// answers with is what we expect.
func TestFreeRADIUSWatched(t *testing.T) {
	stateDir, node, _ := issued(t)
	ca := catest.NewAuthority(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tlsAddr := netip.MustParseAddrPort(free.Addr().String())
	_ = free.Close()
	f := startFreeRADIUS(t, stateDir, func(f *peers.FreeRADIUS) {
		f.RadSec, f.Transport = tlsAddr, transport(t, ca, "aaa.home.example")
	})
	books := netip.AddrPortFrom(f.Listen.Addr(), f.AccountingPort())
	for name, cfg := range map[string]radius.Config{
		"UDP": {Servers: []radius.Server{{Addr: f.Listen, Accounting: books, Secret: secret(f.Secret)}}},
		"RadSec": {
			Servers: []radius.Server{{Addr: tlsAddr, Accounting: tlsAddr, Name: "aaa.home.example"}},
			TLS:     &tls.Config{Certificates: []tls.Certificate{ca.Issue("ar-a.visited.example")}, RootCAs: ca.Roots()},
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.NASIdentifier, cfg.Operator, cfg.Timeout = "ar-a", "visited.example", 20*time.Second
			client, err := radius.NewClient(cfg)
			if err != nil {
				t.Fatal(err)
			}
			carrier := aaa.NewRADIUSCarrier(client)
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- carrier.Run(ctx, nil) }()
			defer func() {
				cancel()
				if err := errors.Join(<-done, client.Close()); err != nil {
					t.Error(err)
				}
			}()
			alive := func() bool {
				for _, s := range client.Servers() {
					if s.State != radius.Alive {
						return false
					}
				}
				return client.Counters().Probes > 0
			}
			for end := time.Now().Add(20 * time.Second); !alive(); time.Sleep(10 * time.Millisecond) {
				if time.Now().After(end) {
					log, _ := os.ReadFile(filepath.Join(f.Dir, "log"))
					t.Fatalf("%+v, %+v\n%s", client.Servers(), client.Counters(), log)
				}
			}
			backend, err := aaa.NewRealms(aaa.Operator{Name: "home", Carrier: carrier})
			if err != nil {
				t.Fatal(err)
			}
			p, r, err := authenticate(t, backend, node)
			if err != nil || r.Decision != aaa.Accept {
				t.Fatalf("%v, %v, node: %v", r.Decision, err, p.Err())
			}
			g := r.Grant
			g.Class = [][]byte{[]byte("class-" + name)}
			for i, record := range []aaa.Record{
				{Kind: aaa.RecordStart},
				{Kind: aaa.RecordInterim, Usage: aaa.Usage{Time: 60 * time.Second, OctetsIn: 5 << 32, OctetsOut: 7}},
				{Kind: aaa.RecordStop, Cause: aaa.CauseLost, Usage: aaa.Usage{Time: 90 * time.Second, PacketsIn: 3}},
			} {
				record.Grant, record.Number, record.Time = g, uint32(i), time.Now()
				if err := carrier.Account(t.Context(), record); err != nil {
					t.Fatalf("%v: %v, %+v", record.Kind, err, client.Counters())
				}
			}
			text, err := os.ReadFile(f.Books())
			if err != nil {
				t.Fatal(err)
			}
			for what, want := range map[string]int{
				`Acct-Session-Id = "` + g.Session + `"`: 3, "Acct-Status-Type = Start": 1, "Acct-Status-Type = Stop": 1, "Acct-Status-Type = Interim-Update": 1,
				"Acct-Terminate-Cause = Lost-Carrier": 1, "Acct-Input-Gigawords = 5": 1, "Acct-Session-Time = 90": 1, `Operator-Name = "1visited.example"`: 3,
				"Calling-Station-Id = \"10.1.0.100\"": 3, "Event-Timestamp": 3,
			} {
				if n := strings.Count(string(text), what); n != want {
					t.Errorf("%d times %s, expected %d\n%s", n, what, want, text)
				}
			}
			if err := os.Remove(f.Books()); err != nil {
				t.Fatal(err)
			}
			if n := client.Counters(); n.Timeouts+n.NoMessageAuthenticator+n.BadMessageAuthenticator+n.BadAuthenticator > 0 {
				t.Errorf("%+v", n)
			}
		})
	}
}
