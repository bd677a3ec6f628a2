package tunnel

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"openmpa/tunnel/bind"
	"openmpa/tunnel/esp"
	"openmpa/tunnel/flow"
	"openmpa/tunnel/ipip"
)

// TunnelConfig describes a tunnel.
type TunnelConfig struct {
	Socket *Socket        // outer packets leave by it; they may arrive by any of the endpoint's
	Peer   netip.AddrPort // outer address of the other end; may be zero with FollowPeer
	// FollowPeer adopts the outer address, and the socket, of the newest packet that
	// is authentic and no replay: the other end may be behind a NAT.
	FollowPeer bool
	// Moved, if not nil, is given what FollowPeer would adopt, with each such packet and
	// before it: whoever knows what was sent to the old address says when to send to the
	// new one, with Adopt. It runs as Receive does.
	Moved func(Origin)

	Out *esp.Outbound
	In  *esp.Inbound

	// Receive gets inner packets, sane packets of IPv4 or IPv6 of exactly their length. Marker
	// gets markers, and where they came from; nil: they are dropped. Both run on a reader
	// goroutine and must not block; inner is valid until Receive returns. They may call any
	// method of the tunnel.
	Receive func(inner []byte)
	Marker  func(Marker, Origin)

	// AllowSrc and AllowDst, where valid, are the only source and destination that
	// inner packets may have when they arrive, and so say which IP they are of. A router
	// sets AllowSrc to the visitor's address (RFC 3948 section 3.1.1), the visitor AllowDst.
	AllowSrc, AllowDst netip.Addr

	// Marking makes DSCP and ECN of outer packets; zero copies the inner ones.
	Marking ipip.Marking

	// Keepalive, if not zero, is how long nothing was sent before a NAT keepalive
	// is (RFC 3948 section 4; 20 s is its default).
	Keepalive time.Duration
	// Lifetime, if not zero, ends both halves of the security association that
	// long after Add. Expired, if not nil, is told, on a goroutine of its own.
	Lifetime time.Duration
	Expired  func()

	// Plain, if not nil, carries packets by IP in IP while the peer's outer address is
	// PlainPeer. PlainInner is the node's inner address: the only source of what a
	// router gets, the only destination of what a node gets.
	Plain      *Plain
	PlainPeer  netip.Addr
	PlainInner netip.Addr

	// Numbered, if not nil, gets packets with a shim header; else they are dropped. It
	// runs as Receive does.
	Numbered func(s flow.Shim, inner []byte)

	// Unsent, if not nil, is told of each packet that Queue took and that could not leave
	// in the end; of one without a number that is the zero Shim, or QueueAs's. It runs
	// inside whatever call sends, and must not call the tunnel.
	Unsent func(flow.Shim)

	// RekeyDue, if not nil, is told, on a goroutine of its own, that a successor of the
	// security association is wanted by the bounds of Rekey: Offer and Confirm bring it.
	// It is told again when a successor was offered and abandoned.
	RekeyDue func()
	Rekey    esp.RekeyLimits
}

func (c *TunnelConfig) check(e *Endpoint) error {
	switch {
	case c.Socket == nil || c.Socket.e != e:
		return errors.New("tunnel: no socket of this endpoint given")
	case c.In == nil || c.Out == nil:
		return errors.New("tunnel: both halves of a security association are needed")
	case c.Receive == nil:
		return errors.New("tunnel: nobody to receive inner packets")
	case c.Plain != nil && (c.Plain.e != e || !c.Plain.carriesFamily(c.PlainPeer) || !c.Plain.carriesFamily(c.PlainInner)):
		return fmt.Errorf("tunnel: IP in IP with %v for %v, expected a socket of this endpoint and addresses of its family", c.PlainPeer, c.PlainInner)
	case c.Peer == netip.AddrPort{} && c.FollowPeer:
	case !c.Peer.Addr().IsValid() || c.Peer.Addr().Is4() != c.Socket.LocalAddr().Addr().Is4() || c.Peer.Port() == 0:
		return fmt.Errorf("tunnel: peer %v, expected an address of the family of %v and a port", c.Peer, c.Socket.LocalAddr())
	}
	if c.Keepalive < 0 || c.Lifetime < 0 {
		return fmt.Errorf("tunnel: keepalive %v and lifetime %v, expected no negative time", c.Keepalive, c.Lifetime)
	}
	return nil
}

// path is where outer packets go.
type path struct {
	socket *Socket
	peer   netip.AddrPort
}

