package radius

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"openmpa/paa/keys"
)

// Server is one RADIUS server.
type Server struct {
	Addr   netip.AddrPort
	Secret *keys.Secret
}

// Config configures a Client. Servers and NASIdentifier are required.
type Config struct {
	Servers       []Server // in order of preference
	NASIdentifier string   // who we are (RFC 2865 section 5.32)
	Timing        Timing
	Timeout       time.Duration  // how long an exchange may take, over all servers; 0: as long as Timing lets it
	DeadTime      time.Duration  // how long a silent server is asked last; default 60 s
	LocalAddr     netip.AddrPort // of the sockets; zero: the kernel's choice

	Rand   io.Reader            // default crypto/rand
	Log    *slog.Logger         // default: none
	Listen func() (Conn, error) // opens a socket; default UDP on LocalAddr
}

// server is a Server and what we know of it.
type server struct {
	Server
	deadUntil time.Time // guarded by Client.mu; zero: alive
}

// Client sends Access-Requests. It may be used by several goroutines at once.
type Client struct {
	// fixed
	cfg     Config
	servers []*server
	listen  func() (Conn, error)

	// atomic
	count counters

	randMu sync.Mutex // guards cfg.Rand

	// guarded by mu
	mu      sync.Mutex
	sockets []*socket
	closed  bool

	done    chan struct{} // closed by Close
	readers sync.WaitGroup
}

// counters are what Counters reads.
type counters struct {
	sent, retransmitted, replies, timeouts, failovers                 atomic.Uint64
	wrongAddress, unsolicited, malformed, badCode                     atomic.Uint64
	badAuthenticator, noMessageAuthenticator, badMessageAuthenticator atomic.Uint64
}

// Counters is a snapshot of what a client has done and dropped.
type Counters struct {
	Sent          uint64 `json:"sent"`
	Retransmitted uint64 `json:"retransmitted"`
	Replies       uint64 `json:"replies"`
	Timeouts      uint64 `json:"timeouts"`  // requests a server never answered
	Failovers     uint64 `json:"failovers"` // requests that went to another server then

	// Replies dropped, by reason.
	WrongAddress            uint64 `json:"wrong_address"`
	Unsolicited             uint64 `json:"unsolicited"` // no request waits for it, or no longer
	Malformed               uint64 `json:"malformed"`
	BadCode                 uint64 `json:"bad_code"`
	BadAuthenticator        uint64 `json:"bad_authenticator"`
	NoMessageAuthenticator  uint64 `json:"no_message_authenticator"`
	BadMessageAuthenticator uint64 `json:"bad_message_authenticator"`
}

// NewClient makes a client. It opens no socket yet.
func NewClient(cfg Config) (*Client, error) {
	if len(cfg.Servers) == 0 {
		return nil, errors.New("radius: no servers")
	}
	if cfg.NASIdentifier == "" || len(cfg.NASIdentifier) > maxValue {
		return nil, fmt.Errorf("radius: NAS identifier %q, expected 1 to %d octets", cfg.NASIdentifier, maxValue)
	}
	cfg.Timing = cfg.Timing.withDefaults()
	if cfg.DeadTime <= 0 {
		cfg.DeadTime = time.Minute
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c := &Client{cfg: cfg, listen: cfg.Listen, done: make(chan struct{})}
	if c.listen == nil {
		c.listen = func() (Conn, error) { return net.ListenUDP("udp", net.UDPAddrFromAddrPort(cfg.LocalAddr)) }
	}
	for _, s := range cfg.Servers {
		if !s.Addr.IsValid() || s.Addr.Port() == 0 || s.Secret.Len() == 0 {
			return nil, fmt.Errorf("radius: server %v, expected an address with a port, and a secret", s.Addr)
		}
		s.Addr = netip.AddrPortFrom(s.Addr.Addr().Unmap(), s.Addr.Port())
		c.servers = append(c.servers, &server{Server: s})
	}
	return c, nil
}

// TimeoutError says that no server answered.
type TimeoutError struct {
	Tried   []netip.AddrPort
	Sent    int           // transmissions, to all of them
	Waited  time.Duration // since the first
	Refused error         // why the last reply did not count; nil when there was none
	Err     error         // what ended the wait before its time, or why sending failed; nil otherwise
}

// Error implements error in one line.
func (e *TimeoutError) Error() string {
	names := make([]string, len(e.Tried))
	for i, a := range e.Tried {
		names[i] = a.String()
	}
	s := fmt.Sprintf("radius: no answer from %s (%d requests in %v)", strings.Join(names, ", "), e.Sent, e.Waited.Round(time.Millisecond))
	switch {
	case e.Refused != nil:
		s += "; a reply was dropped: " + strings.TrimPrefix(e.Refused.Error(), "radius: ")
	case e.Err != nil && !errors.Is(e.Err, context.DeadlineExceeded):
		s += "; sending failed: " + e.Err.Error()
	default:
		s += "; is the server running, and does it know this router and its secret?"
	}
	return s
}

// Unwrap gives errors.Is the causes.
func (e *TimeoutError) Unwrap() []error {
	var out []error
	for _, err := range []error{e.Err, e.Refused} {
		if err != nil {
			out = append(out, err)
		}
	}
	return out
}

// Exchange sends a request and returns the verified answer. A first request goes to
// the servers in order, those that were silent lately last, until one answers; one
// with Server set goes there only. *TimeoutError says that none answered, before ctx
// ended by its deadline or on their own time. A cancelled ctx returns its error.
func (c *Client) Exchange(ctx context.Context, req Request) (Response, error) {
	order, err := c.order(req.Server)
	if err != nil {
		return Response{}, err
	}
	if c.cfg.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.cfg.Timeout)
		defer cancel()
	}
	silent := &TimeoutError{}
	start := time.Now()
	for i, srv := range order {
		if i > 0 {
			c.count.failovers.Add(1)
			c.cfg.Log.Warn("RADIUS server silent, asking the next", "silent", order[i-1].Addr, "next", srv.Addr)
		}
		silent.Tried = append(silent.Tried, srv.Addr)
		r, err := c.ask(ctx, srv, req, c.cfg.Timing.tries(len(order) > 1), silent)
		if err == nil {
			return r, nil
		}
		if !errors.Is(err, errSilent) {
			return Response{}, err
		}
		if ctx.Err() != nil {
			break
		}
	}
	silent.Waited = time.Since(start)
	if errors.Is(ctx.Err(), context.Canceled) {
		return Response{}, fmt.Errorf("radius: request abandoned: %w", ctx.Err())
	}
	if err := ctx.Err(); err != nil {
		silent.Err = err
	}
	return Response{}, silent
}

