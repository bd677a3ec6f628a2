package simnet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"openmpa/internal/host"
	"openmpa/tunnel/bind"
	"openmpa/tunnel/ipip"
)

// socketQueue is how many packets wait for the reader of a socket.
const socketQueue = 4096

var _ host.Host = (*machineHost)(nil)

// inbox is the queue of a socket.
type inbox struct {
	ch   chan []byte
	done chan struct{}
	once sync.Once
}

func newInbox(size int) *inbox {
	return &inbox{ch: make(chan []byte, size), done: make(chan struct{})}
}

// put reports false if the queue is full.
func (b *inbox) put(pkt []byte) bool {
	select {
	case b.ch <- pkt:
		return true
	default:
		return false
	}
}

// shut wakes the reader for good; it reports whether it was the first to do so.
func (b *inbox) shut() (first bool) {
	b.once.Do(func() {
		first = true
		close(b.done)
	})
	return first
}

func (b *inbox) closed() bool {
	select {
	case <-b.done:
		return true
	default:
		return false
	}
}

// get waits for a packet, until one of the others says to stop.
func (b *inbox) get(stop <-chan struct{}) (pkt []byte, ok bool) {
	if b.closed() {
		return nil, false
	}
	select {
	case pkt = <-b.ch:
		return pkt, true
	case <-b.done:
	case <-stop:
	}
	return nil, false
}

// lose counts what nobody will read. The caller holds mu.
func (b *inbox) lose(m *Machine) {
	for {
		select {
		case pkt := <-b.ch:
			m.w.lost(m.name, ReasonClosed, pkt)
		default:
			return
		}
	}
}

// udpSocket is a UDP socket: plain, connected, or for ESP. Packets in its queue are
// whole.
type udpSocket struct {
	h      *machineHost
	m      *Machine
	local  netip.AddrPort
	remote netip.AddrPort // zero: from anybody
	dev    string
	in     *inbox
	expiry *deadline
}

// open binds a socket. The caller holds mu.
func (h *machineHost) openUDP(local, remote netip.AddrPort, dev string) (*udpSocket, error) {
	m := h.m
	a := local.Addr()
	if !a.IsValid() {
		a = netip.IPv4Unspecified()
	}
	if !a.IsUnspecified() && !m.isLocal(a) {
		return nil, fmt.Errorf("simnet: %s: bind to %v: %w", m.name, local, unix.EADDRNOTAVAIL)
	}
	port := local.Port()
	taken := func(p uint16) bool {
		return slices.ContainsFunc(m.udp, func(s *udpSocket) bool {
			o := s.local.Addr()
			return s.local.Port() == p && (o == a || o.IsUnspecified() || a.IsUnspecified()) && !(s.remote.IsValid() && remote.IsValid() && s.remote != remote)
		})
	}
	for port == 0 || local.Port() == 0 && taken(port) {
		if m.nextPort++; m.nextPort < 32768 {
			m.nextPort = 32768
		}
		port = m.nextPort
	}
	if taken(port) {
		return nil, fmt.Errorf("simnet: %s: bind to %v: %w", m.name, local, unix.EADDRINUSE)
	}
	s := &udpSocket{h: h, m: m, local: netip.AddrPortFrom(a, port), remote: remote, dev: dev, in: newInbox(socketQueue), expiry: newDeadline()}
	m.udp = append(m.udp, s)
	h.socks[s] = s.shut
	return s, nil
}

func (s *udpSocket) shut() {
	if s.in.shut() {
		s.m.udp = slices.DeleteFunc(s.m.udp, func(o *udpSocket) bool { return o == s })
		s.in.lose(s.m)
	}
}

// socketFor finds the socket of a datagram: the most particular one.
func (m *Machine) socketFor(from, to netip.AddrPort) (best *udpSocket) {
	score := -1
	for _, s := range m.udp {
		a := s.local.Addr()
		if s.local.Port() != to.Port() || a != to.Addr() && !a.IsUnspecified() || s.remote.IsValid() && s.remote != from {
			continue
		}
		n := 0
		if s.remote.IsValid() {
			n = 2
		}
		if a == to.Addr() {
			n++
		}
		if n > score {
			best, score = s, n
		}
	}
	return best
}