// Tunnel is one tunnel. Its methods may be called concurrently; packets that
// one goroutine sends keep their order.
type Tunnel struct {
	// fixed after Add
	e   *Endpoint
	cfg TunnelConfig

	// atomic
	path     atomic.Pointer[path]         // written under mu
	sas      atomic.Pointer[associations] // written under mu
	closed   atomic.Bool                  // sends nothing, and is not rekeyed; written under mu
	deaf     atomic.Bool                  // takes nothing, either
	lastSent atomic.Int64                 // monotonic, see now
	counters counters
	done     chan struct{} // closed by Close, or Linger before it

	queued queued

	rx     sync.Mutex // held while a packet is received, so that callbacks come one at a time
	newest path       // guarded by rx: of the newest packet, with FollowPeer

	mu        sync.Mutex
	keepalive *time.Timer   // guarded by mu
	lifetime  *time.Timer   // guarded by mu
	rotate    *time.Timer   // guarded by mu
	rotation  *esp.Rotation // guarded by mu
	told      bool          // guarded by mu: RekeyDue was, and nothing was offered since
}

func newTunnel(e *Endpoint, cfg TunnelConfig) *Tunnel {
	if cfg.Rekey.Linger == 0 {
		cfg.Rekey.Linger = defaultLinger
	}
	if cfg.Rekey.Patience == 0 {
		cfg.Rekey.Patience = defaultPatience
	}
	t := &Tunnel{e: e, cfg: cfg, done: make(chan struct{})}
	t.path.Store(&path{socket: cfg.Socket, peer: cfg.Peer})
	t.rotation = esp.NewRotation(time.Now(), esp.Pair{In: cfg.In, Out: cfg.Out}, cfg.Rekey)
	t.publish()
	t.bound(t.rotation.Current())
	return t
}

// Peer is the outer address of the other end; zero while it is not known.
func (t *Tunnel) Peer() netip.AddrPort { return t.path.Load().peer }

// Socket is the socket by which outer packets leave.
func (t *Tunnel) Socket() *Socket { return t.path.Load().socket }

// SPI is the index by which arriving packets name this tunnel; after rekeying, that of
// the current security association.
func (t *Tunnel) SPI() uint32 { return t.sas.Load().in[0].SPI() }

// PeerSPI is the index by which packets to the peer name the current security association.
func (t *Tunnel) PeerSPI() uint32 { return t.sas.Load().out.SPI() }

// Done is closed when the tunnel is, or lingers.
func (t *Tunnel) Done() <-chan struct{} { return t.done }

// Stats returns the counters.
func (t *Tunnel) Stats() Stats { return t.counters.stats() }

// Rebind makes outer packets leave by another socket and go to another peer
// address from now on, e.g. after this end has moved.
func (t *Tunnel) Rebind(s *Socket, peer netip.AddrPort) error {
	next := t.cfg
	next.Socket, next.Peer = s, peer
	if err := next.check(t.e); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed.Load() {
		return ErrClosed
	}
	t.path.Store(&path{socket: s, peer: peer})
	return nil
}

// buffers holds room for outer packets; larger than most, so that only jumbo
// packets ever grow one.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 2048); return &b }}

// Send sends one packet of IPv4 or IPv6 through the tunnel; octets behind its total length
// are left out. A packet that is not sent is counted, and the error says why: it
// matches ErrClosed, ErrNoPeer, ipip.ErrFormat, esp.ErrExpired,
// esp.ErrSequenceExhausted or the kernel's. inner is not kept.
func (t *Tunnel) Send(inner []byte) error {
	inner, err := t.sane(inner)
	if err != nil {
		return err
	}
	return t.carry(*t.path.Load(), nil, inner, nextHeader(inner))
}

// nextHeader is the next header of ESP for a sane inner packet.
func nextHeader(inner []byte) byte {
	if inner[0]>>4 == 6 {
		return esp.NextHeaderIPv6
	}
	return esp.NextHeaderIPv4
}

// sane returns an inner packet without what is behind it.
func (t *Tunnel) sane(inner []byte) ([]byte, error) {
	_, _, _, total, err := ipip.Parse(inner)
	if err != nil {
		return nil, t.notSent(ReasonInner, fmt.Errorf("tunnel: packet to be sent: %w", err))
	}
	return inner[:total], nil
}

