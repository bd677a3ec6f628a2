package osnet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	requestTimeout = 5 * time.Second // a kernel that does not answer for this long is taken as broken
	dumpAttempts   = 8               // how often an interrupted dump is begun again
)

// newRequest opens a netlink socket in the namespace of the calling thread.
func newRequest() (*request, error) {
	s, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("netlink socket: %w", err)
	}
	tv := unix.NsecToTimeval(int64(requestTimeout))
	_ = s.SetSendTimeout(&tv)    // stores a value, cannot fail
	_ = s.SetReceiveTimeout(&tv) // likewise
	_ = s.SetExtAck(true)        // without it errors are only less clear
	return &request{sockets: map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: s}}}, nil
}

func (r *request) close() { r.sockets[unix.NETLINK_ROUTE].Close() }

// message is the body of one rtnetlink request: a fixed header and attributes.
type message []byte

// attr appends one attribute, padded to four octets.
func (m message) attr(typ uint16, value []byte) message {
	m = binary.NativeEndian.AppendUint16(m, uint16(unix.SizeofRtAttr+len(value)))
	m = binary.NativeEndian.AppendUint16(m, typ)
	m = append(m, value...)
	for len(m)%unix.RTA_ALIGNTO != 0 {
		m = append(m, 0)
	}
	return m
}

func (m message) u32(typ uint16, v uint32) message {
	return m.attr(typ, binary.NativeEndian.AppendUint32(nil, v))
}

func (m message) u8(typ uint16, v uint8) message { return m.attr(typ, []byte{v}) }

func (m message) addr(typ uint16, a netip.Addr) message { return m.attr(typ, a.AsSlice()) }

func (m message) text(typ uint16, s string) message { return m.attr(typ, append([]byte(s), 0)) }

// exec sends one request. reply is the message type of the answers wanted, 0 for an acknowledgement only.
func (r *request) exec(typ uint16, flags int, body message, reply uint16) ([][]byte, error) {
	req := &nl.NetlinkRequest{
		NlMsghdr: unix.NlMsghdr{
			Len:   unix.SizeofNlMsghdr,
			Type:  typ,
			Flags: unix.NLM_F_REQUEST | uint16(flags),
		},
		Sockets: r.sockets,
	}
	req.AddRawData(body)
	return req.Execute(unix.NETLINK_ROUTE, reply)
}

// do sends one change and waits for its acknowledgement.
func (r *request) do(typ uint16, flags int, body message) error {
	_, err := r.exec(typ, flags|unix.NLM_F_ACK, body, 0)
	return err
}

// list dumps, again from the start when the kernel says that the table changed meanwhile.
func (r *request) list(typ uint16, body message, reply uint16) ([][]byte, error) {
	var err error
	for range dumpAttempts {
		var msgs [][]byte
		msgs, err = r.exec(typ, unix.NLM_F_DUMP, body, reply)
		if err == nil {
			return msgs, nil
		}
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("the table kept changing during %d attempts to read it: %w", dumpAttempts, err)
}

// attrs calls fn for each attribute of b; malformed rests are ignored (the kernel wrote them).
func attrs(b []byte, fn func(typ uint16, value []byte)) {
	for len(b) >= unix.SizeofRtAttr {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofRtAttr || size > len(b) {
			return
		}
		fn(binary.NativeEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), b[unix.SizeofRtAttr:size])
		b = b[min(len(b), (size+unix.RTA_ALIGNTO-1)&^(unix.RTA_ALIGNTO-1)):]
	}
}

func u32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b)
}

func u8(b []byte) uint8 {
	if len(b) < 1 {
		return 0
	}
	return b[0]
}

func family(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// gone reports whether err means that the object does not exist (any more), its interface included.
func gone(err error) bool {
	return errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) ||
		errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENXIO)
}

// hint adds what to do about the commonest refusals.
func hint(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%w: run as root or with CAP_NET_ADMIN", err)
	}
	return err
}

func u16(b []byte) uint16 {
	if len(b) < 2 {
		return 0
	}
	return binary.NativeEndian.Uint16(b)
}

func nativeU16(v uint16) (byte, byte) {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], v)
	return b[0], b[1]
}

// count returns how many requests have been sent.
func (r *request) count() uint32 {
	return atomic.LoadUint32(&r.sockets[unix.NETLINK_ROUTE].Seq)
}
