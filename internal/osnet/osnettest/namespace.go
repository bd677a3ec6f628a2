// Package osnettest gives tests network namespaces of their own. It is imported by tests only.
package osnettest

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// Main is a TestMain that, with root, runs the tests again in a process of its own network namespace: what the tested
// code does later, on any thread, is there too. It looks for leaked goroutines at the end, as goleak.VerifyTestMain.
func Main(m *testing.M) {
	const inside = "OPENMPA_TEST_INSIDE"
	if os.Geteuid() != 0 || os.Getenv(inside) != "" {
		goleak.VerifyTestMain(m)
		return
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		os.Exit(max(1, exit.ExitCode()))
	case err != nil:
		panic(err)
	}
}

// OneCPU keeps the whole process to one processor until the test ends. A veth is received on the processor that sent: a
// sender that changes to another one while the first is busy overtakes itself, which a test of order must not blame on
// what it tests.
func OneCPU(t testing.TB) {
	t.Helper()
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatalf("processors: %v", err)
	}
	var one unix.CPUSet
	for cpu, n := 0, os.Getpid()%all.Count(); ; cpu++ { // not the same for all packages
		if !all.IsSet(cpu) {
			continue
		}
		if n--; n < 0 {
			one.Set(cpu)
			break
		}
	}
	affinity(t, &one)
	t.Cleanup(func() { affinity(t, &all) })
}

// affinity sets the processors of every thread; new ones inherit them.
func affinity(t testing.TB, set *unix.CPUSet) {
	t.Helper()
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatalf("threads: %v", err)
	}
	for _, e := range threads {
		tid, err := strconv.Atoi(e.Name())
		if err != nil {
			t.Fatalf("threads: %v", err)
		}
		if err := unix.SchedSetaffinity(tid, set); err != nil && !errors.Is(err, unix.ESRCH) {
			t.Fatalf("processors of thread %d: %v", tid, err)
		}
	}
}

// NeedRoot skips the test without root, or fails it where everything must run (CI or OPENMPA_TEST_ALL set).
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" || os.Getenv("OPENMPA_TEST_ALL") != "" {
		t.Fatal("needs root to make a network namespace: run the tests with sudo")
	}
	t.Skip("needs root to make a network namespace: run the tests with sudo")
}

// Enter puts the test's goroutine, and only it, into a new network namespace with lo up. The goroutine stays on its
// thread, which ends with the test and takes the namespace along. Goroutines the test starts are elsewhere.
func Enter(t testing.TB) {
	t.Helper()
	NeedRoot(t)
	runtime.LockOSThread() // never unlocked
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("unshare: %v", err)
	}
	IP(t, "link set lo up")
}

// Other makes a second network namespace and returns a function that runs its argument on a thread inside. The
// namespace ends with the test.
func Other(t testing.TB) func(fn func()) {
	t.Helper()
	NeedRoot(t)
	work := make(chan func())
	ready := make(chan error)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		runtime.LockOSThread() // never unlocked
		err := unix.Unshare(unix.CLONE_NEWNET)
		ready <- err
		if err != nil {
			return
		}
		for fn := range work {
			fn()
		}
	}()
	if err := <-ready; err != nil {
		t.Fatalf("unshare: %v", err)
	}
	t.Cleanup(func() { close(work); <-gone })
	do := func(fn func()) {
		done := make(chan struct{})
		select {
		case work <- func() { defer close(done); fn() }:
			<-done
		case <-gone: // a t.Fatal has ended the thread
			t.Error("not run: the thread of the namespace has ended")
		}
	}
	do(func() { IP(t, "link set lo up") })
	return do
}

