package wpactrl_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"openmpa/internal/wpactrl"
	"openmpa/internal/wpactrl/wpactrltest"
	"openmpa/paa/keys"
)

// open makes a client in a directory of the test's; it must leave nothing there.
func open(t *testing.T, cfg wpactrl.Config) *wpactrl.Client {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	if cfg.Ping == 0 {
		cfg.Ping = 20 * time.Millisecond
	}
	c, err := wpactrl.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if left, _ := os.ReadDir(cfg.Dir); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
	return c
}

// until reads events up to the first that fits; the time limit is generous, to end a test that hangs.
func until(t *testing.T, s *wpactrl.Subscription, fits func(wpactrl.Event) bool) wpactrl.Event {
	t.Helper()
	for {
		select {
		case e, ok := <-s.C:
			if !ok {
				t.Fatal("the subscription ended")
			}
			if fits(e) {
				return e
			}
		case <-time.After(30 * time.Second):
			t.Fatal("no such event")
		}
	}
}

func kind(k wpactrl.Kind) func(wpactrl.Event) bool {
	return func(e wpactrl.Event) bool { return e.Kind == k }
}

func name(n string) func(wpactrl.Event) bool {
	return func(e wpactrl.Event) bool { return e.Kind == wpactrl.Message && e.Name == n }
}

