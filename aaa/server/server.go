package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"openmpa/aaa/eap"
	"openmpa/aaa/radius"
	"openmpa/internal/event"
	"openmpa/paa/keys"
)

const (
	defaultSessions = 1024
	queueSize       = 512 // requests that wait for a worker
	sweep           = time.Second
)

// Client is who may ask: routers by address, with their secret.
type Client struct {
	Prefix netip.Prefix
	Secret *keys.Secret
}

// Config configures a Server. Clients and TLS are required.
type Config struct {
	Clients        []Client         // the longest prefix that matches counts
	TLS            eap.ServerConfig // Authorize is the server's own
	SessionTimeout time.Duration    // told in every accept; 0: none
	MaxSessions    int              // conversations at once; default 1024
	Workers        int              // default one per processor, at least two

	Recorder *event.Recorder // nil: no records
	Log      *slog.Logger    // nil: none
	Rand     io.Reader       // default crypto/rand
}

// Conn is the part of *net.UDPConn that the server uses.
type Conn interface {
	ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error)
	Close() error
}

// Server answers Access-Requests by EAP-TLS.
type Server struct {
	// fixed
	cfg Config

	// atomic
	count counters

	randMu sync.Mutex // guards cfg.Rand

	// guarded by mu
	mu       sync.Mutex
	sessions map[[stateLen]byte]*session
	seen     *cache
}

type counters struct {
	requests, duplicates, accepted, rejected, expired            atomic.Uint64
	unknownClient, wrongSecret, noMessageAuthenticator, badCode  atomic.Uint64
	malformed, overload, unknownState, pending, invalid, sendErr atomic.Uint64
}

// Counters is a snapshot of what a server has done and dropped.
type Counters struct {
	Requests   uint64 `json:"requests"`   // verified
	Duplicates uint64 `json:"duplicates"` // of them, answered from the cache or dropped
	Accepted   uint64 `json:"accepted"`
	Rejected   uint64 `json:"rejected"` // conversations, for whatever reason
	Expired    uint64 `json:"expired"`  // of them, without a last packet
	Sessions   int    `json:"sessions"` // under way

	// Requests dropped, by reason.
	UnknownClient          uint64 `json:"unknown_client"`
	WrongSecret            uint64 `json:"wrong_secret"` // Message-Authenticator wrong
	NoMessageAuthenticator uint64 `json:"no_message_authenticator"`
	BadCode                uint64 `json:"bad_code"`
	Malformed              uint64 `json:"malformed"`
	Overload               uint64 `json:"overload"`
	Pending                uint64 `json:"pending"` // for a session busy with another

	// Requests refused or answered by the last request again.
	UnknownState uint64 `json:"unknown_state"`
	Invalid      uint64 `json:"invalid"`
	SendErrors   uint64 `json:"send_errors"`
}

// New makes a server.
func New(cfg Config) (*Server, error) {
	if len(cfg.Clients) == 0 {
		return nil, errors.New("server: no clients: expected the prefixes routers ask from, with their secrets")
	}
	for _, c := range cfg.Clients {
		if !c.Prefix.IsValid() || c.Secret.Len() == 0 {
			return nil, fmt.Errorf("server: client %v, expected a prefix with a secret", c.Prefix)
		}
	}
	probe, err := eap.NewTLSServer(cfg.TLS) // says now what would fail later
	if err != nil {
		return nil, err
	}
	_ = probe.Close()
	if cfg.MaxSessions <= 0 {
		cfg.MaxSessions = defaultSessions
	}
	if cfg.Workers <= 0 {
		cfg.Workers = max(2, runtime.GOMAXPROCS(0))
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{cfg: cfg, sessions: make(map[[stateLen]byte]*session), seen: newCache()}, nil
}

// job is one verified request.
type job struct {
	req    *radius.ServerRequest
	from   netip.AddrPort
	secret *keys.Secret
	entry  *cached
}

// Serve answers requests from conn until ctx is done, then closes conn and waits for
// everything it has started. It returns nil then, or why reading failed.
func (s *Server) Serve(ctx context.Context, conn Conn) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	jobs := make(chan job, queueSize)
	var workers, helpers sync.WaitGroup
	for range s.cfg.Workers {
		workers.Go(func() {
			for j := range jobs {
				s.answer(conn, j)
			}
		})
	}
	helpers.Go(func() {
		<-ctx.Done()
		_ = conn.Close()
	})
	helpers.Go(func() {
		tick := time.NewTicker(sweep)
		defer tick.Stop()
		for {
			select {
			case now := <-tick.C:
				s.expire(now, false)
			case <-ctx.Done():
				return
			}
		}
	})
	err := s.read(conn, jobs)
	if ctx.Err() != nil {
		err = nil
	}
	cancel()
	close(jobs)
	workers.Wait()
	helpers.Wait()
	s.expire(time.Now(), true)
	return err
}

