package wifi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"openmpa/testbed/rundir"
)

// Boot arguments beside those that say where things are. A roam waits for the kernel's grace periods (RCU), 40 to 50 ms
// each time on an idle emulated machine; expedited ones are what busy hardware does. All measured ways gain the same.
const Boot = "rcupdate.rcu_expedited=1"

// Hardware is what the machine is made of. The zero value is emulation with two processors and 2 GB.
type Hardware struct {
	Accel     string // "tcg" (also when empty): emulation; "kvm": the host's, where that works
	CPUs      int
	MegaBytes int
}

// A Job is what runs in the machine.
type Job struct {
	// Bin is the directory of the lab's programs.
	Bin string
	// Args are the arguments of mpa-lab; a path below Shared is in the results.
	Args []string
	// Limit ends the machine when it has not ended by itself; 0: never.
	Limit          time.Duration
	Hardware       Hardware
	Stdout, Stderr io.Writer // of the job, as it comes
	Say            func(format string, args ...any)
}

// Shared is where the guest sees the folder for results.
const Shared = "/shared"

// Files of the shared folder.
const (
	jobFile  = "job.json"
	exitFile = "exit"
)

const (
	bootLimit = 2 * time.Minute // until the guest says its first word; usually five seconds
	// Names of the guest's ports; see guest.go.
	portOut = "openmpa.stdout"
	portErr = "openmpa.stderr"
)

// order is a Job as the guest reads it.
type order struct {
	Args []string `json:"args"`
}

// qemu finds the emulator.
func qemu() (string, error) {
	path, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		return "", errors.New("wifi: qemu-system-x86_64 is not installed: sudo apt-get install --no-install-recommends qemu-system-x86, or start the lab by `sudo ./testbed/lab`, which does")
	}
	return path, nil
}

// Run boots a machine, runs the job in it and returns its exit code; fetch gets the folder with the results while it is
// there. Whatever happens, nothing is left but the image.
func Run(ctx context.Context, job Job, fetch func(results string) error) (code int, err error) {
	program, err := qemu()
	if err != nil {
		return 0, err
	}
	image, err := Prepare(ctx, job.Say)
	if err != nil {
		return 0, err
	}
	dir, err := rundir.Open()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	if err := layOut(dir, image, job); err != nil {
		return 0, err
	}
	if job.Limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, job.Limit, fmt.Errorf("the virtual machine has not ended after %v", job.Limit))
		defer cancel()
	}
	if err := run(ctx, dir, program, image, job); err != nil {
		return 0, err
	}
	text, err := os.ReadFile(dir.File("shared", exitFile))
	if err != nil {
		return 0, fmt.Errorf("wifi: the virtual machine ended, and does not say how%s", console(dir))
	}
	if code, err = strconv.Atoi(strings.TrimSpace(string(text))); err != nil {
		return 0, fmt.Errorf("wifi: the virtual machine ended with %q, expected an exit code%s", text, console(dir))
	}
	return code, fetch(dir.File("shared"))
}

