package radius

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// maxSockets bounds the exchanges under way: 256 identifiers for each.
const maxSockets = 16

// Conn is the part of *net.UDPConn that the client uses.
type Conn interface {
	ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error)
	Close() error
}

// pending is one request that waits for its reply.
type pending struct {
	sock          *socket
	id            uint8
	server        *server
	authenticator [authLen]byte
	reply         chan Response // of one place
	refused       chan error    // of one place: the last reply that did not count
	answered      bool          // guarded by Client.mu
}

// socket is one local port with its 256 identifiers.
type socket struct {
	conn Conn

	// guarded by Client.mu
	waiting [256]*pending
	free    []uint8 // least recently used first (RFC 5080 section 2.2.2)
	broken  bool
}

func newSocket(conn Conn, first uint8) *socket {
	s := &socket{conn: conn, free: make([]uint8, 0, 256)}
	for i := range 256 {
		s.free = append(s.free, first+uint8(i))
	}
	return s
}

// ErrBusy says that no identifier is free on any socket.
var ErrBusy = fmt.Errorf("radius: %d requests are waiting for their replies already", 256*maxSockets)

// reserve takes an identifier for a request to srv, and opens a socket when all
// others are full.
func (c *Client) reserve(srv *server) (*pending, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, net.ErrClosed
	}
	var sock *socket
	for _, s := range c.sockets {
		if len(s.free) > 0 && !s.broken {
			sock = s
			break
		}
	}
	if sock == nil {
		if len(c.sockets) >= maxSockets {
			return nil, ErrBusy
		}
		conn, err := c.listen()
		if err != nil {
			return nil, fmt.Errorf("radius: open a socket: %w", err)
		}
		sock = newSocket(conn, uint8(c.random()))
		c.sockets = append(c.sockets, sock)
		c.readers.Go(func() { c.read(sock) })
	}
	p := &pending{sock: sock, id: sock.free[0], server: srv, reply: make(chan Response, 1), refused: make(chan error, 1)}
	if err := c.fill(p.authenticator[:]); err != nil {
		return nil, err
	}
	sock.free = sock.free[1:]
	sock.waiting[p.id] = p
	return p, nil
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
		if err != nil {
			c.mu.Lock()
			s.broken = true
			for i, other := range c.sockets {
				if other == s {
					c.sockets = append(c.sockets[:i], c.sockets[i+1:]...)
					break
				}
			}
			c.mu.Unlock()
			if !errors.Is(err, net.ErrClosed) {
				c.cfg.Log.Warn("RADIUS socket lost, the next request opens another", "err", err)
			}
			return
		}
		c.deliver(s, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), buf[:n])
	}
}

// deliver checks one packet and hands it to who waits for it, or counts why not.
func (c *Client) deliver(s *socket, from netip.AddrPort, b []byte) {
	c.mu.Lock()
	known := false
	for _, srv := range c.servers {
		known = known || srv.Addr == from
	}
	var p *pending
	if len(b) >= headerLen {
		p = s.waiting[b[1]]
	}
	c.mu.Unlock()
	switch {
	case !known:
		c.count.wrongAddress.Add(1)
		return
	case len(b) < headerLen:
		c.count.malformed.Add(1)
		return
	case p == nil:
		c.count.unsolicited.Add(1)
		return
	case p.server.Addr != from:
		c.count.wrongAddress.Add(1)
		return
	}
	r, err := parseResponse(b, p.authenticator, p.server.Secret)
	switch {
	case err == nil:
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
	if err != nil {
		select {
		case <-p.refused:
		default:
		}
		p.refused <- err
		return
	}
	r.Server = from
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.waiting[p.id] == p && !p.answered {
		p.answered = true
		p.reply <- r
		return
	}
	c.count.unsolicited.Add(1)
	r.MSK.Clear()
}
