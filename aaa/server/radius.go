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
	"sync"
	"sync/atomic"
	"time"

	"openmpa/aaa/radius"
	"openmpa/paa/keys"
)

// radiusFront is the name that RADIUS clients' names begin with.
const radiusFront = "radius"

// maxJobs bounds the requests of one socket that are being answered.
const maxJobs = 2048

// Client is who may ask by RADIUS: routers by address, with their secret.
type Client struct {
	Prefix netip.Prefix
	Secret *keys.Secret
	// Orders is where they take ours (RFC 5176); with an unspecified address each at its
	// own. Zero: they take none.
	Orders netip.AddrPort
}

// RADIUSConfig configures a RADIUS front. Clients is required.
type RADIUSConfig struct {
	Clients []Client // the longest prefix that matches counts

	Log  *slog.Logger // nil: none
	Rand io.Reader    // of salts; default crypto/rand

	Dial func(ctx context.Context, to netip.AddrPort) (net.Conn, error) // for orders; default UDP
}

// Conn is the part of *net.UDPConn that the RADIUS front uses.
type Conn interface {
	ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error)
	Close() error
}

// RADIUS is the front for routers that ask by RADIUS over UDP.
type RADIUS struct {
	// fixed
	core *Server
	cfg  RADIUSConfig

	// atomic
	count radiusCounters

	randMu sync.Mutex // guards cfg.Rand

	// guarded by mu
	mu     sync.Mutex
	seen   *cache
	orders uint8 // identifier of the last one
}

type radiusCounters struct {
	requests, duplicates                                        atomic.Uint64
	unknownClient, wrongSecret, noMessageAuthenticator, badCode atomic.Uint64
	malformed, sendErr, status, overload                        atomic.Uint64
}

// RADIUSCounters is a snapshot of what a RADIUS front has done and dropped.
type RADIUSCounters struct {
	Requests   uint64 `json:"requests"`   // verified
	Duplicates uint64 `json:"duplicates"` // of them, answered from the cache or dropped
	Status     uint64 `json:"status"`     // Status-Server

	// Requests dropped, by reason.
	UnknownClient          uint64 `json:"unknown_client"`
	WrongSecret            uint64 `json:"wrong_secret"` // Message-Authenticator wrong
	NoMessageAuthenticator uint64 `json:"no_message_authenticator"`
	BadCode                uint64 `json:"bad_code"`
	Malformed              uint64 `json:"malformed"`

	Overload   uint64 `json:"overload"` // too many at once
	SendErrors uint64 `json:"send_errors"`
}

// NewRADIUS makes the RADIUS front of a server.
func NewRADIUS(core *Server, cfg RADIUSConfig) (*RADIUS, error) {
	if len(cfg.Clients) == 0 {
		return nil, errors.New("server: no clients: expected the prefixes routers ask from, with their secrets")
	}
	for _, c := range cfg.Clients {
		if !c.Prefix.IsValid() || c.Secret.Len() == 0 {
			return nil, fmt.Errorf("server: client %v, expected a prefix with a secret", c.Prefix)
		}
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Dial == nil {
		cfg.Dial = func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "udp", to.String())
		}
	}
	f := &RADIUS{core: core, cfg: cfg, seen: newCache()}
	core.Attach(radiusFront, f)
	return f, nil
}

// job is one verified request.
type job struct {
	req    *radius.ServerRequest
	from   netip.AddrPort
	secret *keys.Secret
	entry  *cached
}

// Serve answers Access-Requests from conn until ctx is done, then closes conn and waits
// for everything it has started. It returns nil then, or why reading failed.
func (f *RADIUS) Serve(ctx context.Context, conn Conn) error {
	return f.serve(ctx, conn, radius.AccessRequest)
}

// ServeAccounting answers Accounting-Requests from conn, as Serve does others.
func (f *RADIUS) ServeAccounting(ctx context.Context, conn Conn) error {
	return f.serve(ctx, conn, radius.AccountingRequest)
}

// serve answers requests of one code, and Status-Server.
func (f *RADIUS) serve(ctx context.Context, conn Conn, code radius.Code) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var started sync.WaitGroup
	started.Go(func() {
		<-ctx.Done()
		_ = conn.Close()
	})
	slots := make(chan struct{}, maxJobs)
	err := f.read(conn, code, func(j job) {
		select {
		case slots <- struct{}{}:
		default: // it comes again
			f.forget(j.entry)
			f.count.overload.Add(1)
			return
		}
		started.Go(func() {
			f.answer(ctx, conn, j)
			<-slots
		})
	})
	if ctx.Err() != nil {
		err = nil
	}
	cancel()
	started.Wait()
	return err
}