// read checks packets and queues those that count.
func (s *Server) read(conn Conn, jobs chan<- job) error {
	buf := make([]byte, radius.MaxPacket+1)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return err
			}
			return fmt.Errorf("server: read: %w", err)
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		secret := s.secretOf(from.Addr())
		if secret == nil {
			s.drop(&s.count.unknownClient, from, "no client has this address; add it to clients")
			continue
		}
		req, err := radius.ParseRequest(buf[:n], secret)
		switch {
		case err == nil:
		case errors.Is(err, radius.ErrBadMessageAuthenticator):
			s.drop(&s.count.wrongSecret, from, "wrong Message-Authenticator; is the secret the router's?")
			continue
		case errors.Is(err, radius.ErrNoMessageAuthenticator):
			s.drop(&s.count.noMessageAuthenticator, from, err.Error())
			continue
		case errors.Is(err, radius.ErrCode):
			s.drop(&s.count.badCode, from, err.Error())
			continue
		default:
			s.drop(&s.count.malformed, from, err.Error())
			continue
		}
		s.count.requests.Add(1)
		s.queue(conn, jobs, job{req: req, from: from, secret: secret})
	}
}

// queue passes a request on unless it is a duplicate or there are too many. New
// conversations only get the first half of the queue (RFC 5080 section 2.2.3).
func (s *Server) queue(conn Conn, jobs chan<- job, j job) {
	s.mu.Lock()
	entry, seen := s.seen.add(time.Now(), cacheKey{j.from, j.req.Identifier}, j.req.Authenticator)
	reply := entry.reply
	s.mu.Unlock()
	if seen {
		s.count.duplicates.Add(1)
		if reply != nil {
			s.send(conn, reply, j.from)
		}
		return
	}
	j.entry = entry
	if len(j.req.State) > 0 || len(jobs) < queueSize/2 {
		select {
		case jobs <- j:
			return
		default:
		}
	}
	s.forget(entry)
	s.count.overload.Add(1)
}

// forget lets the next copy of a request that was not processed be a new one.
func (s *Server) forget(e *cached) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen.remove(e)
}

// drop counts, and logs at a level that a flood does not reach by default.
func (s *Server) drop(n *atomic.Uint64, from netip.AddrPort, why string) {
	if n.Add(1) == 1 { // the first of its kind is worth a line
		s.cfg.Log.Warn("request dropped, further ones of this kind are only counted", "from", from, "reason", why)
		return
	}
	s.cfg.Log.Debug("request dropped", "from", from, "reason", why)
}

// secretOf finds the client with the longest prefix; nil without one.
func (s *Server) secretOf(a netip.Addr) *keys.Secret {
	bits, secret := -1, (*keys.Secret)(nil)
	for _, c := range s.cfg.Clients {
		if c.Prefix.Contains(a) && c.Prefix.Bits() > bits {
			bits, secret = c.Prefix.Bits(), c.Secret
		}
	}
	return secret
}

// answer processes one request on a worker.
func (s *Server) answer(conn Conn, j job) {
	reply, ok := s.process(j)
	if !ok {
		return
	}
	wire, err := s.encode(j, reply)
	reply.MSK.Clear()
	if err != nil {
		s.cfg.Log.Error("reply not sent", "to", j.from, "err", err)
		return
	}
	s.mu.Lock()
	j.entry.reply = wire
	s.mu.Unlock()
	s.send(conn, wire, j.from)
}

func (s *Server) encode(j job, reply radius.Reply) ([]byte, error) {
	s.randMu.Lock()
	defer s.randMu.Unlock()
	return j.req.Encode(reply, j.secret, s.cfg.Rand)
}

func (s *Server) send(conn Conn, b []byte, to netip.AddrPort) {
	if _, err := conn.WriteToUDPAddrPort(b, to); err != nil {
		s.count.sendErr.Add(1)
		s.cfg.Log.Debug("reply not sent", "to", to, "err", err)
	}
}

