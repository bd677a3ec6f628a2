package radius

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"openmpa/paa/keys"
)

// Server is one RADIUS server.
type Server struct {
	Addr       netip.AddrPort // of authentication; over TLS of everything
	Accounting netip.AddrPort // zero: it takes no accounting; over TLS Addr itself
	Secret     *keys.Secret   // over TLS RadSecSecret, whatever this is
	Name       string         // over TLS: what its certificate must name; default the address
}

// Config configures a Client. Servers and NASIdentifier are required.
type Config struct {
	Servers       []Server    // in order of preference
	TLS           *tls.Config // RadSec (RFC 6614): our certificate, and the authorities of theirs; nil: UDP
	NASIdentifier string      // who we are (RFC 2865 section 5.32)
	Operator      string      // Operator-Name (RFC 5580 section 4.1): the realm of this network; empty: not sent
	Timing        Timing
	Timeout       time.Duration  // how long an exchange may take, over all servers; 0: as long as Timing lets it
	DeadTime      time.Duration  // how long a silent server is asked last, if it knows no Status-Server; default 60 s
	LocalAddr     netip.AddrPort // of the sockets; zero: the kernel's choice
	Orders        netip.AddrPort // where servers' orders are taken (RFC 5176); zero: only on connections of TLS

	Rand         io.Reader                                                      // default crypto/rand
	Log          *slog.Logger                                                   // default: none
	Listen       func() (Conn, error)                                           // opens a socket for all servers; default UDP on LocalAddr, one for each
	ListenOrders func() (Conn, error)                                           // opens that of Orders; default UDP
	Dial         func(ctx context.Context, to netip.AddrPort) (net.Conn, error) // default TCP from LocalAddr
}

// server is a Server and what we know of it.
type server struct {
	Server
	kick chan struct{} // of one place: its watcher should look at it

	// guarded by Client.mu
	health   health
	watched  bool
	signs    bool          // its answers to records have a Message-Authenticator
	changed  chan struct{} // closed when something below or the state of health changes
	wanted   bool          // somebody waits for a connection
	dials    int           // attempts that ended
	dialErr  error         // of the last one, and of a connection that ended before it was of use
	failures int           // in a row
	redial   time.Time     // not before
}

// tell says that something has changed. Client.mu is held.
func (s *server) tell() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// poke has the watcher look.
func (s *server) poke() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// request is something a server answers.
type request interface {
	// encode gives the octets. The authenticator is a proposal, which a code whose
	// authenticator is a sum does not take.
	encode(nas nas, id uint8, authenticator [authLen]byte, secret *keys.Secret) ([]byte, error)
	// answer verifies and reads the answer to the request with that authenticator.
	answer(b []byte, sent [authLen]byte, secret *keys.Secret) (Response, error)
}

// Client sends Access-Requests. It may be used by several goroutines at once.
type Client struct {
	// fixed
	cfg        Config
	servers    []*server
	accounting []*server // over TLS some of servers

	// atomic
	count counters

	randMu sync.Mutex // guards cfg.Rand

	// guarded by mu
	mu      sync.Mutex
	sockets []*socket
	closed  bool
	handler func(Order) Cause // of orders; nil: not running
	orders  *replays

	ctx     context.Context // ended by Close
	end     context.CancelFunc
	done    <-chan struct{} // of ctx
	readers sync.WaitGroup
}

// counters are what Counters reads.
type counters struct {
	sent, retransmitted, replies, timeouts, failovers, probes         atomic.Uint64
	wrongAddress, unsolicited, malformed, badCode, unreachable        atomic.Uint64
	badAuthenticator, noMessageAuthenticator, badMessageAuthenticator atomic.Uint64
	orders, repeatedOrders, staleOrders                               atomic.Uint64
}

