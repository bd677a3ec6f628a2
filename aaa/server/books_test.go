package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"openmpa/aaa"
)

func openBooks(t *testing.T, path string) *Books {
	t.Helper()
	b, err := OpenBooks(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func entry(client, session, kind string, number uint32) Entry {
	return Entry{Time: time.Unix(1000, 0).UTC(), At: time.Unix(1000, 0).UTC(), Client: client, Session: session, Kind: kind, Number: number, Identity: nodeName}
}

// linesOf reads a file of books: session, kind and number of each line.
func linesOf(t *testing.T, path string) (out []string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var e Entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		out = append(out, fmt.Sprintf("%s %s %d", e.Session, e.Kind, e.Number))
	}
	return out
}

func same(t *testing.T, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "; ") != strings.Join(want, "; ") {
		t.Errorf("%q, expected %q", got, want)
	}
}

// TestBooksOnce sends every record twice, in the same life and after a restart, and is
// told each time that it is there: which it is once.
func TestBooksOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "books")
	records := []Entry{
		entry("radius:10.0.0.1", "a", kindStart, 0), entry("radius:10.0.0.1", "a", kindInterim, 7),
		entry("radius:10.0.0.2", "a", kindStart, 0), // another router's, of that name
		entry("radius:10.0.0.1", "a", kindStop, 9), entry("diameter:ar.x", "b", kindStart, 0),
		entry("diameter:ar.x (relayed)", "b", kindStart, 0), // the same router's, by another way
		entry("radius:10.0.0.1", "a", kindInterim, 8),       // late: it is over
	}
	want := []string{"a start 0", "a interim 7", "a start 0", "a stop 9", "b start 0"}
	for range 2 {
		b := openBooks(t, path)
		for range 2 {
			for _, e := range records {
				if err := b.Add(e); err != nil {
					t.Fatal(err)
				}
			}
		}
		if open := b.Open(); len(open) != 2 || open[0].Client != "radius:10.0.0.2" || open[1].Session != "b" {
			t.Errorf("open: %+v", open)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		same(t, linesOf(t, path), want...)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
}

// TestBooksAfterACrash leaves half a line, which nobody was told of.
func TestBooksAfterACrash(t *testing.T) {
	path := filepath.Join(t.TempDir(), "books")
	b := openBooks(t, path)
	if err := b.Add(entry("r:1", "a", kindStart, 0)); err != nil {
		t.Fatal(err)
	}
	_ = b.Close()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"session":"a","kind":"st`); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	b = openBooks(t, path)
	if err := b.Add(entry("r:1", "a", kindStop, 1)); err != nil {
		t.Fatal(err)
	}
	same(t, linesOf(t, path), "a start 0", "a stop 1")
}

// TestBooksMovedAway goes on in a new file, and forgets nothing.
func TestBooksMovedAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "books")
	b := openBooks(t, path)
	for i, e := range []Entry{entry("r:1", "a", kindStart, 0), entry("r:1", "a", kindStop, 1), entry("r:1", "a", kindStart, 0)} {
		if i == 1 {
			if err := os.Rename(path, path+".old"); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	same(t, linesOf(t, path+".old"), "a start 0")
	same(t, linesOf(t, path), "a stop 1")
}

// TestBooksFull cannot write for a while: nobody is told that a record is there, and it
// is when it comes again.
func TestBooksFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "books")
	b := openBooks(t, path)
	start, stop := entry("r:1", "a", kindStart, 0), entry("r:1", "a", kindStop, 1)
	if err := b.Add(start); err != nil {
		t.Fatal(err)
	}
	full, err := os.Open(path) // which takes nothing
	if err != nil {
		t.Fatal(err)
	}
	good := b.file
	b.file = full
	for range 2 {
		if err := b.Add(stop); err == nil {
			t.Fatal("taken")
		}
	}
	b.file = good
	_ = full.Close()
	if err := b.Add(stop); err != nil {
		t.Fatal(err)
	}
	same(t, linesOf(t, path), "a start 0", "a stop 1")
}

