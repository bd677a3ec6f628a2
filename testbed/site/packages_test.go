package site

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// output runs a command and fails the test when it does.
func output(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestPackages builds the Debian packages, looks at what is in them, and uses them on machines that have nothing else.
func TestPackages(t *testing.T) {
	if testing.Short() {
		t.Skip("builds every program")
	}
	for _, tool := range []string{"dpkg-deb", "dpkg"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s", tool)
		}
	}
	out := t.TempDir()
	output(t, "../../packaging/build", "--out", out, runtime.GOARCH)
	debs, err := filepath.Glob(out + "/*.deb")
	if err != nil || len(debs) != 3 {
		t.Fatalf("packages %v, %v; expected three", debs, err)
	}
	t.Run("contents", func(t *testing.T) { contents(t, debs) })
	for name, used := range map[string]func(*testing.T, []string){"units": units, "two-routers": twoRouters} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			used(t, debs)
		})
	}
}

// contents installs the packages into a folder, looks at what is there, and purges them.
func contents(t *testing.T, debs []string) {
	root := t.TempDir()
	if err := os.MkdirAll(root+"/var/lib/dpkg/info", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"status", "available"} {
		if err := os.WriteFile(root+"/var/lib/dpkg/"+f, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	dpkg := func(args ...string) string {
		return output(t, "dpkg", append([]string{"--root=" + root, "--log=/dev/null", "--force-depends", "--force-script-chrootless", "--force-not-root", "--force-bad-path"}, args...)...)
	}
	dpkg(append([]string{"-i"}, debs...)...)

	for _, f := range []string{
		"usr/bin/mpactl", "usr/sbin/mpa-ar", "usr/sbin/mpa-ha", "usr/sbin/mpa-aaa", "usr/sbin/mpa-mn",
	} {
		bin, err := elf.Open(filepath.Join(root, f))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, p := range bin.Progs {
			if p.Type == elf.PT_INTERP {
				t.Errorf("%s needs a dynamic linker", f)
			}
		}
		bin.Close()
		if got := output(t, filepath.Join(root, f), "--version"); !strings.HasPrefix(got, filepath.Base(f)+" ") {
			t.Errorf("%s --version: %q", f, got)
		}
	}
	for _, f := range []string{
		"usr/share/man/man1/mpactl.1.gz", "usr/share/man/man8/mpa-ar.8.gz", "usr/share/bash-completion/completions/mpactl",
		"usr/share/doc/openmpa-router/examples/ar.yaml", "usr/share/doc/openmpa-router/examples/ap-agent.yaml", "usr/lib/sysctl.d/60-openmpa-router.conf",
	} {
		if st, err := os.Stat(filepath.Join(root, f)); err != nil || st.Size() == 0 || st.Mode().Perm() != 0o644 {
			t.Errorf("%s: %v, %v", f, st, err)
		}
	}
	for _, f := range []string{"usr/lib/openmpa/hooks/wireguard", "usr/lib/openmpa/dhcp-beside"} {
		if st, err := os.Stat(filepath.Join(root, f)); err != nil || st.Mode().Perm() != 0o755 {
			t.Errorf("%s: %v, %v", f, st, err)
		}
	}
	if st, err := os.Stat(root + "/etc/openmpa"); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("/etc/openmpa: %v, %v: keys will be there", st, err)
	}
	if _, err := exec.LookPath("systemd-analyze"); err == nil {
		units, err := filepath.Glob(root + "/usr/lib/systemd/system/*.service")
		if err != nil || len(units) != 6 {
			t.Errorf("units %v, %v; expected six", units, err)
		}
		// It also complains of units of its own that this root has not.
		got, _ := exec.Command("systemd-analyze", append([]string{"verify", "--root=" + root, "--man=no"}, units...)...).CombinedOutput()
		for line := range strings.Lines(string(got)) {
			elsewhere := strings.Contains(line, "is not executable") && !strings.Contains(line, "bin/mpa") // of packages that ours depend on
			if strings.Contains(line, "mpa-") && !strings.Contains(line, "not found") && !elsewhere {
				t.Error(line)
			}
		}
	}
	if err := os.WriteFile(root+"/etc/openmpa/ar.yaml", []byte("node: a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dpkg("-r", "openmpa-router", "openmpa-node", "openmpa-common")
	if _, err := os.Stat(root + "/etc/openmpa/ar.yaml"); err != nil {
		t.Errorf("removed, and the configuration is gone: %v", err)
	}
	dpkg("-P", "openmpa-router", "openmpa-node", "openmpa-common")
	if _, err := os.Stat(root + "/etc/openmpa"); !os.IsNotExist(err) {
		t.Errorf("purged, and the configuration is there: %v", err)
	}
}
