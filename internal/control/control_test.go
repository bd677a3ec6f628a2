package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"openmpa/internal/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start serves cfg on a socket of the test's own until the test ends.
func start(t *testing.T, cfg Config) *Client {
	t.Helper()
	if cfg.Path == "" {
		cfg.Path = socket(t)
	}
	s, err := NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if _, err := os.Lstat(cfg.Path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is still there: %v", err)
		}
	})
	return NewClient(cfg.Path)
}

// socket returns a path short enough for a socket, which t.TempDir's may not be.
func socket(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "mpa")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "x.sock")
}

func id(n byte) event.HandoverID { return event.HandoverID{15: n} }

func TestStatus(t *testing.T) {
	c := start(t, Config{Status: func() any { return map[string]any{"node": "a", "visitors": 2} }})
	var got struct {
		Node     string
		Visitors int
	}
	if err := c.Status(t.Context(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Node != "a" || got.Visitors != 2 {
		t.Errorf("got %+v", got)
	}
}

func TestStatusOfDaemonWithout(t *testing.T) {
	var got map[string]any
	if err := start(t, Config{}).Status(t.Context(), &got); err != nil || len(got) != 0 {
		t.Errorf("got %v, %v, want an empty object", got, err)
	}
}

// TestResources: what the process opens is seen.
func TestResources(t *testing.T) {
	c := start(t, Config{})
	before, err := c.Resources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const more = 50
	stop := make(chan struct{})
	var all sync.WaitGroup
	block := make([]byte, 16<<20)
	for range more {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		all.Go(func() { <-stop })
	}
	after, err := c.Resources(t.Context())
	close(stop)
	all.Wait()
	clear(block) // in use until here
	if err != nil {
		t.Fatal(err)
	}
	if d := after.Descriptors - before.Descriptors; d < more || d > more+4 {
		t.Errorf("%d descriptors more, expected %d", d, more)
	}
	if d := after.Goroutines - before.Goroutines; d < more || d > more+8 {
		t.Errorf("%d goroutines more, expected %d", d, more)
	}
	if after.HeapBytes < before.HeapBytes+uint64(len(block))/2 || after.ResidentBytes == 0 {
		t.Errorf("%+v after %+v, expected %d octets of heap more", after, before, len(block))
	}
}

func TestCommand(t *testing.T) {
	c := start(t, Config{Commands: map[string]Command{
		"greet": func(_ context.Context, args json.RawMessage) (any, error) {
			var in struct{ Name string }
			if err := json.Unmarshal(args, &in); err != nil {
				return nil, err
			}
			return map[string]string{"greeting": "hello " + in.Name}, nil
		},
		"bare":  func(_ context.Context, args json.RawMessage) (any, error) { return args == nil, nil },
		"fail":  func(context.Context, json.RawMessage) (any, error) { return nil, errors.New("no such network") },
		"panic": func(context.Context, json.RawMessage) (any, error) { panic("bug") },
		"odd":   func(context.Context, json.RawMessage) (any, error) { return make(chan int), nil },
	}})
	t.Run("result", func(t *testing.T) {
		var out struct{ Greeting string }
		if err := c.Command(t.Context(), "greet", map[string]string{"name": "a"}, &out); err != nil || out.Greeting != "hello a" {
			t.Errorf("got %+v, %v", out, err)
		}
	})
	t.Run("no arguments", func(t *testing.T) {
		var out bool
		if err := c.Command(t.Context(), "bare", nil, &out); err != nil || !out {
			t.Errorf("got %v, %v, want nil arguments", out, err)
		}
	})
	for _, tc := range []struct {
		name, want string
		status     int
	}{
		{"fail", "no such network", http.StatusUnprocessableEntity},
		{"panic", "failed by a bug", http.StatusUnprocessableEntity},
		{"odd", "could not be encoded", http.StatusInternalServerError},
		{"nothing", `unknown command "nothing": this daemon has bare, fail, greet, odd, panic`, http.StatusNotFound},
		{"a/b", "unknown command", http.StatusNotFound},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := c.Command(t.Context(), tc.name, nil, nil)
			var e *Error
			if !errors.As(err, &e) || e.Status != tc.status || !strings.Contains(e.Message, tc.want) {
				t.Errorf("got %v (%+v), want status %d and %q", err, e, tc.status, tc.want)
			}
		})
	}
}

