package osnet

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/socket"
	"golang.org/x/sys/unix"
)

// LinkState is one report of WatchLink.
type LinkState struct {
	Up     bool      // packets can pass: administratively up, carrier, operational
	At     time.Time // when the kernel's message was read
	Gone   bool      // the interface does not exist (it may come back under the same name)
	Missed bool      // transitions before this one were not seen: the queue overflowed or the kernel merged a down and an up
}

const (
	watchQueue   = 32      // reports a slow reader may leave lying; then the oldest are dropped, and Missed set
	watchReceive = 1 << 20 // octets of kernel queue
)

// WatchLink reports ifname's carrier: the present state first, then every transition, without polling. The channel is
// closed when ctx ends or the Net is closed. A slow reader loses the oldest reports and learns it by Missed. The
// interface must exist at the start.
func (n *Net) WatchLink(ctx context.Context, ifname string) (<-chan LinkState, error) {
	if _, err := n.link(ifname); err != nil {
		return nil, fmt.Errorf("osnet: watch link: %w", err)
	}
	c, err := n.subscribe(unix.RTNLGRP_LINK)
	if err != nil {
		return nil, fmt.Errorf("osnet: watch link %s: %w", ifname, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		c.Close()
		return nil, ErrClosed
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(n.ctx, cancel)
	w := &linkWatch{name: ifname, out: make(chan LinkState, watchQueue)}
	n.wg.Add(1)
	go func() {
		defer n.wg.Done()
		defer close(w.out)
		defer c.Close()
		defer cancel()
		defer stop()
		if err := w.run(ctx, c); ctx.Err() == nil {
			n.log.Error("link watch ended", "interface", ifname, "error", err)
		}
	}()
	return w.out, nil
}

// subscribe opens a netlink socket in our namespace that receives the given multicast group.
func (n *Net) subscribe(group int) (*socket.Conn, error) {
	var c *socket.Conn
	err := n.Do(func() (err error) {
		c, err = socket.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE, "netlink", nil)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("netlink socket: %w", err)
	}
	if err := c.SetsockoptInt(unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, watchReceive); err != nil {
		_ = c.SetReadBuffer(watchReceive) // not privileged: what the limit allows; an overflow is noticed
	}
	err = c.Bind(&unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	if err == nil {
		err = c.SetsockoptInt(unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, group)
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("subscribe to netlink group %d: %w", group, err)
	}
	return c, nil
}

// linkWatch turns link messages into reports. The state is asked for on the subscribed socket itself, so that the answer
// is in order with the events: what comes before it is older and ignored.
type linkWatch struct {
	name    string
	out     chan LinkState
	seq     uint32 // of the last question
	waiting bool   // for its answer
	missed  bool   // what the answer will report
	known   bool   // the fields below are valid
	gone    bool
	up      bool
	index   int
	changes uint32
}

// run reports until reading fails, as it does when ctx ends, and returns why: never nil.
func (w *linkWatch) run(ctx context.Context, c *socket.Conn) error {
	if err := w.ask(ctx, c); err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	for {
		k, from, err := c.Recvfrom(ctx, buf, 0)
		now := time.Now()
		switch {
		case errors.Is(err, unix.ENOBUFS):
			w.missed = true
			if err := w.ask(ctx, c); err != nil {
				return err
			}
			continue
		case err != nil:
			return err
		}
		if sa, ok := from.(*unix.SockaddrNetlink); !ok || sa.Pid != 0 {
			continue // not from the kernel
		}
		eachMessage(buf[:k], func(typ uint16, seq uint32, body []byte) { w.message(now, typ, seq, body) })
	}
}

// ask requests the present state; what is queued before the answer will be ignored.
func (w *linkWatch) ask(ctx context.Context, c *socket.Conn) error {
	w.seq++
	w.waiting = true
	return c.Sendto(ctx, netlinkFrame(unix.RTM_GETLINK, unix.NLM_F_REQUEST, w.seq, linkRequest(w.name)), 0,
		&unix.SockaddrNetlink{Family: unix.AF_NETLINK})
}

func (w *linkWatch) message(now time.Time, typ uint16, seq uint32, body []byte) {
	answer := w.waiting && seq == w.seq
	if w.waiting && !answer {
		return
	}
	var l linkInfo
	switch typ {
	case unix.NLMSG_ERROR:
		if !answer || int32(u32(body)) == 0 {
			return
		}
		l = linkInfo{name: w.name} // there is no such interface
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		var ok bool
		if l, ok = parseLink(body); !ok {
			return
		}
		switch {
		case typ == unix.RTM_NEWLINK && !l.counted && l.index == w.index:
			return // an event of a wireless driver's, which tells nothing of the carrier
		case l.name == w.name && typ == unix.RTM_NEWLINK:
		case l.index == w.index && w.index != 0: // removed, moved away or renamed
			l = linkInfo{name: w.name}
		default:
			return
		}
	default:
		return
	}
	w.waiting = false
	w.update(now, l)
}

// update reports a transition, or that there were some in between. l.index 0 stands for no interface.
func (w *linkWatch) update(now time.Time, l linkInfo) {
	up, gone := l.carrier(), l.index == 0
	changed := up != w.up || gone != w.gone
	missed := w.missed
	if w.known && !gone && l.index == w.index {
		expected := uint32(1) // a change of carrier is counted before it is operational
		if changed {
			expected = 2
		}
		if l.changes-w.changes > expected {
			missed = true
		}
	}
	if w.known && !changed && !missed {
		return
	}
	w.known, w.missed = true, false
	w.up, w.gone, w.index, w.changes = up, gone, l.index, l.changes
	w.emit(LinkState{Up: up, At: now, Gone: gone, Missed: missed})
}

func (w *linkWatch) emit(s LinkState) {
	for {
		select {
		case w.out <- s:
			return
		default:
		}
		select {
		case <-w.out:
			s.Missed = true
		default:
		}
	}
}

// netlinkFrame puts a netlink header before body.
func netlinkFrame(typ uint16, flags uint16, seq uint32, body []byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = binary.NativeEndian.AppendUint16(b, flags)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = binary.NativeEndian.AppendUint32(b, 0)
	return append(b, body...)
}

// eachMessage calls fn for every netlink message in b.
func eachMessage(b []byte, fn func(typ uint16, seq uint32, body []byte)) {
	for len(b) >= unix.SizeofNlMsghdr {
		size := int(u32(b))
		if size < unix.SizeofNlMsghdr || size > len(b) {
			return
		}
		fn(u16(b[4:]), u32(b[8:]), b[unix.SizeofNlMsghdr:size])
		b = b[min(len(b), (size+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1)):]
	}
}
