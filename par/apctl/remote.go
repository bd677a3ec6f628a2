package apctl

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"openmpa/internal/wpactrl"
)

const defaultRemoteTimeout = 5 * time.Second

// RemoteConfig is an access point with an Agent on another machine.
type RemoteConfig struct {
	Info
	Address string // host:port of the agent
	// Agent is the DNS name that the agent's certificate must have. An address is no identity.
	Agent       string
	Certificate tls.Certificate // ours: the PAA's
	Roots       *x509.CertPool  // who signs agents' certificates
	Timeout     time.Duration   // for one request, and to connect; default 5 s
	Keepalive   time.Duration   // between looks at the agent, and attempts to reach it; default 5 s, at most that
	Log         *slog.Logger    // default: none
}

// Remote is an access point with an Agent on another machine.
type Remote struct {
	keeper
	cfg RemoteConfig
	tls *tls.Config

	mu     sync.Mutex // one request at a time
	line   *line      // guarded by mu; nil: no connection
	broken chan struct{}

	reading sync.WaitGroup // one for each line
}

// line is one connection to the agent.
type line struct {
	conn    *tls.Conn
	raw     net.Conn      // under conn: closing this does not wait for the other side
	answers chan reply    // to the request under way
	done    chan struct{} // closed with err set: nothing comes any more
	err     error
}

var _ Point = (*Remote)(nil)

// OpenRemote starts to look after an access point. It does not wait for the agent.
func OpenRemote(cfg RemoteConfig) (*Remote, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.Address == "" || cfg.Agent == "" || cfg.Roots == nil || len(cfg.Certificate.Certificate) == 0 {
		return nil, fmt.Errorf("apctl: %s: an agent's address and name, our certificate and the roots of agents' are needed", cfg.Name)
	}
	if cfg.Timeout < 0 || cfg.Keepalive < 0 || cfg.Keepalive > keepalive {
		return nil, fmt.Errorf("apctl: %s: timeout %v, keepalive %v: expected more than 0, and at most %v between looks", cfg.Name,
			cfg.Timeout, cfg.Keepalive, keepalive)
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultRemoteTimeout
	}
	if cfg.Keepalive == 0 {
		cfg.Keepalive = keepalive
	}
	r := &Remote{cfg: cfg, broken: make(chan struct{}, 1), tls: &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cfg.Certificate}, RootCAs: cfg.Roots, ServerName: cfg.Agent,
	}}
	r.init(cfg.Info, cfg.Address, r, cfg.Log)
	r.wg.Go(r.loop)
	r.wg.Go(r.run)
	return r, nil
}

// Close implements Point.
func (r *Remote) Close() error {
	done, err := r.close()
	if done {
		return nil
	}
	r.mu.Lock()
	r.hangup(r.line)
	r.mu.Unlock()
	r.reading.Wait()
	return err
}

// run keeps a connection to the agent, until Close.
func (r *Remote) run() {
	for r.ctx.Err() == nil {
		err := r.connect()
		for err == nil {
			select {
			case <-r.ctx.Done():
				return
			case <-r.broken:
				err = fmt.Errorf("%w: the connection to the agent broke", ErrAway)
			case <-time.After(r.cfg.Keepalive):
				err = r.look(request{Op: opStatus})
			}
		}
		if r.ctx.Err() != nil {
			return
		}
		r.lost(err)
		select {
		case <-r.ctx.Done():
		case <-time.After(r.cfg.Keepalive):
		}
	}
}

// connect makes a connection and says hello.
func (r *Remote) connect() error {
	ctx, cancel := context.WithTimeout(r.ctx, r.cfg.Timeout)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", r.cfg.Address)
	if err != nil {
		return fmt.Errorf("%w: connect to the agent %s on %s: %w", ErrAway, r.cfg.Agent, r.cfg.Address, err)
	}
	conn := tls.Client(raw, r.tls)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return fmt.Errorf("%w: connect to the agent %s on %s: %w", ErrAway, r.cfg.Agent, r.cfg.Address, err)
	}
	l := &line{conn: conn, raw: raw, answers: make(chan reply, 1), done: make(chan struct{})}
	r.mu.Lock()
	r.line = l
	select {
	case <-r.broken: // of the one before
	default:
	}
	r.mu.Unlock()
	r.reading.Go(func() {
		l.err = r.read(l)
		close(l.done)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.hangup(l)
	})
	return r.look(request{Op: opHello, Version: protocolVersion, Point: &r.info})
}

