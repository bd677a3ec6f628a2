package crash

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"

	"openmpa/aaa/radius"
	"openmpa/internal/event"
	"openmpa/mn/mobility/mip4"
	"openmpa/paa/pana"
	"openmpa/testbed/bed"
	"openmpa/testbed/space"
	"openmpa/testbed/topo"
	"openmpa/tunnel/ipip"
)

// wire is the party of points that are messages: a tap at the next router,
// through which all messages of a handover pass.
const wire Party = "wire"

// Messages are the points of one handover's messages, in their order, as a
// handover without a crash has them.
func Messages(ctx context.Context, opt bed.Options) (points []Point, err error) {
	opt.Quick = true
	b, err := bed.Start(ctx, opt)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	var mu sync.Mutex
	t, err := openTap(b, func(p Point, _ time.Time) {
		mu.Lock()
		defer mu.Unlock()
		points = append(points, p)
	})
	if err != nil {
		return nil, err
	}
	result, err := order(ctx, b, "a")
	if err == nil && result.Outcome != event.Completed {
		err = fmt.Errorf("crash: a handover without a crash is %s: %s", result.Outcome, result.Reason)
	}
	return points, errors.Join(err, t.close())
}

// A tap hears what passes the next router of a handover from b to a.
type tap struct {
	fd     int
	names  map[int]string // interfaces that are listened to, by index
	count  map[string]int
	report func(Point, time.Time)
	reader sync.WaitGroup
	stop   chan struct{}
}

// openTap reports each message, on a goroutine of the tap's own.
func openTap(b *bed.Bed, report func(Point, time.Time)) (*tap, error) {
	router := b.Top.Space(topo.RA)
	t := &tap{names: make(map[int]string), count: make(map[string]int), report: report, stop: make(chan struct{})}
	for _, name := range []string{tapCore, tapLink, tapDHCP} {
		l, err := router.Netlink().LinkByName(name)
		if err != nil {
			return nil, fmt.Errorf("crash: tap: %s: %w", name, err)
		}
		t.names[l.Attrs().Index] = name
	}
	if err := t.open(router); err != nil {
		return nil, fmt.Errorf("crash: tap: %w", err)
	}
	t.reader.Go(t.read)
	return t, nil
}

func (t *tap) open(s *space.Space) (err error) {
	return s.Do(func() error {
		all := uint16(unix.ETH_P_ALL)<<8 | uint16(unix.ETH_P_ALL)>>8
		if t.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(all)); err != nil {
			return err
		}
		wait := unix.NsecToTimeval(int64(look))
		if err := unix.SetsockoptTimeval(t.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
			return errors.Join(err, unix.Close(t.fd))
		}
		return nil
	})
}

func (t *tap) read() {
	buf := make([]byte, 2048)
	for {
		n, from, err := unix.Recvfrom(t.fd, buf, 0)
		select {
		case <-t.stop:
			return
		default:
		}
		if err != nil {
			continue // the time was up
		}
		at := time.Now()
		l, ok := from.(*unix.SockaddrLinklayer)
		if !ok {
			continue
		}
		if name := message(t.names[l.Ifindex], buf[:n]); name != "" {
			t.count[name]++
			t.report(Point(fmt.Sprintf("%s %s %d", wire, name, t.count[name])), at)
		}
	}
}

func (t *tap) close() error {
	close(t.stop)
	t.reader.Wait()
	return unix.Close(t.fd)
}

// The interfaces of a router that are listened to: each message is on one of
// them once.
const (
	tapCore = "core" // PANA of a node that is elsewhere, RADIUS, registrations, a lease given back
	tapLink = "lan0" // PANA of a node on the link, ARP
	tapDHCP = "dhcp" // DHCP
)

// message names what a frame carries, empty when it is none of a handover's
// messages.
func message(ifname string, frame []byte) string {
	if len(frame) < 14 {
		return ""
	}
	pkt := frame[14:]
	switch kind := binary.BigEndian.Uint16(frame[12:]); {
	case kind == unix.ETH_P_ARP && ifname == tapLink:
		return arpMessage(pkt)
	case kind == unix.ETH_P_IP && ifname != "":
		return udpMessage(ifname, pkt)
	}
	return ""
}

// arpMessage knows the probes and announcements of RFC 5227; other requests
// come when a kernel feels like it.
func arpMessage(pkt []byte) string {
	if len(pkt) < 28 || binary.BigEndian.Uint16(pkt[6:]) != 1 {
		return ""
	}
	switch sender, target := [4]byte(pkt[14:18]), [4]byte(pkt[24:28]); sender {
	case [4]byte{}:
		return "ARP probe"
	case target:
		return "ARP announcement"
	}
	return ""
}

func udpMessage(ifname string, pkt []byte) string {
	src, dst, proto, header, total, err := ipip.ParseIPv4(pkt)
	if err != nil || proto != unix.IPPROTO_UDP || total > len(pkt) || total < header+9 {
		return ""
	}
	from, to := binary.BigEndian.Uint16(pkt[header:]), binary.BigEndian.Uint16(pkt[header+2:])
	data := pkt[header+8 : total]
	port := func(p uint16) bool { return from == p || to == p }
	switch {
	case to == pana.Port:
		return panaMessage(ifname, dst, data)
	case from == pana.Port:
		return panaMessage(ifname, src, data)
	case ifname != tapLink && port(dhcpv4.ServerPort): // on the core: a lease given back from afar
		if m, err := dhcpv4.FromBytes(data); err == nil {
			return "DHCP " + m.MessageType().String()
		}
	case ifname == tapCore && port(aaaPort):
		return "RADIUS " + radius.Code(data[0]).String()
	case ifname == tapCore && to == mip4.Port:
		return "registration request"
	case ifname == tapCore && from == mip4.Port:
		return "registration reply"
	}
	return ""
}

const aaaPort = 1812

// panaMessage names a message and the router it belongs to. On the access
// link only those of the router there are counted: the others are seen on
// their way on.
func panaMessage(ifname string, router netip.Addr, data []byte) string {
	for _, n := range topo.Networks {
		at := partyOf(n.Name)
		if n.Address != router || ifname == tapLink && at != Next {
			continue
		}
		if m, err := pana.ParseMessage(data); err == nil {
			return fmt.Sprintf("%s %s", at, m.Name())
		}
	}
	return ""
}

// isMessage reports whether the point is one of the wire's.
func (p Point) isMessage() bool { return strings.HasPrefix(string(p), string(wire)+" ") }
