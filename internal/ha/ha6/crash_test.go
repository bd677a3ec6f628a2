package ha6

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
	"openmpa/internal/host"
	"openmpa/internal/osnet"
	"openmpa/internal/osnet/osnettest"
	"openmpa/internal/state"
	"openmpa/mn/mobility/mip6"
)

const crashEnv = "HA6_TEST_STATE_FILE"

// crashChild is a home agent in a process of its own, which can be killed.
func crashChild(path string) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	err := func() error {
		store, err := state.Open(path, slog.Default())
		if err != nil {
			return err
		}
		defer store.Close()
		h, err := host.LinuxIPv6(slog.Default(), osnet.OwnerHomeAgent)
		if err != nil {
			return err
		}
		defer h.Close()
		cfg := labConfig(h, event.NewRecorder("ha", nil, 0))
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
			_, _ = c.hostUDP.WriteToUDPAddrPort(fmt.Appendf(nil, "%06d", i), nodePort) // refused while nobody answers
			time.Sleep(2 * time.Millisecond)
		}
	}()
	c.Cleanup(func() { cancel(); <-done })
}

// goesOn reads at the mobile node until a number above last comes by careOf, and returns that.
func (c *child) goesOn(careOf netip.Addr, last int) int {
	c.Helper()
	for {
		select {
		case a := <-c.down:
			n, err := strconv.Atoi(string(a.inner[48:]))
			if err != nil {
				c.Fatal(err)
			}
			if n > last && a.careOf == careOf {
				return n
			}
		case <-time.After(patience):
			c.Fatalf("nothing comes to %v after %d", careOf, last)
		}
	}
}

// drained reads what has come already, and returns the last number.
func (c *child) drained(careOf netip.Addr) int {
	c.Helper()
	last := c.goesOn(careOf, 0)
	for len(c.down) > 0 {
		last = c.goesOn(careOf, last)
	}
	return last
}

// replay sends a recorded message and returns the status of the answer.
func (c *child) replay(message []byte) mip6.Status {
	c.Helper()
	c.fromNode(message)
	select {
	case pkt := <-c.pending:
		p, err := mip6.ParsePacket(pkt)
		if err != nil {
			c.Fatal(err)
		}
		m, err := mip6.Parse(p.Payload, p.Source(), p.Destination())
		if ack, ok := m.(*mip6.Ack); ok {
			return ack.Status
		}
		c.Fatalf("%+v, %v", m, err)
	case <-time.After(patience):
		c.Fatal("no answer to a replay")
	}
	return 0
}

// TestKilled: a home agent that is killed and started again goes on where it was; no node
// does anything for it. What was recorded before is no use afterwards.
func TestKilled(t *testing.T) {
	c := &child{lab: newLab(t), path: filepath.Join(t.TempDir(), "ha.db")}
	c.start()
	c.peers()
	c.flow()
	c.register(careA)
	recorded := c.lastSent
	for _, careOf := range []netip.Addr{careA, careB} {
		if careOf == careB {
			c.register(careB) // the binding that stands is another, now
		}
		last := c.drained(careOf)
		c.end(syscall.SIGKILL)
		time.Sleep(50 * time.Millisecond)
		c.inHost(func() { osnettest.IP(t, "-6 neigh flush all") }) // the next has to answer for itself
		killed := time.Now()
		c.start()
		ready := time.Since(killed)
		first := c.goesOn(careOf, last)
		t.Logf("ready after %v; the first packet after it %v after the start; %d packets of 2 ms lost in all", ready, time.Since(killed), first-last-1)
		c.up(careOf, 1, 3)
		c.equal("up", c.atHost(3), numbers(1, 3))
	}
	if s := c.replay(recorded); s != mip6.StatusIdentification {
		t.Errorf("a replayed registration after the restart: %v", s)
	}
	c.end(syscall.SIGTERM) // an orderly end leaves nothing in the kernel, and keeps the binding, too
	c.clean()
	c.start()
	c.goesOn(careB, c.drained(careB))

	c.deregister(careB)
	c.end(syscall.SIGKILL)
	c.start()
	if out := osnettest.IP(t, "-6 route show proto 163"); strings.Contains(out, "2001:db8:9::2 ") {
		t.Errorf("routes after a deregistration: %s", out)
	}
	if s := c.replay(recorded); s != mip6.StatusIdentification {
		t.Errorf("a replayed registration after deregistration and restart: %v", s)
	}
	c.end(syscall.SIGTERM)
	c.clean()
}
