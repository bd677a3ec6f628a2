package par

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"openmpa/internal/host"
)

// fence sends packets of the router's own through the TUN: when one has come
// out, everything that went in before it has come out too.
type fence struct {
	conn net.Conn
	near netip.Addr // the TUN's own: no packet from elsewhere has it
	far  netip.Addr // routed into the TUN, nobody's

	turn sync.Mutex // of the visitor whose packets wait on the access link: see package standstill

	mu      sync.Mutex
	last    uint32
	waiting map[uint32]*crossing
}

// crossing is a flip: one packet of the fence on its way, and what follows when it has come
// out. The reader says when, the sender has packets wait in the kernel, and a second packet
// of the fence says that all before them has come out.
type crossing struct {
	visitor *visitor
	gen     uint64        // of the arrival
	began   time.Time     // when its drain was over
	late    bool          // flip in any case
	kernel  time.Duration // how long the kernel takes to change a route
	sent    time.Time
	transit time.Duration // how long the fence took; of the reader, before it is done with it
	before  uint64        // packets that had come when the flip began; written before state going
	state   atomic.Uint32 // underway, going, then waiting, deleted or kept
	out     bool          // the second packet has come out; the reader's
	going   chan struct{} // closed with state going
	done    chan verdict  // capacity 1
}

const (
	underway uint32 = iota
	going
	waiting // what comes waits in the kernel
	deleted // or is delivered by it
	kept    // a packet came before that
)

// begin is called by the reader.
func (c *crossing) begin() {
	c.state.Store(going)
	close(c.going)
}

// attention is how long a sender watches for the reader's word without
// sleeping, since waking up takes longer than what it waits for.
const attention = time.Millisecond

// fenceWait bounds the wait for one fence: a full queue may have dropped it.
const fenceWait = 20 * time.Millisecond

var errNoPause = errors.New("packets come too often")

func newFence(s host.Sockets, p netip.Prefix) (*fence, error) {
	far := p.Masked().Addr()
	if far == p.Addr() {
		far = far.Next()
	}
	if p.Bits() != 31 || !far.Is4() {
		return nil, fmt.Errorf("address %s of the TUN: expected an IPv4 prefix of length 31, whose other address is free", p)
	}
	conn, err := s.DialUDP("", netip.AddrPortFrom(p.Addr(), 0), netip.AddrPortFrom(far, 9))
	if err != nil {
		return nil, fmt.Errorf("fence: %w", err)
	}
	return &fence{conn: conn, near: p.Addr(), far: far, waiting: map[uint32]*crossing{}}, nil
}

// cross sends one packet through the TUN for c and returns what the reader made of it. If
// that is a flip, the kernel has what waited on its way to the node.
func (f *fence) cross(c *crossing) verdict {
	v := c.visitor
	c.going, c.done = make(chan struct{}), make(chan verdict, 1)
	c.sent = time.Now()
	n := f.send(c)
	for end := time.Now().Add(attention); c.state.Load() == underway && len(c.done) == 0 && time.Now().Before(end); {
		v.r.host.Yield()
	}
	wait := time.After(fenceWait)
	if c.late {
		wait = time.After(outWithin) // behind whatever is in the TUN
	}
	for c.state.Load() == underway {
		select {
		case w := <-c.done:
			return w
		case <-c.going:
		case <-wait:
			if f.lost(n) {
				return notSilent
			}
			wait = nil // the reader has it
		}
	}
	f.turn.Lock()
	defer f.turn.Unlock()
	if !c.late && v.packets() != c.before {
		c.state.Store(kept)
		w := <-c.done
		v.flipOver()
		return w
	}
	way := v.way()
	err := errNoPause
	if c.late || v.lasts(standing) {
		err = way.Wait()
	}
	if err != nil { // the kernel delivers at once
		if v.say(v.uncapture()); err != errNoPause {
			v.say(err)
		}
		c.state.Store(deleted)
		w := <-c.done
		v.flipOver()
		return w
	}
	c.state.Store(waiting)
	for {
		n = f.send(c)
		select {
		case w := <-c.done:
			f.lost(n)
			v.mu.Lock()
			mac := v.mac
			v.mu.Unlock()
			v.say(way.Release(mac))
			v.say(v.uncapture())
			v.flipOver()
			v.say(way.Forget())
			return w
		case <-time.After(fenceWait):
			f.lost(n)
		}
	}
}

// send sends a packet through the TUN, whose number it returns.
func (f *fence) send(c *crossing) uint32 {
	f.mu.Lock()
	f.last++
	n := f.last
	f.waiting[n] = c
	f.mu.Unlock()
	if _, err := f.conn.Write(binary.BigEndian.AppendUint32(nil, n)); err != nil {
		c.visitor.r.cfg.Log.Warn("fence not sent", "err", err)
	}
	return n
}

// lost takes fence n back, unless it has come out.
func (f *fence) lost(n uint32) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, waiting := f.waiting[n]
	delete(f.waiting, n)
	return waiting
}

// crossed is called by the TUN's reader with a packet for far.
func (f *fence) crossed(pkt []byte) *crossing {
	const headers = 20 + 8
	if len(pkt) != headers+4 || netip.AddrFrom4([4]byte(pkt[12:16])) != f.near {
		return nil
	}
	n := binary.BigEndian.Uint32(pkt[headers:])
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.waiting[n]
	delete(f.waiting, n)
	return c
}

func (f *fence) close() { _ = f.conn.Close() }