// read checks packets and hands on those that count: the server bounds how many wait.
func (f *RADIUS) read(conn Conn, code radius.Code, handle func(job)) error {
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
		client := f.clientOf(from.Addr())
		if client == nil {
			f.drop(&f.count.unknownClient, from, "no client has this address; add it to clients")
			continue
		}
		secret := client.Secret
		req, err := radius.ParseRequest(buf[:n], secret, code, radius.StatusServer)
		switch {
		case err == nil:
		case errors.Is(err, radius.ErrBadMessageAuthenticator), errors.Is(err, radius.ErrBadAuthenticator):
			f.drop(&f.count.wrongSecret, from, "wrong Message-Authenticator; is the secret the router's?")
			continue
		case errors.Is(err, radius.ErrNoMessageAuthenticator):
			f.drop(&f.count.noMessageAuthenticator, from, err.Error())
			continue
		case errors.Is(err, radius.ErrCode):
			f.drop(&f.count.badCode, from, err.Error())
			continue
		default:
			f.drop(&f.count.malformed, from, err.Error())
			continue
		}
		if req.Code == radius.StatusServer { // each is another (RFC 5997 section 4.1), and soon answered
			f.count.status.Add(1)
			f.reply(conn, job{req: req, from: from, secret: secret}, statusReply(code))
			continue
		}
		f.count.requests.Add(1)
		if entry, isNew := f.note(conn, req, from); isNew {
			handle(job{req: req, from: from, secret: secret, entry: entry})
		}
	}
}

// note remembers a request. A duplicate is answered as before if there is an answer,
// and is not new.
func (f *RADIUS) note(conn Conn, req *radius.ServerRequest, from netip.AddrPort) (entry *cached, isNew bool) {
	f.mu.Lock()
	entry, seen := f.seen.add(time.Now(), cacheKey{from, req.Code, req.Identifier}, req.Authenticator)
	reply := entry.reply
	f.mu.Unlock()
	if !seen {
		return entry, true
	}
	f.count.duplicates.Add(1)
	if reply != nil {
		f.send(conn, reply, from)
	}
	return nil, false
}

// forget lets the next copy of a request that was not processed be a new one.
func (f *RADIUS) forget(e *cached) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen.remove(e)
}

// drop counts, and logs at a level that a flood does not reach by default.
func (f *RADIUS) drop(n *atomic.Uint64, from netip.AddrPort, why string) {
	if n.Add(1) == 1 { // the first of its kind is worth a line
		f.cfg.Log.Warn("request dropped, further ones of this kind are only counted", "from", from, "reason", why)
		return
	}
	f.cfg.Log.Debug("request dropped", "from", from, "reason", why)
}

// clientOf finds the client with the longest prefix; nil without one.
func (f *RADIUS) clientOf(a netip.Addr) *Client {
	bits, best := -1, (*Client)(nil)
	for i := range f.cfg.Clients {
		if c := &f.cfg.Clients[i]; c.Prefix.Contains(a) && c.Prefix.Bits() > bits {
			bits, best = c.Prefix.Bits(), c
		}
	}
	return best
}

// answer has the server answer one request.
func (f *RADIUS) answer(ctx context.Context, conn Conn, j job) {
	reply, err := process(ctx, f.core, radiusFront+":"+j.from.Addr().String(), j.req)
	if err != nil {
		f.forget(j.entry)
		f.cfg.Log.Debug("request not answered", "from", j.from, "err", err)
		return
	}
	f.reply(conn, j, reply)
}

// reply sends an answer, and again to the same request.
func (f *RADIUS) reply(conn Conn, j job, reply radius.Reply) {
	f.randMu.Lock()
	wire, err := j.req.Encode(reply, j.secret, f.cfg.Rand)
	f.randMu.Unlock()
	reply.MSK.Clear()
	if err != nil {
		f.cfg.Log.Error("reply not sent", "to", j.from, "err", err)
		return
	}
	if j.entry != nil {
		f.mu.Lock()
		j.entry.reply = wire
		f.mu.Unlock()
	}
	f.send(conn, wire, j.from)
}

func (f *RADIUS) send(conn Conn, b []byte, to netip.AddrPort) {
	if _, err := conn.WriteToUDPAddrPort(b, to); err != nil {
		f.count.sendErr.Add(1)
		f.cfg.Log.Debug("reply not sent", "to", to, "err", err)
	}
}

// Counters returns what the front has done and dropped so far.
func (f *RADIUS) Counters() RADIUSCounters {
	n := &f.count
	return RADIUSCounters{
		Requests: n.requests.Load(), Duplicates: n.duplicates.Load(), Status: n.status.Load(),
		UnknownClient: n.unknownClient.Load(), WrongSecret: n.wrongSecret.Load(),
		NoMessageAuthenticator: n.noMessageAuthenticator.Load(), BadCode: n.badCode.Load(),
		Malformed: n.malformed.Load(), SendErrors: n.sendErr.Load(), Overload: n.overload.Load(),
	}
}