func TestBooksOfMany(t *testing.T) {
	path := filepath.Join(t.TempDir(), "books")
	b := openBooks(t, path)
	var wg sync.WaitGroup
	for i := range 50 {
		for range 2 {
			wg.Go(func() {
				for _, kind := range []string{kindStart, kindStop} {
					if err := b.Add(entry("r:1", fmt.Sprint(i), kind, 0)); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	lines := linesOf(t, path)
	seen := map[string]bool{}
	for _, l := range lines {
		if seen[l] {
			t.Errorf("%s twice", l)
		}
		seen[l] = true
	}
	if len(lines) != 100 || len(b.Open()) != 0 {
		t.Errorf("%d lines, %d open", len(lines), len(b.Open()))
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := b.Add(entry("r:1", "x", kindStart, 0)); err == nil {
		t.Error("taken by closed books")
	}
}

// TestBooksBound fills the memory of sessions.
func TestBooksBound(t *testing.T) {
	b := &Books{known: map[accountKey]*account{}}
	for i := range 2 * maxAccounts {
		b.account(Entry{Session: fmt.Sprint(i)}.account())
	}
	if len(b.known) > maxAccounts || len(b.order) > maxAccounts {
		t.Errorf("%d known, %d in order", len(b.known), len(b.order))
	}
	if err := b.Add(Entry{Session: strings.Repeat("x", maxEntry)}); err == nil {
		t.Error("a record without end is taken")
	}
}

// TestSessions follows sessions from the accept to the stop, and over a restart.
func TestSessions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "books")
	state := mustState(t, t.TempDir())
	cert, err := state.ServerCertificate(serverName)
	if err != nil {
		t.Fatal(err)
	}
	newServer := func() *Server {
		cfg := Config{Books: openBooks(t, path), SessionTimeout: time.Hour}
		cfg.TLS.Certificate, cfg.TLS.ClientCAs = cert, state.Roots()
		s, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := newServer()
	const router = "radius:10.0.0.1"
	r := Reply{Identity: nodeName, Timeout: time.Hour}
	if err := s.granted(Ask{Client: router, Station: "st"}, "tls", &r, nil); err != nil {
		t.Fatal(err)
	}
	if l := s.Sessions(); len(l) != 1 || l[0].Identity != nodeName || l[0].Session != "" || len(r.Class) != 1 {
		t.Fatalf("%+v, class %x", l, r.Class)
	}
	record := aaa.Record{Kind: aaa.RecordStart, Time: time.Now(), Grant: aaa.Grant{Session: "s1", Identity: "anonymous@home.example", Class: r.Class}}
	if err := s.Account(t.Context(), router, record); err != nil {
		t.Fatal(err)
	}
	l := s.Sessions()
	if len(l) != 1 || l[0].Session != "s1" || l[0].Expires.IsZero() {
		t.Fatalf("not found by its class: %+v", l)
	}
	again := Reply{Identity: nodeName, Timeout: time.Hour}
	if err := s.granted(Ask{Client: router, Session: "s1"}, "tls", &again, nil); err != nil || string(again.Class[0]) != string(r.Class[0]) {
		t.Errorf("authenticated again: class %x, before %x, %v", again.Class, r.Class, err)
	}
	_ = s.cfg.Books.Close()
	if s = newServer(); len(s.Sessions()) != 1 || s.Sessions()[0].Expires.IsZero() {
		t.Fatalf("after a restart: %+v", s.Sessions())
	}
	front := &orderFront{}
	s.Attach("radius", front)
	done := s.Order(t.Context(), aaa.Match{Session: "s1"}, Order{Kind: OrderEnd})
	if len(done) != 1 || done[0].Err != "" || front.client != router || front.order.Grant.Session != "s1" {
		t.Errorf("%+v, front has %+v", done, front)
	}
	front.err = errors.New("it says no")
	if done = s.Order(t.Context(), aaa.Match{Identity: "anonymous@home.example"}, Order{Kind: OrderAgain}); len(done) != 1 || done[0].Err != "it says no" {
		t.Errorf("%+v", done)
	}
	if done = s.Order(t.Context(), aaa.Match{}, Order{Kind: OrderEnd}); len(done) != 0 {
		t.Errorf("whoever names nobody meant %+v", done)
	}
	record.Kind, record.Number = aaa.RecordStop, 1
	if err := s.Account(t.Context(), router, record); err != nil || len(s.Sessions()) != 0 {
		t.Errorf("%v, %+v", err, s.Sessions())
	}
	if err := s.Account(t.Context(), router, aaa.Record{Kind: aaa.RecordStop}); err == nil {
		t.Error("a record of no session is taken")
	}
}

func TestSessionsBound(t *testing.T) {
	s := &Server{live: map[string]*Session{}}
	at := time.Unix(0, 0)
	for i := range maxLive + 3 {
		s.room()
		s.live[fmt.Sprint(i)] = &Session{Since: at.Add(time.Duration(i))}
	}
	if _, first := s.live["0"]; len(s.live) != maxLive || first || s.count.forgotten.Load() != 3 {
		t.Errorf("%d sessions, the first is there: %v, forgotten %d", len(s.live), first, s.count.forgotten.Load())
	}
	s.live = map[string]*Session{"old": {Expires: at.Add(time.Hour)}, "for ever": {}}
	s.overdue(at.Add(time.Hour + lateness/2))
	if len(s.live) != 2 {
		t.Error("forgotten too early")
	}
	s.overdue(at.Add(time.Hour + 2*lateness))
	if len(s.live) != 1 || s.live["for ever"] == nil {
		t.Errorf("%+v", s.live)
	}
}

// orderFront notes the order that it is to carry.
type orderFront struct {
	client string
	order  Order
	err    error
}

func (f *orderFront) Order(_ context.Context, client string, o Order) error {
	f.client, f.order = client, o
	return f.err
}