// order lists the servers to ask.
func (c *Client) order(only netip.AddrPort) ([]*server, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var alive, dead []*server
	now := time.Now()
	for _, s := range c.servers {
		switch {
		case only.IsValid() && s.Addr != only:
		case now.Before(s.deadUntil):
			dead = append(dead, s)
		default:
			alive = append(alive, s)
		}
	}
	if only.IsValid() && len(alive)+len(dead) == 0 {
		return nil, fmt.Errorf("radius: %v is none of our servers", only)
	}
	return append(alive, dead...), nil
}

// errSilent is for Exchange only: try the next.
var errSilent = errors.New("radius: silent")

// ask sends a request to one server until it answers, or has had its time.
func (c *Client) ask(ctx context.Context, srv *server, req Request, tries int, silent *TimeoutError) (Response, error) {
	p, err := c.reserve(srv)
	if err != nil {
		return Response{}, err
	}
	defer c.release(p)
	wire, err := req.encode(c.cfg.NASIdentifier, p.id, p.authenticator, srv.Secret)
	if err != nil {
		return Response{}, err
	}
	timing := c.cfg.Timing
	start := time.Now()
	end := start.Add(timing.MRD)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var rt time.Duration
	for sent := 0; ; {
		select {
		case r := <-p.reply:
			c.count.replies.Add(1)
			c.alive(srv)
			r.Sent, r.RTT = sent, time.Since(start)
			return r, nil
		case err := <-p.refused:
			silent.Refused = err
			continue
		case <-c.done:
			return Response{}, net.ErrClosed
		case <-ctx.Done():
			if sent > 1 { // it had at least one timeout to answer
				c.dead(srv)
			}
			c.count.timeouts.Add(1)
			return Response{}, errSilent
		case <-timer.C:
		}
		if sent == tries || !time.Now().Before(end) {
			c.dead(srv)
			c.count.timeouts.Add(1)
			return Response{}, errSilent
		}
		if _, err := p.sock.conn.WriteToUDPAddrPort(wire, srv.Addr); err != nil {
			silent.Err = err // a route may come back: go on
		}
		c.count.sent.Add(1)
		if sent > 0 {
			c.count.retransmitted.Add(1)
		}
		sent++
		silent.Sent++
		rt = timing.next(rt, c.jitter())
		timer.Reset(min(rt, time.Until(end)))
	}
}

func (c *Client) dead(srv *server) {
	c.mu.Lock()
	defer c.mu.Unlock()
	srv.deadUntil = time.Now().Add(c.cfg.DeadTime)
}

func (c *Client) alive(srv *server) {
	c.mu.Lock()
	defer c.mu.Unlock()
	srv.deadUntil = time.Time{}
}

// fill reads randomness that must not fail quietly.
func (c *Client) fill(b []byte) error {
	c.randMu.Lock()
	defer c.randMu.Unlock()
	if _, err := io.ReadFull(c.cfg.Rand, b); err != nil {
		return fmt.Errorf("radius: randomness: %w", err)
	}
	return nil
}

// random is randomness whose quality does not matter; 0 when there is none.
func (c *Client) random() uint32 {
	var b [4]byte
	if c.fill(b[:]) != nil {
		return 0
	}
	return binary.BigEndian.Uint32(b[:])
}

// jitter is RAND of RFC 5080 section 2.2.1.
func (c *Client) jitter() float64 { return float64(c.random())/float64(1<<32)*0.2 - 0.1 }

// Counters returns what the client has done and dropped so far.
func (c *Client) Counters() Counters {
	n := &c.count
	return Counters{
		Sent: n.sent.Load(), Retransmitted: n.retransmitted.Load(), Replies: n.replies.Load(),
		Timeouts: n.timeouts.Load(), Failovers: n.failovers.Load(),
		WrongAddress: n.wrongAddress.Load(), Unsolicited: n.unsolicited.Load(),
		Malformed: n.malformed.Load(), BadCode: n.badCode.Load(),
		BadAuthenticator:        n.badAuthenticator.Load(),
		NoMessageAuthenticator:  n.noMessageAuthenticator.Load(),
		BadMessageAuthenticator: n.badMessageAuthenticator.Load(),
	}
}

// Close ends exchanges under way with net.ErrClosed, and the sockets.
func (c *Client) Close() error {
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		close(c.done)
	}
	for _, s := range c.sockets {
		_ = s.conn.Close()
	}
	c.mu.Unlock()
	c.readers.Wait()
	return nil
}