// shimmed is sane for a packet that goes behind a shim header, which it puts into room.
func (t *Tunnel) shimmed(room []byte, s flow.Shim, inner []byte) (head, sane []byte, err error) {
	if sane, err = t.sane(inner); err != nil {
		return nil, nil, err
	}
	if head, err = s.AppendBinary(room); err != nil {
		return nil, nil, t.notSent(ReasonShim, fmt.Errorf("tunnel: packet to be sent: %w", err))
	}
	return head, sane, nil
}

// carry transmits an inner packet, behind head, and counts it.
func (t *Tunnel) carry(p path, head, inner []byte, nextHeader byte) error {
	if len(head) == 0 && t.plainly(&p) {
		return t.sendPlain(inner)
	}
	if err := t.transmitBy(p, head, inner, nextHeader, t.cfg.Marking.Outer(ipip.TOS(inner))); err != nil {
		return err
	}
	t.counters.sent.Add(1)
	t.counters.sentBytes.Add(uint64(len(inner)))
	return nil
}

// SendMarker sends a marker behind all that was sent before. It goes as best
// effort: a network that sorts by DSCP may let other classes pass it.
func (t *Tunnel) SendMarker(m Marker) error { return t.sendMarker(*t.path.Load(), m) }

// SendMarkerTo is SendMarker to another outer address of the peer, behind what was sent
// there: see SendNumberedTo.
func (t *Tunnel) SendMarkerTo(to netip.AddrPort, m Marker) error {
	p := *t.path.Load()
	p.peer = to
	return t.sendMarker(p, m)
}

func (t *Tunnel) sendMarker(p path, m Marker) error {
	var room [markerLen + 1]byte
	b, err := m.AppendBinary(room[:0])
	if err != nil {
		return t.notSent(ReasonMarker, err)
	}
	if err := t.transmitBy(p, nil, b, esp.NextHeaderDummy, 0); err != nil {
		return err
	}
	t.counters.markersOut.Add(1)
	return nil
}

// Refresh sends an empty dummy packet (RFC 4303 section 2.6): the peer's address
// is followed by what is authentic, which a NAT keepalive is not.
func (t *Tunnel) Refresh() error { return t.transmit(nil, nil, esp.NextHeaderDummy, 0) }

// SendNumbered is Send for a packet that carries its place in a numbering: the peer
// has agreed to take such. An error of the shim header matches flow.ErrFormat.
func (t *Tunnel) SendNumbered(s flow.Shim, inner []byte) error {
	return t.sendNumbered(*t.path.Load(), s, inner)
}

// SendNumberedTo is SendNumbered to another outer address of the peer, by the same
// security association: where it will be.
func (t *Tunnel) SendNumberedTo(to netip.AddrPort, s flow.Shim, inner []byte) error {
	p := *t.path.Load()
	p.peer = to
	return t.sendNumbered(p, s, inner)
}

func (t *Tunnel) sendNumbered(p path, s flow.Shim, inner []byte) error {
	var room [flow.ShimLen]byte
	head, inner, err := t.shimmed(room[:0], s, inner)
	if err != nil {
		return err
	}
	return t.carry(p, head, inner, esp.NextHeaderNumbered)
}

// transmit seals head and payload and sends them behind what is queued, or counts and
// says why not.
func (t *Tunnel) transmit(head, payload []byte, nextHeader byte, tos uint8) error {
	return t.transmitBy(*t.path.Load(), head, payload, nextHeader, tos)
}

// transmitBy is transmit by a path. Sequence numbers leave in their order: a sender that is held
// up between sealing and sending would find its packet left of the peer's replay window when
// others have sent more than that meanwhile.
func (t *Tunnel) transmitBy(p path, head, payload []byte, nextHeader byte, tos uint8) error {
	t.queued.mu.Lock()
	defer t.queued.mu.Unlock()
	t.flush()
	if t.closed.Load() {
		return t.notSent(ReasonClosed, ErrClosed)
	}
	if !p.peer.IsValid() {
		return t.notSent(ReasonNoPeer, ErrNoPeer)
	}
	buf := buffers.Get().(*[]byte)
	if len(head) > 0 {
		if n := esp.SealedLen(len(head) + len(payload)); cap(*buf) < n {
			*buf = make([]byte, 0, n)
		}
		payload = append(append((*buf)[:esp.Headroom], head...), payload...)[esp.Headroom:]
	}
	pkt, err := t.sas.Load().out.Seal((*buf)[:0], payload, nextHeader)
	if err == nil {
		err = p.socket.udp.Send(p.peer, pkt, tos)
	}
	*buf = pkt[:0]
	buffers.Put(buf)
	if err != nil {
		return t.failed(err, 1)
	}
	t.sentNow()
	return nil
}