// Path returns a file that names the namespace of the calling thread, for ip link set ... netns.
func Path(t testing.TB) *os.File {
	t.Helper()
	f, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// IP runs ip(8) in the calling thread's namespace and returns its output. cmd is split at spaces. An IPv6 address that it
// adds to an interface that is up, with nodad, can be used when it returns.
func IP(t testing.TB, cmd string) string {
	t.Helper()
	words := strings.Fields(cmd)
	out, err := exec.Command("ip", words...).CombinedOutput()
	switch {
	case err != nil:
		t.Errorf("ip %s: %v\n%s", cmd, err, out)
	case len(words) > 2 && words[0] == "address" && words[1] != "del" && slices.Contains(words, "nodad"):
		local(t, words[2], words[slices.Index(words, "dev")+1])
	}
	return string(out)
}

// local waits until what is for an IPv6 address comes to this host: the kernel makes that route in a work of its own, some
// milliseconds after it has answered, and until then packets go where those for others go. Of an interface that is down
// it makes none.
func local(t testing.TB, address, dev string) {
	t.Helper()
	p, err := netip.ParsePrefix(address)
	if err != nil {
		t.Errorf("address to add, expected with the length of its prefix: %v", err)
		return
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		routes := IP(t, "-6 route show table local dev "+dev)
		if strings.Contains(routes, "local "+p.Addr().String()+" ") || !regexp.MustCompile(`[<,]UP[,>]`).MatchString(IP(t, "link show dev "+dev)) {
			return
		}
		if time.Now().After(end) {
			t.Errorf("%s on %s is not this host's a minute after it was added: is IPv6 enabled there?\n%s", p, dev, routes)
			return
		}
	}
}

// Sysctl sets a value below /proc/sys/net in the calling thread's namespace.
func Sysctl(t testing.TB, path, value string) {
	t.Helper()
	if err := os.WriteFile("/proc/sys/net/"+path, []byte(value), 0o644); err != nil {
		t.Error(err)
	}
}

// Forward makes the calling thread's namespace forward IPv4 whatever way it comes, and new interfaces silent: their
// IPv6 addresses would come in their own time.
func Forward(t testing.TB) {
	t.Helper()
	Sysctl(t, "ipv4/conf/all/rp_filter", "0")
	Sysctl(t, "ipv4/conf/default/rp_filter", "0")
	Sysctl(t, "ipv4/ip_forward", "1")
	Sysctl(t, "ipv6/conf/default/disable_ipv6", "1")
}

// NoLinkLocal has new interfaces of the calling thread's namespace take no IPv6 address by themselves: it and its routes
// would come and change when duplicate address detection pleases, which takes seconds.
func NoLinkLocal(t testing.TB) {
	t.Helper()
	Sysctl(t, "ipv6/conf/default/addr_gen_mode", "1")
}

// Veth makes the pair a, b in the calling thread's namespace, both up and known to be.
func Veth(t testing.TB, a, b string) {
	t.Helper()
	IP(t, "link add "+a+" type veth peer name "+b)
	IP(t, "link set "+a+" up")
	IP(t, "link set "+b+" up")
	for _, dev := range []string{a, b} {
		operational(t, dev)
	}
}

// operational waits until the kernel has noticed that an interface is up, which it does behind the call that set it up, and has
// made the route that it makes then.
func operational(t testing.TB, dev string) {
	t.Helper()
	off, err := os.ReadFile("/proc/sys/net/ipv6/conf/" + dev + "/disable_ipv6")
	if err != nil {
		t.Fatal(err)
	}
	ready := func() bool {
		return strings.Contains(IP(t, "link show dev "+dev), "state UP") &&
			(strings.TrimSpace(string(off)) != "0" || strings.Contains(IP(t, "-6 route show table local dev "+dev), "ff00::/8"))
	}
	for deadline := time.Now().Add(time.Minute); !ready(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s does not come up:\n%s", dev, IP(t, "link show dev "+dev))
		}
	}
}

// VethTo makes the pair a (here) and b (in the namespace that do runs in), both up.
func VethTo(t testing.TB, a, b string, do func(func())) {
	t.Helper()
	var ns *os.File
	do(func() { ns = Path(t) })
	IP(t, "link add "+a+" type veth peer name "+b)
	cmd := exec.Command("ip", "link", "set", b, "netns", "/proc/self/fd/3")
	cmd.ExtraFiles = []*os.File{ns}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ip link set %s netns: %v\n%s", b, err, out)
	}
	IP(t, "link set "+a+" up")
	do(func() { IP(t, "link set "+b+" up") })
}

// Snapshot lists what package osnet can change, for comparison before and after.
func Snapshot(t testing.TB) string {
	t.Helper()
	var b strings.Builder
	for _, cmd := range []string{"-o -d address show", "route show table all", "-6 route show table all", "rule show", "-6 rule show", "neigh show nud permanent"} {
		b.WriteString("# ip " + cmd + "\n" + IP(t, cmd))
	}
	return b.String()
}
