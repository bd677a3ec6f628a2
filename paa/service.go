package paa

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"openmpa/aaa"
	"openmpa/internal/event"
	"openmpa/internal/host"
	"openmpa/paa/keys"
	"openmpa/paa/notify"
	"openmpa/paa/pana"
)

// Handler is told what becomes of sessions. The service calls it from one
// goroutine, in order; it must not block.
type Handler interface {
	// SessionOpened: the peer at from is authenticated. It comes again, with new
	// keys, after each re-authentication. The keys belong to the handler, which
	// clears them, and end with the session after life. identity is the peer's as
	// AAA has it.
	SessionOpened(sid uint32, identity string, from netip.AddrPort, preauth bool, k *keys.SessionKeys, life time.Duration)
	// SessionActivated: the peer has arrived on the link, and the candidate PAA
	// is the serving one (RFC 5873 §3).
	SessionActivated(sid uint32, from netip.AddrPort)
	// SessionMoved: the peer speaks from another address now, as it has proved (RFC 5191 §5.6).
	SessionMoved(sid uint32, from netip.AddrPort)
	// SessionExtended: the session, and what it has, lasts for life from now on, longer or
	// shorter than it was to.
	SessionExtended(sid uint32, life time.Duration)
	// SessionMessage: m was sealed under this session's keys.
	SessionMessage(sid uint32, m notify.Message)
	// SessionClosed: the session is gone, by whomever.
	SessionClosed(sid uint32, reason error)
}

// Config of a Service.
type Config struct {
	Listen      netip.AddrPort    // UDP; RFC 5191 assigns port 716
	Listen6     netip.AddrPort    // likewise, where Listen is of IPv4; the zero AddrPort: not by IPv6
	Sockets     host.Sockets      // where it listens; nil: in the calling thread's network namespace
	Identities  notify.Identities // told to the PaC under AUTH
	Lifetime    time.Duration     // of a session
	AuthTimeout time.Duration     // from the first message to the end of EAP
	MaxSessions int
	PerNode     int            // sessions of one identity at once; the oldest gives way. 0: MaxSessions
	Ping        time.Duration  // silence after which a peer is asked; twice that ends its session. 0: never
	Allow       []netip.Prefix // who may authenticate from elsewhere (RFC 5873 §6); none: everybody
	Links       []netip.Prefix // of the access link, where everybody may
	Backend     aaa.Backend
	Bind        func(*Service) // is given the service before the first session; may be nil
	Rand        io.Reader
	Recorder    *event.Recorder
	Log         *slog.Logger
}

// Service is a running PAA.
type Service struct {
	cfg     Config
	handler Handler
	server  *pana.Server
	ctx     context.Context
	cancel  context.CancelFunc
	ready   chan struct{}  // closed with server set
	wg      sync.WaitGroup // exchanges with the AAA backend

	// owner goroutine of server
	sessions map[uint32]*session
	begun    uint64 // sessions that were opened, all in all

	grantMu sync.Mutex           // guards granted
	granted map[uint32]aaa.Grant // of open sessions
}

// session is what the service knows of one PANA session.
type session struct {
	eap      aaa.Session
	ctx      context.Context // of eap
	cancel   context.CancelFunc
	span     *event.Span
	channel  *notify.Channel
	identity string // of who authenticated last
	order    uint64 // in which it was opened; 0: not yet
	ending   bool   // it gives way
	ours     bool   // it has sealed a message: it speaks as RFC 6252's nodes here do

	accepted *aaa.Grant  // of the last accept, until the node has its keys
	grant    *aaa.Grant  // of the session in use
	cause    aaa.Cause   // why it ends, where we have ended it
	ended    bool        // the handler and AAA have heard so; PANA may still tell the node
	expiry   *time.Timer // of a life that AAA has set since; nil: the session's own holds

	asked  pana.EAPStart // what PANA has asked for
	again  time.Time     // when the re-authentication under way has begun; zero: there is none
	tried  time.Time     // when its last conversation with AAA has begun
	losses int           // how many of them nobody has finished
	rest   *time.Timer   // until the next one; nil: none waits
}

