package radius

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// maxSockets bounds the exchanges under way: 256 identifiers for each socket, of one
// server where they are connected.
const maxSockets = 16

// Conn is the part of *net.UDPConn that the client uses.
type Conn interface {
	ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error)
	Close() error
}

// connected is a UDP socket of one server: the kernel says when that host has nobody at
// the port.
type connected struct{ *net.UDPConn }

func (c connected) WriteToUDPAddrPort(b []byte, _ netip.AddrPort) (int, error) {
	n, err := c.Write(b)
	if errors.Is(err, syscall.ECONNREFUSED) { // of what was sent before: this was not sent
		n, err = c.Write(b)
	}
	return n, err
}

// pending is one request that waits for its reply.
type pending struct {
	sock          *socket
	id            uint8
	server        *server
	req           request
	authenticator [authLen]byte // guarded by Client.mu once it is sent
	reply         chan Response // of one place
	refused       chan error    // of one place: the last reply that did not count
	unreachable   chan struct{} // of one place: the host says that nobody is there
	answered      bool          // guarded by Client.mu
}

// socket is one local port, or one TLS connection, with its 256 identifiers.
type socket struct {
	conn   Conn
	server *server       // nil: any
	stream bool          // reliable, and whatever is wrong on it ends it (RFC 6613 section 2.6.4)
	gone   chan struct{} // closed when nothing comes any more

	// guarded by Client.mu
	waiting [256]*pending
	free    []uint8 // least recently used first (RFC 5080 section 2.2.2)
	broken  bool
	useful  bool // an authentic packet has come
}

func newSocket(conn Conn, first uint8, srv *server) *socket {
	s := &socket{conn: conn, server: srv, gone: make(chan struct{}), free: make([]uint8, 0, 256)}
	for i := range 256 {
		s.free = append(s.free, first+uint8(i))
	}
	return s
}

// ErrBusy says that no identifier is free on any socket.
var ErrBusy = fmt.Errorf("radius: %d requests are waiting for their replies already", 256*maxSockets)

// pick is a socket of a server with more than spare identifiers left; count says how many
// sockets it has. mu is held.
func (c *Client) pick(srv *server, spare int) (best *socket, count int) {
	for _, s := range c.sockets {
		if s.broken || s.server != nil && s.server != srv {
			continue
		}
		count++
		if best == nil && len(s.free) > spare {
			best = s
		}
	}
	return best, count
}

// reserve takes an identifier for a request to srv, and opens a socket when all
// others are full. Over TLS it waits for a connection.
func (c *Client) reserve(ctx context.Context, srv *server, req request) (*pending, error) {
	spare := 0
	_, probe := req.(statusRequest)
	if c.cfg.TLS != nil && !probe { // who probes makes the connections
		spare = 1
	}
	for {
		if spare > 0 {
			if err := c.connection(ctx, srv); err != nil {
				return nil, err
			}
		}
		p, err := c.take(srv, req, spare)
		if p != nil || err != nil {
			return p, err
		}
		if probe {
			return nil, errLost
		}
	}
}

// take takes an identifier of a socket, opening one where that needs no time. It is nil
// where others have taken them all.
func (c *Client) take(srv *server, req request, spare int) (*pending, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, net.ErrClosed
	}
	sock, count := c.pick(srv, spare)
	switch {
	case sock != nil:
	case c.cfg.TLS != nil:
		return nil, nil
	case count >= maxSockets:
		return nil, ErrBusy
	default:
		conn, one, err := c.socketTo(srv)
		if err != nil {
			return nil, fmt.Errorf("radius: open a socket: %w", err)
		}
		sock = newSocket(conn, uint8(c.random()), one)
		c.start(sock)
	}
	p := &pending{
		sock: sock, id: sock.free[0], server: srv, req: req,
		reply: make(chan Response, 1), refused: make(chan error, 1), unreachable: make(chan struct{}, 1),
	}
	if err := c.fill(p.authenticator[:]); err != nil {
		return nil, err
	}
	sock.free = sock.free[1:]
	sock.waiting[p.id] = p
	return p, nil
}

// start reads from a new socket. mu is held.
func (c *Client) start(s *socket) {
	c.sockets = append(c.sockets, s)
	c.readers.Go(func() { c.read(s) })
}

// socketTo opens a socket, of one server if it is connected.
func (c *Client) socketTo(srv *server) (Conn, *server, error) {
	if c.cfg.Listen != nil {
		conn, err := c.cfg.Listen()
		return conn, nil, err
	}
	var local *net.UDPAddr
	if c.cfg.LocalAddr.IsValid() {
		local = net.UDPAddrFromAddrPort(c.cfg.LocalAddr)
	}
	conn, err := net.DialUDP("udp", local, net.UDPAddrFromAddrPort(srv.Addr))
	if err != nil {
		return nil, nil, err
	}
	return connected{conn}, srv, nil
}

// encode makes the octets of a request under the identifier it was given.
func (c *Client) encode(p *pending) ([]byte, error) {
	wire, err := p.req.encode(nas{c.cfg.NASIdentifier, c.cfg.Operator}, p.id, p.authenticator, p.server.Secret)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	copy(p.authenticator[:], wire[4:headerLen]) // it may be a sum
	return wire, nil
}

// release gives the identifier back; it is the last to be used again.
func (c *Client) release(p *pending) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p.sock.waiting[p.id] = nil
	p.sock.free = append(p.sock.free, p.id)
	select {
	case r := <-p.reply: // came too late for whoever gave up
		r.MSK.Clear()
	default:
	}
}

