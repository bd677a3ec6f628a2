package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"openmpa/aaa"
	"openmpa/aaa/diameter"
	"openmpa/internal/event"
)

// visited is a server of visited.example, which forwards home by Diameter.
const visitedName = "aaa.visited.example"

// newVisited puts a server of visited.example between a router and n servers of
// home.example, all by Diameter.
func newVisited(t *testing.T, n int) (s *dsite, visited *dserver) {
	t.Helper()
	s = newDiameterServers(t, n, diameter.Peer{Identity: visitedName})
	var homes []diameter.Peer
	for _, d := range s.servers {
		homes = append(homes, diameter.Peer{Identity: d.name, Addr: d.addr})
	}
	client, err := diameter.NewClient(diameter.Config{Identity: visitedName, Realm: "visited.example", Peers: homes}, diameter.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	forward, err := aaa.NewRealms(aaa.Operator{Name: "home", Realms: []string{"home.example"}, Carrier: aaa.NewDiameterCarrier(client)})
	if err != nil {
		t.Fatal(err)
	}
	cfg := visitedConfig(t, forward)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	visited = &dserver{name: visitedName, addr: l.Addr().String()}
	if visited.core, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	visited.front, err = NewDiameter(visited.core, diameter.Config{
		Identity: visitedName, Realm: "visited.example", Peers: []diameter.Peer{{Identity: "*.visited.example"}},
		Listeners: []diameter.Listener{{Listener: l}},
	})
	if err != nil {
		t.Fatal(err)
	}
	running(t, visited.core.Run, visited.front.Serve, func(ctx context.Context) error { return forward.Run(ctx, visited.core) })
	eventually(t, func() error {
		for _, x := range forward.Servers() {
			if !x.Alive {
				return fmt.Errorf("not connected: %+v", x)
			}
		}
		return nil
	})
	s.router(diameter.Peer{Identity: visitedName, Addr: visited.addr})
	return s, visited
}

// visitedConfig is of a server of visited.example that forwards home.
func visitedConfig(t *testing.T, forward *aaa.Realms) Config {
	t.Helper()
	state, err := OpenState(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := state.ServerCertificate(visitedName)
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Realms: []string{"visited.example"}, Forward: forward, Recorder: event.NewRecorder("visited", nil, 0)}
	cfg.TLS.Certificate, cfg.TLS.ClientCAs = cert, state.Roots()
	return cfg
}

// TestDiameterRoaming says that a node of home.example authenticates at a router of
// visited.example by the servers of both, that records and ends arrive at home, and that
// what the home orders arrives at the router.
func TestDiameterRoaming(t *testing.T) {
	s, _ := newVisited(t, 1)
	home := s.servers[0]
	p, r, err := authenticate(t, s.backend, s.node)
	if err != nil || r.Decision != aaa.Accept {
		t.Fatalf("%v, %v, node: %v", r.Decision, err, p.Err())
	}
	if _, _, msk := p.Result(); !msk.Equal(r.MSK) || r.Grant.Server != visitedName || r.Identity != nodeName {
		t.Errorf("%+v, MSK equal %v", r.Grant, msk.Equal(r.MSK))
	}
	if at := home.core.Sessions(); len(at) != 1 || at[0].Session != r.Grant.Session {
		t.Errorf("home %+v, expected the router's %q: any server of the visited network may tell of it", at, r.Grant.Session)
	}
	start := aaa.Record{Grant: r.Grant, Kind: aaa.RecordStart, Time: time.Now()}
	if err := s.carrier.Account(t.Context(), start); err == nil {
		t.Error("a record is taken by a home that keeps no books")
	}
	for _, o := range []struct {
		order Order
		want  string
	}{
		{Order{Kind: OrderAgain}, "again " + r.Grant.Session},
		{Order{Kind: OrderExtend, Life: time.Minute}, "extend " + r.Grant.Session + " 1m0s"},
		{Order{Kind: OrderEnd, Why: "no credit"}, "end " + r.Grant.Session + " no credit"},
	} {
		for _, x := range home.core.Order(t.Context(), aaa.Match{Identity: nodeName}, o.order) {
			if x.Err != "" {
				t.Errorf("%v: %s", o.order.Kind, x.Err)
			}
		}
		eventually(t, func() error {
			s.orders.mu.Lock()
			defer s.orders.mu.Unlock()
			if n := len(s.orders.list); n == 0 || s.orders.list[n-1] != o.want {
				return fmt.Errorf("the router was told %q, want %q", s.orders.list, o.want)
			}
			return nil
		})
	}
}

// TestDiameterRoamingHomeLost kills the home server before each exchange: with a second
// one, the node is to begin anew at the same visited server, and succeeds.
func TestDiameterRoamingHomeLost(t *testing.T) {
	for at := 1; at < 4; at++ {
		s, _ := newVisited(t, 2)
		_, _, err := converse(t, s.backend, s.node, func(round int) {
			if round == at {
				s.servers[0].kill()
			}
		})
		var lost *aaa.LostError
		if !errors.As(err, &lost) || lost.Server != visitedName || lost.Next != visitedName {
			t.Errorf("killed before exchange %d: %v", at, err)
		}
		if _, r, err := authenticate(t, s.backend, s.node); err != nil || r.Decision != aaa.Accept {
			t.Errorf("the one after that: %v", err)
		}
	}
}
