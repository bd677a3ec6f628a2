package scenario

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"

	"openmpa/testbed/space"
	"openmpa/testbed/topo"
)

// An aaaLink is the link of the authentication server, which may be long, by
// the kernel's netem.
type aaaLink struct {
	near, far *space.Space // the core, the server
}

func linkOfAAA(t *topo.Topology) aaaLink {
	return aaaLink{near: t.Space(topo.Core), far: t.Space(topo.AAA)}
}

// setRTT puts the server at a distance, half of it each way.
func (l aaaLink) setRTT(rtt time.Duration) error {
	for _, end := range []struct {
		s      *space.Space
		ifname string
	}{{l.near, "to-aaa"}, {l.far, "core"}} {
		link, err := end.s.Netlink().LinkByName(end.ifname)
		if err != nil {
			return fmt.Errorf("scenario: %s: %w", end.ifname, err)
		}
		q := netlink.NewNetem(
			netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
			netlink.NetemQdiscAttrs{Latency: uint32(rtt / 2 / time.Microsecond)}) //nolint:gosec // a second at most
		if rtt > 0 {
			err = end.s.Netlink().QdiscReplace(q)
		} else if err = end.s.Netlink().QdiscDel(q); errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.EINVAL) {
			err = nil // there was none
		}
		if err != nil {
			return fmt.Errorf("scenario: delay of %v on %s, which takes a kernel with netem: %w", rtt, end.ifname, err)
		}
	}
	return nil
}

// rtt measures the distance from a node: how long a connection takes that
// nobody accepts.
func (l aaaLink) rtt(from *space.Space) (d time.Duration, err error) {
	const nobody = 9
	dialer := net.Dialer{Timeout: 10 * time.Second}
	to := netip.AddrPortFrom(topo.AAAServer, nobody).String()
	return d, from.Do(func() error {
		began := time.Now()
		conn, err := dialer.Dial("tcp4", to)
		d = time.Since(began)
		if err == nil {
			conn.Close()
			return fmt.Errorf("scenario: %s accepts connections", to)
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return fmt.Errorf("scenario: distance of the authentication server: %w", err)
		}
		return nil
	})
}
