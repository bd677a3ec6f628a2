package wifi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"openmpa/testbed/space"
)

// Radios is how many a machine has.
const Radios = 6

// Guest is the machine's process 1: it runs the job, writes down how that ended and switches the machine off. It returns
// only when it is not called by the machine's kernel.
func Guest() error {
	if os.Getpid() != 1 {
		return errors.New("wifi: `guest` is for the virtual machine, which `sudo ./testbed/lab wifi` starts")
	}
	code, err := guest()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mpa-lab:", err) // the console
		code = 1
	}
	err = os.WriteFile(filepath.Join(Shared, exitFile), fmt.Appendln(nil, code), 0o600)
	unix.Sync()
	return errors.Join(err, unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)) // which -no-reboot makes the end
}

func guest() (code int, err error) {
	for name, value := range map[string]string{"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"} {
		if err := os.Setenv(name, value); err != nil {
			return 0, fmt.Errorf("wifi: %w", err)
		}
	}
	var job order
	text, err := os.ReadFile(filepath.Join(Shared, jobFile))
	if err == nil {
		err = json.Unmarshal(text, &job)
	}
	if err != nil {
		return 0, fmt.Errorf("wifi: %w", err)
	}
	stdout, err := port(portOut)
	if err != nil {
		return 0, err
	}
	defer stdout.Close()
	stderr, err := port(portErr)
	if err != nil {
		return 0, err
	}
	defer stderr.Close()
	if err := settle(); err != nil {
		fmt.Fprintln(stderr, "mpa-lab:", err)
		return 1, nil
	}
	self := filepath.Join(Shared, "bin", "mpa-lab")
	p, err := os.StartProcess(self, append([]string{self}, job.Args...), &os.ProcAttr{
		Dir: "/", Files: []*os.File{nil, stdout, stderr},
	})
	if err != nil {
		return 0, fmt.Errorf("wifi: %w", err)
	}
	return reap(p.Pid)
}

// settle does what a distribution's start would have done.
func settle() error {
	for _, module := range []string{"tun", "mac80211_hwsim"} {
		args := []string{"modprobe", module}
		if module == "mac80211_hwsim" {
			args = append(args, fmt.Sprintf("radios=%d", Radios))
		}
		if _, err := output(context.Background(), "/", args...); err != nil {
			return err
		}
	}
	if err := unix.Mount("debugfs", "/sys/kernel/debug", "debugfs", 0, ""); err != nil { // the signals are there
		return fmt.Errorf("wifi: debugfs: %w", err)
	}
	if err := unix.Sethostname([]byte("openmpa-lab")); err != nil {
		return fmt.Errorf("wifi: %w", err)
	}
	root, err := space.Current()
	if err != nil {
		return err
	}
	defer root.Close()
	lo, err := root.Netlink().LinkByName("lo")
	if err != nil {
		return fmt.Errorf("wifi: %w", err)
	}
	return root.Netlink().LinkSetUp(lo)
}

// port opens a port of the machine by its name; there is no udev to make links of the names.
func port(name string) (*os.File, error) {
	names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return nil, fmt.Errorf("wifi: %w", err)
	}
	for _, n := range names {
		if b, err := os.ReadFile(n); err == nil && strings.TrimSpace(string(b)) == name {
			f, err := os.OpenFile(filepath.Join("/dev", filepath.Base(filepath.Dir(n))), os.O_WRONLY, 0)
			if err != nil {
				return nil, fmt.Errorf("wifi: %w", err)
			}
			return f, nil
		}
	}
	return nil, fmt.Errorf("wifi: the machine has no port %s", name)
}

// reap waits for a child's end, and on the way for everybody whose parent has died: process 1 inherits them.
func reap(pid int) (code int, err error) {
	for {
		var status unix.WaitStatus
		who, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, fmt.Errorf("wifi: %w", err)
		case who == pid && status.Exited():
			return status.ExitStatus(), nil
		case who == pid && status.Signaled():
			return 128 + int(status.Signal()), nil
		}
	}
}
