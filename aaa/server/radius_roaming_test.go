package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openmpa/aaa"
	"openmpa/aaa/radius"
)

// TestRADIUSRoaming: a router asks the server of visited.example by UDP, which asks the
// home server by RadSec. The node authenticates, the home has its record in its books, and
// orders of the home come to the router.
func TestRADIUSRoaming(t *testing.T) {
	kept, err := OpenBooks(filepath.Join(t.TempDir(), "books"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = kept.Close() })
	home := newRadSecSite(t, func(c *Config) { c.Books = kept })
	client, err := radius.NewClient(radius.Config{
		NASIdentifier: visitedName, Operator: "visited.example", Timeout: 10 * time.Second,
		Servers: []radius.Server{{Addr: home.addr, Accounting: home.addr, Name: serverName}},
		TLS:     &tls.Config{Certificates: []tls.Certificate{home.ca.Issue(visitedName)}, RootCAs: home.ca.Roots()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	forward, err := aaa.NewRealms(aaa.Operator{Name: "home", Realms: []string{"home.example"}, Carrier: aaa.NewRADIUSCarrier(client)})
	if err != nil {
		t.Fatal(err)
	}
	visited, err := New(visitedConfig(t, forward))
	if err != nil {
		t.Fatal(err)
	}
	at := freeUDP(t)
	routers := Client{Prefix: netip.MustParsePrefix("127.0.0.0/8"), Secret: secret("testing123"), Orders: at}
	front, err := NewRADIUS(visited, RADIUSConfig{Clients: []Client{routers}})
	if err != nil {
		t.Fatal(err)
	}
	auth, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	books, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	router, err := radius.NewClient(radius.Config{
		NASIdentifier: "ar-a", Orders: at, Timeout: 10 * time.Second, Servers: []radius.Server{{
			Addr: auth.LocalAddr().(*net.UDPAddr).AddrPort(), Accounting: books.LocalAddr().(*net.UDPAddr).AddrPort(), Secret: secret("testing123"),
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = router.Close() })
	carrier, o := aaa.NewRADIUSCarrier(router), &told{}
	backend, err := aaa.NewRealms(aaa.Operator{Name: "visited", Carrier: carrier})
	if err != nil {
		t.Fatal(err)
	}
	running(t, visited.Run,
		func(ctx context.Context) error { return forward.Run(ctx, visited) },
		func(ctx context.Context) error { return front.Serve(ctx, auth) },
		func(ctx context.Context) error { return front.ServeAccounting(ctx, books) },
		func(ctx context.Context) error { return carrier.Run(ctx, o) },
	)
	p, r, err := authenticate(t, backend, home.node)
	if err != nil || r.Decision != aaa.Accept {
		t.Fatalf("%v, %v, node: %v", r.Decision, err, p.Err())
	}
	if _, _, msk := p.Result(); !msk.Equal(r.MSK) || r.Identity != nodeName || r.SessionTimeout != time.Hour {
		t.Errorf("%+v, MSK equal %v", r, msk.Equal(r.MSK))
	}
	record := aaa.Record{Grant: r.Grant, Kind: aaa.RecordStart, Time: time.Now()}
	if err := carrier.Account(t.Context(), record); err != nil {
		t.Error(err)
	}
	if open := kept.Open(); len(open) != 1 || open[0].Identity != nodeName || open[0].Client != "radsec:"+visitedName {
		t.Errorf("books at home: %+v", open)
	}
	o.mu.Lock()
	o.session = r.Grant.Session
	o.mu.Unlock()
	for _, c := range []struct {
		order Order
		want  string
	}{
		{Order{Kind: OrderAgain}, "again"},
		{Order{Kind: OrderExtend, Life: time.Minute}, "again, extend 1m0s"},
		{Order{Kind: OrderEnd, Why: "no credit"}, "again, extend 1m0s, end"},
	} {
		sent := home.server.Order(t.Context(), aaa.Match{Identity: nodeName}, c.order)
		if len(sent) != 1 || sent[0].Err != "" {
			t.Fatalf("%v: %+v", c.order.Kind, sent)
		}
		eventually(t, func() error { // the visited server has said that it will
			o.mu.Lock()
			defer o.mu.Unlock()
			if got := strings.Join(o.all, ", "); got != c.want {
				return fmt.Errorf("the router was told: %s, expected %s", got, c.want)
			}
			return nil
		})
	}
}

// refusing is an operator whose servers take no records.
type refusing struct{ aaa.Carrier }

func (refusing) Account(context.Context, aaa.Record) error { return aaa.ErrRefused }

// TestRADIUSRefusedForGood: what the home never takes, the router does not send for ever.
func TestRADIUSRefusedForGood(t *testing.T) {
	forward, err := aaa.NewRealms(aaa.Operator{Name: "home", Carrier: refusing{}})
	if err != nil {
		t.Fatal(err)
	}
	s := newRadSecSite(t, func(c *Config) { c.Realms, c.Forward = []string{"visited.example"}, forward })
	client, _ := s.router(t, "ar-a.visited.example", nil)
	record := aaa.Record{Grant: aaa.Grant{Session: "s-1", Identity: nodeName}, Kind: aaa.RecordStart, Time: time.Now()}
	if err := aaa.NewRADIUSCarrier(client).Account(t.Context(), record); !errors.Is(err, aaa.ErrRefused) {
		t.Errorf("%v", err)
	}
}
