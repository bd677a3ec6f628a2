package wifi

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"openmpa/testbed/rundir"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func silent(string, ...any) {}

// member is a file of an archive as the kernel reads it.
type member struct {
	mode    uint64
	content string
}

// readArchive reads the format newc.
func readArchive(t *testing.T, b []byte) map[string]member {
	t.Helper()
	all := make(map[string]member)
	at := 0
	take := func(n int) []byte {
		if at+n > len(b) {
			t.Fatalf("the archive of %d octets is cut at %d", len(b), at)
		}
		at += n
		return b[at-n : at]
	}
	for {
		head := take(110)
		field := func(i int) uint64 {
			v, err := strconv.ParseUint(string(head[6+8*i:14+8*i]), 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		if string(head[:6]) != "070701" {
			t.Fatalf("at %d stands %q, expected 070701", at-110, head[:6])
		}
		name := string(bytes.TrimSuffix(take(int(field(11))), []byte{0}))
		at = (at + 3) &^ 3
		content := string(take(int(field(6))))
		at = (at + 3) &^ 3
		if name == "TRAILER!!!" {
			return all
		}
		all[name] = member{field(1), content}
	}
}

// image makes the files that an initramfs is made of.
func image(t *testing.T) Image {
	t.Helper()
	i := Image{Dir: t.TempDir(), Version: "6.1.0-1-test"}
	for path, content := range map[string]string{
		i.busybox(): "a shell",
		filepath.Join(i.modules(), i.Version, "modules.dep"):                                 "kernel/fs/9p/9p.ko: kernel/net/9p/9pnet.ko\nkernel/net/9p/9pnet_virtio.ko: kernel/net/9p/9pnet.ko\nkernel/net/9p/9pnet.ko:\nkernel/drivers/char/hw_random/virtio-rng.ko:\n",
		filepath.Join(i.modules(), i.Version, "kernel/fs/9p/9p.ko"):                          "file system",
		filepath.Join(i.modules(), i.Version, "kernel/net/9p/9pnet.ko"):                      "protocol",
		filepath.Join(i.modules(), i.Version, "kernel/net/9p/9pnet_virtio.ko"):               "transport",
		filepath.Join(i.modules(), i.Version, "kernel/drivers/char/hw_random/virtio-rng.ko"): "dice",
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return i
}

func TestInitramfs(t *testing.T) {
	b, err := image(t).initramfs()
	if err != nil {
		t.Fatal(err)
	}
	all := readArchive(t, b)
	for name, want := range map[string]member{
		"init":           {0o100755, initScript},
		"bin/busybox":    {0o100755, "a shell"},
		"bin/sh":         {0o120777, "busybox"},
		"new":            {0o040755, ""},
		"mods/order":     {0o100644, "9pnet.ko\n9pnet_virtio.ko\n9p.ko\nvirtio-rng.ko\n"},
		"mods/9pnet.ko":  {0o100644, "protocol"},
		"mods/order.not": {},
	} {
		if all[name] != want {
			t.Errorf("%s: %+v, expected %+v", name, all[name], want)
		}
	}
	// What init.sh calls must be there by a name.
	for line := range strings.Lines(initScript) {
		word, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "exec "), " ")
		if !slices.Contains([]string{"mount", "mkdir", "switch_root"}, word) {
			continue
		}
		if _, ok := all["bin/"+word]; !ok {
			t.Errorf("init.sh calls %s, which is not in bin", word)
		}
	}
}

func TestInitramfsSaysWhatIsMissing(t *testing.T) {
	i := image(t)
	if err := os.Remove(filepath.Join(i.modules(), i.Version, "kernel/net/9p/9pnet.ko")); err != nil {
		t.Fatal(err)
	}
	if _, err := i.initramfs(); err == nil || !strings.Contains(err.Error(), "9pnet.ko") {
		t.Errorf("got %v, expected an error that names the module", err)
	}
}

func TestInOrder(t *testing.T) {
	const dep = "a/deep.ko:\na/middle.ko: a/deep.ko\na/top-level.ko: a/middle.ko a/deep.ko\nb/other.ko: a/deep.ko\nno colon\n"
	for _, x := range []struct {
		names string
		want  string
	}{
		{"top_level", "a/deep.ko a/middle.ko a/top-level.ko"},
		{"other top_level", "a/deep.ko b/other.ko a/middle.ko a/top-level.ko"},
		{"deep deep", "a/deep.ko"},
		{"built_in", ""},
	} {
		got, err := inOrder(dep, strings.Fields(x.names))
		if err != nil || strings.Join(got, " ") != x.want {
			t.Errorf("%s: %q, %v; expected %q", x.names, got, err, x.want)
		}
	}
	if _, err := inOrder("a/deep.ko.xz:\n", []string{"deep"}); err == nil || !strings.Contains(err.Error(), "compressed") {
		t.Errorf("a compressed module: got %v, expected an error", err)
	}
}

// complete makes an image that is ready.
func complete(t *testing.T, base, version, recipe string) {
	t.Helper()
	dir := filepath.Join(base, "wifi-"+version)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, recipeFile), []byte(recipe), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestNewest(t *testing.T) {
	base := t.TempDir()
	if i, ok := newest(base); ok {
		t.Fatalf("found %+v in an empty folder", i)
	}
	complete(t, base, "6.1.0-40-amd64", recipe())
	complete(t, base, "6.1.0-41-amd64", recipe())
	complete(t, base, "6.1.0-42-amd64", "of another time")
	if err := os.Mkdir(filepath.Join(base, "wifi-6.1.0-43-amd64"), 0o755); err != nil {
		t.Fatal(err)
	}
	i, ok := newest(base)
	if !ok || i.Version != "6.1.0-41-amd64" || i.Dir != filepath.Join(base, "wifi-6.1.0-41-amd64") {
		t.Errorf("found %+v, %v; expected 6.1.0-41-amd64, the latest that is complete and of our recipe", i, ok)
	}
}

// TestOneMakesTheOthersWait has several ask while one makes the image.
func TestOneMakesTheOthersWait(t *testing.T) {
	base := t.TempDir()
	lock, err := lockBase(t.Context(), base, silent)
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan string, 64)
	var all errgroup.Group
	for range 4 {
		all.Go(func() error {
			i, err := prepare(t.Context(), base, func(format string, args ...any) { waiting <- fmt.Sprintf(format, args...) })
			if err == nil && i.Version != "6.1.0-41-amd64" {
				err = fmt.Errorf("got %+v", i)
			}
			return err
		})
	}
	for range 4 {
		if line := <-waiting; !strings.Contains(line, "waiting for another lab") {
			t.Errorf("said %q", line)
		}
	}
	complete(t, base, "6.1.0-41-amd64", recipe())
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	if err := all.Wait(); err != nil {
		t.Error(err)
	}
}

