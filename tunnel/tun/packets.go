package tun

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Read waits for a packet that the kernel routes into the device and returns its
// length. What does not fit into p is cut off: give it MTU octets. After Close
// the error matches os.ErrClosed.
func (d *Device) Read(p []byte) (n int, err error) {
	if d.off != nil {
		n, err = d.off.read(p, true)
	} else {
		n, err = d.ifce.Read(p)
	}
	if err != nil {
		return n, fmt.Errorf("tun: %s: read: %w", d.name, err)
	}
	return n, nil
}

// ReadNow is Read that does not wait: it returns 0 when no packet is there.
func (d *Device) ReadNow(p []byte) (n int, err error) {
	if d.off != nil {
		n, err = d.off.read(p, false)
	} else {
		n, err = d.readNow(p)
	}
	if err != nil {
		return 0, fmt.Errorf("tun: %s: read: %w", d.name, err)
	}
	return n, nil
}

func (d *Device) readNow(p []byte) (n int, err error) {
	file, ok := d.ifce.ReadWriteCloser.(syscall.Conn)
	if !ok {
		return 0, errors.New("not a file")
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return 0, err
	}
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		n, failed = unix.Read(int(fd), p)
		return true
	})
	if errors.Is(failed, unix.EAGAIN) {
		return 0, nil
	}
	return n, errors.Join(err, failed)
}

// Buffered is how many packets Read has in hand already: with none it is time to send
// on what came before.
func (d *Device) Buffered() int {
	if d.off == nil {
		return 0
	}
	return d.off.buffered()
}

// Write gives one packet to the kernel, which receives it on this device, behind
// those that were queued. A packet that is neither IPv4 nor IPv6 is refused with EINVAL.
func (d *Device) Write(p []byte) (int, error) {
	var err error
	if d.off != nil {
		err = d.off.write(p, true)
	} else {
		_, err = d.ifce.Write(p)
	}
	return d.written(p, err)
}

// Queue is Write, but with offload the packet may wait, as long as somebody holds the
// device corked, to go with others in one call; p is not kept. An error may be that of a
// packet that was queued before.
func (d *Device) Queue(p []byte) (int, error) {
	if d.off == nil {
		return d.Write(p)
	}
	return d.written(p, d.off.write(p, false))
}

func (d *Device) written(p []byte, err error) (int, error) {
	if err != nil {
		return 0, fmt.Errorf("tun: %s: write: %w", d.name, err)
	}
	return len(p), nil
}

// Cork has queued packets wait until Uncork: for a reader that has several in hand.
func (d *Device) Cork() {
	if d.off != nil {
		d.off.cork()
	}
}

// Uncork gives to the kernel what was queued since Cork, by whomever.
func (d *Device) Uncork() error {
	if d.off == nil {
		return nil
	}
	if err := d.off.uncork(); err != nil {
		return fmt.Errorf("tun: %s: write: %w", d.name, err)
	}
	return nil
}

// Close removes the device and wakes Read. It may be called again.
func (d *Device) Close() error {
	d.stats.close()
	if err := d.closeFile(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("tun: %s: close: %w", d.name, err)
	}
	return nil
}

func (d *Device) closeFile() error {
	if d.off != nil {
		return d.off.dev.Close()
	}
	return d.ifce.Close()
}
