package hatest

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"openmpa/internal/osnet/osnettest"
	"openmpa/internal/state"
)

// crashEnv names the state file of a home agent in a process of its own.
const crashEnv = "HA_TEST_STATE_FILE"

// Main is TestMain: of the tests, or of a home agent that one of them started. serve runs it, and
// calls ready when it does.
func Main(m *testing.M, serve func(ctx context.Context, store state.Store, ready func()) error) {
	path := os.Getenv(crashEnv)
	if path == "" {
		osnettest.Main(m)
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	err := func() error {
		store, err := state.Open(path, slog.Default())
		if err != nil {
			return err
		}
		defer store.Close()
		return serve(ctx, store, func() { fmt.Println("ready") })
	}()
	stop()
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// child is a home agent in a process of its own, which can be killed.
type child struct {
	testing.TB
	path string
	cmd  *exec.Cmd
}

func (c *child) start() {
	c.Helper()
	c.cmd = exec.Command(os.Args[0])
	c.cmd.Env, c.cmd.Stderr = append(os.Environ(), crashEnv+"="+c.path), c.Output()
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		c.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil { // in the namespace of this thread
		c.Fatal(err)
	}
	process := c.cmd.Process
	c.Cleanup(func() { _ = process.Kill() })
	if in := bufio.NewScanner(out); !in.Scan() || in.Text() != "ready" {
		c.Fatalf("the home agent said %q", in.Text())
	}
}

func (c *child) end(s os.Signal) {
	c.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		c.Fatal(err)
	}
	if err := c.cmd.Wait(); s == syscall.SIGTERM && err != nil {
		c.Error(err)
	}
}

// Bench is the network around a home agent of either family.
type Bench interface {
	testing.TB
	// Register binds the home address, and returns what the mobile node sent last.
	Register(careOf netip.Addr) (sent []byte)
	Deregister(from netip.Addr)
	// Replayed reports whether the home agent finds a message of the mobile node's replayed.
	Replayed(sent []byte) bool
	// Next is the next number that comes to a care-of address, and whether it had come already.
	Next(careOf netip.Addr) (number int, waited bool)
	// Up sends numbers from the mobile node.
	Up(careOf netip.Addr, first, last int)
	// Forget has the host's kernel forget its neighbours.
	Forget()
	// Clean checks that nothing is left in the kernel, Routes shows the routes of home addresses.
	Clean()
	Routes() string
}

// goesOn reads at careOf until a number above last comes, and returns that.
func goesOn(b Bench, careOf netip.Addr, last int) int {
	b.Helper()
	for {
		if n, _ := b.Next(careOf); n > last {
			return n
		}
	}
}

// drained reads what has come to careOf already, and returns the last number.
func drained(b Bench, careOf netip.Addr) int {
	b.Helper()
	for last := 0; ; {
		n, waited := b.Next(careOf)
		if last = max(last, n); waited {
			return last
		}
	}
}

// Killed checks that a home agent that is killed and started again goes on where it was; no node
// does anything for it. What was recorded before is no use afterwards. peers opens what the
// bench and the host need, once it runs.
func Killed(t *testing.T, b Bench, peers func() *Host, careOfs [2]netip.Addr) {
	c := &child{TB: t, path: filepath.Join(t.TempDir(), "ha.db")}
	c.start()
	host := peers()
	host.Flow()
	recorded := b.Register(careOfs[0])
	for i, careOf := range careOfs {
		if i > 0 {
			b.Register(careOf) // the binding that stands is another, now
		}
		last := drained(b, careOf)
		c.end(syscall.SIGKILL)
		time.Sleep(50 * time.Millisecond)
		b.Forget() // the next has to answer for itself
		killed := time.Now()
		c.start()
		ready := time.Since(killed)
		first := goesOn(b, careOf, last)
		t.Logf("ready after %v; the first packet after it %v after the start; %d packets of 2 ms lost in all", ready, time.Since(killed), first-last-1)
		b.Up(careOf, 1, 3)
		Equal(t, "up", host.Read(3), Numbers(1, 3))
	}
	if !b.Replayed(recorded) {
		t.Error("a replayed registration was taken after the restart")
	}

	c.end(syscall.SIGTERM) // an orderly end leaves nothing in the kernel, and keeps the binding, too
	b.Clean()
	c.start()
	goesOn(b, careOfs[1], drained(b, careOfs[1]))

	b.Deregister(careOfs[1])
	c.end(syscall.SIGKILL)
	c.start()
	if out := b.Routes(); out != "" {
		t.Errorf("routes after a deregistration: %s", out)
	}
	if !b.Replayed(recorded) {
		t.Error("a replayed registration was taken after deregistration and restart")
	}
	c.end(syscall.SIGTERM)
	b.Clean()
}
