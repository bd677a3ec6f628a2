// Package labscript tests what the script testbed/lab says before it hands over
// to mpa-lab.
package labscript

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// checkout makes a checkout of only the script and a go.mod that wants Go 1.26.
func checkout(t *testing.T) string {
	t.Helper()
	script, err := os.ReadFile("../../testbed/lab")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "lab")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	write(t, filepath.Join(dir, "testbed/lab"), string(script))
	write(t, filepath.Join(dir, "go.mod"), "module m\n\ngo 1.26.0\n")
	if err := os.Chmod(dir, 0o755); err != nil { // for the test without root
		t.Fatal(err)
	}
	return dir
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// fakeGo is a go program of that version that builds an mpa-lab which prints its
// arguments.
func fakeGo(t *testing.T, dir, version string) string {
	t.Helper()
	name := filepath.Join(dir, "sdk", version, "bin/go")
	write(t, name, fmt.Sprintf(`#!/bin/sh
case "$1 $2" in
"env GOVERSION") echo %s ;;
"env GOROOT") echo %s ;;
build*)
    while [ "$1" != -o ]; do shift; done
    printf '#!/bin/sh\necho "mpa-lab: $*"\n' >"$2/mpa-lab"
    chmod +x "$2/mpa-lab" ;;
esac
`, version, filepath.Dir(filepath.Dir(name))))
	return name
}

func lab(dir string, env []string, args ...string) (string, int) {
	cmd := exec.Command(filepath.Join(dir, "testbed/lab"), args...)
	cmd.Env = append([]string{"PATH=/usr/bin:/bin", "HOME=" + dir}, env...)
	cmd.Dir = "/"
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		return err.Error(), -1
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

func TestGoVersions(t *testing.T) {
	dir := checkout(t)
	for _, tc := range []struct {
		version string
		enough  bool
		says    string
	}{
		{"go1.26.0", true, "mpa-lab: list --json x"},
		{"go1.26", true, "mpa-lab: list"},
		{"go1.26.8-custom", true, "mpa-lab: list"},
		{"go1.27rc1", true, "mpa-lab: list"},
		{"go2.0", true, "mpa-lab: list"},
		{"go1.26rc2", false, "is Go 1.26rc2, which is too old: this needs Go 1.26.0 or newer"},
		{"go1.25.12", false, "sudo GOTOOLCHAIN=auto ./testbed/lab"},
		{"go1.19", false, "Install a Go of that version"},
	} {
		out, code := lab(dir, []string{"OPENMPA_GO=" + fakeGo(t, dir, tc.version)}, "list", "--json", "x")
		if (code == 0) != tc.enough || !strings.Contains(out, tc.says) {
			t.Errorf("%s: exit %d, said %q, want %q", tc.version, code, out, tc.says)
		}
	}
	// Before 1.21 Go fetches nothing.
	if out, _ := lab(dir, []string{"OPENMPA_GO=" + fakeGo(t, dir, "go1.19")}, "list"); strings.Contains(out, "GOTOOLCHAIN") {
		t.Errorf("go1.19: said %q, which does not help", out)
	}
}

func TestNoGo(t *testing.T) {
	out, code := lab(checkout(t), []string{"OPENMPA_GO=/nonexistent/go"}, "list")
	if code != 1 || !strings.Contains(out, "Go is not installed") || !strings.Contains(out, "OPENMPA_GO=/path/to/go") {
		t.Errorf("exit %d, said %q", code, out)
	}
}

// TestWhereGoIsLookedFor runs the script's list of places alone.
func TestWhereGoIsLookedFor(t *testing.T) {
	dir := checkout(t)
	inHome := fakeGo(t, dir, "go1.26.1")
	cmd := exec.Command("bash", "-c", `source <(sed -n '/^candidates()/,/^}/p' "$0"); candidates`, filepath.Join(dir, "testbed/lab"))
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + dir, "SUDO_USER=root"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{"/usr/local/go/bin/go", inHome, "/snap/bin/go", "/root/go/bin/go", "/root/sdk/go"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%s is not looked at:\n%s", want, out)
		}
	}
}

// TestWhatIsInstalled runs the script's look at the flags alone.
func TestWhatIsInstalled(t *testing.T) {
	dir := checkout(t)
	for args, want := range map[string]bool{
		"run handover":                       false,
		"run handover --aaa freeradius":      true,
		"demo --aaa=freeradius --dhcp kea":   true,
		"run handover --aaa embedded":        false,
		"run freeradius --aaa":               false,
		"run handover --logs aaa freeradius": false,
	} {
		cmd := exec.Command("bash", "-c", `source <(sed -n '/^wants()/,/^}/p' "$0"); wants aaa freeradius `+args, filepath.Join(dir, "testbed/lab"))
		if err := cmd.Run(); (err == nil) != want {
			t.Errorf("%q: %v", args, err)
		}
	}
}

func TestUsage(t *testing.T) {
	dir := checkout(t)
	for _, tc := range []struct {
		args []string
		code int
	}{{nil, 64}, {[]string{"--help"}, 0}, {[]string{"help"}, 0}} {
		out, code := lab(dir, nil, tc.args...)
		if code != tc.code || !strings.Contains(out, "Usage: sudo ./testbed/lab COMMAND") {
			t.Errorf("%v: exit %d, said %q", tc.args, code, out)
		}
	}
	if os.Geteuid() == 0 {
		if out, code := lab(dir, nil, "test", "quickly"); code != 1 || !strings.Contains(out, "test takes no arguments") {
			t.Errorf("exit %d, said %q", code, out)
		}
	}
}

func TestWithoutRoot(t *testing.T) {
	dir := checkout(t)
	cmd := exec.Command(filepath.Join(dir, "testbed/lab"), "demo")
	cmd.Dir = "/"
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "this needs root, to make network namespaces: sudo ./testbed/lab demo") {
		t.Errorf("%v, said %q", err, out)
	}
}
