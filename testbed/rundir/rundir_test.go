package rundir

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"openmpa/testbed/space"
)

// needRoot skips a test that changes namespaces when it cannot, and fails
// where everything must be tested.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" || os.Getenv("OPENMPA_TEST_ALL") != "" {
		t.Fatal("network namespaces need root")
	}
	t.Skip("network namespaces need root")
}

const testPrefix = "rundirtest-"

func TestTwoLabsHaveIDsOfTheirOwn(t *testing.T) {
	base := t.TempDir()
	a, err := open(base, testPrefix)
	if err != nil {
		t.Fatal(err)
	}
	b, err := open(base, testPrefix)
	if err != nil {
		t.Fatal(err)
	}
	if a.ID != 1 || b.ID != 2 {
		t.Fatalf("ids %d and %d, expected 1 and 2", a.ID, b.ID)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(a.Path); !os.IsNotExist(err) {
		t.Fatalf("the directory of a closed lab is still there: %v", err)
	}
	c, err := open(base, testPrefix)
	if err != nil {
		t.Fatal(err)
	}
	if c.ID != 1 || len(c.Swept) != 0 {
		t.Fatalf("id %d, swept %q: expected the free id 1 and nothing to sweep", c.ID, c.Swept)
	}
	for _, d := range []*Dir{b, c} {
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDeadLabIsSwept drops the lock of a lab as the kernel does when its
// process is killed, and expects the next one to remove everything it left,
// and nothing of the lab that lives beside it.
func TestDeadLabIsSwept(t *testing.T) {
	needRoot(t)
	base := t.TempDir()
	dead, err := open(base, testPrefix)
	if err != nil {
		t.Fatal(err)
	}
	living, err := open(base, testPrefix)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { living.Close() })
	spaces := make(map[*Dir]*space.Space)
	orphans := make(map[*Dir]*exec.Cmd)
	for _, d := range []*Dir{dead, living} {
		s, err := space.Create(d.NamePrefix() + "mn")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close(); space.Remove(s.Name()) })
		spaces[d] = s
		cmd := exec.Command("sleep", "600")
		if err := s.Do(cmd.Start); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() { cmd.Wait(); close(ended) }()
		t.Cleanup(func() { cmd.Process.Kill(); <-ended })
		if err := d.Record("sleeper", cmd.Process.Pid, "sleep 600"); err != nil {
			t.Fatal(err)
		}
		orphans[d] = cmd
	}
	// A record whose pid now belongs to somebody else must not be acted on.
	self := []byte("1234567 99 gone\n")
	if err := os.WriteFile(dead.File("pids", "gone"), self, 0o644); err != nil {
		t.Fatal(err)
	}
	mine, err := startTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	reused := process{pid: os.Getpid(), start: mine + 1, command: "stranger"}
	if reused.alive() {
		t.Fatal("a process with another start time counts as the recorded one")
	}
	if err := dead.lock.Close(); err != nil {
		t.Fatal(err)
	}

	next, err := open(base, testPrefix)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { next.Close() })
	if next.ID != dead.ID {
		t.Errorf("the next lab has id %d, expected the dead one's, %d", next.ID, dead.ID)
	}
	swept := strings.Join(next.Swept, "\n")
	for _, want := range []string{"sleep 600", dead.NamePrefix() + "mn", dead.Path} {
		if !strings.Contains(swept, want) {
			t.Errorf("swept %q, expected %q among it", swept, want)
		}
	}
	names, err := space.List(testPrefix)
	if err != nil {
		t.Fatal(err)
	}
	if len(names) != 1 || names[0] != living.NamePrefix()+"mn" {
		t.Errorf("namespaces %q, expected the living lab's alone", names)
	}
	if p, err := readProcess(living.File("pids", "sleeper")); err != nil || !p.alive() {
		t.Errorf("the living lab's child is gone (%v)", err)
	}
}

// TestRecordOfAnEndedChild covers both ways a child can be gone before it is noted.
func TestRecordOfAnEndedChild(t *testing.T) {
	d := &Dir{Path: t.TempDir()}
	cmd := exec.Command("true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// Ended, but nobody has waited: WNOWAIT leaves it so.
	if err := unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	if err := d.Record("child", cmd.Process.Pid, "true"); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("before Wait: got %v, expected os.ErrProcessDone", err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := d.Record("child", cmd.Process.Pid, "true"); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("after Wait: got %v, expected os.ErrProcessDone", err)
	}
	if _, err := os.Stat(d.File("pids", "child")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is recorded all the same (%v)", err)
	}
}

func TestParseStartTime(t *testing.T) {
	line := "77 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20\n"
	got, err := parseStartTime([]byte(line))
	if err != nil || got != 4242 {
		t.Fatalf("got %d, %v, expected 4242", got, err)
	}
	for _, bad := range []string{"", "77 sleep S 1", "77 (x) S 1 2", "77 (x) Z 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20"} {
		if v, err := parseStartTime([]byte(bad)); err == nil {
			t.Errorf("%q: got %d, expected an error", bad, v)
		}
	}
}

func TestParseProcess(t *testing.T) {
	p, err := parseProcess("12 34 mpa-ar --config a b.yaml\n")
	if err != nil || p != (process{12, 34, "mpa-ar --config a b.yaml"}) {
		t.Fatalf("got %+v, %v", p, err)
	}
	for _, bad := range []string{"", "12", "12 34", "0 1 x", "1 1 init", "-5 1 x", "x 1 y", "5 y z"} {
		if p, err := parseProcess(bad); err == nil {
			t.Errorf("%q: got %+v, expected an error", bad, p)
		}
	}
}

func TestForgetUnknownIsNoError(t *testing.T) {
	d := &Dir{Path: t.TempDir()}
	if err := d.Forget("nobody"); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(d.Path, "pids"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := d.Forget("nobody"); err != nil {
		t.Fatal(err)
	}
}

// TestLabsComeAndGo has labs start while others end.
func TestLabsComeAndGo(t *testing.T) {
	base := t.TempDir()
	var all errgroup.Group
	for range 4 {
		all.Go(func() error {
			for range 200 {
				d, err := open(base, testPrefix)
				if err != nil {
					return err
				}
				if len(d.Swept) > 0 {
					return fmt.Errorf("a living lab was swept: %q", d.Swept)
				}
				if err := d.Close(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		t.Error(err)
	}
}
