package bed

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"openmpa/mn/mobility/mip6"
	"openmpa/testbed/tap"
	"openmpa/testbed/topo"
)

// A capture writes what nodes say to one another about addresses and bindings with IPv6 into a file that Wireshark reads:
// neighbour discovery, DHCPv6 and mobility messages, where no tunnel hides them; and with either family what is said at the
// authentication servers that the routers ask.
type capture struct {
	taps []*tap.Tap

	mu   sync.Mutex
	file *os.File // guarded by mu
	err  error    // guarded by mu: the first one
}

// capturing opens the file, which may have the packets of an earlier lab, and listens.
func (b *Bed) capturing() error {
	file, err := os.OpenFile(b.opt.Capture, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("bed: capture: %w", err)
	}
	c := &capture{file: file}
	b.capture = c
	info, err := file.Stat()
	if err == nil && info.Size() == 0 {
		var head []byte
		for _, v := range []uint32{0xa1b2c3d4, 2 | 4<<16, 0, 0, 65535, 1} { // LINKTYPE_ETHERNET
			head = binary.LittleEndian.AppendUint32(head, v)
		}
		_, err = file.Write(head)
	}
	if err != nil {
		return fmt.Errorf("bed: capture: %w", err)
	}
	listenFor := func(which func([]byte) bool, node string, interfaces ...string) {
		t, e := tap.Open(b.Top.Space(node), func(f tap.Frame) {
			if which(f.Bytes) {
				c.frame(f)
			}
		}, interfaces...)
		if e == nil {
			c.taps = append(c.taps, t)
		}
		err = errors.Join(err, e)
	}
	for _, s := range b.opt.asked() {
		listenFor(toldAAA, s.node, "core")
	}
	if !b.opt.six() {
		return err
	}
	listen := func(node string, interfaces ...string) { listenFor(told, node, interfaces...) }
	for _, n := range b.opt.networks() {
		listen(n.Router, topo.AccessIf, "core", "dhcp")
	}
	listen(topo.HA, "core", "home0")
	listen(topo.CN, "core")
	return err
}

func (c *capture) frame(f tap.Frame) {
	var b []byte
	at, n := f.At, uint32(len(f.Bytes))                                                   //nolint:gosec // of an Ethernet frame
	for _, v := range []uint32{uint32(at.Unix()), uint32(at.Nanosecond() / 1000), n, n} { //nolint:gosec // as the format has it
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.file.Write(append(b, f.Bytes...)); err != nil && c.err == nil {
		c.err = fmt.Errorf("bed: capture: %w", err)
	}
}

// told reports whether a frame is of the messages that are captured.
func told(frame []byte) bool {
	const icmpv6, dhcpClient, dhcpServer = 58, 546, 547
	if len(frame) < etherLen || binary.BigEndian.Uint16(frame[12:]) != unix.ETH_P_IPV6 {
		return false
	}
	p, err := mip6.ParsePacket(frame[etherLen:])
	switch {
	case err != nil:
		return true // somebody should look at it
	case p.Proto == icmpv6, p.Proto == mip6.Protocol:
		return true
	case p.Proto != unix.IPPROTO_UDP || len(p.Payload) < udpHeaderLen:
		return false
	}
	for _, at := range []int{0, 2} {
		if port := binary.BigEndian.Uint16(p.Payload[at:]); port == dhcpClient || port == dhcpServer {
			return true
		}
	}
	return false
}

// toldAAA reports whether a frame at an authentication server is of its own affairs, which are all of IPv4.
func toldAAA(frame []byte) bool {
	return len(frame) >= etherLen && binary.BigEndian.Uint16(frame[12:]) == unix.ETH_P_IP
}

func (c *capture) close() error {
	var errs []error
	for _, t := range c.taps {
		errs = append(errs, t.Settle(), t.Close())
	}
	return errors.Join(append(errs, c.err, c.file.Close())...)
}
