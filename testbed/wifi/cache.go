package wifi

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"openmpa/testbed/bed"
)

// Base is where unpacked packages are kept from one machine to the next.
const Base = "/var/cache/openmpa"

// programs are the packages of the guest's tools; what they need comes with them unless the host has it.
var programs = []string{"hostapd", "wpasupplicant", "iw", "kmod", "busybox-static"}

// An Image is what a machine boots from: unpacked packages, read-only from then on.
type Image struct {
	Dir string
	// Version is the kernel's release.
	Version string
}

func (i Image) kernel() string  { return filepath.Join(i.Dir, "kernel", "boot", "vmlinuz-"+i.Version) }
func (i Image) modules() string { return filepath.Join(i.Dir, "kernel", "lib", "modules") }
func (i Image) tools() string   { return filepath.Join(i.Dir, "tools") }
func (i Image) busybox() string { return filepath.Join(i.tools(), "usr", "bin", "busybox") }

// recipe tells images apart that were made of other packages, or in another way.
func recipe() string {
	return fmt.Sprintf("%x", sha256.Sum256([]byte("1 "+strings.Join(programs, " "))))[:8]
}

// recipeFile is written last: an image with it is complete.
const recipeFile = "recipe"

// Prepare finds the image, or makes it; say is told of what takes a while. Any number of processes may ask for it at the
// same time. Removing the folder has the next one fetch newer packages.
func Prepare(ctx context.Context, say func(format string, args ...any)) (Image, error) {
	if runtime.GOARCH != "amd64" {
		return Image{}, fmt.Errorf("wifi: the virtual machine is made for amd64, and this is %s", runtime.GOARCH)
	}
	return prepare(ctx, Base, say)
}

func prepare(ctx context.Context, base string, say func(format string, args ...any)) (Image, error) {
	if err := os.MkdirAll(base, 0o755); err != nil {
		return Image{}, fmt.Errorf("wifi: %w", err)
	}
	if i, ok := newest(base); ok {
		return i, nil
	}
	lock, err := lockBase(ctx, base, say)
	if err != nil {
		return Image{}, err
	}
	defer lock.Close()
	if i, ok := newest(base); ok { // the one who had the lock has made it
		return i, nil
	}
	unfinished, err := filepath.Glob(filepath.Join(base, "making-*"))
	if err != nil {
		return Image{}, fmt.Errorf("wifi: %w", err)
	}
	for _, d := range unfinished { // by one that was killed: the lock is ours
		if err := os.RemoveAll(d); err != nil {
			return Image{}, fmt.Errorf("wifi: %w", err)
		}
	}
	work, err := os.MkdirTemp(base, "making-")
	if err != nil {
		return Image{}, fmt.Errorf("wifi: %w", err)
	}
	i, err := unpack(ctx, base, work, say)
	if err != nil {
		return Image{}, errors.Join(err, os.RemoveAll(work))
	}
	return i, nil
}

// unpack makes an image in the folder work and gives it its name.
func unpack(ctx context.Context, base, work string, say func(format string, args ...any)) (Image, error) {
	if err := os.Chmod(work, 0o755); err != nil {
		return Image{}, fmt.Errorf("wifi: %w", err)
	}
	i := Image{Dir: work}
	if err := fetch(ctx, work, say); err != nil {
		return i, err
	}
	var err error
	if i.Version, err = kernelVersion(i.modules()); err != nil {
		return i, err
	}
	if err := depmod(ctx, i); err != nil {
		return i, err
	}
	if err := os.WriteFile(filepath.Join(work, recipeFile), []byte(recipe()), 0o644); err != nil {
		return i, fmt.Errorf("wifi: %w", err)
	}
	i.Dir = filepath.Join(base, "wifi-"+i.Version)
	// What has that name is of another recipe, or newest had found it. A machine that runs has its files open.
	err = errors.Join(os.RemoveAll(i.Dir), os.Rename(work, i.Dir))
	if err != nil {
		return i, fmt.Errorf("wifi: %w", err)
	}
	say("the virtual machine's files are in %s", i.Dir)
	return i, nil
}

// newest is the latest image of our recipe.
func newest(base string) (Image, bool) {
	dirs, _ := filepath.Glob(filepath.Join(base, "wifi-*")) // the pattern is a good one
	slices.Reverse(dirs)
	for _, d := range dirs {
		if b, err := os.ReadFile(filepath.Join(d, recipeFile)); err == nil && string(b) == recipe() {
			return Image{Dir: d, Version: strings.TrimPrefix(filepath.Base(d), "wifi-")}, true
		}
	}
	return Image{}, false
}

// lockBase waits until nobody else makes an image.
func lockBase(ctx context.Context, base string, say func(format string, args ...any)) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(base, ".lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("wifi: %w", err)
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, fmt.Errorf("wifi: %s: %w", f.Name(), err)
		}
		say("waiting for another lab that fetches the virtual machine's files")
		if err := bed.Sleep(ctx, lockPoll); err != nil {
			f.Close()
			return nil, err
		}
	}
}

// kernelVersion is the release of the one kernel whose modules are in a folder.
func kernelVersion(modules string) (string, error) {
	entries, err := os.ReadDir(modules)
	if err != nil {
		return "", fmt.Errorf("wifi: the kernel's package has no modules where expected: %w", err)
	}
	if len(entries) != 1 {
		return "", fmt.Errorf("wifi: %d kernels in %s, expected one", len(entries), modules)
	}
	return entries[0].Name(), nil
}