// read takes the agent's lines until the connection ends, and returns why.
func (r *Remote) read(l *line) error {
	for in := newLines(l.conn); ; {
		var got reply
		if err := in.next(func(text []byte) error { return strict(text, &got) }); err != nil {
			return err
		}
		switch {
		case (got.Event == eventCame || got.Event == eventWent) && got.Station != nil:
			r.saw(Seen{Station: *got.Station, Gone: got.Event == eventWent, At: time.Now()})
		case got.Event != "": // of a newer agent
		default:
			select {
			case l.answers <- got:
			default:
				return fmt.Errorf("%w: an answer that nobody has asked for", ErrProtocol)
			}
		}
	}
}

// look asks how the access point is, and takes note. Errors are of the agent, not of the access point behind it.
func (r *Remote) look(q request) error {
	answer, err := r.exchange(r.ctx, q)
	if err != nil {
		return err
	}
	if err := answer.err(); err != nil {
		r.mu.Lock()
		r.hangup(r.line)
		r.mu.Unlock()
		return err
	}
	switch up := r.Status().Up; {
	case !answer.Up:
		r.lost(fmt.Errorf("%w: the agent says %q", ErrAway, wpactrl.Printable(answer.Why)))
	case !up || q.Op == opHello:
		r.reached()
	}
	return nil
}

// exchange does one request. Errors are of the connection, which ends with any.
func (r *Remote) exchange(ctx context.Context, q request) (answer reply, err error) {
	text, err := appendRequest(q)
	defer clear(text)
	if err != nil {
		return reply{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return reply{}, fmt.Errorf("%w: %s not sent: %w", ErrAway, q.Op, err)
	}
	l := r.line
	if l == nil {
		return reply{}, fmt.Errorf("%w: no connection to the agent", ErrAway)
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		var grace time.Duration
		if errors.Is(ctx.Err(), context.Canceled) { // Close needs the connection still: to take the keys from the agent
			grace = closeMax
		}
		_ = l.raw.SetDeadline(time.Now().Add(grace))
	})
	defer stop()
	if _, err = l.conn.Write(text); err == nil {
		select {
		case answer = <-l.answers:
			return answer, nil
		case <-l.done:
			err = l.err
		}
	}
	r.hangup(l)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("no answer in time: %w", ctx.Err())
	}
	return reply{}, fmt.Errorf("%w: %s at the agent %s on %s: %w", ErrAway, q.Op, r.cfg.Agent, r.cfg.Address, err)
}

// hangup ends a connection, if it is the present one. The caller holds mu.
func (r *Remote) hangup(l *line) {
	if l == nil || r.line != l {
		return
	}
	l.raw.Close()
	r.line = nil
	select {
	case r.broken <- struct{}{}:
	default:
	}
}

// ask is exchange with the agent's refusal as an error.
func (r *Remote) ask(ctx context.Context, q request) error {
	answer, err := r.exchange(ctx, q)
	if err != nil {
		return err
	}
	return answer.err()
}

func (r *Remote) add(ctx context.Context, k Key) error {
	return r.ask(ctx, request{Op: opInstall, Station: &k.Station, Lifetime: int(k.Lifetime / time.Second), PMK: &hexKey{k.PMK}})
}

func (r *Remote) remove(ctx context.Context, station wpactrl.MAC) error {
	return r.ask(ctx, request{Op: opRemove, Station: &station})
}

// ended leaves it to the agent, which sees the end of a key itself.
func (r *Remote) ended(context.Context, wpactrl.MAC) error { return nil }

func (r *Remote) left(ctx context.Context, station wpactrl.MAC, since time.Time) error {
	ago := min(max(time.Since(since).Milliseconds(), 0), maxAgo)
	return r.ask(ctx, request{Op: opLeft, Station: &station, Ago: int(ago)})
}

func (r *Remote) flush(ctx context.Context) error { return r.ask(ctx, request{Op: opFlush}) }
