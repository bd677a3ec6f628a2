package par

import (
	"encoding/binary"
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

	mu      sync.Mutex
	last    uint32
	waiting map[uint32]*crossing
}

// crossing is one packet of the fence on its way, and what follows when it has
// come out: the reader says when to delete the route, the sender deletes it.
type crossing struct {
	visitor *visitor
	gen     uint64        // of the arrival
	began   time.Time     // when its drain was over
	late    bool          // flip in any case
	kernel  time.Duration // how long the kernel takes to change a route
	sent    time.Time
	transit time.Duration // how long the fence took; of the reader, before it is done with it
	before  uint64        // packets that had come when the flip began; written before state going
	state   atomic.Uint32 // underway, going, then deleted or kept
	going   chan struct{} // closed with state going
	done    chan verdict  // capacity 1
}

const (
	underway uint32 = iota
	going
	deleted
	kept // a packet came before the route was deleted
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

// cross sends one packet through the TUN for c and returns what the reader made of it.
func (f *fence) cross(c *crossing) verdict {
	v := c.visitor
	c.going, c.done = make(chan struct{}), make(chan verdict, 1)
	c.sent = time.Now()
	f.mu.Lock()
	f.last++
	n := f.last
	f.waiting[n] = c
	f.mu.Unlock()
	if _, err := f.conn.Write(binary.BigEndian.AppendUint32(nil, n)); err != nil {
		v.r.cfg.Log.Warn("fence not sent", "err", err)
	}
	for end := time.Now().Add(attention); c.state.Load() == underway && len(c.done) == 0 && time.Now().Before(end); {
		v.r.host.Yield()
	}
	select {
	case w := <-c.done:
		return w
	case <-c.going:
	case <-time.After(fenceWait):
		if f.lost(n) {
			return notSilent
		}
		select { // the reader has it
		case w := <-c.done:
			return w
		case <-c.going:
		}
	}
	if c.late || v.packets() == c.before {
		v.uncapture()
		c.state.Store(deleted)
	} else {
		c.state.Store(kept)
	}
	return <-c.done
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