func TestCommandEndsWithItsClient(t *testing.T) {
	began, ended := make(chan struct{}), make(chan error, 1)
	c := start(t, Config{Commands: map[string]Command{
		"long": func(ctx context.Context, _ json.RawMessage) (any, error) {
			close(began)
			<-ctx.Done()
			ended <- ctx.Err()
			return nil, ctx.Err()
		},
	}})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-began; cancel() }()
	if err := c.Command(ctx, "long", struct{}{}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("client: got %v", err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("command: got %v", err)
	}
}

func TestCommandEndsWithTheServer(t *testing.T) {
	began := make(chan struct{})
	s, err := NewServer(Config{Path: socket(t), Commands: map[string]Command{
		"long": func(ctx context.Context, _ json.RawMessage) (any, error) {
			close(began)
			<-ctx.Done()
			return nil, errors.New("shutting down")
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	go func() { <-began; cancel() }()
	err = NewClient(s.cfg.Path).Command(t.Context(), "long", nil, nil)
	if err == nil {
		t.Error("the command ended without an error")
	}
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// raw sends bytes to the socket and returns the status line and body of the answer.
func raw(t *testing.T, c *Client, method, path string, body io.Reader) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://daemon"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func TestRefused(t *testing.T) {
	c := start(t, Config{Commands: map[string]Command{
		"x": func(context.Context, json.RawMessage) (any, error) { return nil, nil },
	}})
	for _, tc := range []struct {
		name, method, path, body string
		status                   int
		want                     string
	}{
		{"path", "GET", "/nothing", "", 404, "no GET /nothing here"},
		{"method", "GET", "/command/x", "", 404, "no GET /command/x here"},
		{"since", "GET", "/events?since=-1", "", 400, "expected a sequence number"},
		{"follow", "GET", "/events?follow=yes", "", 400, "expected 0 or 1"},
		{"handover of events", "GET", "/events?handover=1", "", 400, "handover id"},
		{"handover", "GET", "/handovers/zz", "", 400, "handover id"},
		{"unknown handover", "GET", "/handovers/" + id(9).String(), "", 404, "no records of handover"},
		{"zero handover", "GET", "/handovers/" + id(0).String(), "", 404, "no records of handover"},
		{"not JSON", "POST", "/command/x", "{", 400, "not JSON"},
		{"too much", "POST", "/command/x", `"` + strings.Repeat("a", maxArgs) + `"`, 400, "too large"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status, text := raw(t, c, tc.method, tc.path, strings.NewReader(tc.body))
			var failure struct{ Error string }
			if err := json.Unmarshal([]byte(text), &failure); err != nil {
				t.Fatalf("%q is no JSON: %v", text, err)
			}
			if status != tc.status || !strings.Contains(failure.Error, tc.want) {
				t.Errorf("got %d %q, want %d %q", status, failure.Error, tc.status, tc.want)
			}
		})
	}
}

func TestEvents(t *testing.T) {
	rec := event.NewRecorder("a", nil, 0)
	c := start(t, Config{Recorder: rec})
	for i := range 5 {
		rec.Point(id(byte(i)), event.PhaseBind, fmt.Sprint(i))
	}
	var names []string
	collect := func(e event.Event) error { names = append(names, e.Name); return nil }
	if err := c.Events(t.Context(), 2, false, collect); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(names, []string{"2", "3", "4"}) {
		t.Errorf("since 2: got %v", names)
	}
	stop := errors.New("enough")
	if err := c.Events(t.Context(), 0, true, func(event.Event) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v, want the handler's error", err)
	}
	if _, text := raw(t, c, "GET", "/events?handover="+id(3).String(), nil); strings.Count(text, "\n") != 1 {
		t.Errorf("handover 3: got %q, want one line", text)
	}
}

func TestFollow(t *testing.T) {
	rec := event.NewRecorder("a", nil, 0)
	c := start(t, Config{Recorder: rec})
	rec.Point(id(1), event.PhaseBind, "before")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const n = 5000 // more than the follower's buffer
	var got []uint64
	err := c.Follow(ctx, 0, func() {
		go func() {
			for range n {
				rec.Point(id(1), event.PhaseBind, "x")
			}
		}()
	}, func(e event.Event) error {
		got = append(got, e.Seq)
		if e.Seq == n+1 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	for i, seq := range got {
		if seq != uint64(i+1) {
			t.Fatalf("record %d has sequence number %d: want no gap, the ring still had it", i, seq)
		}
	}
	if len(got) != n+1 {
		t.Errorf("got %d records, want %d", len(got), n+1)
	}
}

func TestFollowHandover(t *testing.T) {
	rec := event.NewRecorder("a", nil, 0)
	c := start(t, Config{Recorder: rec})
	for i := range 6 {
		rec.Point(id(byte(i%3)), event.PhaseBind, fmt.Sprint(i))
	}
	var names []string
	enough := errors.New("enough")
	err := c.FollowHandover(t.Context(), id(2), func(e event.Event) error {
		names = append(names, e.Name)
		if len(names) == 2 {
			rec.Point(id(1), event.PhaseBind, "another's")
			rec.Point(id(2), event.PhaseBind, "new")
		}
		if e.Name == "new" {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || !slices.Equal(names, []string{"2", "5", "new"}) {
		t.Errorf("got %v, %v", names, err)
	}
}

// discard is a connection's worth of response that takes everything.
type discard struct {
	bytes.Buffer
	header http.Header
}

func (d *discard) Header() http.Header              { return d.header }
func (d *discard) WriteHeader(int)                  {}
func (d *discard) Flush()                           {}
func (d *discard) SetWriteDeadline(time.Time) error { return nil }

func TestFollowTakesMissedRecordsFromTheRing(t *testing.T) {
	rec := event.NewRecorder("a", nil, 4*followBuffer)
	s := &Server{cfg: Config{Recorder: rec, Log: slog.New(slog.DiscardHandler)}}
	w := &discard{header: http.Header{}}
	out := &lineWriter{w: w, rc: http.NewResponseController(w)}
	rec.Point(id(1), event.PhaseBind, "past")
	// Everything below happens before the follower reads its channel: flush is
	// the last thing it does before that.
	over := 0
	w2 := &flushHook{discard: w, hook: func() {
		if over++; over == 1 {
			for range 2 * followBuffer {
				rec.Point(id(1), event.PhaseBind, "x")
			}
		}
	}}
	out.w, out.rc = w2, http.NewResponseController(w2)
	ctx, cancel := context.WithCancel(t.Context())
	var last uint64
	if s.follow(ctx, out, &last) {
		t.Fatal("follow ended, want it to find that records were missed")
	}
	if last != 1+followBuffer {
		t.Fatalf("last is %d: a full buffer does not show what this test is about", last)
	}
	cancel()
	if !s.follow(ctx, out, &last) {
		t.Fatal("follow goes on after its context ended")
	}
	if want := uint64(1 + 2*followBuffer); last != want || strings.Count(w.String(), "\n") != int(want) {
		t.Errorf("last %d, %d lines, want %d of both", last, strings.Count(w.String(), "\n"), want)
	}
}

type flushHook struct {
	*discard
	hook func()
}

func (f *flushHook) Flush() { f.hook() }

func TestHandovers(t *testing.T) {
	rec := event.NewRecorder("mn", nil, 0)
	c := start(t, Config{Recorder: rec})
	rec.Point(event.HandoverID{}, event.PhaseBind, "no handover")
	done := rec.Begin(id(2), event.PhaseHandover, "from", "b", "to", "a")
	rec.Begin(id(2), event.PhaseAuth).End(nil)
	done.EndOutcome(event.Completed, "")
	rec.Begin(id(1), event.PhaseHandover, "from", "a", "to", "b")
	list, err := c.Handovers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 {
		t.Fatalf("got %+v, want two", list)
	}
	first, second := list[0], list[1]
	if first.ID != id(2) || first.From != "b" || first.To != "a" || first.Outcome != event.Completed || first.Events != 4 {
		t.Errorf("first: %+v", first)
	}
	if second.ID != id(1) || second.Outcome != "" || second.Events != 1 {
		t.Errorf("second: %+v", second)
	}
	one, err := c.Handover(t.Context(), id(2))
	if err != nil || len(one.Records) != 4 || one.To != "a" {
		t.Errorf("one: %+v, %v", one, err)
	}
}

func TestSocketMode(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	c := start(t, Config{})
	st, err := os.Stat(c.Path())
	if err != nil {
		t.Fatal(err)
	}
	if st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want 0600 whatever the umask", st.Mode())
	}
}

func TestSocketInUse(t *testing.T) {
	c := start(t, Config{})
	if _, err := NewServer(Config{Path: c.Path()}); !errors.Is(err, ErrInUse) {
		t.Errorf("got %v, want ErrInUse", err)
	}
	var v any
	if err := c.Status(t.Context(), &v); err != nil {
		t.Errorf("the first daemon does not answer any more: %v", err)
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	path := socket(t)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false) // as after kill -9
	l.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Fatal(err)
	}
	var v any
	if err := start(t, Config{Path: path}).Status(t.Context(), &v); err != nil {
		t.Error(err)
	}
}

func TestOtherFilesAreLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewServer(Config{Path: path}); err == nil || !strings.Contains(err.Error(), "no socket is in its place") {
		t.Errorf("got %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "precious" {
		t.Errorf("the file is now %q, %v", b, err)
	}
}

func TestBadPaths(t *testing.T) {
	for _, path := range []string{"", "/tmp/" + strings.Repeat("x", maxSocketPath)} {
		if _, err := NewServer(Config{Path: path}); err == nil {
			t.Errorf("%q: no error", path)
		}
	}
}

func TestCloseWithoutRun(t *testing.T) {
	path := socket(t)
	s, err := NewServer(Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func TestNoDaemon(t *testing.T) {
	c := NewClient(socket(t))
	var v any
	if err := c.Status(t.Context(), &v); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("got %v, want ErrNoDaemon", err)
	}
	if err := c.Events(t.Context(), 0, true, nil); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("got %v, want ErrNoDaemon", err)
	}
}

func TestFollowerLearnsThatTheDaemonEnded(t *testing.T) {
	s, err := NewServer(Config{Path: socket(t), Recorder: event.NewRecorder("a", nil, 0)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	err = NewClient(s.cfg.Path).Follow(t.Context(), 0, cancel, func(event.Event) error { return nil })
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestConnectionLimit(t *testing.T) {
	c := start(t, Config{})
	var conns []net.Conn
	for range maxConns {
		conn, err := net.Dial("unix", c.Path())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns = append(conns, conn)
	}
	// One more is closed at once, and none of the others is.
	extra, err := net.Dial("unix", c.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer extra.Close()
	if _, err := extra.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("read from a connection too many: %v, want EOF", err)
	}
	fmt.Fprint(conns[0], "GET /status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if text, err := io.ReadAll(conns[0]); err != nil || !strings.Contains(string(text), "200 OK") {
		t.Errorf("got %q, %v", text, err)
	}
	// Its place is free again.
	for {
		var v any
		if err := c.Status(t.Context(), &v); err == nil {
			break
		}
	}
}