// process runs the conversation one step. Without ok there is nothing to answer.
func (s *Server) process(j job) (reply radius.Reply, ok bool) {
	pkt, err := eap.Parse(j.req.EAP)
	if len(j.req.State) == 0 {
		if err != nil || pkt.Code != eap.CodeResponse || pkt.Type != eap.TypeIdentity || len(pkt.Data) == 0 {
			s.count.invalid.Add(1)
			s.cfg.Log.Warn("refused: expected an EAP identity; only EAP-TLS is offered", "client", j.from, "user", j.req.UserName)
			return refuse(pkt), true
		}
		return s.first(j, pkt)
	}
	c, err := s.take(j.req.State, j.from)
	switch {
	case err != nil:
		s.count.unknownState.Add(1)
		s.cfg.Log.Warn("refused", "client", j.from, "user", j.req.UserName, "err", err)
		return refuse(pkt), true
	case c == nil:
		s.forget(j.entry)
		s.count.pending.Add(1)
		return radius.Reply{}, false
	}
	return s.step(c, j), true
}

func (s *Server) first(j job, pkt eap.Packet) (radius.Reply, bool) {
	c, err := s.begin(j.req, j.from, pkt)
	if err != nil {
		s.forget(j.entry)
		s.count.overload.Add(1)
		if !errors.Is(err, errFull) {
			s.cfg.Log.Error("no session", "err", err)
		}
		return radius.Reply{}, false
	}
	reply := c.challenge()
	s.put(c)
	return reply, true
}

func (c *session) challenge() radius.Reply {
	return radius.Reply{Code: radius.AccessChallenge, EAP: c.last, State: c.state[:]}
}

// step gives the session its response; the caller is its owner.
func (s *Server) step(c *session, j job) radius.Reply {
	out, err := c.eap.Handle(j.req.EAP)
	if out == nil { // not a response to the request that is out: ask again, a few times
		s.count.invalid.Add(1)
		if c.invalid++; c.invalid < maxInvalid {
			reply := c.challenge()
			s.put(c)
			return reply
		}
		s.finish(c, fmt.Errorf("server: %d invalid packets, the last one: %w", c.invalid, err))
		return radius.Reply{Code: radius.AccessReject, EAP: failure(c.last)}
	}
	done, success, msk, emsk, identity := c.eap.Result()
	emsk.Clear() // nobody here derives from it
	switch {
	case !done:
		c.last = out
		reply := c.challenge()
		s.put(c)
		return reply
	case !success:
		s.finish(c, c.eap.Err())
		return radius.Reply{Code: radius.AccessReject, EAP: out}
	}
	s.finish(c, nil)
	return radius.Reply{
		Code: radius.AccessAccept, EAP: out, MSK: msk, UserName: identity, SessionTimeout: s.cfg.SessionTimeout,
	}
}

// refuse answers what belongs to no session.
func refuse(pkt eap.Packet) radius.Reply {
	return radius.Reply{Code: radius.AccessReject, EAP: []byte{byte(eap.CodeFailure), pkt.ID, 0, 4}}
}

// failure is the EAP-Failure after that request.
func failure(request []byte) []byte { return []byte{byte(eap.CodeFailure), request[1], 0, 4} }

func (s *Server) fill(b []byte) error {
	s.randMu.Lock()
	defer s.randMu.Unlock()
	if _, err := io.ReadFull(s.cfg.Rand, b); err != nil {
		return fmt.Errorf("server: randomness: %w", err)
	}
	return nil
}

// Counters returns what the server has done and dropped so far.
func (s *Server) Counters() Counters {
	s.mu.Lock()
	sessions := len(s.sessions)
	s.mu.Unlock()
	n := &s.count
	return Counters{
		Requests: n.requests.Load(), Duplicates: n.duplicates.Load(), Accepted: n.accepted.Load(),
		Rejected: n.rejected.Load(), Expired: n.expired.Load(), Sessions: sessions,
		UnknownClient: n.unknownClient.Load(), WrongSecret: n.wrongSecret.Load(),
		NoMessageAuthenticator: n.noMessageAuthenticator.Load(), BadCode: n.badCode.Load(),
		Malformed: n.malformed.Load(), Overload: n.overload.Load(), Pending: n.pending.Load(),
		UnknownState: n.unknownState.Load(), Invalid: n.invalid.Load(), SendErrors: n.sendErr.Load(),
	}
}
