package tun

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/songgao/water"
	"golang.org/x/sys/unix"
)

// Defaults for the zero fields of Config.
const (
	// DefaultMTU leaves room for ESP in UDP and an outer header in 1500 octets,
	// and for an IP in IP header inside or around them.
	DefaultMTU = 1400
	// DefaultQueueLen is how many packets wait for Read: about 400 ms of a
	// 100 Mb/s stream of full packets, so that a pause of the reader costs none.
	DefaultQueueLen = 4096
)

const (
	minMTU = 576 // RFC 791 section 3.2: what every host takes
	maxMTU = 65535
	maxQue = 1 << 20
)

// Config describes a device.
type Config struct {
	Name     string // at most 15 octets; a "%d" in it is a number the kernel picks; empty: "tun%d"
	MTU      int    // octets of an IP packet, 576 to 65535; zero: DefaultMTU
	QueueLen int    // packets that wait for Read; zero: DefaultQueueLen
	// Offload has the kernel hand over and take several segments of a stream in one
	// call. It needs a kernel that can, which most can (TUNSETOFFLOAD).
	Offload bool
}

// Device is an open TUN device. Its methods may be called concurrently.
type Device struct {
	// fixed after Open
	ifce  *water.Interface // nil with offload
	off   *offload         // nil without
	name  string
	index int
	mtu   int

	stats statsConn
}

// Open makes the device, sets its MTU and queue length and brings it up, all in
// the network namespace of the calling thread. It needs CAP_NET_ADMIN there.
// Errors say what to do; they match unix.EPERM, unix.EBUSY and os.ErrNotExist
// where the kernel said so. After an error nothing is left.
func Open(cfg Config) (*Device, error) {
	if cfg.Name == "" {
		cfg.Name = "tun%d"
	}
	if cfg.MTU == 0 {
		cfg.MTU = DefaultMTU
	}
	if cfg.QueueLen == 0 {
		cfg.QueueLen = DefaultQueueLen
	}
	switch {
	case len(cfg.Name) >= unix.IFNAMSIZ:
		return nil, fmt.Errorf("tun: name %q has %d octets, at most %d are allowed", cfg.Name, len(cfg.Name), unix.IFNAMSIZ-1)
	case cfg.MTU < minMTU || cfg.MTU > maxMTU:
		return nil, fmt.Errorf("tun: MTU %d, expected %d to %d octets", cfg.MTU, minMTU, maxMTU)
	case cfg.QueueLen < 0 || cfg.QueueLen > maxQue:
		return nil, fmt.Errorf("tun: queue length %d, expected 1 to %d packets", cfg.QueueLen, maxQue)
	}

	// One thread, hence one network namespace, for all that follows.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	d := &Device{mtu: cfg.MTU}
	var err error
	if cfg.Offload {
		d.off, d.name, err = openOffload(cfg.Name, cfg.MTU)
	} else if d.ifce, err = openWater(cfg.Name, false); err == nil {
		d.name = d.ifce.Name()
	}
	if err != nil {
		return nil, explain(cfg.Name, err)
	}
	if err := d.configure(cfg); err != nil {
		_ = d.closeFile() // the device goes with it; the first error is the one to report
		return nil, err
	}
	return d, nil
}

// explain adds the remedy to an error of opening.
func explain(name string, err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return fmt.Errorf("tun: open %s: %w (is there a /dev/net/tun? try modprobe tun)", name, err)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("tun: open %s: %w (run as root or with CAP_NET_ADMIN)", name, err)
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("tun: open %s: %w (another process holds the device, or it is of another kind: stop it or take another name)", name, err)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("tun: open %s: %w (the name belongs to a device of another kind, or is no valid name)", name, err)
	}
	return fmt.Errorf("tun: open %s: %w", name, err)
}

func (d *Device) configure(cfg Config) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("tun: %s: control socket: %w", d.name, err)
	}
	defer unix.Close(fd)

	ifr, err := unix.NewIfreq(d.name)
	if err != nil {
		return fmt.Errorf("tun: %s: %w", d.name, err)
	}
	ifr.SetUint32(uint32(cfg.MTU))
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFMTU, ifr); err != nil {
		return fmt.Errorf("tun: %s: set MTU to %d: %w", d.name, cfg.MTU, err)
	}
	ifr.SetUint32(uint32(cfg.QueueLen))
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFTXQLEN, ifr); err != nil {
		return fmt.Errorf("tun: %s: set queue length to %d: %w", d.name, cfg.QueueLen, err)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr); err != nil {
		return fmt.Errorf("tun: %s: read interface index: %w", d.name, err)
	}
	d.index = int(ifr.Uint32())
	if err := d.stats.open(d.index); err != nil {
		return fmt.Errorf("tun: %s: %w", d.name, err)
	}
	if d.off != nil {
		if err := d.stats.limitSegments(most); err != nil {
			d.stats.close()
			return fmt.Errorf("tun: %s: at most %d segments: %w", d.name, most, err)
		}
	}
	if err := up(fd, ifr); err != nil {
		d.stats.close()
		return fmt.Errorf("tun: %s: %w", d.name, err)
	}
	return nil
}

func up(fd int, ifr *unix.Ifreq) error {
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, ifr); err != nil {
		return fmt.Errorf("read flags: %w", err)
	}
	ifr.SetUint16(ifr.Uint16() | unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("bring up: %w", err)
	}
	return nil
}

// Name is the name of the device as the kernel has it.
func (d *Device) Name() string { return d.name }

// Index is the interface index of the device.
func (d *Device) Index() int { return d.index }

// MTU is the MTU that was set, in octets.
func (d *Device) MTU() int { return d.mtu }
