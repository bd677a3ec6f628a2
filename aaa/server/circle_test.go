package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"openmpa/aaa"
	"openmpa/aaa/diameter"
	"openmpa/aaa/radius"
)

// TestCircle: two servers that forward a realm to each other ask nobody twice, and the router is
// told. The same for records, of which each has one copy.
func TestCircle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoaming(t) // whose visited server asks the home one, which now asks it
		back, err := radius.NewClient(radius.Config{
			NASIdentifier: "x", Timeout: 10 * time.Second, Listen: func() (radius.Conn, error) { return r.hub.open("10.0.5.1:50000"), nil },
			Servers: []radius.Server{{Addr: netip.MustParseAddrPort(visitedAddr), Accounting: netip.MustParseAddrPort(ourBooks), Secret: secret("testing123")}},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = back.Close() })
		r.server.cfg.Realms = []string{"elsewhere.example"}
		r.server.cfg.Forward, err = aaa.NewRealms(aaa.Operator{Name: "visited", Carrier: aaa.NewRADIUSCarrier(back)})
		if err != nil {
			t.Fatal(err)
		}
		asked := 0
		r.hub.pass = func(_, to netip.AddrPort, b []byte) int {
			if b[0] == byte(radius.AccessRequest) || b[0] == byte(radius.AccountingRequest) {
				asked++
			}
			return 1
		}
		_, _, err = authenticate(t, r.backend, r.node)
		var reject *aaa.RejectError
		if !errors.As(err, &reject) || !strings.Contains(reject.Message, "in a circle, by 2 servers") {
			t.Errorf("%v", err)
		}
		if asked != 3 {
			t.Errorf("%d requests, expected 3: the router's, there and back", asked)
		}
		asked = 0
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := aaa.Record{Grant: aaa.Grant{Session: "s-1", Identity: nodeName}, Kind: aaa.RecordStart, Time: time.Now()}
		if err := r.router.Account(ctx, start); err == nil {
			t.Error("a record that nobody takes was taken")
		}
		synctest.Wait()
		if asked < 3 || asked > 9 { // each is repeated by itself
			t.Errorf("%d requests, expected 3 and their repetitions", asked)
		}
		for _, path := range []string{r.ours, r.home} {
			if lines := linesOf(t, path); len(lines) != 1 {
				t.Errorf("%s: %q", path, lines)
			}
		}
	})
}

// TestCircleThroughBoth: one of the two is asked by Diameter.
func TestCircleThroughBoth(t *testing.T) {
	s := newDiameterServers(t, 1, diameter.Peer{Identity: visitedName})
	home := s.servers[0]
	peer, err := diameter.NewClient(diameter.Config{
		Identity: visitedName, Realm: "visited.example", Peers: []diameter.Peer{{Identity: home.name, Addr: home.addr}},
	}, diameter.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	there, err := aaa.NewRealms(aaa.Operator{Name: "home", Realms: []string{"home.example"}, Carrier: aaa.NewDiameterCarrier(peer)})
	if err != nil {
		t.Fatal(err)
	}
	visited, err := New(visitedConfig(t, there))
	if err != nil {
		t.Fatal(err)
	}
	front, err := NewRADIUS(visited, RADIUSConfig{Clients: []Client{client("127.0.0.0/8", "testing123")}})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	asks, err := radius.NewClient(radius.Config{
		NASIdentifier: "x", Timeout: 10 * time.Second,
		Servers: []radius.Server{{Addr: conn.LocalAddr().(*net.UDPAddr).AddrPort(), Secret: secret("testing123")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = asks.Close() })
	home.core.cfg.Realms = []string{"elsewhere.example"}
	if home.core.cfg.Forward, err = aaa.NewRealms(aaa.Operator{Name: "visited", Carrier: aaa.NewRADIUSCarrier(asks)}); err != nil {
		t.Fatal(err)
	}
	running(t, visited.Run,
		func(ctx context.Context) error { return there.Run(ctx, visited) },
		func(ctx context.Context) error { return front.Serve(ctx, conn) },
	)
	eventually(t, func() error {
		for _, x := range there.Servers() {
			if !x.Alive {
				return fmt.Errorf("not connected: %+v", x)
			}
		}
		return nil
	})
	_, _, err = authenticate(t, aaa.NewRADIUS(asks), s.node)
	var reject *aaa.RejectError
	if !errors.As(err, &reject) || !strings.Contains(reject.Message, "in a circle, by 2 servers") {
		t.Errorf("%v", err)
	}
	if n := front.Counters().Requests; n != 2 {
		t.Errorf("%d requests by RADIUS, expected 2: the router's, and what comes back", n)
	}
}

// TestPassed: marks of others are passed on as they are, with our own behind them, and not for ever.
func TestPassed(t *testing.T) {
	s, err := New(visitedConfig(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	before := [][]byte{{0, 1, 255}, []byte("relay.example")}
	after, err := s.pass(before, nodeName)
	if err != nil || len(after) != 3 || !bytes.Equal(after[0], before[0]) || !bytes.Equal(after[2], s.mark) {
		t.Errorf("%q, %v", after, err)
	}
	var circle *CircleError
	if _, err := s.pass(append(slices.Clone(after), []byte("x")), nodeName); !errors.As(err, &circle) || !circle.Back || circle.Hops != 2 {
		t.Errorf("%v", err)
	}
	many := slices.Repeat([][]byte{[]byte("x")}, radius.MaxPassed)
	if _, err := s.pass(many, nodeName); !errors.As(err, &circle) || circle.Back {
		t.Errorf("%v", err)
	}
	if other, err := New(visitedConfig(t, nil)); err != nil || bytes.Equal(other.mark, s.mark) {
		t.Errorf("%q has another's mark, %v", s.mark, err)
	}
}