func (t *Tunnel) notSent(r Reason, err error) error {
	t.counters.droppedOut.add(r)
	return err
}

// receive takes one packet with this tunnel's SPI.
func (t *Tunnel) receive(s *Socket, p *bind.Packet) {
	t.rx.Lock()
	defer t.rx.Unlock()
	t.counters.received.Add(1)
	if r := t.deliver(s, p); r != "" {
		t.counters.droppedIn.add(r)
		t.e.dropped.add(r)
	}
}

// deliver returns the reason if the packet is to be dropped.
func (t *Tunnel) deliver(s *Socket, p *bind.Packet) Reason {
	if t.deaf.Load() {
		return ReasonClosed
	}
	late := t.closed.Load()
	sas := t.sas.Load()
	_, spi := esp.Classify(p.Data)
	in := sas.accepting(spi)
	if in == nil {
		return ReasonUnknownSPI
	}
	got, err := in.OpenPacket(p.Data)
	if err != nil {
		return openReason(err)
	}
	current := !sas.watch || t.arrived(in)
	from := path{socket: s, peer: p.From}
	if t.cfg.FollowPeer && got.Newest && current && !late {
		t.newest = from
		t.follow(Origin{t: t, at: from})
	}
	switch got.NextHeader {
	case esp.NextHeaderIPv4, esp.NextHeaderIPv6:
		if len(got.Inner) > 0 && nextHeader(got.Inner) != got.NextHeader {
			return ReasonInner
		}
		return t.deliverInner(&t.counters.delivered, nil, got.Inner, p.TOS)
	case esp.NextHeaderNumbered:
		if t.cfg.Numbered == nil {
			return ReasonNextHeader
		}
		shim, inner, err := flow.ParseShim(got.Inner)
		if err != nil {
			return ReasonShim
		}
		return t.deliverInner(&t.counters.delivered, &shim, inner, p.TOS)
	case esp.NextHeaderDummy:
		m, err := ParseMarker(got.Inner)
		switch {
		case err == errNotMarker:
			return ReasonDummy
		case err != nil || t.cfg.Marker == nil:
			return ReasonMarker
		case late: // what it says is over
			return ReasonClosed
		}
		t.counters.markersIn.Add(1)
		origin := Origin{}
		if t.newest == from {
			origin = Origin{t: t, at: from}
		}
		t.cfg.Marker(m, origin)
		return ""
	}
	return ReasonNextHeader
}

// deliverInner gives an inner packet to Receive, or, with a shim header, to Numbered, and
// counts it before.
func (t *Tunnel) deliverInner(delivered *atomic.Uint64, shim *flow.Shim, inner []byte, outerTOS uint8) Reason {
	src, dst, _, total, err := ipip.Parse(inner)
	if err != nil {
		return ReasonInner
	}
	inner = inner[:total:total] // what is behind is TFC padding (RFC 4303 section 2.7)
	switch {
	case t.cfg.AllowSrc.IsValid() && src != t.cfg.AllowSrc:
		return ReasonSource
	case t.cfg.AllowDst.IsValid() && dst != t.cfg.AllowDst:
		return ReasonDestination
	}
	alarm, err := ipip.DecapsulateECN(inner, outerTOS)
	if alarm != ipip.Usual {
		t.counters.ecnAlarms.Add(1)
	}
	if err != nil {
		return innerReason(err)
	}
	delivered.Add(1)
	if t.closed.Load() {
		t.e.late.Add(1)
	}
	t.counters.deliveredBytes.Add(uint64(total))
	if shim != nil {
		t.cfg.Numbered(*shim, inner)
	} else {
		t.cfg.Receive(inner)
	}
	return ""
}

// Linger ends the tunnel but for inner packets that arrive: those that the peer has sent
// before, and that are still on their way, are delivered, and counted as such, until
// Close. Nothing is sent from here on, markers are dropped, and the peer is followed no more.
func (t *Tunnel) Linger() {
	t.end()
	t.Flush()
}

// Close ends the tunnel when what is queued has left: from here on packets with its SPI are counted as
// unknown and Send fails. A callback that already runs is not waited for, so a
// callback may call it. It may be called again.
func (t *Tunnel) Close() {
	t.deaf.Store(true)
	t.end()
	t.Flush()
	t.e.remove(t)
}

// end ends all but the receipt of inner packets.
func (t *Tunnel) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed.Swap(true) {
		close(t.done)
	}
	t.stopTimers()
}