// Open listens and serves until Close. The handler is called from then on.
func Open(cfg Config, h Handler) (*Service, error) {
	conn, err := cfg.listen(cfg.Listen)
	if err != nil {
		return nil, err
	}
	var six pana.Conn
	if cfg.Listen6.IsValid() {
		if six, err = cfg.listen(cfg.Listen6); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	closed := func(err error) error {
		if six != nil {
			err = errors.Join(err, six.Close())
		}
		return errors.Join(fmt.Errorf("paa: %w", err), conn.Close())
	}
	s := &Service{cfg: cfg, handler: h, ready: make(chan struct{}), sessions: map[uint32]*session{}, granted: map[uint32]aaa.Grant{}}
	identities, err := cfg.Identities.AppendBinary(nil)
	if err != nil {
		return nil, closed(err)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.server, err = pana.ServeBoth(s.ctx, conn, six, pana.PAAConfig{
		Rand: cfg.Rand, Lifetime: cfg.Lifetime, AuthTimeout: cfg.AuthTimeout, MaxSessions: cfg.MaxSessions,
		PingInterval: cfg.Ping, PingTimeout: cfg.Ping,
		ParCAVPs: func(uint32) []pana.AVP {
			return []pana.AVP{{Code: notify.AVPIdentities, Vendor: pana.VendorID, Data: identities}}
		},
		AllowPreauth: s.allowed, AllowStart: s.local,
	}, func(o pana.Output) {
		<-s.ready
		s.output(o)
	})
	if err != nil {
		s.cancel()
		return nil, closed(err)
	}
	if cfg.Bind != nil {
		cfg.Bind(s)
	}
	close(s.ready)
	return s, nil
}

func (c Config) listen(on netip.AddrPort) (conn pana.Conn, err error) {
	if c.Sockets != nil {
		conn, err = c.Sockets.ListenUDP(on)
	} else {
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(on))
	}
	if err != nil {
		return nil, fmt.Errorf("paa: listen on %s: %w; is the address on this machine and the port free?", on, err)
	}
	return conn, nil
}

func (s *Service) allowed(a netip.Addr) bool {
	return len(s.cfg.Allow) == 0 || within(s.cfg.Allow, a)
}

func within(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a.WithZone("")) })
}

// local says who may begin without pre-authentication: whoever is on the link, and who might as
// well pre-authenticate.
func (s *Service) local(a netip.Addr) bool { return within(s.cfg.Links, a) || s.allowed(a) }

// Close ends every session without a word to the peers and waits for what is
// under way.
func (s *Service) Close() {
	s.cancel()
	s.server.Close()
	s.wg.Wait()
	for sid := range s.sessions {
		s.drop(sid, context.Canceled)
	}
}

// Send seals m and sends it to the peer of session sid, reliably (RFC 5191
// §5.2). It does not wait; an error means that the service has ended.
func (s *Service) Send(sid uint32, m notify.Message) error {
	return s.server.Post(func(now time.Time, p *pana.PAA) {
		c := s.sessions[sid]
		if c == nil || c.channel == nil {
			s.cfg.Log.Warn("message for a session that is gone", "sid", sid, "message", m.Kind())
			return
		}
		code, value, err := c.channel.Seal(m)
		if err == nil {
			_, err = p.Notify(now, sid, []pana.AVP{{Code: code, Vendor: pana.VendorID, Data: value}}, pana.NotifyOptions{})
		}
		if err != nil {
			s.cfg.Log.Warn("message not sent", "sid", sid, "message", m.Kind(), "err", err)
		}
	})
}

// Terminate ends session sid, the node of which has another (RFC 5191 §4.5).
func (s *Service) Terminate(sid uint32) error {
	return s.server.Post(func(now time.Time, p *pana.PAA) {
		if c := s.sessions[sid]; c != nil && c.cause == aaa.CauseNone {
			c.cause = aaa.CauseMoved
		}
		p.Supersede(now, sid)
	})
}

// Invite tells a PaC that had a session with us before a restart, and does not know
// yet that it is gone (RFC 5191 §4.1). Nobody need hear it.
func (s *Service) Invite(to netip.AddrPort) error {
	return s.server.Post(func(now time.Time, p *pana.PAA) { p.Invite(now, to) })
}

// output takes what the PAA machine says, on its goroutine.
func (s *Service) output(o pana.Output) {
	switch o := o.(type) {
	case pana.EAPStart:
		s.start(o)
	case pana.EAPResponse:
		if c := s.sessions[o.SID]; c != nil && c.eap != nil {
			s.exchange(o.SID, c, o.Packet)
		}
	case pana.Opened:
		s.opened(o)
	case pana.Activated:
		if !s.over(o.SID) {
			s.handler.SessionActivated(o.SID, o.From)
		}
	case pana.Notified:
		s.notified(o)
	case pana.NotifyDone:
		if o.Err != nil {
			s.cfg.Log.Warn("message not acknowledged", "sid", o.SID, "err", o.Err)
		}
	case pana.AddressChanged:
		s.cfg.Log.Debug("peer has a new address", "sid", o.SID, "from", o.From)
		if !s.over(o.SID) {
			s.handler.SessionMoved(o.SID, o.From)
		}
	case pana.Closed:
		s.drop(o.SID, o.Reason)
	}
}

func (s *Service) start(o pana.EAPStart) {
	c := s.sessions[o.SID]
	if c == nil {
		c = &session{}
		s.sessions[o.SID] = c
	}
	c.stop()
	c.again, c.losses = time.Time{}, 0
	if o.Reauth {
		c.again = time.Now()
	}
	s.converse(o, c)
}

