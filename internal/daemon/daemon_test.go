package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// The test binary is also the daemon of TestHarden: a process of its own.
func TestMain(m *testing.M) {
	if os.Getenv("DAEMON_TEST_HARDEN") != "" {
		hardenedProcess()
		return
	}
	goleak.VerifyTestMain(m)
}

// buffer is a bytes.Buffer for several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

type fixture struct {
	process
	stdout, stderr buffer
	exits          chan int
}

func newFixture(spec Spec, args ...string) *fixture {
	if spec.Name == "" {
		spec.Name = "mpa-test"
	}
	f := &fixture{exits: make(chan int, 1)}
	f.process = process{
		spec: spec, args: args, stdout: &f.stdout, stderr: &f.stderr,
		signals: make(chan os.Signal, 2),
		exit:    func(code int) { f.exits <- code },
		harden:  func() error { return nil },
	}
	return f
}

var testSpec = Spec{
	Summary: "test daemon",
	Doc:     "It does nothing.\n\nSecond paragraph.",
	Example: "node: x\n# a comment\n",
	Files:   []File{{"/run/openmpa/test.sock", "control socket"}},
	Check: func(path string) error {
		if path == "good.yaml" {
			return nil
		}
		return errors.New("bad.yaml:1:1: wrong")
	},
	Run: func(context.Context, Env) error { return nil },
	Commands: map[string]Command{
		"issue": {Summary: "issue a certificate", Args: "NAME", Run: func(_ context.Context, env Env, args []string) error {
			fmt.Fprintln(env.Stdout, "issued", args, env.ConfigPath)
			return nil
		}},
	},
}

func TestExits(t *testing.T) {
	days := 0
	spec := testSpec
	spec.Commands = map[string]Command{
		"issue": spec.Commands["issue"],
		"renew": {
			Summary: "renew",
			Flags:   func(fs *flag.FlagSet) { fs.IntVar(&days, "days", 7, "valid for `N` days") },
			Run: func(_ context.Context, env Env, _ []string) error {
				env.Ready()
				return fmt.Errorf("%d days are too many", days)
			},
		},
		"user add": {Summary: "add", Run: func(_ context.Context, env Env, args []string) error {
			fmt.Fprintln(env.Stdout, "added", args)
			return nil
		}},
		"helper": {Daemon: &Spec{
			Name: "mpa-test helper", Summary: "another daemon", Check: testSpec.Check, Example: "other: y\n",
			Run: func(_ context.Context, env Env) error {
				if env.ConfigPath != "/etc/openmpa/helper.yaml" {
					return errors.New(env.ConfigPath)
				}
				env.Ready()
				return nil
			},
		}},
	}
	for _, tc := range []struct {
		name, args     string
		code           int
		stdout, stderr string // parts of them
	}{
		{"run", "", 0, "", "level=INFO msg=stopped"},
		{"json", "--log-format json", 0, "", `"msg":"stopped"`},
		{"check, good", "--check --config good.yaml", 0, "ok\n", ""},
		{"check, bad", "--check --config bad.yaml", 1, "", "bad.yaml:1:1: wrong"},
		{"version", "--version", 0, "mpa-test ", ""},
		{"example", "--example", 0, "node: x\n# a comment\n", ""},
		{"man", "--man", 0, ".TH MPA\\-TEST 8\n.SH NAME\nmpa\\-test \\- test daemon\n", ""},
		{"unknown flag", "--nonsense", 64, "", "flag provided but not defined: -nonsense\nTry: mpa-test --help"},
		{"unknown command", "nonsense", 64, "", `unknown command "nonsense": expected one of helper, issue, renew, user add`},
		{"argument too many", "--check x", 64, "", `unexpected argument "x"`},
		{"level", "--log-level loud", 64, "", `"loud" is no level`},
		{"format", "--log-format xml", 64, "", `"xml" is no format`},
		{"command", "issue --config c.yaml mn@home", 0, "issued [mn@home] c.yaml\n", ""},
		{"command, default", "issue mn@home", 0, "issued [mn@home] /etc/openmpa/test.yaml\n", ""},
		{"command's flag", "renew --days 9", 1, "", "mpa-test: 9 days are too many\n"},
		{"command's help", "renew --help", 0, "--days N               valid for N days (default 7)", ""},
		{"command of two words", "user add mn", 0, "added [mn]\n", ""},
		{"half a command", "user", 64, "", `unknown command "user": expected one of`},
		{"another command's word", "issue add", 0, "issued [add]", ""},
		{"help of the daemon", "--help", 0, "helper                 another daemon\n", ""},
		{"another daemon", "helper", 0, "", "level=INFO msg=ready"},
		{"another daemon, check", "helper --check --config bad.yaml", 1, "", "bad.yaml:1:1: wrong"},
		{"another daemon, example", "helper --example", 0, "other: y\n", ""},
		{"another daemon, man", "helper --man", 0, ".TH MPA\\-TEST\\-HELPER 8\n", ""},
		{"another daemon, wrong use", "helper x", 64, "", "Try: mpa-test helper --help"},
		{"command, wrong use", "renew --nonsense", 64, "", "Try: mpa-test renew --help"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFixture(spec, strings.Fields(tc.args)...)
			if code := f.run(); code != tc.code {
				t.Errorf("exit %d, want %d", code, tc.code)
			}
			if out := f.stdout.String(); !strings.Contains(out, tc.stdout) || tc.stdout == "" && out != "" {
				t.Errorf("stdout %q, want %q", out, tc.stdout)
			}
			if out := f.stderr.String(); !strings.Contains(out, tc.stderr) {
				t.Errorf("stderr %q, want %q", out, tc.stderr)
			}
		})
	}
}

