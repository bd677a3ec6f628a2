package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/alecthomas/kong"

	"openmpa/testbed/bed"
	"openmpa/testbed/scenario"
	"openmpa/testbed/wifi"
)

type wifiCmd struct {
	Accel  string        `enum:"tcg,kvm" default:"tcg" env:"ACCEL" help:"How the machine's processors are made: tcg (emulated, works everywhere) or kvm (this machine's, where that works) (${env})."`
	CPUs   int           `name:"cpus" placeholder:"1" help:"Processors of the machine; 2 for figure10, which compares times of what is several machines elsewhere, 1 for all others unless given. With several emulated ones, each of which may be halted at any time, packets overtake one another."`
	Memory int           `default:"2048" placeholder:"2048" help:"Its memory in megabytes."`
	Limit  time.Duration `default:"1h" placeholder:"1h" help:"End it when it has not ended after this."`
	runCmd
}

// Run has the scenario run in the virtual machine, with access by 802.11.
func (c *wifiCmd) Run(a *app, k *kong.Context) error {
	c.Access = scenario.AccessWifi
	s, _, err := c.prepare(a, k) // wrong flags are told here, not after a boot
	if err != nil {
		return err
	}
	if !given(k, "cpus") {
		c.CPUs = max(1, s.CPUs)
	}
	switch {
	case c.Keep:
		return errors.New("--keep: nobody can look around in the virtual machine; --logs keeps what the daemons wrote")
	case c.CPUs < 1 || c.CPUs > 64:
		return fmt.Errorf("--cpus %d: expected 1 to 64", c.CPUs)
	case c.Memory < 512 || c.Memory > 1<<16:
		return fmt.Errorf("--memory %d: expected 512 to 65536", c.Memory)
	case c.Limit <= 0:
		return fmt.Errorf("--limit %v: expected more than 0", c.Limit)
	}
	if os.Geteuid() != 0 {
		return errors.New("the virtual machine reads this machine's files, which needs root: run it as sudo ./testbed/lab")
	}
	if err := bed.CheckBinaries(a.bin); err != nil {
		return err
	}
	p := progress()
	args, results := c.guestArgs(k)
	code, err := wifi.Run(a.ctx, wifi.Job{
		Bin: a.bin, Args: args, Limit: c.Limit, Stdout: os.Stdout, Stderr: os.Stderr, Say: p.Line,
		Hardware: wifi.Hardware{Accel: c.Accel, CPUs: c.CPUs, MegaBytes: c.Memory},
	}, func(shared string) error {
		var errs []error
		for _, r := range results {
			errs = append(errs, bring(filepath.Join(shared, r.name), r.to))
		}
		return errors.Join(errs...)
	})
	p.Done()
	if err == nil && code != 0 {
		err = errQuiet
	}
	return err
}

// A result is a file or folder that the guest makes, and where it belongs here.
type result struct{ name, to string }

// machineFlags are the ones that the guest has no use for.
var machineFlags = []string{"bin", "accel", "cpus", "memory", "limit", "access"}

// guestArgs are the arguments of mpa-lab in the guest: those given here, with results in the shared folder.
func (c *wifiCmd) guestArgs(k *kong.Context) (args []string, results []result) {
	args = []string{"run", c.Scenario, "--access", scenario.AccessWifi}
	seen := make(map[string]bool)
	for _, p := range k.Path {
		if p.Flag == nil || seen[p.Flag.Name] || slices.Contains(machineFlags, p.Flag.Name) {
			continue
		}
		name := p.Flag.Name
		seen[name] = true
		switch v := k.FlagValue(p.Flag).(type) {
		case []string:
			for _, s := range v {
				args = append(args, "--"+name+"="+s)
			}
		case string:
			if slices.Contains([]string{"json", "logs", "pictures"}, name) && v != "-" {
				results = append(results, result{name, v})
				v = filepath.Join(wifi.Shared, name)
			}
			args = append(args, "--"+name+"="+v)
		default:
			args = append(args, fmt.Sprintf("--%s=%v", name, v))
		}
	}
	return args, results
}

// bring copies a result to where it was asked for. One that the guest did not come to make is no error: the guest has
// said why.
func bring(from, to string) error {
	info, err := os.Stat(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.IsDir() {
		return copyTree(from, to)
	}
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o644)
}

// copyTree copies a folder; files that are there are replaced, as they are without a virtual machine.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if d.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return os.WriteFile(target, b, info.Mode().Perm())
	})
}

// guestCmd is what the virtual machine's kernel starts.
type guestCmd struct{}

// Run is all of the machine's life.
func (guestCmd) Run() error { return wifi.Guest() }
