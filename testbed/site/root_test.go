package site

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// debian is what is installed on this machine.
type debian struct {
	records  map[string]string // of dpkg's status, by package
	provides map[string]string // a virtual package: one that is there and provides it
}

// installed reads dpkg's status.
func installed(t testing.TB) *debian {
	t.Helper()
	text, err := os.ReadFile("/var/lib/dpkg/status")
	if err != nil {
		t.Skipf("this machine is no Debian: %v", err)
	}
	d := &debian{records: map[string]string{}, provides: map[string]string{}}
	for record := range strings.SplitSeq(string(text), "\n\n") {
		name := field(record, "Package")
		if name == "" || field(record, "Status") != "install ok installed" {
			continue
		}
		d.records[name] = record
		for _, p := range names(field(record, "Provides")) {
			d.provides[p[0]] = name
		}
	}
	return d
}

// field is one of a record, its first line.
func field(record, name string) string {
	for line := range strings.Lines(record) {
		if value, ok := strings.CutPrefix(line, name+": "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// names reads a list of dependencies: for each, the packages that will do.
func names(list string) (out [][]string) {
	for item := range strings.SplitSeq(list, ",") {
		var any []string
		for name := range strings.SplitSeq(item, "|") {
			name, _, _ = strings.Cut(strings.TrimSpace(name), " ")
			name, _, _ = strings.Cut(name, ":")
			if name != "" {
				any = append(any, name)
			}
		}
		if len(any) > 0 {
			out = append(out, any)
		}
	}
	return out
}

// closure is the packages with all that they need. One that is not installed is what the test needs and has not.
func (d *debian) closure(t testing.TB, packages ...string) []string {
	t.Helper()
	for name, record := range d.records {
		if field(record, "Essential") == "yes" {
			packages = append(packages, name)
		}
	}
	in := map[string]bool{}
	var add func(any []string, why string)
	add = func(any []string, why string) {
		for _, name := range any {
			if _, ok := d.records[name]; !ok {
				name = d.provides[name]
			}
			if name == "" {
				continue
			}
			if in[name] {
				return
			}
			in[name] = true
			for _, kind := range []string{"Pre-Depends", "Depends"} {
				for _, next := range names(field(d.records[name], kind)) {
					add(next, name)
				}
			}
			return
		}
		missing(t, "Debian package "+strings.Join(any, " or ")+" is not installed, of which "+why+" is made")
	}
	for _, name := range packages {
		add([]string{name}, "the machine")
	}
	list := make([]string, 0, len(in))
	for name := range in {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// missing skips, or fails where everything must be there.
func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") != "" || os.Getenv("OPENMPA_TEST_ALL") != "" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// makeRoot makes a root file system of what these packages installed, and what those need, out of the files of this machine. Its
// dpkg knows of no others. Nobody may write to it: its files are links.
func makeRoot(t testing.TB, packages ...string) string {
	t.Helper()
	d := installed(t)
	list := d.closure(t, packages...)
	root := t.TempDir()
	for _, dir := range []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32"} { // merged into /usr
		if to, err := os.Readlink("/" + dir); err == nil {
			must(t, os.Symlink(to, filepath.Join(root, dir)))
			must(t, os.MkdirAll(filepath.Join(root, to), 0o755))
		}
	}
	for _, dir := range []string{"proc", "sys", "dev", "run", "tmp", "root", "etc", "var/lib/dpkg/info", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "var/log/apt"} {
		must(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	args := append([]string{"-L"}, list...)
	files := strings.Split(output(t, "dpkg-query", args...), "\n")
	more, err := filepath.Glob("/etc/alternatives/*")
	must(t, err)
	for _, link := range more { // both halves; what leads nowhere here is as good as none
		if target, err := os.Readlink(link); err == nil && slices.Contains(files, target) {
			files = append(files, link, alternative(link))
		}
	}
	// Made by scripts of packages.
	files = append(files, "/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow", "/etc/nsswitch.conf", "/etc/ld.so.conf", "/etc/shells", "/var/lib/shells.state")
	for _, path := range files {
		if strings.HasPrefix(path, "/") {
			must(t, copyPath(root, path))
		}
	}
	var status strings.Builder
	for _, name := range list {
		status.WriteString(d.records[name] + "\n\n")
		info, err := filepath.Glob("/var/lib/dpkg/info/" + name + "[.:]*")
		must(t, err)
		for _, path := range info {
			must(t, copyPath(root, path))
		}
	}
	for name, text := range map[string]string{
		"var/lib/dpkg/status": status.String(), "var/lib/dpkg/available": "", "etc/machine-id": "", "etc/hosts": "127.0.0.1 localhost\n",
		"var/lib/dpkg/arch": strings.TrimSpace(output(t, "dpkg", "--print-architecture")) + "\n",
	} {
		must(t, os.WriteFile(filepath.Join(root, name), []byte(text), 0o644))
	}
	output(t, "ldconfig", "-r", root)
	return root
}

// alternative is the link that leads to one in /etc/alternatives.
func alternative(link string) string {
	f, err := os.Open("/var/lib/dpkg/alternatives/" + filepath.Base(link))
	if err != nil {
		return "" // of a group, such as a manual page
	}
	defer f.Close()
	for s, n := bufio.NewScanner(f), 0; s.Scan(); n++ {
		if n == 1 {
			return s.Text()
		}
	}
	return ""
}

// copyPath puts one file, link or folder of this machine below a root.
func copyPath(root, path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // left out when it was installed, such as documentation
	}
	if err != nil {
		return err
	}
	to := filepath.Join(root, path)
	if _, err := os.Lstat(to); err == nil {
		return nil
	}
	switch {
	case st.IsDir():
		if err := os.MkdirAll(to, 0o755); err != nil {
			return err
		}
		return os.Chmod(to, st.Mode().Perm()|st.Mode()&(fs.ModeSticky|fs.ModeSetgid|fs.ModeSetuid))
	case st.Mode().Type() == fs.ModeSymlink:
		target, err := os.Readlink(path)
		if err != nil {
			return err
		}
		return errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.Symlink(target, to))
	case !st.Mode().IsRegular():
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if os.Link(path, to) == nil {
		return nil
	}
	if out, err := exec.Command("cp", "-a", path, to).CombinedOutput(); err != nil { // another file system
		return fmt.Errorf("cp %s: %w: %s", path, err, out)
	}
	return nil
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