// layOut writes what the machine boots from and its job.
func layOut(dir *rundir.Dir, image Image, job Job) error {
	initrd, err := image.initramfs()
	if err != nil {
		return err
	}
	text, err := json.Marshal(order{Args: job.Args})
	if err == nil {
		err = errors.Join(
			os.WriteFile(dir.File("initrd.img"), initrd, 0o600),
			os.MkdirAll(dir.File("shared", "bin"), 0o755),
		)
	}
	if err == nil {
		err = os.WriteFile(dir.File("shared", jobFile), text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("wifi: %w", err)
	}
	return nil
}

// run starts qemu and waits for its end.
func run(ctx context.Context, dir *rundir.Dir, program string, image Image, job Job) error {
	cmd := exec.Command(program, arguments(dir, image, job)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	log, err := os.Create(dir.File("qemu.log"))
	if err != nil {
		return fmt.Errorf("wifi: %w", err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	alive := make(chan struct{})
	started := time.Now()
	up := sync.OnceFunc(func() {
		job.Say("the virtual machine is up after %.1f s: Linux %s, started with %s", time.Since(started).Seconds(), image.Version, Boot)
		close(alive)
	})
	var copying sync.WaitGroup
	var ends []*os.File
	for _, w := range []io.Writer{job.Stdout, job.Stderr} {
		r, guests, err := os.Pipe()
		if err != nil {
			return fmt.Errorf("wifi: %w", err)
		}
		defer r.Close()
		ends = append(ends, guests)
		cmd.ExtraFiles = append(cmd.ExtraFiles, guests)
		copying.Go(func() {
			_, _ = io.Copy(&first{w, up}, r) // it ends with qemu
		})
	}
	ended := make(chan error, 1)
	go func() { ended <- startAndWait(cmd, dir, ends) }()
	stop := func(why error) error {
		// Its record was made before the first word, or it will not be alive long enough to matter.
		if p := cmd.Process; p != nil {
			_ = p.Kill() // it may have ended by itself
		}
		<-ended
		copying.Wait()
		return why
	}
	boot := time.NewTimer(bootLimit)
	defer boot.Stop()
	for {
		select {
		case err := <-ended:
			copying.Wait()
			if err != nil {
				return fmt.Errorf("wifi: qemu: %w%s%s", err, tail(dir.File("qemu.log")), console(dir))
			}
			return nil
		case <-alive:
			alive = nil
			boot.Stop()
		case <-boot.C:
			return stop(fmt.Errorf("wifi: the virtual machine says nothing for %v%s", bootLimit, console(dir)))
		case <-ctx.Done():
			return stop(fmt.Errorf("wifi: %w", context.Cause(ctx)))
		}
	}
}

// startAndWait is all of a child's life on one thread: the kernel ends the child with the thread that started it.
func startAndWait(cmd *exec.Cmd, dir *rundir.Dir, ends []*os.File) error {
	// Never unlocked: the thread ends with its goroutine.
	runtime.LockOSThread()
	err := cmd.Start()
	for _, f := range ends {
		f.Close()
	}
	if err != nil {
		return err
	}
	if err := dir.Record("qemu", cmd.Process.Pid, cmd.Path); err != nil && !errors.Is(err, os.ErrProcessDone) {
		_ = cmd.Process.Kill()
		return errors.Join(err, cmd.Wait())
	}
	return cmd.Wait()
}

// arguments are qemu's.
func arguments(dir *rundir.Dir, image Image, job Job) []string {
	accel, cpu := "tcg,thread=multi", "max"
	if job.Hardware.Accel == "kvm" {
		accel, cpu = "kvm", "host"
	}
	args := []string{
		"-accel", accel, "-cpu", cpu, "-smp", strconv.Itoa(max(1, job.Hardware.CPUs)), "-m", strconv.Itoa(job.Hardware.MegaBytes),
		"-no-reboot", "-nodefaults", "-no-user-config", "-display", "none",
		"-chardev", "file,id=console,path=" + comma(dir.File("console.log")), "-serial", "chardev:console",
		"-kernel", image.kernel(), "-initrd", dir.File("initrd.img"),
		"-append", "console=ttyS0 quiet panic=-1 mitigations=off " + Boot,
		"-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
	}
	for i, port := range []string{portOut, portErr} { // the files 3 and 4
		args = append(args,
			"-add-fd", fmt.Sprintf("fd=%d,set=%d", 3+i, 1+i),
			"-chardev", fmt.Sprintf("file,id=%s,path=/dev/fdset/%d,append=on", port, 1+i),
			"-device", fmt.Sprintf("virtserialport,chardev=%s,name=%s", port, port))
	}
	for _, m := range []struct{ tag, path, more string }{
		{"host", "/", ",readonly=on,multidevs=remap"},
		{"tools", image.tools(), ",readonly=on"},
		{"modules", image.modules(), ",readonly=on"},
		{"bin", job.Bin, ",readonly=on"},
		{"shared", dir.File("shared"), ""},
	} {
		args = append(args, "-virtfs", fmt.Sprintf("local,path=%s,mount_tag=%s,security_model=none%s", comma(m.path), m.tag, m.more))
	}
	return args
}

// comma writes a path as a value among qemu's options.
func comma(path string) string { return strings.ReplaceAll(path, ",", ",,") }

// first calls fn at each write, before it.
type first struct {
	w  io.Writer
	fn func()
}

func (f *first) Write(b []byte) (int, error) {
	f.fn()
	return f.w.Write(b)
}

// console is the end of what the kernel said, for an error's text.
func console(dir *rundir.Dir) string { return tail(dir.File("console.log")) }

func tail(file string) string {
	const lines = 12
	b, err := os.ReadFile(filepath.Clean(file))
	all := strings.Split(strings.TrimSpace(string(b)), "\n")
	if err != nil || all[0] == "" {
		return ""
	}
	return fmt.Sprintf("\n    %s ends with\n    | %s", filepath.Base(file), strings.Join(all[max(0, len(all)-lines):], "\n    | "))
}
