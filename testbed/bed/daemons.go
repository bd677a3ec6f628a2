package bed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"openmpa/internal/control"
	"openmpa/internal/event"
	"openmpa/testbed/proc"
	"openmpa/testbed/topo"
)

const (
	readyLimit  = 20 * time.Second
	attachLimit = 60 * time.Second // with the timers of RFC 5227 it takes ten
	stopLimit   = 15 * time.Second
)

// startDaemons starts everything, the mobile node last.
func (b *Bed) startDaemons(ctx context.Context) error {
	b.opt.say("starting the daemons of lab %d", b.Run.ID)
	if err := b.writeSecrets(); err != nil {
		return err
	}
	if err := b.certificates(); err != nil {
		return err
	}
	if err := b.users(); err != nil {
		return err
	}
	if err := b.transportCertificates(); err != nil {
		return err
	}
	if err := b.startServers(ctx); err != nil {
		return err
	}
	if err := b.startRadio(ctx); err != nil {
		return err
	}
	if err := b.startAgent(ctx); err != nil {
		return err
	}
	if err := b.startHome(ctx); err != nil {
		return err
	}
	for _, n := range b.opt.networks() {
		if err := b.start(ctx, n.Name, n.Router, "mpa-ar", b.configAR(n)); err != nil {
			return err
		}
	}
	b.opt.say("the mobile node attaches to network b")
	if err := b.StartNode(ctx); err != nil || b.vpn == nil {
		return err
	}
	return b.awaitVPN(ctx)
}

// startHome starts what makes the mobile node reachable.
func (b *Bed) startHome(ctx context.Context) error {
	if b.opt.VPN {
		return b.startVPN(ctx)
	}
	if err := b.start(ctx, topo.HA, topo.HA, "mpa-ha", b.configHA()); err != nil || !b.opt.Route {
		return err
	}
	return b.start(ctx, topo.CN, topo.CN, "mpa-ha", b.configCN())
}

// start starts one daemon and waits until it answers.
func (b *Bed) start(ctx context.Context, name, node, binary, config string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	path, err := b.writeConfig(name, config)
	if err != nil {
		return err
	}
	return b.run(ctx, proc.Spec{
		Name: name, Space: b.Top.Space(node),
		Command: []string{filepath.Join(b.opt.Bin, binary), "--config", path, "--log-level", b.logLevel()},
		Control: b.Run.File(name + ".sock"),
	})
}

// run starts a child in the run directory and waits until it answers.
func (b *Bed) run(ctx context.Context, spec proc.Spec) error {
	spec.Dir, spec.Log = b.Run.Path, b.Run.File(spec.Name+".log")
	c, err := proc.Start(b.Run, spec)
	if err != nil {
		return err
	}
	b.children[spec.Name] = c
	b.order = append(b.order, spec.Name)
	return c.Ready(ctx, readyLimit)
}

func (b *Bed) logLevel() string {
	if b.opt.LogLevel != "" {
		return b.opt.LogLevel
	}
	return "debug"
}

// Attached waits for the end of the mobile node's first attachment since it was started.
func (b *Bed) Attached(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, attachLimit)
	defer cancel()
	mn := b.children[topo.MN]
	end, err := b.Await(ctx, topo.MN, 0, func(e event.Event) bool {
		return e.Phase == event.PhaseAttach && e.Kind == event.KindEnd
	})
	if err != nil {
		return fmt.Errorf("bed: the mobile node does not attach: %w%s", err, mn.Tail(12))
	}
	if end.Outcome != event.OK {
		return fmt.Errorf("bed: the mobile node does not attach: %s%s", end.Reason, mn.Tail(12))
	}
	return nil
}

var errFound = errors.New("found")

