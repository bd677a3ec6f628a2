package wifi

import (
	"bytes"
	_ "embed"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

//go:embed init.sh
var initScript string

// early are the modules that the guest needs before it has its root; the others are in there.
var early = []string{"virtio_pci", "9pnet_virtio", "9p", "overlay", "virtio_rng", "virtio_console"}

// applets are busybox's names that init.sh uses.
var applets = []string{"sh", "mount", "insmod", "mkdir", "echo", "switch_root"}

// initramfs is the archive a guest begins with: busybox, the early modules and init.sh.
func (i Image) initramfs() ([]byte, error) {
	var c cpio
	for _, d := range []string{"bin", "dev", "proc", "sys", "new", "host", "tools", "over", "mods"} {
		c.add(d, 0o040755, nil)
	}
	busybox, err := os.ReadFile(i.busybox())
	if err != nil {
		return nil, fmt.Errorf("wifi: %w", err)
	}
	c.add("bin/busybox", 0o100755, busybox)
	for _, a := range applets {
		c.add("bin/"+a, 0o120777, []byte("busybox"))
	}
	list, err := os.ReadFile(filepath.Join(i.modules(), i.Version, "modules.dep"))
	if err != nil {
		return nil, fmt.Errorf("wifi: %w", err)
	}
	files, err := inOrder(string(list), early)
	if err != nil {
		return nil, err
	}
	var order strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(i.modules(), i.Version, filepath.FromSlash(f)))
		if err != nil {
			return nil, fmt.Errorf("wifi: %w", err)
		}
		c.add("mods/"+path.Base(f), 0o100644, b)
		fmt.Fprintln(&order, path.Base(f))
	}
	c.add("mods/order", 0o100644, []byte(order.String()))
	c.add("init", 0o100755, []byte(initScript))
	return c.end(), nil
}

// inOrder are the files of modules, each after those it depends on, by the text of a modules.dep. A module that is not in
// it is part of the kernel.
func inOrder(dep string, names []string) (files []string, err error) {
	needs := make(map[string][]string)
	byName := make(map[string]string)
	for line := range strings.Lines(dep) {
		file, rest, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		needs[file] = strings.Fields(rest)
		name, suffix, _ := strings.Cut(path.Base(file), ".")
		if suffix != "ko" && slices.Contains(names, strings.ReplaceAll(name, "-", "_")) {
			return nil, fmt.Errorf("wifi: %s is compressed, and Debian 12's kernel, which this is made for, has its modules plain", file)
		}
		byName[strings.ReplaceAll(name, "-", "_")] = file
	}
	var add func(file string)
	add = func(file string) {
		if slices.Contains(files, file) {
			return
		}
		// The list of a module is complete, with the deepest at its end.
		for _, d := range slices.Backward(needs[file]) {
			add(d)
		}
		files = append(files, file)
	}
	for _, n := range names {
		if f, ok := byName[n]; ok {
			add(f)
		}
	}
	return files, nil
}

// cpio writes an archive in the format "newc" of cpio(5), as the kernel's Documentation/driver-api/early-userspace
// /buffer-format.rst has it.
type cpio struct {
	b     bytes.Buffer
	inode int
}

func (c *cpio) add(name string, mode int, content []byte) {
	c.inode++
	fmt.Fprintf(&c.b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		c.inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0, name)
	c.pad()
	c.b.Write(content)
	c.pad()
}

func (c *cpio) pad() {
	for c.b.Len()%4 != 0 {
		c.b.WriteByte(0)
	}
}

// end closes the archive and returns it.
func (c *cpio) end() []byte {
	c.inode = -1
	c.add("TRAILER!!!", 0, nil)
	return c.b.Bytes()
}
