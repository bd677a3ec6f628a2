package tap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"openmpa/testbed/space"
)

const (
	look     = 20 * time.Millisecond // between two looks whether it is to end
	snapLen  = 2048                  // octets of a frame that are read
	received = 64 << 20              // octets the kernel keeps for us; of merged packets a frame may be 64 KiB
)

// A Frame is one Ethernet frame on an interface.
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
		unix.SetsockoptTimeval(t.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait),
	)
	if err != nil {
		return errors.Join(err, unix.Close(t.fd))
	}
	return nil
}

func (t *Tap) read() {
	buf, oob := make([]byte, snapLen), make([]byte, 128)
	for {
		n, m, _, from, err := unix.Recvmsg(t.fd, buf, oob, 0)
		select {
		case <-t.stop:
			return
		default:
		}
		if err != nil {
			continue // the time was up, or an interface went down
		}
		l, ok := from.(*unix.SockaddrLinklayer)
		if !ok || t.names[l.Ifindex] == "" {
			continue
		}
		t.report(Frame{Interface: t.names[l.Ifindex], Outgoing: l.Pkttype == unix.PACKET_OUTGOING, At: timeOf(oob[:m]), Bytes: buf[:n]})
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

// Missed is how many frames were lost because they came faster than they were read, since it was asked for last.
func (t *Tap) Missed() (int, error) {
	st, err := unix.GetsockoptTpacketStats(t.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0, fmt.Errorf("tap: %w", err)
	}
	return int(st.Drops), nil
}

// Close ends it; no frame is reported after that.
func (t *Tap) Close() error {
	close(t.stop)
	t.reader.Wait()
	return unix.Close(t.fd)
}
