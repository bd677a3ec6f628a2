package daemon

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// The exit codes of every daemon.
const (
	ExitOK     = 0
	ExitFailed = 1   // Run failed, or the configuration has mistakes
	ExitPanic  = 2   // a bug: the log has the stack
	ExitUsage  = 64  // EX_USAGE of sysexits.h
	ExitForced = 130 // a second signal came while shutting down
)

// Spec describes a daemon. Name, Summary and Run are required.
type Spec struct {
	Name    string // of the binary, as in mpa-mn
	Summary string // one line, no full stop
	Doc     string // paragraphs: what it does, what it needs
	Example string // a complete configuration file; --example prints it, --help shows it
	Files   []File // what it reads and writes besides its configuration

	// Check says what is wrong with the configuration file at path, for --check.
	Check func(path string) error
	// Run is the daemon. It returns soon after ctx is done; what it returns then
	// because of ctx counts as a clean end.
	Run   func(ctx context.Context, env Env) error
	Flags func(fs *flag.FlagSet) // adds the daemon's own flags; may be nil
	// Commands are run instead of the daemon by giving their name, of one word or two, as
	// the first arguments.
	Commands map[string]Command
}

// File is a line of --help's list of files.
type File struct{ Path, Purpose string }

// Command is a task that is not the daemon, such as issuing a certificate, or
// another daemon in the same binary.
type Command struct {
	Daemon *Spec // in place of all that follows: a daemon, with a configuration of its own

	Summary string                 // one line, no full stop
	Args    string                 // as shown in the usage line, such as "NAME"
	Flags   func(fs *flag.FlagSet) // adds the command's own flags; may be nil
	Run     func(ctx context.Context, env Env, args []string) error
}

// Env is what Main hands to Run.
type Env struct {
	ConfigPath string
	Log        *slog.Logger
	Ready      func()    // to be called once, when the daemon serves; further calls do nothing
	Stdout     io.Writer // for the output of commands
}

