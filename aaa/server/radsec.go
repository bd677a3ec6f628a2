package server

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
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

	"openmpa/aaa/radius"
)

// radsecFront is the name that RadSec clients' names begin with.
const radsecFront = "radsec"

const (
	maxStreams    = 1024             // connections at once
	maxOfClient   = 32               // of one of them
	handshakeTime = 10 * time.Second // for TLS
	silentTime    = 10 * time.Minute // without a packet, and a connection is over: clients send Status-Server
)

// RadSecConfig configures a RadSec front. TLS and Clients are required.
type RadSecConfig struct {
	// TLS has our certificate, and in ClientCAs the authorities of routers'. It should be
	// none that signs nodes' certificates: whoever has a certificate and a name in Clients
	// is a router.
	TLS     *tls.Config
	Clients []string // the DNS names of routers' certificates; "*.example" for those one label below it

	Log  *slog.Logger // nil: none
	Rand io.Reader    // of salts; default crypto/rand
}

// RadSec is the front for routers that ask by RADIUS over TLS (RFC 6614).
type RadSec struct {
	// fixed
	core *Server
	cfg  RadSecConfig

	// atomic
	count radsecCounters

	randMu sync.Mutex // guards cfg.Rand

	// guarded by mu
	mu      sync.Mutex
	streams []*stream
}

type radsecCounters struct {
	connections, refused, requests, bad, sendErr atomic.Uint64
}

// RadSecCounters is a snapshot of what a RadSec front has done and dropped.
type RadSecCounters struct {
	Connections uint64 `json:"connections"` // taken
	Open        int    `json:"open"`
	Refused     uint64 `json:"refused"`  // connections, for their certificate or number
	Requests    uint64 `json:"requests"` // verified
	Bad         uint64 `json:"bad"`      // packets, each of which has ended its connection
	SendErrors  uint64 `json:"send_errors"`
}

// NewRadSec makes the RadSec front of a server.
func NewRadSec(core *Server, cfg RadSecConfig) (*RadSec, error) {
	switch {
	case cfg.TLS == nil || len(cfg.TLS.Certificates) == 0 && cfg.TLS.GetCertificate == nil || cfg.TLS.ClientCAs == nil:
		return nil, errors.New("server: RadSec: expected our certificate, and the authorities of routers' certificates")
	case len(cfg.Clients) == 0:
		return nil, errors.New("server: RadSec: no clients: expected the names in routers' certificates")
	}
	cfg.TLS = cfg.TLS.Clone()
	cfg.TLS.MinVersion = tls.VersionTLS13
	cfg.TLS.ClientAuth = tls.RequireAndVerifyClientCert
	cfg.TLS.SessionTicketsDisabled = true // every connection shows its certificate
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	f := &RadSec{core: core, cfg: cfg}
	core.Attach(radsecFront, f)
	return f, nil
}

// stream is one router's connection.
type stream struct {
	conn *radius.Stream
	raw  net.Conn
	name string // of the router
	from netip.AddrPort

	gone chan struct{} // closed when nothing comes any more

	// guarded by RadSec.mu
	busy [256]bool // identifiers of requests that are not answered yet
	sent [256]*sent
	next uint8 // identifier of the next order
}

// Serve takes connections from l until ctx is done, then closes it and them and waits for
// everything it has started. It returns nil then, or why there are no more.
func (f *RadSec) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var started sync.WaitGroup
	defer started.Wait()
	defer cancel()
	started.Go(func() {
		<-ctx.Done()
		_ = l.Close()
	})
	slots := make(chan struct{}, maxStreams)
	for {
		raw, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = raw.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("server: RadSec: %w", err)
		case err != nil: // such as too many files: it passes
			f.cfg.Log.Warn("connection not taken", "err", err)
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
			continue
		}
		select {
		case slots <- struct{}{}:
		default:
			f.refuse(raw.RemoteAddr(), fmt.Errorf("%d connections are open already", maxStreams))
			_ = raw.Close()
			continue
		}
		started.Go(func() {
			defer func() { <-slots }()
			f.connection(ctx, raw)
		})
	}
}

func (f *RadSec) refuse(from net.Addr, why error) {
	f.count.refused.Add(1)
	f.cfg.Log.Warn("RadSec connection refused", "from", from, "reason", why)
}

