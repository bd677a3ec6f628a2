package tunnel

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"openmpa/tunnel/bind"
	"openmpa/tunnel/ipip"
)

// IPIP is a socket for IP in IP, as *bind.IPIP is one.
type IPIP interface {
	LocalAddr() netip.Addr
	Send(dst netip.Addr, inner []byte, tos uint8) error
	ReadBatch(b *bind.Batch) ([]bind.Packet, error)
	Stats() bind.Stats
	Close() error
}

// Plain carries packets of tunnels by IP in IP (RFC 2003, or RFC 2473 for IPv6), neither encrypted nor
// authenticated, where both ends want that. The ESP of the same tunnel stays for
// everything else: markers, packets with numbers, and packets to a peer that has moved.
//
//	Send ----+-- the peer is where it said --> IP in IP
//	         +-- elsewhere by now -----------> ESP
//	SendMarker, SendNumbered, Refresh -------> ESP
//
// What arrives is taken from the peer's outer address only, where whoever made the tunnel
// knows it to be until ESP says that it is elsewhere, and with the inner address of the
// tunnel only. Such a tunnel queues nothing. Markers are behind the
// packets sent before them as far as the network keeps the order of different flows.
type Plain struct {
	// fixed after AttachPlain
	e    *Endpoint
	ipip IPIP
	done chan struct{} // closed by Close

	mu      sync.RWMutex
	tunnels map[netip.Addr]*Tunnel // by inner address of the node; guarded by mu
	closed  bool                   // guarded by mu

	received, foreign atomic.Uint64
}

// AttachPlain begins to read s, which belongs to the endpoint from then on: it is
// closed in the end, and after an error.
func (e *Endpoint) AttachPlain(s IPIP) (*Plain, error) {
	p := &Plain{e: e, ipip: s, done: make(chan struct{}), tunnels: map[netip.Addr]*Tunnel{}}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		_ = s.Close()
		return nil, ErrClosed
	}
	e.plain[p] = true
	e.wg.Add(1)
	go e.read(s, s.LocalAddr(), p.done, p.packet)
	return p, nil
}

// Foreign counts the packets that were no tunnel's: those of others on this machine who
// speak IP in IP arrive here, too.
func (p *Plain) Foreign() uint64 { return p.foreign.Load() }

// Close closes the socket. Tunnels that use it send by ESP from then on. It may be called again.
func (p *Plain) Close() error {
	p.mu.Lock()
	if !p.closed {
		close(p.done)
	}
	p.closed = true
	clear(p.tunnels)
	p.mu.Unlock()
	p.e.mu.Lock()
	delete(p.e.plain, p)
	p.e.mu.Unlock()
	if err := p.ipip.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// carriesFamily says whether a is of the family of its packets, inside and outside.
func (p *Plain) carriesFamily(a netip.Addr) bool {
	return a.IsValid() && a.Is4() == p.ipip.LocalAddr().Is4()
}

// add has packets with t's inner address go to t.
func (p *Plain) add(t *Tunnel) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.tunnels[t.cfg.PlainInner] = t
	}
}

func (p *Plain) remove(t *Tunnel) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tunnels[t.cfg.PlainInner] == t {
		delete(p.tunnels, t.cfg.PlainInner)
	}
}

// carries says whether t is one of its tunnels.
func (p *Plain) carries(t *Tunnel) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.tunnels[t.cfg.PlainInner] == t
}

// packet finds the tunnel of an inner packet: at a router it comes from the node's
// address, at the node it goes to that.
func (p *Plain) packet(pkt *bind.Packet) {
	p.received.Add(1)
	src, dst, _, _, err := ipip.Parse(pkt.Data)
	if err != nil {
		p.foreign.Add(1)
		return
	}
	p.mu.RLock()
	t := p.tunnels[src]
	if t == nil {
		t = p.tunnels[dst]
	}
	p.mu.RUnlock()
	if t == nil || pkt.From.Addr() != t.cfg.PlainPeer {
		p.foreign.Add(1)
		return
	}
	t.receivePlain(pkt)
}

// receivePlain takes a packet from the outer address that the peer had at first.
func (t *Tunnel) receivePlain(p *bind.Packet) {
	t.rx.Lock()
	defer t.rx.Unlock()
	t.counters.received.Add(1)
	r := ReasonOuter
	switch {
	case t.deaf.Load():
		r = ReasonClosed
	case t.plainly(t.path.Load()):
		r = t.deliverInner(&t.counters.plainIn, nil, p.Data, p.TOS)
	}
	if r != "" {
		t.counters.droppedIn.add(r)
		t.e.dropped.add(r)
	}
}

// plainly says whether packets go by IP in IP to the peer: it is where it said, as far as
// is known, and so are we.
func (t *Tunnel) plainly(p *path) bool {
	return t.cfg.Plain != nil && p.socket == t.cfg.Socket && (p.peer.Addr() == t.cfg.PlainPeer || !p.peer.IsValid()) && t.cfg.Plain.carries(t)
}

// sendPlain sends an inner packet by IP in IP.
func (t *Tunnel) sendPlain(inner []byte) error {
	if t.closed.Load() {
		return t.notSent(ReasonClosed, ErrClosed)
	}
	if err := t.cfg.Plain.ipip.Send(t.cfg.PlainPeer, inner, t.cfg.Marking.Outer(ipip.TOS(inner))); err != nil {
		return t.failed(err, 1)
	}
	t.counters.sent.Add(1)
	t.counters.plain.Add(1)
	t.counters.sentBytes.Add(uint64(len(inner)))
	return nil
}
