package server

import (
	"context"
	"crypto/rand"
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"openmpa/aaa"
	"openmpa/aaa/radius"
	"openmpa/internal/event"
)

const (
	visitedAddr = "10.0.7.1:1812"
	homeBooks   = "10.0.5.1:1813"
	ourBooks    = "10.0.7.1:1813"
)

// roaming is a home server, and one of a visited network that forwards to it, which a
// router asks.
type roaming struct {
	*site
	visited     *Server
	events      *event.Recorder
	router      aaa.Carrier
	backend     aaa.Backend
	home, ours  string // files of books
	visitedLink *radius.Client
}

func newRoaming(t *testing.T) *roaming {
	t.Helper()
	dir := t.TempDir()
	r := &roaming{home: filepath.Join(dir, "home"), ours: filepath.Join(dir, "ours"), events: event.NewRecorder("visited", nil, 0)}
	r.site = newSite(t, func(c *Config) { c.Books = openBooks(t, r.home) })
	serve := func(f *RADIUS, addr string) {
		done := make(chan error, 1)
		conn := r.hub.open(addr)
		go func() { done <- f.ServeAccounting(t.Context(), conn) }()
		t.Cleanup(func() {
			_ = conn.Close()
			<-done
		})
	}
	serve(r.front, homeBooks)
	link := func(from, to, books string) *radius.Client {
		c, err := radius.NewClient(radius.Config{
			NASIdentifier: "x", Timeout: 10 * time.Second, Listen: func() (radius.Conn, error) { return r.hub.open(from), nil },
			Servers: []radius.Server{{Addr: netip.MustParseAddrPort(to), Accounting: netip.MustParseAddrPort(books), Secret: secret("testing123")}},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	r.visitedLink = link("10.0.7.1:50000", serverAddr, homeBooks)
	forward, err := aaa.NewRealms(aaa.Operator{Name: "home", Realms: []string{"home.example"}, Carrier: aaa.NewRADIUSCarrier(r.visitedLink)})
	if err != nil {
		t.Fatal(err)
	}
	var front *RADIUS
	r.visited, front = runRADIUS(t, Config{
		TLS: r.server.cfg.TLS, Realms: []string{"visited.example"}, Forward: forward, Books: openBooks(t, r.ours), Recorder: r.events,
	}, []Client{client("10.0.0.0/8", "testing123")}, r.hub.open(visitedAddr))
	serve(front, ourBooks)
	asks := link("10.0.2.9:50000", visitedAddr, ourBooks)
	r.router, r.backend = aaa.NewRADIUSCarrier(asks), aaa.NewRADIUS(asks)
	return r
}

// TestForward has a node of another realm authenticate through the visited network's
// server. Its session has at both, and in their books, the name that the router gave it, so
// that its records may come by any server of the visited network; an order of the home
// reaches the router.
func TestForward(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoaming(t)
		p, got, err := authenticate(t, r.backend, r.node)
		if err != nil || got.Decision != aaa.Accept {
			t.Fatalf("%v, %v, node: %v", got.Decision, err, p.Err())
		}
		if _, _, msk := p.Result(); !msk.Equal(got.MSK) || got.SessionTimeout != time.Hour || got.Identity != nodeName {
			t.Errorf("MSK equal %v, timeout %v, identity %q", msk.Equal(got.MSK), got.SessionTimeout, got.Identity)
		}
		at, home := r.visited.Sessions(), r.server.Sessions()
		if len(at) != 1 || len(home) != 1 || at[0].Home == nil || at[0].Home.Session != home[0].Session || at[0].Session != got.Grant.Session || home[0].Session != got.Grant.Session {
			t.Fatalf("visited %+v, home %+v, router %q", at, home, got.Grant.Session)
		}
		for i, kind := range []aaa.RecordKind{aaa.RecordStart, aaa.RecordStop, aaa.RecordStop} {
			if kind == aaa.RecordStop && i == 1 {
				front := &orderFront{}
				r.visited.Attach("radius", front)
				n := r.visited.End(aaa.Match{Operator: "home", Session: home[0].Session}, "enough")
				synctest.Wait()
				if n != 1 || front.order.Grant.Session != got.Grant.Session || front.order.Why != "enough" {
					t.Errorf("order for %d sessions: %+v", n, front)
				}
				if n := r.visited.End(aaa.Match{Operator: "another", Session: home[0].Session}, ""); n != 0 {
					t.Error("another operator ends the home's session")
				}
			}
			rec := aaa.Record{Grant: got.Grant, Kind: kind, Number: uint32(i), Time: time.Now(), Cause: aaa.CauseUser}
			if err := r.router.Account(t.Context(), rec); err != nil {
				t.Fatalf("%v: %v", kind, err)
			}
		}
		for path, session := range map[string]string{r.ours: got.Grant.Session, r.home: home[0].Session} {
			lines := linesOf(t, path)
			if len(lines) != 2 || !strings.HasPrefix(lines[0], session+" start") || !strings.HasPrefix(lines[1], session+" stop") {
				t.Errorf("%s: %q, expected of %s", filepath.Base(path), lines, session)
			}
		}
		if n := len(r.visited.Sessions()) + len(r.server.Sessions()); n != 0 {
			t.Errorf("%d sessions left", n)
		}
	})
}

// TestForwardRefuses says at both ends who refused.
func TestForwardRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoaming(t)
		stranger := r.node
		stranger.Identity = "other@home.example"
		_, got, err := authenticate(t, r.backend, stranger)
		var reject *aaa.RejectError
		if !errors.As(err, &reject) || got.MSK != nil {
			t.Errorf("%v", err)
		}
		nobody := r.node
		nobody.Identity = "mn@nowhere.example"
		if _, _, err := authenticate(t, r.backend, nobody); !errors.As(err, &reject) || !strings.Contains(err.Error(), "no route to the realm") {
			t.Errorf("a realm that nobody serves: %v", err)
		}
		own := r.node // the visited server knows the authority of its certificate here
		own.Identity = "mn@visited.example"
		if _, _, err := authenticate(t, r.backend, own); !errors.As(err, &reject) {
			t.Errorf("its own realm: %v", err)
		}
		all := r.events.Events(event.HandoverID{})
		if e := all[len(all)-1]; !strings.Contains(e.Reason, `its certificate is for "mn@home.example"`) {
			t.Errorf("its own realm: %+v", e)
		}
		if len(r.visited.Sessions())+len(r.server.Sessions()) != 0 {
			t.Error("a session of somebody refused")
		}
	})
}

