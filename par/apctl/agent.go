package apctl

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"openmpa/internal/wpactrl"
)

const (
	maxConns     = 16
	handshakeMax = 10 * time.Second
	keepalive    = 5 * time.Second  // between a client's status requests
	idleMax      = 4 * keepalive    // without a line, the connection is taken for dead
	answerMax    = 10 * time.Second // for one request at the access point
	defaultHold  = time.Minute
	maxEvents    = 64 // that wait for one connection; then they are lost
)

// AgentConfig is an agent: it runs beside hostapd on an access point, and serves the PAA on another machine.
type AgentConfig struct {
	Listener    net.Listener // the agent closes it
	Certificate tls.Certificate
	Roots       *x509.CertPool // who signs PAAs' certificates
	// PAAs are the DNS names of which a PAA's certificate must have one.
	PAAs []string
	// Points are the access points served. The agent closes them.
	Points []*Local
	// Hold is how long keys stay when the PAA is not heard; default one minute.
	Hold time.Duration
	Log  *slog.Logger // default: none
}

// Agent serves access points to a PAA.
type Agent struct {
	cfg    AgentConfig
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	once   sync.Once
	end    error

	mu    sync.Mutex
	conns int
	owner map[string]*holder // by point
}

// holder is who gives keys to a point.
type holder struct {
	paa     string
	session *agentSession // nil: lost
	drop    *time.Timer   // when lost: takes the keys
}

// Serve starts an agent.
func Serve(cfg AgentConfig) (*Agent, error) {
	if cfg.Listener == nil || cfg.Roots == nil || len(cfg.PAAs) == 0 || len(cfg.Points) == 0 || len(cfg.Certificate.Certificate) == 0 {
		return nil, errors.New("apctl: an agent needs a listener, a certificate, the roots of PAAs' certificates, their names, and access points")
	}
	if cfg.Hold < 0 {
		return nil, fmt.Errorf("apctl: hold %v: expected more than 0", cfg.Hold)
	}
	if cfg.Hold == 0 {
		cfg.Hold = defaultHold
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	a := &Agent{cfg: cfg, owner: make(map[string]*holder)}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	for _, p := range cfg.Points {
		p.Watch(func(s Seen) { a.saw(p, s) })
	}
	a.wg.Go(a.accept)
	return a, nil
}

// saw tells a point's PAA of a station, unless it does not listen.
func (a *Agent) saw(p *Local, s Seen) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if h := a.owner[p.info.Name]; h != nil && h.session != nil {
		select {
		case h.session.events <- s:
		default:
		}
	}
}

// Addr is where the agent listens.
func (a *Agent) Addr() net.Addr { return a.cfg.Listener.Addr() }

// Status returns the state of the access points.
func (a *Agent) Status() []Status {
	var out []Status
	for _, p := range a.cfg.Points {
		out = append(out, p.Status())
	}
	return out
}

// Close ends connections, takes the keys from the access points and waits.
func (a *Agent) Close() error {
	a.once.Do(func() {
		a.cancel()
		errs := []error{a.cfg.Listener.Close()}
		a.wg.Wait()
		a.mu.Lock()
		for _, h := range a.owner {
			if h.drop != nil {
				h.drop.Stop()
			}
		}
		a.mu.Unlock()
		for _, p := range a.cfg.Points {
			errs = append(errs, p.Close())
		}
		a.end = errors.Join(errs...)
	})
	return a.end
}

func (a *Agent) accept() {
	config := &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{a.cfg.Certificate},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.cfg.Roots, SessionTicketsDisabled: true,
	}
	for a.ctx.Err() == nil {
		raw, err := a.cfg.Listener.Accept()
		if err != nil {
			if a.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			a.cfg.Log.Warn("accept", "error", err)
			select {
			case <-a.ctx.Done():
			case <-time.After(100 * time.Millisecond): // out of descriptors, say
			}
			continue
		}
		a.mu.Lock()
		full := a.conns >= maxConns
		if !full {
			a.conns++
		}
		a.mu.Unlock()
		if full {
			a.cfg.Log.Warn("connection refused: too many", "peer", raw.RemoteAddr().String())
			raw.Close()
			continue
		}
		a.wg.Go(func() {
			defer func() { a.mu.Lock(); a.conns--; a.mu.Unlock() }()
			conn := tls.Server(raw, config)
			defer raw.Close()
			stop := context.AfterFunc(a.ctx, func() { raw.Close() })
			defer stop()
			if err := a.serve(conn); a.ctx.Err() == nil {
				a.cfg.Log.Info("connection ended", "peer", raw.RemoteAddr().String(), "error", err)
			}
		})
	}
}

