package wifi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

const lockPoll = 200 * time.Millisecond

// metaKernel is the package that depends on the distribution's present kernel.
const metaKernel = "linux-image-amd64"

// fetch gets the packages and unpacks them into the folders kernel and tools below dir.
func fetch(ctx context.Context, dir string, say func(format string, args ...any)) error {
	for _, p := range []string{"apt-get", "apt-cache", "dpkg"} {
		if _, err := exec.LookPath(p); err != nil {
			return fmt.Errorf("wifi: %s is missing: the virtual machine's kernel and tools are packages of Debian (or of a distribution made of it), and this machine is to be one", p)
		}
	}
	say("fetching the virtual machine's kernel and tools, some 70 MB, once")
	debs := filepath.Join(dir, "debs")
	if err := os.Mkdir(debs, 0o755); err != nil {
		return fmt.Errorf("wifi: %w", err)
	}
	kernel, err := download(ctx, debs)
	if err != nil {
		// The lists may be missing, or older than what the archive still has.
		say("fetching the lists of packages")
		if _, updated := output(ctx, debs, "apt-get", "update", "-qq"); updated != nil {
			return errors.Join(err, updated)
		}
		say("fetching the virtual machine's kernel and tools again")
		if kernel, err = download(ctx, debs); err != nil {
			return err
		}
	}
	files, err := filepath.Glob(filepath.Join(debs, "*.deb"))
	if err != nil {
		return fmt.Errorf("wifi: %w", err)
	}
	say("unpacking %d packages", len(files))
	for _, f := range files {
		to := filepath.Join(dir, "tools")
		if strings.HasPrefix(filepath.Base(f), kernel+"_") {
			to = filepath.Join(dir, "kernel")
		}
		if _, err := output(ctx, dir, "dpkg", "-x", f, to); err != nil {
			return err
		}
	}
	if err := mergeUsr(ctx, filepath.Join(dir, "tools")); err != nil {
		return err
	}
	if err := os.RemoveAll(debs); err != nil {
		return fmt.Errorf("wifi: %w", err)
	}
	return nil
}

// installs are the lines in which apt-get says what it would install.
var installs = regexp.MustCompile(`(?m)^Inst (\S+)`)

// dependsOn is the line in which apt-cache names the kernel's package.
var dependsOn = regexp.MustCompile(`(?m)^\s*\|?Depends: (linux-image-\S+)`)

// download gets the packages into a folder, and names the kernel's.
func download(ctx context.Context, debs string) (kernel string, err error) {
	out, err := output(ctx, debs, "apt-cache", "depends", metaKernel)
	if err != nil {
		return "", err
	}
	m := dependsOn.FindSubmatch(out)
	if m == nil {
		return "", fmt.Errorf("wifi: apt-cache does not say which kernel %s stands for", metaKernel)
	}
	kernel = string(m[1])
	// What the host has already the guest has, too: its root is the host's.
	out, err = output(ctx, debs, append([]string{"apt-get", "-s", "-qq", "--no-install-recommends", "install"}, programs...)...)
	if err != nil {
		return "", err
	}
	names := slices.Clone(programs)
	for _, m := range installs.FindAllSubmatch(out, -1) {
		if name := string(m[1]); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	// The sandbox's user may not be allowed to write here.
	_, err = output(ctx, debs, append([]string{"apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", kernel}, names...)...)
	return kernel, err
}

// mergeUsr moves /bin, /sbin and /lib of an unpacked tree below /usr, where the host has them: a folder /lib would hide
// the host's link of that name.
func mergeUsr(ctx context.Context, tree string) error {
	for _, d := range []string{"bin", "sbin", "lib"} {
		from := filepath.Join(tree, d)
		if _, err := os.Stat(from); errors.Is(err, os.ErrNotExist) {
			continue
		}
		to := filepath.Join(tree, "usr", d)
		if err := os.MkdirAll(to, 0o755); err != nil {
			return fmt.Errorf("wifi: %w", err)
		}
		if _, err := output(ctx, tree, "cp", "-a", from+"/.", to+"/"); err != nil {
			return err
		}
		if err := os.RemoveAll(from); err != nil {
			return fmt.Errorf("wifi: %w", err)
		}
	}
	return nil
}

// depmod writes the lists of the modules' dependencies, which the package leaves to its installation.
func depmod(ctx context.Context, i Image) error {
	cmd := exec.CommandContext(ctx, filepath.Join(i.tools(), "usr", "bin", "kmod"), "-b", filepath.Join(i.Dir, "kernel"), i.Version)
	cmd.Args[0] = "depmod" // kmod does what it is called
	cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+filepath.Join(i.tools(), "usr", "lib", "x86_64-linux-gnu"))
	_, err := result(cmd)
	return err
}

// output runs a command in a folder and returns what it prints.
func output(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	return result(cmd)
}

func result(cmd *exec.Cmd) ([]byte, error) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("wifi: %s: %w: %s", strings.Join(cmd.Args[:min(len(cmd.Args), 4)], " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}
