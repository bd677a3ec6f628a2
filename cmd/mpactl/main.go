// Command mpactl is the operator's tool: it asks the daemons on this machine what
// they are doing, moves the mobile node, and explains what a move consisted of.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"openmpa/internal/daemon"
)

// The exit codes.
const (
	exitFailed = 1  // the daemon said no, or the handover did not complete
	exitUsage  = 64 // EX_USAGE of sysexits.h
)

const description = `Talks to the openmpa daemons of this machine.

Without --socket it talks to every daemon whose control socket is in /run/openmpa.`

// cli is the command line. Its help texts are also the manual page and the
// completion scripts.
type cli struct {
	Socket []string `short:"s" placeholder:"PATH" help:"Control socket of a daemon; may be given several times." env:"MPACTL_SOCKET"`
	RunDir string   `default:"/run/openmpa" hidden:"" env:"MPACTL_RUN_DIR" help:"Where sockets are looked for."`
	JSON   bool     `help:"Print JSON."`

	Version    versionFlag   `help:"Print the version and leave."`
	Status     statusCmd     `cmd:"" help:"What each daemon is doing."`
	Resources  resourcesCmd  `cmd:"" help:"What each daemon takes: goroutines, descriptors and memory."`
	Handover   handoverCmd   `cmd:"" help:"Move the mobile node to another network, and show how it goes on."`
	Prepare    prepareCmd    `cmd:"" help:"Do all of a move that can be done before it, and keep that for a minute."`
	Guard      guardCmd      `cmd:"" help:"Have a router keep copies, for when the link is cut without warning, or no longer."`
	Networks   networksCmd   `cmd:"" help:"What the mobile node, or the router, knows of the networks around, and from whom."`
	Explain    explainCmd    `cmd:"" help:"What a handover consisted of, and what each part cost."`
	Events     eventsCmd     `cmd:"" help:"The records of the timeline."`
	Replay     replayCmd     `cmd:"" help:"Play a recorded trace again, with any policy: what it would have done."`
	Doctor     doctorCmd     `cmd:"" help:"What keeps the daemons of this machine from working, and what to do about it."`
	Completion completionCmd `cmd:"" help:"Print a completion script for a shell."`
	Man        manCmd        `cmd:"" help:"Write the manual page, in roff."`
}

// app is what every command works with.
type app struct {
	ctx            context.Context
	cli            *cli
	model          *kong.Application
	stdout, stderr io.Writer
	screen         screen // of stdout; its zero value is no terminal
}

type versionFlag bool

// BeforeReset prints the version before anything else is asked for.
func (versionFlag) BeforeReset(k *kong.Kong) error {
	fmt.Fprintln(k.Stdout, daemon.Version("mpactl"))
	k.Exit(0)
	return nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr, screenOf(os.Stdout))
	stop()
	os.Exit(code)
}

// exited carries an exit code out of kong, which wants to exit itself.
type exited int

func run(ctx context.Context, args []string, stdout, stderr io.Writer, s screen) (code int) {
	defer func() {
		if v := recover(); v != nil {
			e, ok := v.(exited)
			if !ok {
				panic(v)
			}
			code = int(e)
		}
	}()
	var c cli
	parser, err := kong.New(&c, kong.Name("mpactl"), kong.Description(description),
		kong.Writers(stdout, stderr), kong.Exit(func(code int) { panic(exited(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
	if err != nil {
		fmt.Fprintln(stderr, "mpactl:", err)
		return exitFailed
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	kctx, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(stderr, "mpactl: %v\nTry: mpactl --help\n", err)
		return exitUsage
	}
	err = kctx.Run(&app{ctx: ctx, cli: &c, model: parser.Model, stdout: stdout, stderr: stderr, screen: s})
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errReported):
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return 130
	default:
		fmt.Fprintln(stderr, "mpactl:", err)
	}
	return exitFailed
}

// errReported says that the output has told already what is wrong.
var errReported = errors.New("reported")