// read delivers replies until the socket is closed.
func (c *Client) read(s *socket) {
	defer s.conn.Close()
	buf := make([]byte, MaxPacket+1)
	for {
		n, from, err := s.conn.ReadFromUDPAddrPort(buf)
		switch {
		case err == nil:
			if err = c.deliver(s, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), buf[:n]); err == nil || !s.stream {
				continue
			}
		case errors.Is(err, syscall.ECONNREFUSED) && !s.stream:
			c.unreachable(s)
			continue
		}
		c.lose(s, err)
		return
	}
}

// lose forgets a socket that has ended.
func (c *Client) lose(s *socket, err error) {
	c.mu.Lock()
	s.broken = true
	for i, other := range c.sockets {
		if other == s {
			c.sockets = append(c.sockets[:i:i], c.sockets[i+1:]...)
			break
		}
	}
	close(s.gone)
	if s.stream && !c.closed {
		srv, now := s.server, time.Now()
		if s.useful {
			srv.health.become(Suspect, now)
		} else { // such as one whose other side does not take our certificate
			srv.dials++
			srv.failed(now, &strangerError{fmt.Errorf("radius: %v has ended the connection at once; does it know the name of our certificate? %w", srv.Addr, err)}, c.jitter())
		}
		srv.tell()
		srv.poke()
	}
	c.mu.Unlock()
	if errors.Is(err, net.ErrClosed) {
		return
	}
	if s.stream {
		c.cfg.Log.Warn("RADIUS connection lost", "server", s.server.Addr, "err", err)
		return
	}
	c.cfg.Log.Warn("RADIUS socket lost, the next request opens another", "err", err)
}

// unreachable passes on what a host says of its port: who waits may doubt the server, and
// nothing else follows from it, since anybody can say it.
func (c *Client) unreachable(s *socket) {
	c.count.unreachable.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range s.waiting {
		if p == nil {
			continue
		}
		select {
		case p.unreachable <- struct{}{}:
		default:
		}
	}
}

// deliver checks one packet and hands it to who waits for it, or counts why not. The
// error is why a packet does not count.
func (c *Client) deliver(s *socket, from netip.AddrPort, b []byte) error {
	c.mu.Lock()
	known := s.server != nil && s.server.Addr == from
	for _, srv := range c.servers {
		known = known || srv.Addr == from
	}
	for _, srv := range c.accounting {
		known = known || srv.Addr == from
	}
	var p *pending
	var sent [authLen]byte
	if len(b) >= headerLen {
		if p = s.waiting[b[1]]; p != nil {
			sent = p.authenticator
		}
	}
	c.mu.Unlock()
	switch {
	case !known:
		c.count.wrongAddress.Add(1)
		return nil
	case len(b) < headerLen:
		c.count.malformed.Add(1)
		return errors.New("radius: packet shorter than a header")
	case s.stream && (Code(b[0]) == DisconnectRequest || Code(b[0]) == CoARequest):
		return c.ordered(s, from, b)
	case p == nil:
		c.count.unsolicited.Add(1)
		return nil
	case p.server.Addr != from:
		c.count.wrongAddress.Add(1)
		return nil
	}
	r, err := p.req.answer(b, sent, p.server.Secret)
	if err == nil && !c.signs(p, r) {
		err = ErrNoMessageAuthenticator
	}
	if err != nil {
		c.countBad(err)
		select {
		case <-p.refused:
		default:
		}
		p.refused <- err
		return err
	}
	r.Server = from
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.waiting[p.id] == p && !p.answered {
		p.answered = true
		if s.useful = true; s.stream {
			p.server.failures = 0
		}
		p.reply <- r
		return nil
	}
	c.count.unsolicited.Add(1)
	r.MSK.Clear()
	return nil
}

// signs notes that a server puts a Message-Authenticator into answers to records. Whoever
// has done so once always does: without one it is not its answer.
func (c *Client) signs(p *pending, r Response) bool {
	if _, is := p.req.(Record); !is {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p.server.signs = p.server.signs || r.Signed
	return r.Signed || !p.server.signs
}

// countBad counts a packet that does not count.
func (c *Client) countBad(err error) {
	switch {
	case errors.Is(err, ErrBadAuthenticator):
		c.count.badAuthenticator.Add(1)
	case errors.Is(err, ErrNoMessageAuthenticator):
		c.count.noMessageAuthenticator.Add(1)
	case errors.Is(err, ErrBadMessageAuthenticator):
		c.count.badMessageAuthenticator.Add(1)
	case errors.Is(err, ErrCode):
		c.count.badCode.Add(1)
	default:
		c.count.malformed.Add(1)
	}
}

// errWanted says that a probe was given up for somebody who waits for a connection.
var errWanted = errors.New("radius: a connection is wanted")

// probe asks a server whether it lives; it owns the watcher's turn. refused says that its
// host has said no.
func (c *Client) probe(ctx context.Context, srv *server, wait time.Duration) (ok, refused bool, rtt time.Duration, err error) {
	p, err := c.reserve(ctx, srv, statusRequest{})
	if err != nil {
		return false, false, 0, nil
	}
	defer c.release(p)
	wire, err := c.encode(p)
	if err != nil {
		return false, false, 0, nil
	}
	start := time.Now()
	c.count.probes.Add(1)
	if _, err := p.sock.conn.WriteToUDPAddrPort(wire, srv.Addr); errors.Is(err, syscall.ECONNREFUSED) {
		return false, true, 0, nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-p.reply:
			return true, false, time.Since(start), nil
		case <-p.unreachable:
			return false, true, 0, nil
		case <-srv.kick:
			c.mu.Lock()
			wanted := srv.wanted
			c.mu.Unlock()
			if wanted {
				return false, false, 0, errWanted
			}
		case <-p.sock.gone:
			return false, false, 0, nil
		case <-timer.C:
			return false, false, 0, nil
		case <-ctx.Done():
			return false, false, 0, ctx.Err()
		}
	}
}
