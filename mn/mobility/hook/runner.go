package hook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// DefaultTimeout of a call.
const DefaultTimeout = 5 * time.Second

// outputMost is how many octets of either output are kept.
const outputMost = 4096

// lingering is how long an executable that has ended may have its output open, by a
// child it left.
const lingering = 500 * time.Millisecond

// Config says what is called.
type Config struct {
	Command []string      // an absolute path, and arguments
	Timeout time.Duration // of a call; 0: DefaultTimeout
}

// Check says what is wrong with the configuration, or nil.
func (c Config) Check() error {
	if len(c.Command) == 0 {
		return errors.New("hook: no command: expected the path of an executable")
	}
	path := c.Command[0]
	if !filepath.IsAbs(path) {
		return fmt.Errorf("hook: %q: expected an absolute path: no shell looks for it", path)
	}
	s, err := os.Stat(path)
	switch {
	case err != nil:
		return fmt.Errorf("hook: %w", err)
	case !s.Mode().IsRegular() || s.Mode()&0o111 == 0:
		return fmt.Errorf("hook: %s is no executable file: chmod 755 it", path)
	case s.Mode()&0o022 != 0:
		return fmt.Errorf("hook: others than its owner may write %s, which runs as this daemon: chmod go-w it", path)
	case c.Timeout < 0:
		return fmt.Errorf("hook: a timeout of %v: expected more than nothing", c.Timeout)
	}
	return nil
}

// Error is a call that failed.
type Error struct {
	Command string
	Op      Op
	Said    string // the end of its standard error, quoted; may be empty
	Err     error
}

func (e *Error) Error() string {
	said := ""
	if e.Said != "" {
		said = ", saying " + e.Said
	}
	return fmt.Sprintf("hook %s, %s: %v%s", e.Command, e.Op, e.Err, said)
}

func (e *Error) Unwrap() error { return e.Err }

// Runner calls the executable, one call at a time.
type Runner struct {
	cfg  Config     // fixed after New
	turn sync.Mutex // held during a call
}

// New returns a runner of what passes Check.
func New(cfg Config) (*Runner, error) {
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
	}
	return &Runner{cfg: cfg}, cfg.Check()
}

// Run makes one call and waits for its end, in its turn. The error is an *Error; it
// matches that of ctx when ctx ended the call.
func (r *Runner) Run(ctx context.Context, c Call) (Answer, error) {
	r.turn.Lock()
	defer r.turn.Unlock()
	c.Version = Version
	failed := func(err error, said []byte) (Answer, error) {
		e := &Error{Command: r.cfg.Command[0], Op: c.Op, Err: err}
		if said = bytes.TrimSpace(said); len(said) > 0 {
			e.Said = quote(said)
		}
		return Answer{}, e
	}
	in, err := json.Marshal(c)
	if err != nil {
		return failed(err, nil)
	}
	late := fmt.Errorf("no end in %s: killed", r.cfg.Timeout)
	ctx, cancel := context.WithTimeoutCause(ctx, r.cfg.Timeout, late)
	defer cancel()
	var stdout, stderr output
	cmd := exec.CommandContext(ctx, r.cfg.Command[0], r.cfg.Command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(append(in, '\n')), &stdout, &stderr
	cmd.Env, cmd.Dir = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	kill := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel, cmd.WaitDelay = kill, lingering
	// The signal comes when the thread that started the process ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return failed(err, nil)
	}
	err = cmd.Wait()
	switch {
	case ctx.Err() != nil && err != nil:
		return failed(context.Cause(ctx), stderr.kept)
	case errors.Is(err, exec.ErrWaitDelay):
		_ = kill()
		return failed(errors.New("it left a process that has its output open: killed"), stderr.kept)
	case err != nil:
		return failed(err, stderr.kept)
	case stdout.more:
		return failed(fmt.Errorf("expected at most %d octets on standard output, came more", outputMost), stderr.kept)
	}
	a, err := parseAnswer(stdout.kept)
	if err != nil {
		return failed(err, stderr.kept)
	}
	return a, nil
}

// output keeps the first octets written to it.
type output struct {
	kept []byte
	more bool
}

func (o *output) Write(b []byte) (int, error) {
	k := min(len(b), outputMost-len(o.kept))
	o.kept = append(o.kept, b[:k]...)
	o.more = o.more || k < len(b)
	return len(b), nil
}
