package hook

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var bind = Call{
	Op: Bind, CareOf: netip.MustParseAddr("10.2.0.7"), Previous: netip.MustParseAddr("10.1.0.7"), Device: "mpa0", Physical: "eth0",
	Gateway: netip.MustParseAddr("10.2.0.1"), GatewayMAC: "02:00:00:00:00:01", MTU: 1400, Table: 7120, Lifetime: 3600, Handover: "ab", Reason: "handover",
}

// script makes a runner of a shell script; $D is a directory of its own.
func script(t *testing.T, text string, timeout time.Duration) (r *Runner, dir string) {
	t.Helper()
	dir = t.TempDir()
	path := filepath.Join(dir, "hook")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nD="+dir+"\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	r, err := New(Config{Command: []string{path, "an argument", "$HOME"}, Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	return r, dir
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestCall: what the executable gets, and what it may answer.
func TestCall(t *testing.T) {
	r, dir := script(t, `cat >$D/in; printf '%s\n' "$@" >$D/args; env >$D/env; pwd >$D/pwd; echo '{"lifetime": 120}'`, 0)
	a, err := r.Run(t.Context(), bind)
	if err != nil || a.Lifetime != 2*time.Minute {
		t.Fatalf("%+v, %v", a, err)
	}
	want := `{"version":1,"op":"bind","care_of":"10.2.0.7","previous":"10.1.0.7","device":"mpa0","physical":"eth0","gateway":"10.2.0.1",` +
		`"gateway_mac":"02:00:00:00:00:01","mtu":1400,"table":7120,"lifetime":3600,"handover":"ab","reason":"handover"}` + "\n"
	if d := cmp.Diff(want, read(t, dir, "in")); d != "" {
		t.Error(d)
	}
	if got := read(t, dir, "args"); got != "an argument\n$HOME\n" {
		t.Errorf("arguments %q", got)
	}
	if got := read(t, dir, "pwd"); got != "/\n" {
		t.Errorf("directory %q", got)
	}
	for line := range strings.Lines(read(t, dir, "env")) {
		name, _, _ := strings.Cut(line, "=")
		if name != "PATH" && name != "LC_ALL" && name != "PWD" && name != "_" && name != "OLDPWD" && name != "SHLVL" { // the last ones are the shell's
			t.Errorf("environment has %q", line)
		}
	}
	var first Call
	if err := json.Unmarshal([]byte(read(t, dir, "in")), &first); err != nil {
		t.Fatal(err)
	}
	if r, _ := script(t, `exit 0`, 0); true { // reads nothing, says nothing
		if a, err := r.Run(t.Context(), bind); err != nil || a.Lifetime != 0 {
			t.Errorf("%+v, %v", a, err)
		}
	}
}

// TestFailures: each says what came.
func TestFailures(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"exit code":      {`echo no such peer >&2; exit 3`, `/hook, bind: exit status 3, saying "no such peer"`},
		"signal":         {`kill -9 $$`, `signal: killed`},
		"garbage":        {`echo bound`, `expected nothing or {"lifetime": SECONDS} on standard output, came "bound"`},
		"unknown field":  {`echo '{"lifetme": 60}'`, `unknown field "lifetme"`},
		"two objects":    {`echo '{} {}'`, "something stands behind the object"},
		"short lifetime": {`echo '{"lifetime": 1}'`, "lifetime of 1 s: expected 10 to 86400"},
		"long lifetime":  {`echo '{"lifetime": 1e9}'`, "expected 10 to 86400"},
		"flood":          {`head -c 100000 /dev/zero`, "expected at most 4096 octets on standard output, came more"},
		"flood of words": {`head -c 100000 /dev/zero | tr '\0' x >&2; exit 1`, `exit status 1, saying ..."xxx`},
		"left child":     {`sleep 100 & exit 0`, "left a process that has its output open"},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := script(t, c.text, 0)
			_, err := r.Run(t.Context(), bind)
			if e := (*Error)(nil); !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, expected %q", err, c.want)
			}
		})
	}
}

// TestTimeout: the executable is killed, and so are its children.
func TestTimeout(t *testing.T) {
	r, dir := script(t, `sh -c 'echo $$ >$0/child; exec sleep 1000' $D & while [ ! -s $D/child ]; do :; done; echo waiting >&2; wait`, 2*time.Second)
	_, err := r.Run(t.Context(), bind)
	if err == nil || !strings.Contains(err.Error(), `no end in 2s: killed, saying "waiting"`) {
		t.Fatalf("got %v", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(read(t, dir, "child")))
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); running(pid); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("its child lives on")
		}
	}
}

// running says whether a process runs; one that is dead and nobody's does not.
func running(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

// TestCancel: the end of ctx ends a call, and the error says that.
func TestCancel(t *testing.T) {
	r, dir := script(t, `touch $D/here; exec sleep 1000`, time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for ctx.Err() == nil {
			if _, err := os.Stat(filepath.Join(dir, "here")); err == nil {
				cancel()
			}
			time.Sleep(time.Millisecond)
		}
	}()
	if _, err := r.Run(ctx, bind); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestOneAtATime: calls do not overlap.
func TestOneAtATime(t *testing.T) {
	r, _ := script(t, `mkdir $D/lock || exit 9; sleep 0.05; rmdir $D/lock`, 0)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := r.Run(t.Context(), bind); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// TestCheck: what cannot be called is told before.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for want, c := range map[string]Config{
		"no command":              {},
		"expected an absolute":    {Command: []string{"wireguard"}},
		"no such file":            {Command: []string{dir + "/none"}},
		"is no executable file":   {Command: []string{file("plain", 0o644)}},
		"others than its owner":   {Command: []string{file("open", 0o777)}},
		"a timeout of -1s":        {Command: []string{file("good", 0o755)}, Timeout: -time.Second},
		"is no executable file: ": {Command: []string{dir}},
	} {
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v, expected %q", c.Command, err, want)
		}
	}
	if err := (Config{Command: []string{file("fine", 0o700)}}).Check(); err != nil {
		t.Error(err)
	}
}
