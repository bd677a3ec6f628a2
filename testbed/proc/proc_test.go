package proc

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"openmpa/internal/control"
	"openmpa/testbed/rundir"
	"openmpa/testbed/space"
)

func TestMain(m *testing.M) {
	if path := os.Getenv("PROC_TEST_SOCKET"); path != "" {
		s, err := control.NewServer(control.Config{Path: path})
		if err != nil {
			os.Exit(1)
		}
		// It serves until the test kills it.
		_ = s.Run(context.Background())
		return
	}
	goleak.VerifyTestMain(m)
}

func start(t *testing.T, command ...string) *Child {
	t.Helper()
	s, err := space.Current()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	dir := t.TempDir()
	c, err := Start(&rundir.Dir{Path: dir}, Spec{
		Name: "child", Space: s, Command: command, Dir: dir,
		Log: filepath.Join(dir, "log"), Control: filepath.Join(dir, "c.sock"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Kill() })
	return c
}

// waitLog waits until the child has written a word to its log.
func waitLog(t *testing.T, c *Child, word string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(c.Tail(100), word); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%q is not in the log", word)
		}
	}
}

func TestStopInOrder(t *testing.T) {
	c := start(t, "sh", "-c", "trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done")
	waitLog(t, c, "up")
	if _, err := os.Stat(c.run.File("pids", "child")); err != nil {
		t.Errorf("the child is not recorded: %v", err)
	}
	if err := c.Stop(10 * time.Second); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(c.run.File("pids", "child")); !os.IsNotExist(err) {
		t.Errorf("the record is still there: %v", err)
	}
}

func TestStopTellsWhatWentWrong(t *testing.T) {
	c := start(t, "sh", "-c", "trap 'echo last words; exit 3' TERM; echo up; while :; do sleep 0.05; done")
	waitLog(t, c, "up")
	if err := c.Stop(10 * time.Second); err == nil || !strings.Contains(err.Error(), "last words") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("got %v", err)
	}
	c = start(t, "sh", "-c", "trap '' TERM; trap 'echo where it hangs' QUIT; echo up; while :; do sleep 0.05; done")
	waitLog(t, c, "up")
	if err := c.Stop(100 * time.Millisecond); err == nil || !strings.Contains(err.Error(), "was killed") {
		t.Errorf("got %v", err)
	}
	waitLog(t, c, "where it hangs")
}

func TestTailShowsACrash(t *testing.T) {
	c := &Child{spec: Spec{Log: filepath.Join(t.TempDir(), "log")}}
	if got := c.Tail(3); got != "" {
		t.Errorf("%q of no log", got)
	}
	write := func(s string) {
		if err := os.WriteFile(c.spec.Log, []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("1\n2\n3\n4\n")
	if got := c.Tail(2); !strings.HasSuffix(got, "| 3\n    | 4") || strings.Contains(got, "| 2") {
		t.Errorf("%q", got)
	}
	write("1\npanic: at the disco\n3\n4\n5\n6\n")
	if got := c.Tail(2); !strings.HasSuffix(got, "| panic: at the disco\n    | 3\n    | ...") || strings.Contains(got, "| 1") {
		t.Errorf("%q", got)
	}
}

func TestReady(t *testing.T) {
	c := start(t, "sh", "-c", "echo it cannot work; exit 1")
	if err := c.Ready(context.Background(), 10*time.Second); err == nil || !strings.Contains(err.Error(), "it cannot work") {
		t.Errorf("got %v", err)
	}
	c = start(t, "sleep", "60")
	if err := c.Ready(context.Background(), 50*time.Millisecond); err == nil || !strings.Contains(err.Error(), "not ready") {
		t.Errorf("got %v", err)
	}
	sock := filepath.Join(t.TempDir(), "s")
	c = start(t, "env", "PROC_TEST_SOCKET="+sock, os.Args[0])
	c.spec.Control = sock
	if err := c.Ready(context.Background(), 10*time.Second); err != nil {
		t.Error(err)
	}
}

// TestReadyOfSomebodyElses asks in its own way, and asks no more when it has
// ended.
func TestReadyOfSomebodyElses(t *testing.T) {
	c := start(t, "sh", "-c", "echo on my way; exec sleep 60")
	waitLog(t, c, "on my way")
	answers := make(chan error, 2)
	answers <- errors.New("not yet")
	answers <- nil
	c.spec.Answers = func(context.Context) error { return <-answers }
	if err := c.Ready(context.Background(), 10*time.Second); err != nil || c.Ours() || len(answers) != 0 {
		t.Errorf("got %v, ours %v, %d answers left", err, c.Ours(), len(answers))
	}
	c.spec.Answers = func(ctx context.Context) error { <-ctx.Done(); return errors.New("no answer from it") }
	err := c.Ready(context.Background(), 50*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "not ready after 50ms: no answer from it") || !strings.Contains(err.Error(), "| on my way") {
		t.Errorf("got %v", err)
	}
	go c.Kill()
	if err := c.Ready(context.Background(), time.Minute); err == nil || !strings.Contains(err.Error(), "ended by itself") {
		t.Errorf("got %v", err)
	}
}

func TestKilledAndStartedAgain(t *testing.T) {
	c := start(t, "sh", "-c", "echo up; exec sleep 600")
	waitLog(t, c, "up")
	if _, err := c.Again(); err == nil || !strings.Contains(err.Error(), "running") {
		t.Errorf("started beside itself: %v", err)
	}
	before := time.Now()
	at, err := c.KillAt()
	if err != nil || at.Before(before) || at.After(time.Now()) {
		t.Errorf("killed at %v, %v", at, err)
	}
	select {
	case <-c.Done():
	default:
		t.Error("it has not ended")
	}
	next, err := c.Again()
	if err != nil {
		t.Fatal(err)
	}
	waitLog(t, next, "up\n    | up") // both write to the same log
	if next.PID() == c.PID() {
		t.Error("the same process")
	}
	if err := next.Kill(); err != nil {
		t.Error(err)
	}
}