func (s *udpSocket) offer(pkt []byte) {
	if !s.in.put(pkt) {
		s.m.w.lost(s.m.name, ReasonQueue, pkt)
	}
}

// ListenUDP implements host.Sockets.
func (h *machineHost) ListenUDP(local netip.AddrPort) (u host.UDP, err error) {
	err = h.change(func() error {
		s, err := h.openUDP(local, netip.AddrPort{}, "")
		if err == nil {
			u = s
		}
		return err
	})
	return u, err
}

// DialUDP implements host.Sockets.
func (h *machineHost) DialUDP(dev string, local, remote netip.AddrPort) (c net.Conn, err error) {
	err = h.change(func() error {
		if !local.Addr().IsValid() || local.Addr().IsUnspecified() {
			_, _, src, ok := h.m.lookup(flow{dst: remote.Addr(), oif: dev})
			if !ok {
				return fmt.Errorf("simnet: %s: to %v: %w", h.m.name, remote, unix.ENETUNREACH)
			}
			local = netip.AddrPortFrom(src, local.Port())
		}
		s, err := h.openUDP(local, remote, dev)
		if err == nil {
			c = s
		}
		return err
	})
	return c, err
}

func quietly([]byte) {}

// write sends one datagram; before is told of its whole packet if there is a route.
func (s *udpSocket) write(b []byte, to netip.AddrPort, tos uint8, before func(pkt []byte)) (int, error) {
	w := s.m.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.in.closed() {
		return 0, s.failed("write", net.ErrClosed)
	}
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	src := s.local.Addr()
	if src.IsUnspecified() {
		_, _, from, ok := s.m.lookup(flow{dst: to.Addr(), oif: s.dev})
		switch {
		case s.m.isLocal(to.Addr()):
			src = to.Addr()
		case !ok:
			return 0, s.failed("write", unix.ENETUNREACH)
		default:
			src = from
		}
	}
	s.m.ident++
	pkt, err := ipip.AppendHeader(make([]byte, 0, ipip.HeaderLen+udpLen+len(b)),
		ipip.Header{Src: src, Dst: to.Addr(), TTL: ttl, TOS: tos, ID: s.m.ident, Protocol: protoUDP}, udpLen+len(b))
	if err != nil {
		return 0, s.failed("write", err)
	}
	pkt = binary.BigEndian.AppendUint16(pkt, s.local.Port())
	pkt = binary.BigEndian.AppendUint16(pkt, to.Port())
	pkt = binary.BigEndian.AppendUint16(pkt, uint16(udpLen+len(b)))
	pkt = append(append(pkt, 0, 0), b...)
	if !s.m.output(pkt, s.dev, func() { before(pkt) }) {
		return 0, s.failed("write", unix.ENETUNREACH)
	}
	return len(b), nil
}

// read waits for one datagram and returns its packet and where its payload begins.
func (s *udpSocket) read() (pkt []byte, body int, from netip.AddrPort, err error) {
	for {
		changed, passed := s.expiry.wait()
		if passed {
			return nil, 0, from, s.failed("read", os.ErrDeadlineExceeded)
		}
		if pkt, ok := s.in.get(changed); ok {
			body, from = parseUDP(pkt)
			return pkt, body, from, nil
		}
		if s.in.closed() {
			return nil, 0, from, s.failed("read", net.ErrClosed)
		}
	}
}

// parseUDP finds the payload and the sender of a packet that was delivered.
func parseUDP(pkt []byte) (body int, from netip.AddrPort) {
	h := int(pkt[0]&15) * 4
	return h + udpLen, netip.AddrPortFrom(addr4(pkt[12:]), binary.BigEndian.Uint16(pkt[h:]))
}

func (s *udpSocket) failed(op string, err error) error {
	return &net.OpError{Op: op, Net: "udp4", Source: net.UDPAddrFromAddrPort(s.local), Err: err}
}