// converse begins a conversation with AAA.
func (s *Service) converse(o pana.EAPStart, c *session) {
	c.span.End(context.Canceled)
	c.span = s.cfg.Recorder.Begin(event.HandoverID{}, event.PhaseAuth, "peer", o.From.String(), "preauth", o.Preauth, "session", fmt.Sprintf("%08x", o.SID))
	c.tried, c.asked = time.Now(), o
	ctx, cancel := context.WithCancel(s.ctx)
	eap, err := s.cfg.Backend.Start(ctx, aaa.SessionInfo{
		NASPort: fmt.Sprintf("%08x", o.SID), CallingStation: o.From.Addr().String(), CalledStation: s.cfg.Identities.AR, Again: c.grant,
	})
	if err != nil {
		cancel()
		s.cfg.Log.Warn("authentication not begun", "sid", o.SID, "err", err)
		s.reply(o.SID, nil, nil, pana.EAPReply{Err: err})
		return
	}
	c.eap, c.ctx, c.cancel = eap, ctx, cancel
	s.reply(o.SID, eap, nil, pana.EAPReply{Packet: eap.Identity(), Restart: c.losses > 0})
}

// stop abandons an authentication under way.
func (c *session) stop() {
	if c.rest != nil {
		c.rest.Stop()
		c.rest = nil
	}
	if c.eap != nil {
		c.cancel()
		c.eap.Close()
		c.eap = nil
	}
}

// exchange carries one EAP response to the AAA backend. PANA has one request
// outstanding, so a conversation never has two exchanges.
func (s *Service) exchange(sid uint32, c *session, packet []byte) {
	eap, ctx := c.eap, c.ctx
	packet, current := slices.Clone(packet), c.grant
	s.wg.Go(func() {
		r, err := eap.Exchange(ctx, packet)
		switch {
		case ctx.Err() != nil: // nobody waits for it any more
			r.MSK.Clear()
			s.unused(r, current)
		case err != nil:
			r.MSK.Clear()
			s.cfg.Log.Warn("authentication failed", "sid", sid, "err", err)
			s.reply(sid, eap, nil, pana.EAPReply{Packet: r.EAP, Done: true, Err: err, AVPs: reason(err)})
		default:
			s.reply(sid, eap, &r, pana.EAPReply{
				Packet: r.EAP, Done: r.Decision != aaa.Continue, Success: r.Decision == aaa.Accept,
				MSK: r.MSK, Lifetime: r.SessionTimeout,
			})
		}
	})
}

// reply hands r to the PAA machine, if the conversation eap is still the one
// that the session waits for. with is what AAA has said, where it has.
func (s *Service) reply(sid uint32, eap aaa.Session, with *aaa.Result, r pana.EAPReply) {
	err := s.server.Post(func(now time.Time, p *pana.PAA) {
		c := s.sessions[sid]
		if c == nil || c.eap != eap {
			r.MSK.Clear()
			s.unused(deref(with), nil)
			return
		}
		if r.Done {
			if s.goesOn(sid, c, r.Err) {
				return
			}
			err := r.Err
			if err == nil && !r.Success {
				err = errors.New("rejected by the AAA server")
			}
			c.identity = deref(with).Identity
			c.span.End(err)
			c.stop()
			if r.Success {
				s.accept(c, deref(with).Grant)
			}
		}
		if err := p.EAPReply(now, sid, r); err != nil {
			s.cfg.Log.Debug("EAP reply not used", "sid", sid, "err", err)
		}
	})
	if err != nil { // the service has ended
		r.MSK.Clear()
		s.unused(deref(with), nil)
	}
}

func (s *Service) opened(o pana.Opened) {
	defer o.MSK.Clear()
	c := s.sessions[o.SID]
	if c == nil || c.ended {
		return
	}
	k := keys.DeriveSession(o.PRF, o.MSK.Bytes(), o.SID, o.KeyID, s.cfg.Identities.CA, s.cfg.Identities.AR)
	channel, err := notify.NewChannel(o.SID, k, keys.ToNode)
	if err != nil {
		k.Clear()
		s.cfg.Log.Error("no keys for a session", "sid", o.SID, "err", err)
		return
	}
	c.channel = channel
	if c.order == 0 {
		s.begun++
		c.order = s.begun
		s.giveWay(o.SID, c)
	}
	s.grants(o.SID, c)
	s.cfg.Log.Info("authenticated", "sid", o.SID, "identity", c.identity, "peer", o.From, "preauth", o.Preauth, "again", o.Rekeyed)
	s.handler.SessionOpened(o.SID, c.identity, o.From, o.Preauth, k, o.Lifetime)
}

func (s *Service) notified(o pana.Notified) {
	c := s.sessions[o.SID]
	if c == nil || c.channel == nil || c.ended {
		return
	}
	for _, a := range o.AVPs {
		if a.Vendor != pana.VendorID || a.Code != notify.AVPForCA && a.Code != notify.AVPForAR {
			continue
		}
		m, err := c.channel.Open(a.Code, a.Data)
		if err != nil {
			s.cfg.Log.Warn("message dropped", "sid", o.SID, "err", err)
			continue
		}
		c.ours = true
		if m.Kind() == notify.KindArrival && !o.Activate {
			s.cfg.Log.Warn("arrival outside the activating ping dropped", "sid", o.SID)
			continue
		}
		s.handler.SessionMessage(o.SID, m)
	}
}

func (s *Service) drop(sid uint32, reason error) {
	c := s.sessions[sid]
	if c == nil {
		return
	}
	delete(s.sessions, sid)
	c.span.End(reason)
	c.stop()
	s.end(sid, c, reason)
}
