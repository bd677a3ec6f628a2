package tun

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"

	"github.com/songgao/water"
	"golang.org/x/sys/unix"
)

const cloneDevice = "/dev/net/tun"

// opening serialises openWater: what it does about leaks compares the process's
// descriptors before and after.
var opening sync.Mutex

// openWater lets water make the device and mends what it leaves undone: it opens
// the descriptor without close-on-exec and forgets it when a later step fails.
// No child may start in between. another: the device is there, this is one more queue.
func openWater(name string, another bool) (*water.Interface, error) {
	opening.Lock()
	defer opening.Unlock()
	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()

	before, err := cloneDescriptors()
	if err != nil {
		return nil, err
	}
	cfg := water.Config{DeviceType: water.TUN}
	cfg.Name, cfg.MultiQueue = name, another
	ifce, err := water.New(cfg)
	if err != nil {
		return nil, errors.Join(err, closeLeaked(before))
	}
	// Not Fd(), which would take the descriptor out of the poller.
	conn, ok := ifce.ReadWriteCloser.(syscall.Conn)
	if !ok {
		_ = ifce.Close()
		return nil, fmt.Errorf("water gives a %T, which has no descriptor to set close-on-exec on", ifce.ReadWriteCloser)
	}
	raw, err := conn.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { unix.CloseOnExec(int(fd)) })
	}
	if err != nil {
		_ = ifce.Close()
		return nil, fmt.Errorf("set close-on-exec: %w", err)
	}
	return ifce, nil
}

// cloneDescriptors lists the descriptors of this process that are open on the
// clone device.
func cloneDescriptors() (map[int]bool, error) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil, fmt.Errorf("list descriptors: %w", err)
	}
	found := map[int]bool{}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && to == cloneDevice {
			found[fd] = true
		}
	}
	return found, nil
}

// closeLeaked closes what a failed water.New left open: a descriptor of the
// clone device that was not there before and has no interface attached.
func closeLeaked(before map[int]bool) error {
	after, err := cloneDescriptors()
	if err != nil {
		return err
	}
	for fd := range after {
		if before[fd] {
			continue
		}
		ifr, err := unix.NewIfreq("x") // the kernel writes the name
		if err == nil && errors.Is(unix.IoctlIfreq(fd, unix.TUNGETIFF, ifr), unix.EBADFD) {
			_ = unix.Close(fd)
		}
	}
	return nil
}
