package proc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"openmpa/internal/control"
	"openmpa/testbed/rundir"
	"openmpa/testbed/space"
)

// A Spec says what to run.
type Spec struct {
	Name    string // unique in the lab
	Space   *space.Space
	Command []string
	Dir     string   // working directory
	Log     string   // file for standard output and error
	Env     []string // beside the lab's own
	// Control is the path of the control socket, by which a daemon of ours
	// is known to be ready.
	Control string
	// Answers is how a daemon of somebody else's is: it asks once, and may
	// wait for the answer until ctx ends.
	Answers func(ctx context.Context) error
}

// A Child is a running daemon.
type Child struct {
	spec   Spec
	run    *rundir.Dir
	cmd    *exec.Cmd
	done   chan struct{} // closed when it has ended
	waited error         // of Wait; read after done
}

// Start starts the child; it is not ready then. One that ends at once is no
// error of Start: Ready and Stop tell, with what it wrote.
func Start(run *rundir.Dir, spec Spec) (*Child, error) {
	log, err := os.OpenFile(spec.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("proc: %s: %w", spec.Name, err)
	}
	defer log.Close()
	cmd := exec.Command(spec.Command[0], spec.Command[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = spec.Dir, log, log
	if len(spec.Env) > 0 {
		cmd.Env = append(os.Environ(), spec.Env...)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := spec.Space.Do(cmd.Start); err != nil {
		return nil, fmt.Errorf("proc: start %s: %w", spec.Name, err)
	}
	c := &Child{spec: spec, run: run, cmd: cmd, done: make(chan struct{})}
	go func() {
		c.waited = cmd.Wait()
		close(c.done)
	}()
	err = run.Record(spec.Name, cmd.Process.Pid, strings.Join(spec.Command, " "))
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return nil, errors.Join(err, c.Kill())
	}
	return c, nil
}

// Again starts once more what has ended: the same command with the same log.
func (c *Child) Again() (*Child, error) {
	select {
	case <-c.done:
		return Start(c.run, c.spec)
	default:
		return nil, fmt.Errorf("proc: %s is running", c.spec.Name)
	}
}

// Name is the child's name.
func (c *Child) Name() string { return c.spec.Name }

// PID is the child's process id.
func (c *Child) PID() int { return c.cmd.Process.Pid }

// Done is closed when the child has ended.
func (c *Child) Done() <-chan struct{} { return c.done }

// Client talks to the child's control socket.
func (c *Child) Client() *control.Client { return control.NewClient(c.spec.Control) }

// Ours reports whether the child is a daemon of ours, with a control socket.
func (c *Child) Ours() bool { return c.spec.Answers == nil }

// Ready waits until the child answers, at most for limit.
func (c *Child) Ready(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	answers := c.spec.Answers
	if c.Ours() {
		client := c.Client()
		answers = func(ctx context.Context) error {
			var status any
			return client.Status(ctx, &status)
		}
	}
	// One that has ended will not answer any more.
	var wg sync.WaitGroup
	defer wg.Wait()
	asking, cancelAsking := context.WithCancel(ctx)
	defer cancelAsking()
	wg.Go(func() {
		select {
		case <-c.done:
			cancelAsking()
		case <-asking.Done():
		}
	})
	for {
		err := answers(asking)
		if err == nil {
			return nil
		}
		select {
		case <-c.done:
			return c.ended()
		case <-ctx.Done():
			return fmt.Errorf("proc: %s is not ready after %v: %w%s", c.spec.Name, limit, err, c.Tail(12))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Stop ends the child in an orderly way: SIGTERM, then at most limit to
// clean up. One that has to be killed, or ends with an error, is a failure.
func (c *Child) Stop(limit time.Duration) error {
	select {
	case <-c.done:
		return errors.Join(c.ended(), c.run.Forget(c.spec.Name))
	default:
	}
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("proc: stop %s: %w", c.spec.Name, err)
	}
	select {
	case <-c.done:
	case <-time.After(limit):
		err := fmt.Errorf("proc: %s does not end within %v of SIGTERM and was killed%s", c.spec.Name, limit, c.Tail(12))
		return errors.Join(err, c.dump(), c.Kill())
	}
	var err error
	if c.waited != nil {
		err = fmt.Errorf("proc: %s ends with an error: %w%s", c.spec.Name, c.waited, c.Tail(12))
	}
	return errors.Join(err, c.run.Forget(c.spec.Name))
}

// dumping is how long a Go program takes to write where its goroutines are.
const dumping = 2 * time.Second

// dump has a child that hangs write into its log where each of its goroutines is, of which it ends.
func (c *Child) dump() error {
	if !c.Ours() {
		return nil
	}
	if err := c.cmd.Process.Signal(syscall.SIGQUIT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("proc: have %s tell where it hangs: %w", c.spec.Name, err)
	}
	select {
	case <-c.done:
	case <-time.After(dumping):
	}
	return nil
}

// Kill ends the child at once, as a crash would.
func (c *Child) Kill() error {
	_, err := c.KillAt()
	return err
}

// KillAt is Kill that tells when the signal was delivered. From then on the
// child does nothing; that it has ended takes the kernel longer, up to tens of
// milliseconds when it has to take a TUN away.
func (c *Child) KillAt() (at time.Time, err error) {
	err = c.cmd.Process.Kill()
	at = time.Now()
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return at, fmt.Errorf("proc: kill %s: %w", c.spec.Name, err)
	}
	<-c.done
	return at, c.run.Forget(c.spec.Name)
}

// Signal sends a signal to the child.
func (c *Child) Signal(sig os.Signal) error {
	if err := c.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("proc: signal %v to %s: %w", sig, c.spec.Name, err)
	}
	return nil
}

// ended tells of a child that ended although nobody asked it to.
func (c *Child) ended() error {
	how := "without an error"
	if c.waited != nil {
		how = c.waited.Error()
	}
	return fmt.Errorf("proc: %s ended by itself (%s)%s", c.spec.Name, how, c.Tail(12))
}

// Tail is the end of the child's log, indented, for an error message; empty
// when there is none.
func (c *Child) Tail(lines int) string {
	b, err := os.ReadFile(c.spec.Log)
	if err != nil || len(bytes.TrimSpace(b)) == 0 {
		return ""
	}
	all := strings.Split(strings.TrimSpace(string(b)), "\n")
	from := max(0, len(all)-lines)
	for i, l := range all {
		// A crash begins long before the end of its log.
		if i < from && (strings.Contains(l, "panic") || strings.HasPrefix(l, "fatal error")) {
			all = append(all[i:min(i+lines, len(all)):min(i+lines, len(all))], "...")
			from = 0
			break
		}
	}
	all = all[from:]
	return "\n    its log ends with\n    | " + strings.Join(all, "\n    | ")
}