// Await waits for a record in a daemon's timeline, from the record after
// number since on.
func (b *Bed) Await(ctx context.Context, daemon string, since uint64, match func(event.Event) bool) (found event.Event, err error) {
	c := b.children[daemon]
	if c == nil {
		return found, fmt.Errorf("bed: no daemon %q is running", daemon)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-c.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	err = c.Client().Events(ctx, since, true, func(e event.Event) error {
		if match(e) {
			found = e
			return errFound
		}
		return nil
	})
	if errors.Is(err, errFound) {
		return found, nil
	}
	select {
	case <-c.Done():
		return found, fmt.Errorf("bed: %s has ended%s", daemon, c.Tail(12))
	default:
	}
	if err == nil {
		err = errors.New("its timeline ended")
	}
	return found, fmt.Errorf("bed: wait for %s: %w", daemon, err)
}

// Client talks to a daemon: "mn", "a", "b", "ha", "aaa".
func (b *Bed) Client(daemon string) *control.Client { return b.children[daemon].Client() }

// Child is a daemon's process, nil when it is not running.
func (b *Bed) Child(daemon string) *proc.Child { return b.children[daemon] }

// Daemons are the names of the running daemons of ours in the order of their
// start.
func (b *Bed) Daemons() (names []string) {
	for _, n := range b.order {
		if b.children[n].Ours() {
			names = append(names, n)
		}
	}
	return names
}

// stop ends one daemon in order.
func (b *Bed) stop(name string) error {
	c := b.children[name]
	delete(b.children, name)
	for i, n := range b.order {
		if n == name {
			b.order = append(b.order[:i:i], b.order[i+1:]...)
			break
		}
	}
	return c.Stop(stopLimit)
}

// stopAll ends the daemons in the reverse order of their start.
func (b *Bed) stopAll() error {
	var errs []error
	for len(b.order) > 0 {
		errs = append(errs, b.stop(b.order[len(b.order)-1]))
	}
	return errors.Join(errs...)
}

// openLinks removes the enforcement points that routers leave when they end, as whoever removes
// the service does.
func (b *Bed) openLinks() error {
	if !b.opt.Enforce {
		return nil
	}
	var errs []error
	for _, n := range b.opt.networks() {
		errs = append(errs, b.AtRouter(n, "open"))
	}
	return errors.Join(errs...)
}

// AtRouter runs a command of mpa-ar that changes the kernel of a network's router.
func (b *Bed) AtRouter(n topo.Network, command string) error {
	var out []byte
	err := b.Top.Space(n.Router).Do(func() (err error) {
		out, err = exec.Command(filepath.Join(b.opt.Bin, "mpa-ar"), command).CombinedOutput()
		return err
	})
	if err != nil {
		return fmt.Errorf("bed: mpa-ar %s at %s: %w: %s", command, n.Router, err, out)
	}
	return nil
}

func (b *Bed) killAll() error {
	var errs []error
	for _, name := range b.order {
		errs = append(errs, b.children[name].Kill())
	}
	b.order, b.children = nil, nil
	return errors.Join(errs...)
}

// DHCPName stands for the DHCP server where a daemon is named.
const DHCPName = topo.DHCP

// Kill ends a daemon, or the DHCP server, as a crash would: it gets no chance to
// clean up. It returns when the process has ended, and tells when it was hit;
// Restart starts it again.
func (b *Bed) Kill(name string) (at time.Time, err error) {
	c := b.children[name]
	switch {
	case c == nil && name == DHCPName:
		err := b.DHCP.Close()
		return time.Now(), err
	case c == nil:
		return at, fmt.Errorf("bed: no daemon %q is running", name)
	}
	return c.KillAt()
}

// Forget takes what a daemon that was killed has written down.
func (b *Bed) Forget(name string) error {
	store := b.Run.File(name + ".db")
	if _, err := os.Stat(store); err != nil {
		return fmt.Errorf("bed: what %s has written down: %w", name, err)
	}
	return os.RemoveAll(store)
}

// Restart starts a daemon again that was killed, with its configuration, its
// state directory and its log, and waits until it answers.
func (b *Bed) Restart(ctx context.Context, name string) (err error) {
	c := b.children[name]
	switch {
	case c == nil && name == DHCPName:
		return b.serveDHCP() // it was the lab's own
	case c == nil:
		return fmt.Errorf("bed: no daemon %q was running", name)
	}
	if c, err = c.Again(); err != nil {
		return err
	}
	b.children[name] = c
	return c.Ready(ctx, readyLimit)
}

// Pause stops a daemon from doing anything, as if its machine hung, until
// the returned function is called.
func (b *Bed) Pause(daemon string) (resume func() error, err error) {
	c := b.children[daemon]
	if c == nil {
		return nil, fmt.Errorf("bed: no daemon %q is running", daemon)
	}
	if err := c.Signal(syscall.SIGSTOP); err != nil {
		return nil, err
	}
	return func() error { return c.Signal(syscall.SIGCONT) }, nil
}

// Binaries are the daemons a lab runs.
var Binaries = []string{"mpa-aaa", "mpa-ha", "mpa-ar", "mpa-mn"}

// CheckBinaries says which of them is missing in a directory.
func CheckBinaries(dir string) error {
	for _, name := range Binaries {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("bed: %s is not in %s: build it with `go build -o %s ./cmd/...`, or start the lab by `sudo ./testbed/lab`, which does", name, dir, dir)
		}
	}
	return nil
}
