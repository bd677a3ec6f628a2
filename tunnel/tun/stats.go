package tun

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Stats are the kernel's counters of a device, named from the daemon's side. With
// offload the kernel counts frames, of one or more packets each.
type Stats struct {
	Read         uint64 // packets taken out by Read
	ReadDropped  uint64 // packets that found the queue full
	Write        uint64 // packets taken from Write
	WriteDropped uint64 // packets given to Write that the kernel dropped
}

// statsConn asks rtnetlink for the counters of one interface. Its socket stays
// in the namespace in which the device was made, whoever asks.
type statsConn struct {
	mu    sync.Mutex
	fd    int // guarded by mu; valid if isOpen
	seq   uint32
	index int

	isOpen bool
}

func (c *statsConn) open(index int) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("netlink socket: %w", err)
	}
	// The kernel answers within the send; the limit only keeps a surprise from
	// blocking for ever.
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1}); err != nil {
		_ = unix.Close(fd)
		return fmt.Errorf("netlink socket: receive timeout: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fd, c.index, c.isOpen = fd, index, true
	return nil
}

func (c *statsConn) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isOpen {
		_ = unix.Close(c.fd)
		c.isOpen = false
	}
}

// Stats reads the counters. After Close the error matches os.ErrClosed.
func (d *Device) Stats() (Stats, error) {
	s, err := d.stats.read()
	if err != nil {
		return Stats{}, fmt.Errorf("tun: %s: counters: %w", d.name, err)
	}
	if d.off != nil {
		s.ReadDropped += d.off.odd.Load()
	}
	return s, nil
}

func (c *statsConn) read() (st Stats, err error) {
	err = c.ask(func(seq uint32) []byte { return linkRequest(seq, c.index) }, func(m *syscall.NetlinkMessage) error {
		st, err = linkStats(m)
		return err
	})
	return st, err
}

// limitSegments has the kernel segment itself what would be more than n packets.
func (c *statsConn) limitSegments(n uint32) error {
	return c.ask(func(seq uint32) []byte { return segmentsRequest(seq, c.index, n) }, nil)
}

// ask sends a request to rtnetlink and waits for its answer: a link, or without answer an
// acknowledgement.
func (c *statsConn) ask(request func(seq uint32) []byte, answer func(*syscall.NetlinkMessage) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.isOpen {
		return os.ErrClosed
	}
	c.seq++
	if err := unix.Sendto(c.fd, request(c.seq), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("ask rtnetlink: %w", err)
	}
	buf := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(c.fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("answer of rtnetlink: %w", err)
		}
		msgs, err := syscall.ParseNetlinkMessage(buf[:n])
		if err != nil {
			return fmt.Errorf("answer of rtnetlink: %w", err)
		}
		for i := range msgs {
			m := &msgs[i]
			switch {
			case m.Header.Seq != c.seq: // late answer to a question that timed out
			case m.Header.Type == unix.NLMSG_ERROR && len(m.Data) >= 4:
				if no := unix.Errno(-int32(binary.NativeEndian.Uint32(m.Data))); no != 0 {
					return fmt.Errorf("rtnetlink: %w", no)
				}
				return nil
			case m.Header.Type == unix.RTM_NEWLINK && answer != nil:
				return answer(m)
			}
		}
	}
}

// segmentsRequest is RTM_NEWLINK that sets IFLA_GSO_MAX_SEGS of one interface.
func segmentsRequest(seq uint32, index int, n uint32) []byte {
	b := linkRequest(seq, index)
	binary.NativeEndian.PutUint16(b[4:], unix.RTM_NEWLINK)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	const attribute = unix.SizeofRtAttr + 4
	b = binary.NativeEndian.AppendUint16(b, attribute)
	b = binary.NativeEndian.AppendUint16(b, unix.IFLA_GSO_MAX_SEGS)
	b = binary.NativeEndian.AppendUint32(b, n)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	return b
}

// linkRequest is RTM_GETLINK for one interface.
func linkRequest(seq uint32, index int) []byte {
	const size = unix.SizeofNlMsghdr + unix.SizeofIfInfomsg
	b := make([]byte, size)
	binary.NativeEndian.PutUint32(b[0:], size)
	binary.NativeEndian.PutUint16(b[4:], unix.RTM_GETLINK)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST)
	binary.NativeEndian.PutUint32(b[8:], seq)
	b[16] = unix.AF_UNSPEC
	binary.NativeEndian.PutUint32(b[20:], uint32(index))
	return b
}

func linkStats(m *syscall.NetlinkMessage) (Stats, error) {
	attrs, err := syscall.ParseNetlinkRouteAttr(m)
	if err != nil {
		return Stats{}, fmt.Errorf("attributes of the link: %w", err)
	}
	for _, a := range attrs {
		// struct rtnl_link_stats64: rx_packets, tx_packets, rx_bytes, tx_bytes,
		// rx_errors, tx_errors, rx_dropped, tx_dropped, ...
		if a.Attr.Type != unix.IFLA_STATS64 || len(a.Value) < 64 {
			continue
		}
		at := func(i int) uint64 { return binary.NativeEndian.Uint64(a.Value[8*i:]) }
		return Stats{Write: at(0), Read: at(1), WriteDropped: at(6), ReadDropped: at(7)}, nil
	}
	return Stats{}, errors.New("the link has no 64 bit counters")
}