func TestHelpTeaches(t *testing.T) {
	for _, arg := range []string{"--help", "-h"} {
		f := newFixture(testSpec, arg)
		if code := f.run(); code != 0 {
			t.Errorf("exit %d", code)
		}
		out := f.stdout.String()
		for _, want := range []string{
			"mpa-test - test daemon\n", "Usage: mpa-test [flags]", "Second paragraph.", "issue NAME             issue a certificate",
			"--config FILE", "--check", "--log-level LEVEL", "Example configuration:\n  node: x\n", "/etc/openmpa/test.yaml",
			"/run/openmpa/test.sock", "SIGTERM", "NOTIFY_SOCKET", "130  a second signal",
		} {
			if !strings.Contains(out, want) {
				t.Errorf("%s does not say %q:\n%s", arg, want, out)
			}
		}
	}
}

func TestWithoutConfiguration(t *testing.T) {
	f := newFixture(Spec{Run: func(context.Context, Env) error { return nil }}, "--check")
	if code := f.run(); code != ExitUsage {
		t.Errorf("exit %d: --check makes no sense without Check", code)
	}
}

func TestFailure(t *testing.T) {
	f := newFixture(Spec{Run: func(context.Context, Env) error { return errors.New("no device") }})
	if code := f.run(); code != ExitFailed || !strings.Contains(f.stderr.String(), `level=ERROR msg=failed err="no device"`) {
		t.Errorf("exit %d, log %s", code, f.stderr.String())
	}
}

func TestExcerptsArePrintedAsTheyAre(t *testing.T) {
	f := newFixture(Spec{Run: func(context.Context, Env) error { return errors.New("x.yaml:1:1: a\n  ^") }})
	if code := f.run(); code != ExitFailed || !strings.Contains(f.stderr.String(), "mpa-test: x.yaml:1:1: a\n  ^\n") {
		t.Errorf("exit %d, log %s", code, f.stderr.String())
	}
}

func TestPanic(t *testing.T) {
	f := newFixture(Spec{Run: func(context.Context, Env) error { panic("a bug") }})
	if code := f.run(); code != ExitPanic {
		t.Errorf("exit %d, want %d", code, ExitPanic)
	}
	if log := f.stderr.String(); !strings.Contains(log, "a bug") || !strings.Contains(log, "daemon_test.go") {
		t.Errorf("the log has no reason or no stack: %s", log)
	}
}

func TestHardenFailureIsSaid(t *testing.T) {
	f := newFixture(testSpec)
	f.harden = func() error { return errors.New("not here") }
	if code := f.run(); code != 0 || !strings.Contains(f.stderr.String(), "not here") {
		t.Errorf("exit %d, log %s", code, f.stderr.String())
	}
}

func TestSignal(t *testing.T) {
	for _, result := range []error{nil, context.Canceled, fmt.Errorf("while reading: %w", context.Canceled)} {
		f := newFixture(Spec{})
		f.spec.Run = func(ctx context.Context, _ Env) error {
			f.signals <- syscall.SIGTERM
			<-ctx.Done()
			return result
		}
		if code := f.run(); code != ExitOK {
			t.Errorf("Run returned %v: exit %d", result, code)
		}
		if log := f.stderr.String(); !strings.Contains(log, "signal=terminated") {
			t.Errorf("the log does not name the signal: %s", log)
		}
	}
}

func TestFailureDuringShutdown(t *testing.T) {
	f := newFixture(Spec{})
	f.spec.Run = func(ctx context.Context, _ Env) error {
		f.signals <- syscall.SIGINT
		<-ctx.Done()
		return errors.New("a route could not be removed")
	}
	if code := f.run(); code != ExitFailed {
		t.Errorf("exit %d, want %d", code, ExitFailed)
	}
}