func subscribe(t *testing.T, c *wpactrl.Client) *wpactrl.Subscription {
	t.Helper()
	s, err := c.Subscribe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// TestSubscribeNames: who asks for some messages is woken for no others, but told of the daemon's coming and going.
func TestSubscribeNames(t *testing.T) {
	d := wpactrltest.Start(t, filepath.Join(t.TempDir(), "wlan0"), func(string) string { return "OK" })
	c := open(t, wpactrl.Config{Socket: d.Socket})
	s, err := c.Subscribe("B", "C")
	if err != nil {
		t.Fatal(err)
	}
	until(t, s, kind(wpactrl.Back))
	for _, e := range []string{"<3>A 1", "<3>B 2", "<3>AB 3", "<3>C 4"} {
		d.Emit(e)
	}
	for _, want := range []string{"B", "C"} {
		if e := <-s.C; e.Name != want {
			t.Errorf("%+v, want %s", e, want)
		}
	}
	d.Stop()
	if e := <-s.C; e.Kind != wpactrl.Gone {
		t.Errorf("%+v, want its end", e)
	}
}

func TestCommand(t *testing.T) {
	d := wpactrltest.Start(t, filepath.Join(t.TempDir(), "wlan0"), func(c string) string {
		switch {
		case c == "STATUS":
			return "wpa_state=COMPLETED\n"
		case c == "SCAN":
			return "FAIL-BUSY"
		case strings.HasPrefix(c, "PMKSA_ADD "):
			return "FAIL"
		case strings.HasPrefix(c, "ECHO "):
			return c[5:]
		}
		return ""
	})
	c := open(t, wpactrl.Config{Socket: d.Socket})
	if err := c.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a, err := c.Command(t.Context(), "STATUS"); a != "wpa_state=COMPLETED" || err != nil {
		t.Errorf("%q %v", a, err)
	}
	var ce *wpactrl.CommandError
	if _, err := c.Command(t.Context(), "NOSUCH"); !errors.Is(err, wpactrl.ErrUnknownCommand) || !errors.As(err, &ce) || ce.Command != "NOSUCH" {
		t.Errorf("unknown command: %v", err)
	}
	if err := c.Do(t.Context(), "SCAN"); !errors.Is(err, wpactrl.ErrFail) || !strings.Contains(err.Error(), "FAIL-BUSY") {
		t.Errorf("busy: %v", err)
	}
	if err := c.Do(t.Context(), "STATUS"); !errors.Is(err, wpactrl.ErrAnswer) {
		t.Errorf("expected OK: %v", err)
	}
	for _, bad := range []string{"", "PING\nPING", "a\x00", strings.Repeat("x", 5000)} {
		if _, err := c.Command(t.Context(), bad); err == nil {
			t.Errorf("%.20q: want an error", bad)
		}
	}
	var wg sync.WaitGroup // each gets its own answer
	for i := range 50 {
		wg.Go(func() {
			want := fmt.Sprint("answer ", i)
			if a, err := c.Command(t.Context(), "ECHO "+want); a != want || err != nil {
				t.Errorf("%q %v, want %q", a, err, want)
			}
		})
	}
	wg.Wait()
}

// TestSecrets: a key reaches the daemon, and nobody else.
func TestSecrets(t *testing.T) {
	d := wpactrltest.Start(t, filepath.Join(t.TempDir(), "ap0"), func(string) string { return "FAIL" })
	c := open(t, wpactrl.Config{Socket: d.Socket})
	key := func() *keys.Secret { return keys.NewSecret([]byte{0xab, 0xcd, 0xef}) }
	err := c.Do(t.Context(), "PMKSA_ADD 02:00:00:00:02:00 0011 ? 60 1", key())
	if got := d.Commands(); len(got) != 1 || got[0] != "PMKSA_ADD 02:00:00:00:02:00 0011 abcdef 60 1" {
		t.Errorf("the daemon got %q", got)
	}
	if err == nil || strings.Contains(err.Error(), "abcdef") || !strings.Contains(err.Error(), "0011 ? 60") {
		t.Errorf("error: %v", err)
	}
	for _, bad := range []struct {
		line string
		keys []*keys.Secret
	}{
		{"PMKSA_ADD ? ?", []*keys.Secret{key()}},
		{"PMKSA_ADD", []*keys.Secret{key()}},
		{"PMKSA_ADD ?", []*keys.Secret{keys.NewSecret(nil)}},
		{"PMKSA_ADD ?", []*keys.Secret{nil}},
	} {
		if err := c.Do(t.Context(), bad.line, bad.keys...); err == nil || strings.Contains(err.Error(), "abcdef") {
			t.Errorf("%q: %v", bad.line, err)
		}
	}
	if n := len(d.Commands()); n != 1 {
		t.Errorf("%d commands reached the daemon, want 1", n)
	}
}

func TestTimeouts(t *testing.T) {
	d := wpactrltest.Start(t, filepath.Join(t.TempDir(), "wlan0"), func(c string) string {
		if c == "SLOW" {
			return wpactrltest.Silent
		}
		return c
	})
	c := open(t, wpactrl.Config{Socket: d.Socket, Timeout: 50 * time.Millisecond})
	_, err := c.Command(t.Context(), "SLOW")
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), d.Socket) || !strings.Contains(err.Error(), "SLOW") {
		t.Errorf("silent daemon: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Command(ctx, "X"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	patient := open(t, wpactrl.Config{Socket: d.Socket, Timeout: time.Minute})
	if a, err := patient.Command(t.Context(), "X"); a != "X" || err != nil {
		t.Errorf("%q %v", a, err)
	}
	done := make(chan error)
	go func() { _, err := patient.Command(context.Background(), "SLOW"); done <- err }()
	for len(d.Commands()) < 3 {
		time.Sleep(time.Millisecond)
	}
	if err := patient.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, wpactrl.ErrClosed) {
		t.Errorf("Close ends a command: %v", err)
	}
	if _, err := patient.Command(t.Context(), "X"); !errors.Is(err, wpactrl.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if _, err := patient.Subscribe(); !errors.Is(err, wpactrl.ErrClosed) {
		t.Errorf("subscribe after Close: %v", err)
	}
	nobody := open(t, wpactrl.Config{Socket: filepath.Join(t.TempDir(), "none")})
	if err := nobody.Ping(t.Context()); !errors.Is(err, wpactrl.ErrGone) {
		t.Errorf("nobody: %v", err)
	}
	for _, bad := range []wpactrl.Config{{}, {Socket: "x", Timeout: -1}, {Socket: "x", Ping: -1}, {Socket: "x", Dir: "/nonexistent"}} {
		if _, err := wpactrl.Open(bad); err == nil {
			t.Errorf("%+v: want an error", bad)
		}
	}
}

func TestEvents(t *testing.T) {
	d := wpactrltest.Start(t, filepath.Join(t.TempDir(), "wlan0"), func(string) string { return "OK" })
	c := open(t, wpactrl.Config{Socket: d.Socket})
	s := subscribe(t, c)
	if e := until(t, s, kind(wpactrl.Back)); e.Missed != 0 || e.At.IsZero() {
		t.Errorf("%+v", e)
	}
	late := subscribe(t, c) // learns the state at once
	if e := <-late.C; e.Kind != wpactrl.Back {
		t.Errorf("%+v", e)
	}
	d.Emit("<3>CTRL-EVENT-CONNECTED - Connection to 02:00:00:00:01:00 completed [id=0 id_str=]")
	for _, x := range []*wpactrl.Subscription{s, late} {
		if e := <-x.C; e.Name != wpactrl.EventConnected || e.Level != wpactrl.LevelInfo || e.Peer().String() != "02:00:00:00:01:00" {
			t.Errorf("%+v", e)
		}
	}
	if n := d.Attached(); n != 1 {
		t.Errorf("%d attached, want one for all subscribers", n)
	}
	late.Close()
	late.Close()
	if _, ok := <-late.C; ok {
		t.Error("a closed subscription delivers")
	}
	other := open(t, wpactrl.Config{Socket: d.Socket})
	until(t, subscribe(t, other), kind(wpactrl.Back))
	if err := other.Close(); err != nil {
		t.Errorf("closed: %v", err)
	}
	for begun := time.Now(); d.Attached() != 1; time.Sleep(time.Millisecond) { // the DETACH is on its way
		if time.Since(begun) > 5*time.Second {
			t.Fatalf("closed: %d attached, want one", d.Attached())
		}
	}
	// What a subscriber does not read is dropped, the oldest first, and told.
	const sent = 400
	for i := range sent {
		d.Emit(fmt.Sprintf("<3>N%d", i))
		time.Sleep(100 * time.Microsecond) // the kernel holds few datagrams; what it drops nobody can count
	}
	marker := subscribe(t, c)
	<-marker.C
	for seen := false; !seen; { // the last one is through
		d.Emit("<4>END")
		select {
		case e := <-marker.C:
			seen = e.Name == "END"
		case <-time.After(10 * time.Millisecond):
		}
	}
	first := <-s.C
	number, missed := 0, first.Missed
	if _, err := fmt.Sscanf(first.Name, "N%d", &number); err != nil || number == 0 {
		t.Errorf("first in the queue: %+v, want one of those that came later", first)
	}
	until(t, s, func(e wpactrl.Event) bool { missed += e.Missed; return e.Name == "END" })
	if missed == 0 || missed > number+10 { // and some END
		t.Errorf("told that %d were missed, the first that was not is %d", missed, number)
	}
}

// TestGoneAndBack: the daemon is started anew, hangs, and loses its socket; each is told once.
func TestGoneAndBack(t *testing.T) {
	d := wpactrltest.Start(t, filepath.Join(t.TempDir(), "run", "wlan0"), func(string) string { return "OK" })
	c := open(t, wpactrl.Config{Socket: d.Socket, Timeout: 100 * time.Millisecond})
	s := subscribe(t, c)
	until(t, s, kind(wpactrl.Back))
	for _, break_ := range []struct {
		name       string
		away, here func()
	}{
		{"restarted", d.Stop, d.Restart},
		{"replaced at once", func() { d.Stop(); d.Restart() }, func() {}},
		{"hangs", func() { d.Mute(true) }, func() { d.Mute(false) }},
		{"directory gone", func() { d.Stop(); os.RemoveAll(filepath.Dir(d.Socket)) }, d.Restart},
	} {
		if err := c.Do(t.Context(), "X"); err != nil {
			t.Errorf("%s: before: %v", break_.name, err)
		}
		break_.away()
		if e := until(t, s, kind(wpactrl.Gone)); e.Rest == "" {
			t.Errorf("%s: no reason", break_.name)
		}
		break_.here()
		if e := <-s.C; e.Kind != wpactrl.Back {
			t.Errorf("%s: %+v, want Back behind one Gone", break_.name, e)
		}
		if err := c.Do(t.Context(), "X"); err != nil {
			t.Errorf("%s: after: %v", break_.name, err)
		}
		d.Emit("<3>HELLO")
		until(t, s, name("HELLO"))
	}
	late := open(t, wpactrl.Config{Socket: filepath.Join(t.TempDir(), "later")})
	ls := subscribe(t, late)
	until(t, ls, kind(wpactrl.Gone))
	wpactrltest.Start(t, late.Socket(), func(string) string { return "OK" })
	until(t, ls, kind(wpactrl.Back))
}

// TestLeftovers: what a killed client left is removed, what a living one holds is not.
func TestLeftovers(t *testing.T) {
	dir := t.TempDir()
	dead := filepath.Join(dir, "openmpa-wpactrl-123")
	if err := os.Mkdir(dead, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dead, "1"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(dir, "other")
	if err := os.Mkdir(other, 0o700); err != nil {
		t.Fatal(err)
	}
	a, err := wpactrl.Open(wpactrl.Config{Socket: "x", Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	b, err := wpactrl.Open(wpactrl.Config{Socket: "y", Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 3 {
		t.Errorf("want two clients' and the other: %v", left)
	}
	for _, c := range []*wpactrl.Client{a, b, a} {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 || left[0].Name() != "other" {
		t.Errorf("left: %v", left)
	}
}