// connection serves one.
func (f *RadSec) connection(ctx context.Context, raw net.Conn) {
	defer raw.Close()
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	conn := tls.Server(raw, f.cfg.TLS)
	short, cancel := context.WithTimeout(ctx, handshakeTime)
	err := conn.HandshakeContext(short)
	cancel()
	if err != nil {
		f.refuse(raw.RemoteAddr(), err)
		return
	}
	name, err := f.clientName(conn.ConnectionState().PeerCertificates[0])
	if err != nil {
		f.refuse(raw.RemoteAddr(), err)
		return
	}
	s := &stream{raw: raw, name: name, gone: make(chan struct{})}
	if a, err := netip.ParseAddrPort(raw.RemoteAddr().String()); err == nil {
		s.from = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	}
	s.conn = radius.NewStream(conn, s.from)
	if err := f.add(s); err != nil {
		f.refuse(raw.RemoteAddr(), err)
		return
	}
	f.count.connections.Add(1)
	f.cfg.Log.Info("RadSec connection", "client", name, "from", s.from)
	var started sync.WaitGroup
	err = f.read(ctx, s, &started)
	f.remove(s)
	close(s.gone)
	_ = raw.Close()
	started.Wait()
	if ctx.Err() == nil && !errors.Is(err, io.EOF) {
		f.cfg.Log.Warn("RadSec connection ended", "client", name, "from", s.from, "err", err)
	}
}

// clientName is which of the clients a certificate is for.
func (f *RadSec) clientName(cert *x509.Certificate) (string, error) {
	for _, name := range cert.DNSNames {
		name = strings.ToLower(name)
		_, below, _ := strings.Cut(name, ".")
		for _, client := range f.cfg.Clients {
			if client = strings.ToLower(client); client == name || below != "" && client == "*."+below {
				return name, nil
			}
		}
	}
	return "", fmt.Errorf("its certificate names %q, none of which is among clients", cert.DNSNames[:min(len(cert.DNSNames), 3)])
}

func (f *RadSec) add(s *stream) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, other := range f.streams {
		if other.name == s.name {
			n++
		}
	}
	if n >= maxOfClient {
		return fmt.Errorf("%s has %d connections already", s.name, n)
	}
	f.streams = append(f.streams, s)
	return nil
}

func (f *RadSec) remove(s *stream) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.streams = slices.DeleteFunc(f.streams, func(other *stream) bool { return other == s })
}

// read answers requests until the stream ends. Whatever is wrong on it ends it (RFC 6613
// section 2.6.4).
func (f *RadSec) read(ctx context.Context, s *stream, started *sync.WaitGroup) error {
	buf := make([]byte, radius.MaxPacket)
	secret := radius.RadSecSecret()
	for {
		_ = s.raw.SetReadDeadline(time.Now().Add(silentTime))
		n, _, err := s.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			if errors.Is(err, radius.ErrLength) {
				f.count.bad.Add(1)
			}
			return err
		}
		switch radius.Code(buf[0]) {
		case radius.DisconnectACK, radius.DisconnectNAK, radius.CoAACK, radius.CoANAK:
			if err := f.answered(s, buf[:n]); err != nil {
				f.count.bad.Add(1)
				return err
			}
			continue
		}
		req, err := radius.ParseRequest(buf[:n], secret, radius.AccessRequest, radius.AccountingRequest, radius.StatusServer)
		if err != nil {
			f.count.bad.Add(1)
			return err
		}
		f.count.requests.Add(1)
		if !f.begin(s, req.Identifier) {
			f.count.bad.Add(1)
			return fmt.Errorf("server: identifier %d is in use by another request", req.Identifier)
		}
		started.Go(func() {
			reply, err := process(ctx, f.core, radsecFront+":"+s.name, req)
			f.mu.Lock()
			s.busy[req.Identifier] = false
			f.mu.Unlock()
			if err != nil { // it asks again, on another connection
				f.cfg.Log.Debug("request not answered", "client", s.name, "err", err)
				return
			}
			f.randMu.Lock()
			wire, err := req.Encode(reply, secret, f.cfg.Rand)
			f.randMu.Unlock()
			reply.MSK.Clear()
			if err == nil {
				_, err = s.conn.WriteToUDPAddrPort(wire, s.from)
			}
			if err != nil {
				f.count.sendErr.Add(1)
				f.cfg.Log.Warn("reply not sent", "client", s.name, "err", err)
			}
		})
	}
}

// begin takes an identifier, which no other request may have now.
func (f *RadSec) begin(s *stream, id uint8) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	was := s.busy[id]
	s.busy[id] = true
	return !was
}

// Counters returns what the front has done and dropped so far.
func (f *RadSec) Counters() RadSecCounters {
	f.mu.Lock()
	open := len(f.streams)
	f.mu.Unlock()
	n := &f.count
	return RadSecCounters{
		Connections: n.connections.Load(), Open: open, Refused: n.refused.Load(),
		Requests: n.requests.Load(), Bad: n.bad.Load(), SendErrors: n.sendErr.Load(),
	}
}
