package radius

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"openmpa/paa/keys"
)

const (
	dialTime  = 5 * time.Second  // for a connection and its handshake
	writeTime = 10 * time.Second // until a peer that reads nothing is given up
	redialMin = 200 * time.Millisecond
)

// RadSecSecret is the secret of every connection over TLS (RFC 6614 section 2.3).
func RadSecSecret() *keys.Secret { return keys.NewSecret([]byte("radsec")) }

// ErrLength says that a stream carries no RADIUS.
var ErrLength = errors.New("radius: no length of a packet")

// ReadPacket reads one packet of a stream into b, which has room for MaxPacket octets. A
// length that no packet has is ErrLength, and the stream cannot be read on (RFC 6613
// section 2.6.4).
func ReadPacket(r io.Reader, b []byte) (int, error) {
	if _, err := io.ReadFull(r, b[:headerLen]); err != nil {
		return 0, err
	}
	n := int(binary.BigEndian.Uint16(b[2:4]))
	if n < headerLen || n > MaxPacket {
		return 0, fmt.Errorf("%w: %d octets, expected %d to %d; is it RADIUS that the peer speaks?", ErrLength, n, headerLen, MaxPacket)
	}
	if _, err := io.ReadFull(r, b[headerLen:n]); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, err
	}
	return n, nil
}

// Stream is a TLS connection that carries packets, as a Conn.
type Stream struct {
	conn *tls.Conn
	peer netip.AddrPort
	mu   sync.Mutex // of writers
}

// NewStream makes a Conn of a connection whose handshake is done; peer is what its
// packets come from.
func NewStream(conn *tls.Conn, peer netip.AddrPort) *Stream { return &Stream{conn: conn, peer: peer} }

// ReadFromUDPAddrPort implements Conn.
func (s *Stream) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	n, err := ReadPacket(s.conn, b)
	return n, s.peer, err
}

// WriteToUDPAddrPort implements Conn. It gives up a peer that reads nothing.
func (s *Stream) WriteToUDPAddrPort(b []byte, _ netip.AddrPort) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return 0, err
	}
	n, err := s.conn.Write(b)
	if err != nil { // a record may have gone in part
		_ = s.conn.NetConn().Close()
	}
	return n, err
}

// Close implements Conn. It waits for nobody.
func (s *Stream) Close() error { return s.conn.NetConn().Close() }

// streamTLS is a configuration with what RFC 6614 section 2.3 wants, and TLS 1.3.
func streamTLS(c *tls.Config, name string) *tls.Config {
	c = c.Clone()
	c.MinVersion = tls.VersionTLS13
	c.ServerName = name
	c.InsecureSkipVerify = false
	return c
}

// dial connects to a server and checks who it is.
func (c *Client) dial(ctx context.Context, srv *server) (*Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	open := c.cfg.Dial
	if open == nil {
		d := net.Dialer{}
		if c.cfg.LocalAddr.IsValid() {
			d.LocalAddr = net.TCPAddrFromAddrPort(c.cfg.LocalAddr)
		}
		open = func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
			return d.DialContext(ctx, "tcp", to.String())
		}
	}
	raw, err := open(ctx, srv.Addr)
	if err != nil {
		return nil, fmt.Errorf("radius: connect to %v: %w", srv.Addr, err)
	}
	conn := tls.Client(raw, streamTLS(c.cfg.TLS, srv.Name))
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, &strangerError{fmt.Errorf("radius: TLS with %v, which should be %s: %w", srv.Addr, srv.Name, err)}
	}
	return NewStream(conn, srv.Addr), nil
}

// awayError is errSilent with a reason.
type awayError struct{ error }

func (e *awayError) Is(target error) bool { return target == errSilent }
func (e *awayError) Unwrap() error        { return e.error }

// strangerError says that one side does not take the other for whom it should be: time
// does not mend it.
type strangerError struct{ error }

func (e *strangerError) Unwrap() error { return e.error }

// errLost says that a connection ended under a request, which may go again on another.
var errLost = errors.New("radius: connection lost")

// connection waits until there is one with room to a server, or until it is dead.
func (c *Client) connection(ctx context.Context, srv *server) error {
	c.watch(srv)
	for {
		c.mu.Lock()
		if c.closed {
			c.mu.Unlock()
			return net.ErrClosed
		}
		sock, count := c.pick(srv, 1)
		dials, changed := srv.dials, srv.changed
		if sock == nil {
			srv.wanted = true // now, whatever the back-off
			srv.poke()
		}
		c.mu.Unlock()
		switch {
		case sock != nil:
			return nil
		case count >= maxSockets:
			return ErrBusy
		}
		select {
		case <-changed:
			c.mu.Lock()
			failed := srv.dials != dials && srv.dialErr != nil
			err := srv.dialErr
			c.mu.Unlock()
			if failed {
				return &awayError{err}
			}
		case <-ctx.Done():
			return errSilent
		case <-c.done:
			return net.ErrClosed
		}
	}
}
