package tun

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
	wgtun "golang.zx2c4.com/wireguard/tun"
)

const (
	// most is how many packets one that the kernel did not segment may become: the
	// device is told so (IFLA_GSO_MAX_SEGS).
	most = 128
	// readAhead is how many packets a Read may find at once and keep for the next ones.
	readAhead = 64
	// frontRoom is in front of each packet that is written, for its offload header.
	frontRoom = 16
	// slot is the room for a packet that is written and for those that are merged with
	// it: by it alone package wireguard/tun knows that no more than the length of an IP
	// packet may be there, and it counts frontRoom twice.
	slot = frontRoom + 1<<16 - 1 + frontRoom
	// stride is the distance of slots, no power of two, so that packets do not all
	// compete for the same lines of the processor's cache.
	stride = 1<<16 + 2048 + 64
)

// offload reads and writes with offload headers: the kernel hands over several segments
// of a stream at a time, and takes them so. Package wireguard/tun takes them apart and
// puts them together.
//
//	Read:   frame (up to 64 KiB) --> segments, with checksums --> one by one
//	Queue:  one by one --> batch --> Flush --> merged by stream --> frames
//
// Packets of a stream keep their order; a packet may pass one of another stream that is
// flushed with it.
type offload struct {
	dev wgtun.Device
	raw syscall.RawConn // of dev's file
	odd atomic.Uint64   // frames that could not be taken apart, or not wholly

	readMu   sync.Mutex
	bufs     [][]byte // guarded by readMu
	sizes    []int
	at, n    int   // the packets in hand are at..n-1 of bufs
	failed   error // of a frame behind those
	readable func(fd uintptr)
	more     bool // what readable found

	writeMu sync.Mutex
	slots   [][]byte // guarded by writeMu; each of length and capacity slot
	batch   [][]byte // into slots, what waits
	corked  int
}

func newOffload(dev wgtun.Device, mtu int) (*offload, error) {
	raw, err := dev.File().SyscallConn()
	if err != nil {
		return nil, err
	}
	o := &offload{
		dev: dev, raw: raw, bufs: make([][]byte, most+readAhead), sizes: make([]int, most+readAhead),
		slots: make([][]byte, most), batch: make([][]byte, 0, most),
	}
	room := make([]byte, len(o.bufs)*mtu)
	for i := range o.bufs {
		o.bufs[i] = room[i*mtu : (i+1)*mtu : (i+1)*mtu]
	}
	room = make([]byte, len(o.slots)*stride) // memory that is not touched is none
	for i := range o.slots {
		o.slots[i] = room[i*stride : i*stride+slot : i*stride+slot]
	}
	o.readable = func(fd uintptr) {
		p := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(p[:], 0)
		o.more = err == nil && n == 1 && p[0].Revents&unix.POLLIN != 0
	}
	return o, nil
}

// ready reports whether a frame can be read without waiting.
func (o *offload) ready() bool {
	o.more = false
	return o.raw.Control(o.readable) == nil && o.more
}

// read is Device.Read, or with wait false ReadNow.
func (o *offload) read(p []byte, wait bool) (int, error) {
	o.readMu.Lock()
	defer o.readMu.Unlock()
	for o.at == o.n {
		if err := o.failed; err != nil {
			o.failed = nil
			return 0, err
		}
		if !wait && !o.ready() {
			return 0, nil
		}
		if err := o.fill(wait); err != nil {
			return 0, err
		}
	}
	n := copy(p, o.bufs[o.at][:o.sizes[o.at]])
	o.at++
	return n, nil
}

// fill takes a frame, and more of them if they are there. With wait it waits for one that
// is of use.
func (o *offload) fill(wait bool) error {
	o.at, o.n = 0, 0
	for {
		n, err := o.dev.Read(o.bufs[o.n:], o.sizes[o.n:], 0)
		o.n += max(n, 0)
		var file *fs.PathError
		switch {
		case err == nil:
		case !errors.Is(err, os.ErrClosed) && !errors.As(err, &file):
			o.odd.Add(1) // nothing is wrong with the device
		case o.n == 0:
			return err
		default:
			o.failed = err
			return nil
		}
		if o.n >= readAhead || (o.n > 0 || !wait) && !o.ready() {
			return nil
		}
	}
}

// buffered is how many packets are in hand.
func (o *offload) buffered() int {
	o.readMu.Lock()
	defer o.readMu.Unlock()
	return o.n - o.at
}

// write queues a packet, and flushes if it is to go now.
func (o *offload) write(p []byte, now bool) error {
	if len(p) == 0 || p[0]>>4 != 4 && p[0]>>4 != 6 || len(p) > 1<<16-1 {
		return unix.EINVAL // or the batch would fail for it
	}
	o.writeMu.Lock()
	defer o.writeMu.Unlock()
	s := o.slots[len(o.batch)]
	o.batch = append(o.batch, s[:frontRoom+copy(s[frontRoom:], p)])
	if now || o.corked == 0 || len(o.batch) == most {
		return o.flush()
	}
	return nil
}

// flush writes what waits; the caller holds writeMu.
func (o *offload) flush() error {
	if len(o.batch) == 0 {
		return nil
	}
	_, err := o.dev.Write(o.batch, frontRoom)
	o.batch = o.batch[:0]
	return err
}

func (o *offload) cork() {
	o.writeMu.Lock()
	o.corked++
	o.writeMu.Unlock()
}

func (o *offload) uncork() error {
	o.writeMu.Lock()
	defer o.writeMu.Unlock()
	o.corked--
	return o.flush()
}

// openOffload makes a device with offload headers. The kernel takes the features from
// the first queue, which water cannot be told: that one is ours, water opens the second,
// and ours is closed.
func openOffload(name string, mtu int) (*offload, string, error) {
	first, err := openFirst(name)
	if err != nil {
		return nil, "", err
	}
	defer unix.Close(first.fd)
	ifce, err := openWater(first.name, true)
	if err != nil {
		return nil, "", err
	}
	file, ok := ifce.ReadWriteCloser.(*os.File)
	if !ok {
		_ = ifce.Close()
		return nil, "", fmt.Errorf("water gives a %T, expected a file", ifce.ReadWriteCloser)
	}
	// A descriptor of its own, since the device without watchers is made of that.
	fd := -1
	raw, err := file.SyscallConn()
	if err == nil {
		err = errors.Join(raw.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) }), err)
	}
	_ = ifce.Close()
	if err != nil {
		return nil, "", fmt.Errorf("descriptor of the queue: %w", err)
	}
	dev, _, err := wgtun.CreateUnmonitoredTUNFromFD(fd)
	if err != nil {
		return nil, "", fmt.Errorf("offload (switch it off if the kernel cannot do it): %w", err)
	}
	o, err := newOffload(dev, mtu)
	if err != nil {
		_ = dev.Close()
		return nil, "", err
	}
	return o, first.name, nil
}

// A firstQueue decides what a device is like.
type firstQueue struct {
	fd   int
	name string
}

func openFirst(name string) (q firstQueue, err error) {
	if q.fd, err = unix.Open(cloneDevice, unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
		return q, err
	}
	ifr, err := unix.NewIfreq(name)
	if err == nil {
		// Exclusive, or it would be one more queue of somebody else's device.
		ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR | unix.IFF_MULTI_QUEUE | unix.IFF_TUN_EXCL)
		err = unix.IoctlIfreq(q.fd, unix.TUNSETIFF, ifr)
	}
	if err != nil {
		_ = unix.Close(q.fd)
		return q, err
	}
	q.name = ifr.Name()
	return q, nil
}