// TestForwardSilence takes the home server away in the middle: the router hears nothing,
// and no record is said to be there that the home has not got.
func TestForwardSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoaming(t)
		home := netip.MustParseAddr("10.0.5.1")
		cut := false
		r.hub.pass = func(_, to netip.AddrPort, _ []byte) int {
			if cut && to.Addr() == home {
				return 0
			}
			return 1
		}
		_, got, err := authenticate(t, r.backend, r.node)
		if err != nil {
			t.Fatal(err)
		}
		r.hub.mu.Lock()
		cut = true
		r.hub.mu.Unlock()
		if err := r.router.Account(t.Context(), aaa.Record{Grant: got.Grant, Kind: aaa.RecordStart, Time: time.Now()}); !errors.Is(err, aaa.ErrTimeout) {
			t.Errorf("record: %v", err)
		}
		if _, _, err := authenticate(t, r.backend, r.node); !errors.Is(err, aaa.ErrTimeout) {
			t.Errorf("authentication: %v", err)
		}
		r.hub.mu.Lock()
		cut = false
		r.hub.mu.Unlock()
		time.Sleep(time.Minute)
		if err := r.router.Account(t.Context(), aaa.Record{Grant: got.Grant, Kind: aaa.RecordStart, Time: time.Now()}); err != nil {
			t.Errorf("record, later: %v", err)
		}
		if lines := linesOf(t, r.ours); len(lines) != 1 {
			t.Errorf("ours: %q", lines)
		}
		if lines := linesOf(t, r.home); len(lines) != 1 {
			t.Errorf("home: %q", lines)
		}
	})
}

// TestUnusedSession ends before its first record: a home that keeps sessions hears so.
func TestUnusedSession(t *testing.T) {
	told := &toldCarrier{}
	forward, err := aaa.NewRealms(aaa.Operator{Name: "home", Carrier: told})
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{cfg: Config{Forward: forward, Rand: rand.Reader}, live: map[string]*Session{}}
	for name, c := range map[string]struct {
		home aaa.Grant
		used bool
		told int
	}{
		"unused":         {aaa.Grant{Operator: "home", Session: "h", Stateful: true}, false, 1},
		"used":           {aaa.Grant{Operator: "home", Session: "h", Stateful: true}, true, 0},
		"not kept there": {aaa.Grant{Operator: "home", Session: "h"}, false, 0},
	} {
		told.records = nil
		if err := s.granted(Ask{Client: "diameter:ar.x", Session: name}, "", &Reply{}, &c.home); err != nil {
			t.Fatal(err)
		}
		if c.used {
			s.heard(Entry{Client: "diameter:ar.x", Session: name, Kind: kindStart, Time: time.Now()})
		}
		for range 2 {
			if err := s.Ended(t.Context(), "diameter:ar.x", name, aaa.CauseUser); err != nil {
				t.Error(err)
			}
		}
		if len(told.records) != c.told || c.told > 0 && (told.records[0].Kind != aaa.RecordStop || told.records[0].Grant.Session != "h") {
			t.Errorf("%s: %+v", name, told.records)
		}
	}
	if n := len(s.Sessions()); n != 0 {
		t.Errorf("%d sessions", n)
	}
}

// toldCarrier notes records.
type toldCarrier struct {
	aaa.Carrier
	records []aaa.Record
}

func (c *toldCarrier) Account(_ context.Context, r aaa.Record) error {
	c.records = append(c.records, r)
	return nil
}