// Main runs the daemon on the process's arguments and exits.
func Main(spec Spec) {
	p := process{
		spec: spec, args: os.Args[1:], stdout: os.Stdout, stderr: os.Stderr,
		signals: make(chan os.Signal, 2), exit: os.Exit, harden: harden,
	}
	// A closed terminal ends the daemon in order, too; a reader of the log that
	// went away does not end it at all.
	signal.Notify(p.signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	signal.Ignore(syscall.SIGPIPE)
	os.Exit(p.run())
}

// process is Main without the process's global state.
type process struct {
	spec           Spec
	args           []string
	stdout, stderr io.Writer
	signals        chan os.Signal
	exit           func(int)
	harden         func() error
}

// options are the flags that the daemon and its commands share.
type options struct {
	config, level, format                  string
	check, version, help, man, showExample bool
}

func (p *process) run() int {
	name, cmd, args, code := p.command()
	if code != ExitOK {
		return code
	}
	if cmd != nil && cmd.Daemon != nil {
		p.spec, name, cmd = *cmd.Daemon, "", nil
	}
	spec := p.spec
	var o options
	fs := flag.NewFlagSet(spec.Name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	o.register(fs, spec, cmd == nil)
	switch {
	case cmd == nil && spec.Flags != nil:
		spec.Flags(fs)
	case cmd != nil && cmd.Flags != nil:
		cmd.Flags(fs)
	}
	switch err := fs.Parse(args); {
	case err != nil:
		return p.usageError(name, err)
	case o.help:
		p.help(fs, name, cmd)
		return ExitOK
	case o.version:
		fmt.Fprintln(p.stdout, Version(spec.Name))
		return ExitOK
	case o.man:
		p.man(fs)
		return ExitOK
	case o.showExample:
		fmt.Fprint(p.stdout, spec.Example)
		return ExitOK
	case cmd == nil && fs.NArg() > 0:
		return p.usageError(name, fmt.Errorf("unexpected argument %q", fs.Arg(0)))
	}
	if o.check {
		return p.check(o.config)
	}
	log, err := newLogger(p.stderr, o.level, o.format)
	if err != nil {
		return p.usageError(name, err)
	}
	if err := p.harden(); err != nil {
		log.Warn("core dumps could not be turned off, keys may end up in one", "err", err)
	}
	return p.supervise(log, o, cmd, fs.Args())
}

// command finds a command among the arguments: the first one, if any.
func (p *process) command() (name string, cmd *Command, args []string, code int) {
	if len(p.args) == 0 || strings.HasPrefix(p.args[0], "-") || len(p.spec.Commands) == 0 {
		return "", nil, p.args, ExitOK
	}
	for words := min(2, len(p.args)); words > 0; words-- {
		name = strings.Join(p.args[:words], " ")
		if c, ok := p.spec.Commands[name]; ok {
			return name, &c, p.args[words:], ExitOK
		}
	}
	return "", nil, nil, p.usageError("", fmt.Errorf("unknown command %q: expected one of %s", name, strings.Join(p.spec.commandNames(), ", ")))
}

// summary is of the command, whichever kind it is.
func (c Command) summary() string {
	if c.Daemon != nil {
		return c.Daemon.Summary
	}
	return c.Summary
}

func (s Spec) commandNames() []string {
	names := make([]string, 0, len(s.Commands))
	for name := range s.Commands {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (p *process) usageError(command string, err error) int {
	fmt.Fprintf(p.stderr, "%s: %v\nTry: %s --help\n", p.spec.Name, err, strings.TrimSpace(p.spec.Name+" "+command))
	return ExitUsage
}

func (p *process) check(path string) int {
	if p.spec.Check == nil {
		return p.usageError("", errors.New("--check: this program has no configuration file"))
	}
	if err := p.spec.Check(path); err != nil {
		fmt.Fprintln(p.stderr, err)
		return ExitFailed
	}
	fmt.Fprintln(p.stdout, "ok")
	return ExitOK
}

// supervise runs the daemon or a command until it returns.
func (p *process) supervise(log *slog.Logger, o options, cmd *Command, args []string) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	done := make(chan struct{})
	defer close(done)

	wg.Go(func() { p.watchSignals(log, cancel, done, cmd == nil) })
	ready := sync.OnceFunc(func() {
		if cmd != nil {
			return
		}
		log.Info("ready")
		notify(log, stateReady)
		wg.Go(func() { watchdog(ctx, log) })
	})
	env := Env{ConfigPath: o.config, Log: log, Ready: ready, Stdout: p.stdout}

	err, panicked := guard(log, func() error {
		if cmd != nil {
			return cmd.Run(ctx, env, args)
		}
		log.Info("starting", "program", p.spec.Name, "version", version(), "config", o.config)
		return p.spec.Run(ctx, env)
	})
	stopping := ctx.Err() != nil
	cancel()
	switch {
	case panicked:
		return ExitPanic
	case err == nil, stopping && errors.Is(err, context.Canceled):
		if cmd == nil {
			log.Info("stopped")
		}
		return ExitOK
	case cmd != nil || strings.Contains(err.Error(), "\n"):
		// Mistakes in a configuration come with excerpts: they are for reading.
		fmt.Fprintf(p.stderr, "%s: %v\n", p.spec.Name, err)
	default:
		log.Error("failed", "err", err)
	}
	return ExitFailed
}

func (p *process) watchSignals(log *slog.Logger, cancel func(), done <-chan struct{}, service bool) {
	select {
	case s := <-p.signals:
		log.Info("shutting down", "signal", s.String())
		if service {
			notify(log, stateStopping)
		}
		cancel()
	case <-done:
		return
	}
	select {
	case s := <-p.signals:
		log.Warn("second signal: leaving at once, nothing more is cleaned up", "signal", s.String())
		p.exit(ExitForced)
	case <-done:
	}
}

// guard turns a panic of run into a log record.
func guard(log *slog.Logger, run func() error) (err error, panicked bool) {
	defer func() {
		if v := recover(); v != nil {
			log.Error("panic", "value", fmt.Sprint(v), "stack", string(debug.Stack()))
			panicked = true
		}
	}()
	return run(), false
}