func (s *udpSocket) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	pkt, body, from, err := s.read()
	if err != nil {
		return 0, from, err
	}
	return copy(b, pkt[body:]), from, nil
}

func (s *udpSocket) Read(b []byte) (int, error) {
	n, _, err := s.ReadFromUDPAddrPort(b)
	return n, err
}

func (s *udpSocket) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	return s.write(b, to, 0, quietly)
}

func (s *udpSocket) Write(b []byte) (int, error) { return s.write(b, s.remote, 0, quietly) }

var errControl = errors.New("simnet: control messages of UDP are not simulated")

func (s *udpSocket) WriteMsgUDPAddrPort(b, control []byte, to netip.AddrPort) (n, controlN int, err error) {
	if len(control) > 0 {
		return 0, 0, errControl
	}
	n, err = s.write(b, to, 0, quietly)
	return n, 0, err
}

func (s *udpSocket) LocalAddr() net.Addr  { return net.UDPAddrFromAddrPort(s.local) }
func (s *udpSocket) RemoteAddr() net.Addr { return net.UDPAddrFromAddrPort(s.remote) }

func (s *udpSocket) SetReadDeadline(t time.Time) error { s.expiry.set(t); return nil }
func (s *udpSocket) SetDeadline(t time.Time) error     { return s.SetReadDeadline(t) }
func (s *udpSocket) SetWriteDeadline(time.Time) error  { return nil } // writing does not wait

func (s *udpSocket) Close() error { return s.h.closing(s) }

// espSocket is a host.ESP.
type espSocket struct {
	*udpSocket
	stats bind.Stats // guarded by World.mu
}

// OpenESP implements host.Sockets.
func (h *machineHost) OpenESP(local netip.AddrPort, o bind.Options) (e host.ESP, err error) {
	err = h.change(func() error {
		s, err := h.openUDP(local, netip.AddrPort{}, o.Device)
		if err == nil {
			e = &espSocket{udpSocket: s}
		}
		return err
	})
	return e, err
}

func (s *espSocket) LocalAddr() netip.AddrPort { return s.local }

func (s *espSocket) Send(to netip.AddrPort, pkt []byte, tos uint8) error {
	_, err := s.write(pkt, to, tos, func(whole []byte) {
		s.stats.Sent++
		s.m.w.given(s.m, ViaESP, whole)
	})
	return err
}

func (s *espSocket) SendBatch(to netip.AddrPort, pkts []byte, size int, tos uint8) (sent int, err error) {
	for pkt := range slices.Chunk(pkts, size) {
		if e := s.Send(to, pkt, tos); e == nil {
			sent++
		} else if err == nil {
			err = e
		}
	}
	return sent, err
}

func (s *espSocket) ReadBatch(*bind.Batch) ([]bind.Packet, error) {
	pkt, body, from, err := s.read()
	if err != nil {
		return nil, err
	}
	s.m.w.mu.Lock()
	defer s.m.w.mu.Unlock()
	s.stats.Received++
	s.m.w.taken(s.m, ViaESP, pkt)
	return []bind.Packet{{Data: slices.Clone(pkt[body:]), From: from, TOS: pkt[1]}}, nil
}

func (s *espSocket) Stats() bind.Stats {
	s.m.w.mu.Lock()
	defer s.m.w.mu.Unlock()
	return s.stats
}

// deadline is the read deadline of a connection.
type deadline struct {
	mu      sync.Mutex
	timer   *time.Timer
	changed chan struct{} // closed when the deadline passes, or is set to another
	passed  bool
}

func newDeadline() *deadline { return &deadline{changed: make(chan struct{})} }

// wait returns a channel that is closed when there is something to look at.
func (d *deadline) wait() (changed <-chan struct{}, passed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.changed, d.passed
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.now(!t.IsZero() && time.Until(t) <= 0)
	if !t.IsZero() && !d.passed {
		d.timer = time.AfterFunc(time.Until(t), func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.now(true)
		})
	}
}

// now says that the deadline has passed, or not, to whoever waits.
func (d *deadline) now(passed bool) {
	d.passed = passed
	close(d.changed)
	d.changed = make(chan struct{})
}