// Counters is a snapshot of what a client has done and dropped.
type Counters struct {
	Sent          uint64 `json:"sent"`
	Retransmitted uint64 `json:"retransmitted"`
	Replies       uint64 `json:"replies"`
	Timeouts      uint64 `json:"timeouts"`    // requests a server never answered
	Failovers     uint64 `json:"failovers"`   // requests that went to another server then
	Probes        uint64 `json:"probes"`      // Status-Server
	Unreachable   uint64 `json:"unreachable"` // hosts that said so
	Orders        uint64 `json:"orders"`      // of servers, verified and new

	// Packets dropped, by reason.
	WrongAddress            uint64 `json:"wrong_address"`
	Unsolicited             uint64 `json:"unsolicited"` // no request waits for it, or no longer
	Malformed               uint64 `json:"malformed"`
	BadCode                 uint64 `json:"bad_code"`
	BadAuthenticator        uint64 `json:"bad_authenticator"`
	NoMessageAuthenticator  uint64 `json:"no_message_authenticator"`
	BadMessageAuthenticator uint64 `json:"bad_message_authenticator"`
	RepeatedOrders          uint64 `json:"repeated_orders"` // answered as before
	StaleOrders             uint64 `json:"stale_orders"`    // without Event-Timestamp, or not of now
}

// NewClient makes a client. It opens no socket yet.
func NewClient(cfg Config) (*Client, error) {
	if len(cfg.Servers) == 0 {
		return nil, errors.New("radius: no servers")
	}
	if cfg.NASIdentifier == "" || len(cfg.NASIdentifier) > maxValue {
		return nil, fmt.Errorf("radius: NAS identifier %q, expected 1 to %d octets", cfg.NASIdentifier, maxValue)
	}
	if cfg.TLS != nil && len(cfg.TLS.Certificates) == 0 && cfg.TLS.GetClientCertificate == nil {
		return nil, errors.New("radius: TLS without a certificate of ours: both sides must have one (RFC 6614 section 2.3)")
	}
	if cfg.TLS != nil && cfg.TLS.RootCAs == nil {
		return nil, errors.New("radius: TLS without authorities: expected those that sign the servers' certificates")
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
	c := &Client{cfg: cfg, orders: newReplays()}
	c.ctx, c.end = context.WithCancel(context.Background())
	c.done = c.ctx.Done()
	for _, s := range cfg.Servers {
		if cfg.TLS != nil {
			s.Secret = RadSecSecret()
			if s.Name == "" {
				s.Name = s.Addr.Addr().String()
			}
		}
		if !s.Addr.IsValid() || s.Addr.Port() == 0 || s.Secret.Len() == 0 {
			return nil, fmt.Errorf("radius: server %v, expected an address with a port, and a secret", s.Addr)
		}
		one := c.newServer(s, s.Addr)
		c.servers = append(c.servers, one)
		switch {
		case !s.Accounting.IsValid():
			continue
		case cfg.TLS == nil:
			one = c.newServer(s, s.Accounting)
		}
		c.accounting = append(c.accounting, one)
	}
	return c, nil
}

func (c *Client) newServer(s Server, at netip.AddrPort) *server {
	s.Addr = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	return &server{
		Server: s, kick: make(chan struct{}, 1), changed: make(chan struct{}),
		health: health{dead: c.cfg.DeadTime},
	}
}

// Run watches the servers by Status-Server, keeps the connections of TLS up, and hands
// servers' orders to handle, until ctx ends. It is called once. An error is why it could
// not begin. handle says what came of an order, and does not wait.
func (c *Client) Run(ctx context.Context, handle func(Order) Cause) error {
	c.mu.Lock()
	c.handler = handle
	c.mu.Unlock()
	for _, s := range append(slices.Clip(c.servers), c.accounting...) {
		c.watch(s)
	}
	if !c.cfg.Orders.IsValid() && c.cfg.ListenOrders == nil {
		<-ctx.Done()
		return nil
	}
	return c.takeOrders(ctx)
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
		Timeouts: n.timeouts.Load(), Failovers: n.failovers.Load(), Probes: n.probes.Load(), Unreachable: n.unreachable.Load(),
		Orders: n.orders.Load(), RepeatedOrders: n.repeatedOrders.Load(), StaleOrders: n.staleOrders.Load(),
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
		c.end()
	}
	for _, s := range c.sockets {
		_ = s.conn.Close()
	}
	c.mu.Unlock()
	c.readers.Wait()
	return nil
}