// serve answers one connection's requests until it ends, and returns why.
func (a *Agent) serve(conn *tls.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(handshakeMax)); err != nil {
		return err
	}
	if err := conn.HandshakeContext(a.ctx); err != nil {
		return err
	}
	leaf := conn.ConnectionState().PeerCertificates[0]
	i := slices.IndexFunc(a.cfg.PAAs, func(name string) bool { return leaf.VerifyHostname(name) == nil })
	if i < 0 {
		return fmt.Errorf("the certificate of %v is for %q, not for a PAA of the configuration", conn.RemoteAddr(), leaf.DNSNames)
	}
	s := &agentSession{agent: a, conn: conn, paa: a.cfg.PAAs[i], events: make(chan Seen, maxEvents)}
	var events sync.WaitGroup
	defer events.Wait()
	ctx, cancel := context.WithCancel(a.ctx)
	defer cancel()
	events.Go(func() { s.report(ctx) })
	defer s.release()
	for in := newLines(conn); ; {
		if err := conn.SetReadDeadline(time.Now().Add(idleMax)); err != nil {
			return err
		}
		var answer reply
		err := in.next(func(line []byte) error {
			r, err := parseRequest(line)
			if err != nil {
				return err
			}
			defer r.clear()
			answer, err = s.handle(r)
			return err
		})
		if err != nil {
			return err
		}
		if err := s.write(answer); err != nil {
			return err
		}
	}
}

// agentSession is one PAA's connection for one access point.
type agentSession struct {
	agent *Agent
	conn  *tls.Conn
	paa   string
	point *Local // nil before hello

	events  chan Seen
	writing sync.Mutex
}

// write sends a line.
func (s *agentSession) write(r reply) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.conn.SetWriteDeadline(time.Now().Add(idleMax)); err != nil {
		return err
	}
	return writeReply(s.conn, r)
}

// report sends the events until ctx ends. An error ends the connection, too.
func (s *agentSession) report(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-s.events:
			name := eventCame
			if e.Gone {
				name = eventWent
			}
			if s.write(reply{Event: name, Station: &e.Station}) != nil {
				s.conn.NetConn().Close()
				return
			}
		}
	}
}

// handle answers one request. An error ends the connection.
func (s *agentSession) handle(r request) (reply, error) {
	if (s.point == nil) != (r.Op == opHello) {
		return reply{}, fmt.Errorf("%w: hello is the first request, and comes once; this is %s", ErrProtocol, r.Op)
	}
	ctx, cancel := context.WithTimeout(s.agent.ctx, answerMax)
	defer cancel()
	var err error
	switch r.Op {
	case opHello:
		if err = s.claim(r); err == nil {
			s.point.forget() // what it should have comes now
		}
	case opInstall:
		k := Key{Station: *r.Station, PMK: r.PMK.secret, Lifetime: time.Duration(r.Lifetime) * time.Second}
		if err = k.check(); err != nil {
			err = fmt.Errorf("%w: %w", ErrRefused, err)
			break
		}
		if err = s.point.Install(ctx, k); err != nil && code(err) == codeOther {
			err = fmt.Errorf("%w: %w", ErrAway, err) // the point tries again by itself, as when away
		}
	case opRemove:
		err = s.point.Remove(ctx, *r.Station)
	case opLeft:
		s.point.Left(*r.Station, time.Now().Add(-time.Duration(r.Ago)*time.Millisecond))
	case opFlush:
		s.point.forget()
	}
	if err != nil {
		return reply{Code: code(err), Error: wpactrl.Printable(err.Error())}, nil
	}
	st := s.point.Status()
	return reply{OK: true, Up: st.Up, Why: st.Why}, nil
}

// claim takes the access point for this connection: from an older one of the same PAA, never from another PAA.
func (s *agentSession) claim(r request) error {
	if r.Version != protocolVersion {
		return fmt.Errorf("%w: version %d, this agent has version %d", ErrMismatch, r.Version, protocolVersion)
	}
	i := slices.IndexFunc(s.agent.cfg.Points, func(p *Local) bool { return p.Info() == *r.Point })
	if i < 0 {
		return fmt.Errorf("%w: the agent has no access point %s with BSSID %v and suite %v", ErrMismatch,
			wpactrl.Printable(r.Point.Name), r.Point.BSSID, r.Point.AKM)
	}
	a, p := s.agent, s.agent.cfg.Points[i]
	a.mu.Lock()
	defer a.mu.Unlock()
	switch old := a.owner[p.info.Name]; {
	case old == nil:
	case old.paa != s.paa:
		return fmt.Errorf("%w: %s is served to %s", ErrRefused, p.info.Name, old.paa)
	case old.session != nil:
		old.session.conn.NetConn().Close()
	case old.drop != nil:
		old.drop.Stop()
	}
	a.owner[p.info.Name] = &holder{paa: s.paa, session: s}
	s.point = p
	a.cfg.Log.Info("PAA connected", "paa", s.paa, "point", p.info.Name)
	return nil
}

// release starts the time after which a lost PAA's keys go.
func (s *agentSession) release() {
	if s.point == nil {
		return
	}
	a, p := s.agent, s.point
	a.mu.Lock()
	defer a.mu.Unlock()
	h := a.owner[p.info.Name]
	if h == nil || h.session != s {
		return // a newer connection has it
	}
	h.session = nil
	h.drop = time.AfterFunc(a.cfg.Hold, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.owner[p.info.Name] == h && a.ctx.Err() == nil {
			delete(a.owner, p.info.Name)
			a.cfg.Log.Warn("PAA not heard: its keys are taken from the access point", "paa", h.paa, "point", p.info.Name)
			p.forget()
		}
	})
}
