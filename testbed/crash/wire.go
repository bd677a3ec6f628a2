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
	"openmpa/testbed/tap"
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
	return points, errors.Join(err, t.Close())
}

// openTap reports each message that passes the next router of a handover from b
// to a, on a goroutine of the tap's own.
func openTap(b *bed.Bed, report func(Point, time.Time)) (*tap.Tap, error) {
	count := make(map[string]int)
	t, err := tap.Open(b.Top.Space(topo.RA), func(f tap.Frame) {
		if name := message(f.Interface, f.Bytes); name != "" {
			count[name]++
			report(Point(fmt.Sprintf("%s %s %d", wire, name, count[name])), time.Now())
		}
	}, tapCore, tapLink, tapDHCP)
	if err != nil {
		return nil, fmt.Errorf("crash: %w", err)
	}
	return t, nil
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
