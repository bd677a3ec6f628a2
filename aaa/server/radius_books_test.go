package server

import (
	"bytes"
	"context"
	"net/netip"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"openmpa/aaa"
	"openmpa/aaa/radius"
)

// TestAccountingRADIUS: records of a router are in the books once, however often they
// come; the accounting port answers Status-Server, and takes nothing else; what has no
// right integrity is dropped.
func TestAccountingRADIUS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var books *Books
		s := newSite(t, func(c *Config) {
			var err error
			if books, err = OpenBooks(filepath.Join(t.TempDir(), "books"), nil); err != nil {
				t.Fatal(err)
			}
			c.Books = books
		})
		t.Cleanup(func() { _ = books.Close() })
		const port = "10.0.5.1:1813"
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- s.front.ServeAccounting(ctx, s.hub.open(port)) }()
		router := func(key, addr string) aaa.Carrier {
			c, err := radius.NewClient(radius.Config{
				NASIdentifier: "ar-a", Timeout: 3 * time.Second, Timing: radius.Timing{IRT: 100 * time.Millisecond},
				Servers: []radius.Server{{Addr: netip.MustParseAddrPort(serverAddr), Accounting: netip.MustParseAddrPort(port), Secret: secret(key)}},
				Listen:  func() (radius.Conn, error) { return s.hub.open(addr), nil },
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			return aaa.NewRADIUSCarrier(c)
		}
		t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
		good := router("testing123", "10.0.2.1:40001")
		start := aaa.Record{Grant: aaa.Grant{Session: "s-1", Identity: nodeName}, Kind: aaa.RecordStart, Time: time.Now()}
		for range 3 {
			if err := good.Account(t.Context(), start); err != nil {
				t.Fatal(err)
			}
		}
		stop := start
		stop.Kind, stop.Number, stop.Cause, stop.Time = aaa.RecordStop, 1, aaa.CauseCrash, start.Time.Add(time.Hour)
		if len(books.Open()) != 1 {
			t.Errorf("open: %+v", books.Open())
		}
		for range 2 {
			if err := good.Account(t.Context(), stop); err != nil {
				t.Fatal(err)
			}
		}
		if len(books.Open()) != 0 {
			t.Errorf("open after the stop: %+v", books.Open())
		}
		never := stop
		never.Grant.Session, never.Number = "s-2", 0
		if err := good.Account(t.Context(), never); err != nil {
			t.Error(err)
		}
		if err := router("another", "10.0.2.1:40002").Account(t.Context(), start); err == nil {
			t.Error("under another secret")
		}
		if err := router("testing123", "192.0.2.1:40002").Account(t.Context(), start); err == nil {
			t.Error("from a stranger")
		}
		n := s.front.Counters()
		if n.Requests != 5 || n.WrongSecret == 0 || n.UnknownClient == 0 || n.Malformed+n.BadCode > 0 {
			t.Errorf("%+v", n)
		}
		// Octets of other kinds to that port.
		peer := s.hub.open("10.0.2.1:40003")
		access := append([]byte{1, 1, 0, 20}, make([]byte, 16)...)
		for _, b := range [][]byte{access, bytes.Repeat([]byte{4}, 20), {4}, nil} {
			if _, err := peer.WriteToUDPAddrPort(b, netip.MustParseAddrPort(port)); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if len(peer.in) != 0 {
			t.Error("an answer to them")
		}
		if after := s.front.Counters(); after.Requests != n.Requests || after.BadCode != 1 || after.Malformed != 3 {
			t.Errorf("%+v", after)
		}
	})
}
