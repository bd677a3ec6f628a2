package ha

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
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/osnet/osnettest"
	"openmpa/internal/state"
	"openmpa/mn/mobility/mip4"
)

const crashEnv = "HA_TEST_STATE_FILE"

// crashChild is a home agent in a process of its own, which can be killed.
func crashChild(path string) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	err := func() error {
		store, err := state.Open(path, slog.Default())
		if err != nil {
			return err
		}
		defer store.Close()
		cfg := labConfig(event.NewRecorder("ha", nil, 0))
		cfg.State, cfg.Log = store, slog.Default()
		a, err := Open(cfg)
		if err != nil {
			return err
		}
		fmt.Println("ready")
		return a.Run(ctx)
	}()
	stop()
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// child is such a process.
type child struct {
	*lab
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
	c.Cleanup(func() { _ = c.cmd.Process.Kill() })
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

// flow sends numbers to the home address until the test ends.
func (c *child) flow() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 1; ctx.Err() == nil; i++ {
			_, _ = fmt.Fprintf(hostWriter{c.hostUDP}, "%06d", i) // refused while nobody answers ARP
			time.Sleep(2 * time.Millisecond)
		}
	}()
	c.Cleanup(func() { cancel(); <-done })
}

// goesOn reads at careOf until a number above last comes, and returns that.
func (c *child) goesOn(careOf netip.Addr, last int) int {
	c.Helper()
	for {
		text := c.at(careOf, 1)[0]
		if strings.HasPrefix(text, "marker") {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil {
			c.Fatal(err)
		}
		if n > last {
			return n
		}
	}
}

// drained reads what has come to careOf already, and returns the last number.
func (c *child) drained(careOf netip.Addr) int {
	c.Helper()
	last := c.goesOn(careOf, 0)
	for {
		start := time.Now()
		last = c.goesOn(careOf, last)
		if time.Since(start) > time.Millisecond {
			return last // it had to be waited for
		}
	}
}

// replay sends a recorded request and returns the code of the reply.
func (c *child) replay(from netip.Addr, request []byte) mip4.Code {
	c.Helper()
	if _, err := c.signal[from].WriteToUDPAddrPort(request, netip.AddrPortFrom(agent, mip4.Port)); err != nil {
		c.Fatal(err)
	}
	buf := make([]byte, 2048)
	_ = c.signal[from].SetReadDeadline(time.Now().Add(patience))
	n, _, err := c.signal[from].ReadFromUDPAddrPort(buf)
	if err != nil {
		c.Fatal(err)
	}
	r, err := mip4.ParseReply(buf[:n])
	if err != nil {
		c.Fatal(err)
	}
	return r.Code
}

// TestKilled: a home agent that is killed and started again goes on where it was; no node
// does anything for it. What was recorded before is no use afterwards.
func TestKilled(t *testing.T) {
	c := &child{lab: newLab(t), path: filepath.Join(t.TempDir(), "ha.db")}
	c.start()
	c.peers()
	c.flow()
	c.register(coa1)
	recorded := c.request
	for _, careOf := range []netip.Addr{coa1, coa2} {
		if careOf == coa2 {
			c.register(coa2) // the binding that stands is another, now
		}
		last := c.drained(careOf)
		c.end(syscall.SIGKILL)
		time.Sleep(50 * time.Millisecond)
		c.inHost(func() { osnettest.IP(t, "neigh flush all") }) // the next has to answer for itself
		killed := time.Now()
		c.start()
		ready := time.Since(killed)
		first := c.goesOn(careOf, last)
		t.Logf("ready after %v; the first packet after it %v after the start; %d packets of 2 ms lost in all", ready, time.Since(killed), first-last-1)
		c.up(careOf, 1, 3)
		c.equal("up", c.atHost(3), numbers(1, 3))
	}
	if code := c.replay(coa1, recorded); code != mip4.CodeIdentification {
		t.Errorf("a replayed registration after the restart: code %v", code)
	}

	c.end(syscall.SIGTERM) // an orderly end leaves nothing in the kernel, and keeps the binding, too
	if after := osnettest.Snapshot(t); after != c.before {
		t.Errorf("left in the kernel:\n%s\nbefore:\n%s", after, c.before)
	}
	c.start()
	c.goesOn(coa2, c.drained(coa2))

	c.client.Deregister(time.Now(), coa2)
	if o, ok := c.exchange().(mip4.Deregistered); !ok {
		t.Fatalf("%+v", o)
	}
	c.end(syscall.SIGKILL)
	c.start()
	if out := osnettest.IP(t, "route show proto 163"); out != "" {
		t.Errorf("routes after a deregistration: %s", out)
	}
	if code := c.replay(coa1, recorded); code != mip4.CodeIdentification {
		t.Errorf("a replayed registration after deregistration and restart: code %v", code)
	}
	c.end(syscall.SIGTERM)
	if after := osnettest.Snapshot(t); after != c.before {
		t.Errorf("left in the kernel:\n%s\nbefore:\n%s", after, c.before)
	}
}
