package site

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// box is a machine with an operating system of its own: systemd as its first process, in namespaces of all kinds, on a copy of
// a root file system.
type box struct {
	t    testing.TB
	name string
	pid  int // of its first process
}

// boot is what starts one: $1 the root, $2 a folder of its own, $3 its name, $4 its control group's folder. What it writes goes
// to the folder. Of the kernel's settings it may change those of the network only.
const boot = `set -eu
mkdir -p "$2/up" "$2/work" "$2/root" "$2/cgroup"
mount --make-rprivate /
mount -t cgroup2 none "$2/cgroup"
mkdir "$2/cgroup/$4"
echo $$ >"$2/cgroup/$4/cgroup.procs"
umount "$2/cgroup"
exec unshare --mount --pid --net --ipc --uts --cgroup --fork --kill-child --propagation private bash -euc '
mount -t overlay none -o "lowerdir=$1,upperdir=$2/up,workdir=$2/work" "$2/root"
cd "$2/root"
mount -t proc none proc
mount -t sysfs -o ro none sys
mount -t cgroup2 none sys/fs/cgroup
mount -t tmpfs none dev
mkdir dev/pts dev/shm dev/net
for n in null zero full random urandom tty net/tun; do cp -a /dev/$n dev/$n; done
mount -t devpts -o newinstance,ptmxmode=0666 none dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs none run
mount -t tmpfs none tmp
mount --bind proc/sys proc/sys
mount --bind proc/sys/net proc/sys/net
mount -o remount,bind,ro proc/sys
hostname "$3"
echo "$3" >etc/hostname
mkdir old
pivot_root . old
umount -l old
rmdir old
exec env -i container=openmpa PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd
' boot "$@"
`

// bootBox starts a machine and waits until its system stands.
func bootBox(t testing.TB, root, name string) *box {
	t.Helper()
	dir := t.TempDir()
	group := fmt.Sprintf("openmpa-%d-%s", os.Getpid(), name)
	cmd := exec.Command("bash", "-c", boot, "boot", root, dir, name, group)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // its child goes with it, and all of the machine with that
		<-ended
		sweep(t, dir, group)
	})
	b := &box{t: t, name: name}
	children := fmt.Sprintf("/proc/%d/task/%d/children", cmd.Process.Pid, cmd.Process.Pid)
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if text, err := os.ReadFile(children); err == nil { // before systemd it has others
			b.pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
		}
		if comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", b.pid)); err == nil && strings.TrimSpace(string(comm)) == "systemd" {
			out, _ := b.try("systemctl is-system-running") // it fails when degraded, too
			if state := strings.TrimSpace(out); state == "running" || state == "degraded" {
				return b
			}
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s did not start: %v\n%s", name, err, log.String())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not get up:\n%s", name, log.String())
		}
	}
}

// sweep removes the control groups of a machine that has ended.
func sweep(t testing.TB, dir, group string) {
	script := `set -eu
mount -t cgroup2 none "$1/cgroup"
for try in $(seq 100); do
    find "$1/cgroup/$2" -depth -type d -exec rmdir {} + 2>/dev/null || true
    [ -e "$1/cgroup/$2" ] || exit 0
    sleep 0.1
done
exit 1`
	if out, err := exec.Command("unshare", "--mount", "--propagation", "private", "bash", "-c", script, "sweep", dir, group).CombinedOutput(); err != nil {
		t.Errorf("control group %s is left: %v\n%s", group, err, out)
	}
}

// command is a script on the machine, as root at a terminal would type it.
func (b *box) command(ctx context.Context, script string) *exec.Cmd {
	return exec.CommandContext(ctx, "nsenter", "-t", strconv.Itoa(b.pid), "-m", "-u", "-i", "-n", "-p", "-C", "env", "-i", "-C", "/root",
		"HOME=/root", "TERM=dumb", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "bash", "-euo", "pipefail", "-c", script)
}

// try runs a script, for a minute at most.
func (b *box) try(script string) (string, error) {
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	defer cancel()
	cmd := b.command(ctx, script)
	cmd.WaitDelay = time.Second // what it leaves running may hold its output
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// run is try for what must succeed.
func (b *box) run(script string) string {
	b.t.Helper()
	out, err := b.try(script)
	if err != nil {
		journal, _ := b.try("journalctl --no-pager -n 40 -o cat")
		b.t.Fatalf("%s: %s\n%v\n%s\njournal:\n%s", b.name, script, err, out, journal)
	}
	return out
}

// cables is locked while one has not got to its ends.
var cables sync.Mutex

// cable connects two machines; nil is that of the test.
func cable(t testing.TB, a *box, devA string, b *box, devB string) {
	t.Helper()
	cables.Lock()
	defer cables.Unlock()
	const tmpA, tmpB = "cable0", "cable1" // both ends begin here
	output(t, "ip", "link", "add", tmpA, "type", "veth", "peer", "name", tmpB)
	for _, end := range []struct {
		tmp, dev string
		b        *box
	}{{tmpA, devA, a}, {tmpB, devB, b}} {
		if end.b == nil {
			output(t, "ip", "link", "set", end.tmp, "name", end.dev, "up")
			continue
		}
		output(t, "ip", "link", "set", end.tmp, "netns", strconv.Itoa(end.b.pid), "name", end.dev)
	}
}

// put writes a file on the machine.
func (b *box) put(path string, text []byte) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(fmt.Sprintf("/proc/%d/root", b.pid), path), text, 0o644); err != nil {
		b.t.Fatal(err)
	}
}
