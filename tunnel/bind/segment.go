package bind

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

const (
	// MaxSegments is how many packets SendBatch takes (UDP_MAX_SEGMENTS of older kernels).
	MaxSegments = 64
	// MaxSegmented is how many octets they may have together: what fits one datagram of
	// IPv4, which is the smaller.
	MaxSegmented = 1<<16 - 1 - 20 - 8
)

// SendBatch sends packets of size octets that lie behind one another in pkts, of which
// the last may be shorter, as so many datagrams: in one call where the kernel segments.
// It returns how many were sent; errors are those of Send, of the first that was not.
func (u *UDP) SendBatch(to netip.AddrPort, pkts []byte, size int, tos uint8) (sent int, err error) {
	if size < 1 || len(pkts) <= size || !u.offload.Load() || len(pkts) > MaxSegments*size || len(pkts) > MaxSegmented || !u.sendable(to) {
		return u.sendEach(to, pkts, size, tos)
	}
	errno, err := u.tx.send(u.raw, to, pkts, tos, uint16(size))
	n := (len(pkts) + size - 1) / size
	switch {
	case err == nil && errno == 0:
		u.sent.Add(uint64(n))
		return n, nil
	case errno == unix.EIO: // the device has no checksums, and the kernel is an older one
		u.offload.Store(false)
		return u.sendEach(to, pkts, size, tos)
	case errno == unix.EINVAL, errno == unix.EMSGSIZE: // longer than the path's MTU: fragments can be sent
		return u.sendEach(to, pkts, size, tos)
	}
	u.sendErrors.Add(uint64(n))
	return 0, u.failed("sendmsg", err, errno)
}

// sendEach is SendBatch by a call for each packet.
func (u *UDP) sendEach(to netip.AddrPort, pkts []byte, size int, tos uint8) (sent int, err error) {
	if size < 1 {
		size = len(pkts)
	}
	for first := true; first || len(pkts) > 0; first = false {
		n := min(size, len(pkts))
		if e := u.Send(to, pkts[:n], tos); e == nil {
			sent++
		} else if err == nil {
			err = e
		}
		pkts = pkts[n:]
	}
	return sent, err
}
