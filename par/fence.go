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
	"openmpa/internal/osnet"
	"openmpa/internal/standstill"
)

// fence sends packets of the router's own through the TUN: when one has come
// out, everything that went in before it has come out too.
type fence struct {
	conn net.Conn
	near netip.Addr // the TUN's own: no packet from elsewhere has it
	far  netip.Addr // routed into the TUN, nobody's

	mu      sync.Mutex
	last    uint32
	waiting map[uint32]*crossing
}

// crossing is a flip: one packet of the fence on its way, and what follows when it has come
// out. The reader says when, the sender has packets wait in the kernel, and a second packet
// of the fence says that all before them has come out.
type crossing struct {
	visitor *visitor
	gen     uint64      // of the arrival
	route   osnet.Route // that brings the visitor's packets into the TUN
	way     *standstill.Way
	began   time.Time     // when its drain was over
	late    bool          // flip in any case
	kernel  time.Duration // how long the kernel takes to change a route
	sent    time.Time
	transit time.Duration // how long the fence took; of the reader, before it is done with it
	before  uint64        // packets that had come when the flip began; written before state going
	state   atomic.Uint32 // underway, going, then waiting, deleted or kept
	out     bool          // the second packet has come out; the reader's
	astray  bool          // the kernel would not delete the route; the sender's
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
	if c.late {
		return f.force(c)
	}
	c.sent = time.Now()
	n := f.send(c)
	for end := time.Now().Add(attention); c.state.Load() == underway && len(c.done) == 0 && time.Now().Before(end); {
		v.r.host.Yield()
	}
	wait := time.After(fenceWait)
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
	defer v.flipOver()
	v.mu.Lock()
	came, waits := v.group.In() != c.before, v.waits(c)
	v.mu.Unlock()
	if came && !waits || v.hurried() {
		c.state.Store(kept)
		return <-c.done
	}
	err := errNoPause
	if waits {
		err = c.way.Wait() // and if something has come it is ahead of the next packet of the fence
	}
	if err != nil {
		c.state.Store(v.instead(c, err))
		return <-c.done
	}
	c.state.Store(waiting)
	for {
		n = f.send(c)
		select {
		case w := <-c.done:
			f.lost(n)
			v.release(c)
			return w
		case <-time.After(fenceWait):
			f.lost(n)
		}
	}
}

// force flips c's visitor without the reader, which may have more to do than it can.
func (f *fence) force(c *crossing) verdict {
	v := c.visitor
	if !v.beginFlip(c) {
		return notSilent
	}
	defer v.flipOver()
	if err := c.way.Wait(); err != nil {
		c.state.Store(v.instead(c, err))
		return v.endFlip(c, false)
	}
	c.state.Store(waiting)
	for end := time.Now().Add(standstill.Longest); !f.came(c) && !v.hurried() && time.Now().Before(end) && v.r.ctx.Err() == nil; {
	}
	w := v.endFlip(c, false)
	v.release(c)
	return w
}

// came sends a packet through the TUN for c and says whether it came out in time.
func (f *fence) came(c *crossing) bool {
	n := f.send(c)
	select {
	case <-c.done:
		return true
	case <-time.After(fenceWait):
		return !f.lost(n)
	}
}

// instead has the kernel deliver at once where packets cannot wait, for why.
func (v *visitor) instead(c *crossing, why error) uint32 {
	if why != errNoPause {
		v.say(why)
	}
	if err := v.uncapture(c); err != nil {
		v.say(err)
		v.say(v.r.host.SetRoute(c.route)) // some may wait
		return kept
	}
	return deleted
}

// release sends what waits, and has what comes go by the kernel's connected route.
func (v *visitor) release(c *crossing) {
	v.mu.Lock()
	mac := v.mac
	v.mu.Unlock()
	v.say(c.way.Release(mac))
	if err := v.uncapture(c); err != nil {
		v.say(err)
		c.astray = true
	}
}

// uncapture leaves the care-of address to the kernel's connected route. It does not keep the
// lock meanwhile: packets go on.
func (v *visitor) uncapture(c *crossing) error { return v.r.host.DelRoute(c.route) }

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