func TestWaitEndsWithTheContext(t *testing.T) {
	base := t.TempDir()
	lock, err := lockBase(t.Context(), base, silent)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := prepare(ctx, base, silent); err == nil {
		t.Error("got an image, expected the context's end")
	}
}

func TestGuestIsForProcess1(t *testing.T) {
	if err := Guest(); err == nil || !strings.Contains(err.Error(), "lab wifi") {
		t.Errorf("got %v, expected what to do instead", err)
	}
}

func TestArguments(t *testing.T) {
	dir := &rundir.Dir{ID: 1, Path: "/run/lab,1"}
	i := Image{Dir: "/var/cache/openmpa/wifi-x", Version: "x"}
	args := strings.Join(arguments(dir, i, Job{Bin: "/home/me/a,b", Hardware: Hardware{CPUs: 1, MegaBytes: 512}}), "\n")
	for _, want := range []string{
		"\ntcg,thread=multi\n", "path=/home/me/a,,b,mount_tag=bin,security_model=none,readonly=on",
		"path=/run/lab,,1/shared,mount_tag=shared,security_model=none\n", Boot, "-smp\n1\n", "path=/dev/fdset/2",
	} {
		if !strings.Contains(args+"\n", want) {
			t.Errorf("no %q in\n%s", want, args)
		}
	}
	args = strings.Join(arguments(dir, i, Job{Hardware: Hardware{Accel: "kvm"}}), "\n")
	if !strings.Contains(args, "\nkvm\n-cpu\nhost\n") {
		t.Errorf("with kvm: %s", args)
	}
}