func TestCancelledWithoutSignalIsAFailure(t *testing.T) {
	f := newFixture(Spec{Run: func(context.Context, Env) error { return context.Canceled }})
	if code := f.run(); code != ExitFailed {
		t.Errorf("exit %d, want %d", code, ExitFailed)
	}
}

func TestSecondSignal(t *testing.T) {
	f := newFixture(Spec{})
	f.spec.Run = func(ctx context.Context, _ Env) error {
		f.signals <- syscall.SIGTERM
		<-ctx.Done()
		f.signals <- syscall.SIGINT
		// A clean end that hangs: only the second signal ends it.
		if code := <-f.exits; code != ExitForced {
			t.Errorf("exit %d, want %d", code, ExitForced)
		}
		return nil
	}
	f.run()
}

// manager listens as a service manager does.
func manager(t *testing.T) *net.UnixConn {
	t.Helper()
	dir, err := os.MkdirTemp("", "mpa")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	name := filepath.Join(dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", name)
	return conn
}

func next(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	b := make([]byte, 256)
	n, err := conn.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

func TestServiceManager(t *testing.T) {
	conn := manager(t)
	t.Setenv("WATCHDOG_USEC", strconv.Itoa(int((20 * time.Millisecond).Microseconds())))
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	f := newFixture(Spec{})
	stop := make(chan struct{})
	f.spec.Run = func(ctx context.Context, env Env) error {
		env.Ready()
		env.Ready()
		<-stop
		f.signals <- syscall.SIGTERM
		<-ctx.Done()
		return nil
	}
	done := make(chan int, 1)
	go func() { done <- f.run() }()
	if got := next(t, conn); got != stateReady {
		t.Errorf("first %q, want %q", got, stateReady)
	}
	for range 3 {
		if got := next(t, conn); got != stateWatchdog {
			t.Errorf("got %q, want %q", got, stateWatchdog)
		}
	}
	close(stop)
	for {
		got := next(t, conn)
		if got == stateStopping {
			break
		}
		if got != stateWatchdog {
			t.Errorf("got %q, want %q or %q", got, stateWatchdog, stateStopping)
		}
	}
	if code := <-done; code != 0 {
		t.Errorf("exit %d", code)
	}
}

func TestWatchdogMisconfigured(t *testing.T) {
	manager(t)
	t.Setenv("WATCHDOG_USEC", "soon")
	f := newFixture(Spec{Run: func(_ context.Context, env Env) error { env.Ready(); return nil }})
	if code := f.run(); code != 0 || !strings.Contains(f.stderr.String(), "watchdog is ignored") {
		t.Errorf("exit %d, log %s", code, f.stderr.String())
	}
}

func TestServiceManagerGone(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "/nonexistent/notify")
	f := newFixture(Spec{Run: func(_ context.Context, env Env) error { env.Ready(); return nil }})
	if code := f.run(); code != 0 || !strings.Contains(f.stderr.String(), "could not be told") {
		t.Errorf("exit %d, log %s", code, f.stderr.String())
	}
}

func TestJournalTimes(t *testing.T) {
	t.Setenv("JOURNAL_STREAM", "8:1")
	var out bytes.Buffer
	log, err := newLogger(&out, "info", "text")
	if err != nil {
		t.Fatal(err)
	}
	log.WithGroup("g").Info("x", slog.Time("time", time.Unix(0, 0)))
	if s := out.String(); !strings.HasPrefix(s, "level=INFO") || !strings.Contains(s, "g.time=") {
		t.Errorf("got %q, want only the record's own time left out", s)
	}
}

func hardenedProcess() {
	var out struct {
		Err      string
		Dumpable int
		Core     unix.Rlimit
	}
	if err := harden(); err != nil {
		out.Err = err.Error()
	}
	out.Dumpable, _ = unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &out.Core); err != nil {
		out.Err += err.Error()
	}
	json.NewEncoder(os.Stdout).Encode(out)
}

func TestHarden(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p, err := os.StartProcess(exe, []string{exe}, &os.ProcAttr{
		Env: append(os.Environ(), "DAEMON_TEST_HARDEN=1"), Files: []*os.File{nil, w, os.Stderr},
	})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Err      string
		Dumpable int
		Core     unix.Rlimit
	}
	if err := json.NewDecoder(r).Decode(&got); err != nil {
		t.Error(err)
	}
	if _, err := p.Wait(); err != nil {
		t.Error(err)
	}
	if got.Err != "" || got.Dumpable != 0 || got.Core.Cur != 0 || got.Core.Max != 0 {
		t.Errorf("got %+v, want no core dump to be possible", got)
	}
}
