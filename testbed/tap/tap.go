package tap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"openmpa/testbed/space"
)

const (
	look     = 20 * time.Millisecond // between two looks whether it is to end
	frameLen = 1<<16 + 64            // octets of the longest frame, in which the kernel has merged packets
	received = 64 << 20              // octets the kernel keeps for us
	settling = 10 * time.Second      // at most, until nothing is left to be read
)

// A Frame is one Ethernet frame on an interface. UDP packets that the kernel moves as one
// (UDP_SEGMENT) are a frame each, as they would be on a wire.
type Frame struct {
	Interface string
	Outgoing  bool
	At        time.Time // by the kernel
	Bytes     []byte    // valid until the function returns
}

// A Tap listens to interfaces of one namespace.
type Tap struct {
	fd     int
	names  map[int]string // by index
	report func(Frame)
	reader sync.WaitGroup
	stop   chan struct{}
	looks  atomic.Int64 // times that the reader has asked for a frame
	unread atomic.Int64 // frames that the kernel had and could not give
}

// Open has report called with each frame on the interfaces, on a goroutine of the tap's own.
func Open(s *space.Space, report func(Frame), interfaces ...string) (*Tap, error) {
	t := &Tap{names: make(map[int]string), report: report, stop: make(chan struct{})}
	for _, name := range interfaces {
		l, err := s.Netlink().LinkByName(name)
		if err != nil {
			return nil, fmt.Errorf("tap: %s in %s: %w", name, s.Name(), err)
		}
		t.names[l.Attrs().Index] = name
	}
	if err := s.Do(t.open); err != nil {
		return nil, fmt.Errorf("tap: %s: %w", s.Name(), err)
	}
	t.reader.Go(t.read)
	return t, nil
}

func (t *Tap) open() (err error) {
	all := uint16(unix.ETH_P_ALL)<<8 | uint16(unix.ETH_P_ALL)>>8
	if t.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(all)); err != nil {
		return err
	}
	wait := unix.NsecToTimeval(int64(look))
	err = errors.Join(
		unix.SetsockoptInt(t.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, received),
		unix.SetsockoptInt(t.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		unix.SetsockoptInt(t.fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1),
		unix.SetsockoptTimeval(t.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait),
	)
	if err != nil {
		return errors.Join(err, unix.Close(t.fd))
	}
	return nil
}

func (t *Tap) read() {
	buf, oob := make([]byte, vnetLen+frameLen), make([]byte, 128)
	for {
		t.looks.Add(1)
		n, m, _, from, err := unix.Recvmsg(t.fd, buf, oob, 0)
		select {
		case <-t.stop:
			return
		default:
		}
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR), errors.Is(err, unix.ENETDOWN):
			continue // the time was up, or an interface went down
		case err != nil, n < vnetLen:
			t.unread.Add(1)
			continue
		}
		l, ok := from.(*unix.SockaddrLinklayer)
		if !ok || t.names[l.Ifindex] == "" {
			continue
		}
		f := Frame{Interface: t.names[l.Ifindex], Outgoing: l.Pkttype == unix.PACKET_OUTGOING, At: timeOf(oob[:m])}
		for f.Bytes = range frames(buf[:n]) {
			t.report(f)
		}
	}
}

// timeOf is the kernel's time stamp, or now when there is none.
func timeOf(oob []byte) time.Time {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return time.Now()
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16 {
			return time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:]))) //nolint:gosec // seconds
		}
	}
	return time.Now()
}

// Settle waits until all that the kernel had for us when it was called has been reported.
func (t *Tap) Settle() error {
	for end := time.Now().Add(settling); ; time.Sleep(time.Millisecond) {
		looks := t.looks.Load()
		next, err := unix.IoctlGetInt(t.fd, unix.SIOCINQ) // octets of the next frame
		switch {
		case err != nil:
			return fmt.Errorf("tap: what is left to be read: %w", err)
		case time.Now().After(end):
			return fmt.Errorf("tap: frames come faster than they are read, for %v", settling)
		case next > 0:
			continue
		}
		// What the reader had taken by then is reported when it asks for the next but one.
		for t.looks.Load() < looks+2 {
			time.Sleep(time.Millisecond)
		}
		return nil
	}
}

// Missed is how many frames were not reported since it was asked for last: they came faster than they were read, or the
// kernel could not say what they were.
func (t *Tap) Missed() (int, error) {
	st, err := unix.GetsockoptTpacketStats(t.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0, fmt.Errorf("tap: %w", err)
	}
	return int(st.Drops) + int(t.unread.Swap(0)), nil
}

// Close ends it; no frame is reported after that.
func (t *Tap) Close() error {
	close(t.stop)
	t.reader.Wait()
	return unix.Close(t.fd)
}
