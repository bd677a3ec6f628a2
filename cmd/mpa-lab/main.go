package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"golang.org/x/sys/unix"

	"openmpa/testbed/bed"
	"openmpa/testbed/scenario"
)

const description = `A mobile node moves from one network to another, and nothing is lost.

The lab makes a small internet of network namespaces on this machine: a mobile node, two
access networks, a home agent, a correspondent, an authentication server and a DHCP server.
Nothing outside of it is touched, and nothing is left when it ends.

Examples:

  sudo ./testbed/lab demo                                   one handover with MPA and one without
  sudo ./testbed/lab run handover --repeat 50 --json o.json fifty of them, with figures
  sudo ./testbed/lab run handover --rate 100M --l2-gap 50ms under load, with a slow link
  sudo ./testbed/lab bench tunnel                           the tunnel beside wireguard-go
  sudo ./testbed/lab report                                 measure, and write it all to report.html
  sudo ./testbed/lab run failed-switch --keep               leave the lab up to look around
  sudo ./testbed/lab topology                               what is where`

type cli struct {
	Bin string `help:"Directory of the daemons' programs; by default where this program is." type:"path" placeholder:"DIR"`

	Demo      demoCmd      `cmd:"" help:"One handover with MPA and one without, side by side; well under a minute."`
	Run       runCmd       `cmd:"" help:"Run a scenario and measure it; exit code 1 when its promise is not kept."`
	Wifi      wifiCmd      `cmd:"" help:"Run a scenario over 802.11, in a virtual machine with simulated radios."`
	Guest     guestCmd     `cmd:"" hidden:"" help:"What the virtual machine starts."`
	Crash     crashCmd     `cmd:"" help:"Kill the daemons, one after the other, at every record of a handover, and see what becomes of it."`
	Bench     benchCmd     `cmd:"" help:"Measure ours beside its peers, turn by turn in one run."`
	Delivery  deliveryCmd  `cmd:"" help:"Play the matrix of the delivery core: each way to move, with several kinds of traffic, gaps and delays."`
	PANAPAA   panaPAACmd   `cmd:"" name:"pana-paa" hidden:"" help:"What the benches of PANA start."`
	AAAPAA    aaaPAACmd    `cmd:"" name:"aaa-paa" hidden:"" help:"What the benches of AAA start."`
	TunnelEnd tunnelEndCmd `cmd:"" hidden:"" help:"What the bench of tunnels starts."`
	Report    reportCmd    `cmd:"" help:"Measure, or read what was measured, and write one HTML page with tables and pictures."`
	List      listCmd      `cmd:"" help:"The scenarios and the benches."`
	Test      testCmd      `cmd:"" help:"The acceptance set: every scenario in short, PASS or FAIL a line each."`
	Topology  topologyCmd  `cmd:"" help:"Draw the network of the lab."`

	Completion completionCmd `cmd:"" help:"Print a completion script for a shell."`
	Man        manCmd        `cmd:"" help:"Write the manual page, in roff."`
}

// app is what every command gets.
type app struct {
	ctx  context.Context
	bin  string
	self string
}

// errQuiet ends the program with code 1 after everything was said.
var errQuiet = errors.New("failed")

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	var c cli
	parser, err := kong.New(&c, kong.Name("mpa-lab"), kong.Description(description), kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}))
	if err != nil {
		fmt.Fprintln(os.Stderr, "mpa-lab:", err)
		return 1
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	k, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "mpa-lab: %v\n`mpa-lab --help` shows what there is.\n", err)
		return 64
	}
	ctx, stop := untilSignal()
	defer stop()
	a := &app{ctx: ctx, bin: c.Bin}
	if a.self, err = os.Executable(); err != nil {
		fmt.Fprintln(os.Stderr, "mpa-lab:", err)
		return 1
	}
	if a.bin == "" {
		a.bin = filepath.Dir(a.self)
	}
	if err := k.Run(a); err != nil {
		if !errors.Is(err, errQuiet) {
			fmt.Fprintln(os.Stderr, "mpa-lab:", err)
		}
		return 1
	}
	return 0
}

// onceMore is how long after the first signal another one counts as the same.
const onceMore = time.Second

// untilSignal is a context that ends with the first signal, which takes the lab apart in order.
// Another one ends the program at once, and the next lab cleans up. But one that comes with the
// first is meant once: timeout(1) signals its child and then the group that the child is in, too.
// It also ends when what reads the lab's output has ended, as head(1) does soon: without that, the
// first line that nobody reads would end the program, and everything would be left.
func untilSignal() (ctx context.Context, stop func()) {
	signals, forget := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	ctx, cancel := context.WithCancel(signals)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // such a write fails, and no more
	quiet := whenUnheard(cancel, os.Stdout, os.Stderr)
	context.AfterFunc(ctx, func() { time.AfterFunc(onceMore, forget) })
	return ctx, func() { cancel(); forget(); quiet() }
}

// whenUnheard calls back when nobody reads one of these pipes any more, until quiet is called.
func whenUnheard(call func(), pipes ...*os.File) (quiet func()) {
	woken, wake, err := os.Pipe()
	if err != nil {
		return func() {} // it can do without
	}
	list := []unix.PollFd{{Fd: int32(woken.Fd())}}
	for _, p := range pipes {
		list = append(list, unix.PollFd{Fd: int32(p.Fd())})
	}
	var waits sync.WaitGroup
	waits.Go(func() {
		for list[0].Revents == 0 {
			if _, err := unix.Poll(list, -1); err != nil && !errors.Is(err, unix.EINTR) {
				return
			}
			for i := range list[1:] {
				p := &list[i+1]
				if p.Revents&unix.POLLERR != 0 {
					call()
				}
				if p.Revents != 0 {
					p.Fd, p.Revents = -1, 0 // as if it were closed, or a terminal that is gone, which is a signal
				}
			}
		}
	})
	return func() {
		_ = wake.Close()
		waits.Wait()
		_ = woken.Close()
	}
}

// ready checks what every scenario needs.
func (a *app) ready() error {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root: run it as sudo ./testbed/lab")
	}
	return bed.CheckBinaries(a.bin)
}

// progress goes to standard error, so that results can be redirected.
func progress() *scenario.Progress { return scenario.NewProgress(os.Stderr) }
