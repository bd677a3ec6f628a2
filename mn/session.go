package mn

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/host"
	"openmpa/paa/keys"
	"openmpa/paa/notify"
	"openmpa/paa/pana"
)

// session is a PANA session with an access router.
type session struct {
	n      *Node
	net    Network
	client *pana.Client

	// owner goroutine of client
	eap     pana.EAPPeer // of the last authentication
	keys    *keys.SessionKeys
	channel *notify.Channel
	acks    map[uint64]chan error

	opened  chan opening
	rekeyed chan<- struct{} // told of each authentication but the first
	stale   chan struct{}   // told of that, and when asked has changed
	asked   atomic.Uint32   // the SPI of ours that the router wants another in the place of
	closed  chan struct{}   // closed with reason set
	reason  error
	sid     atomic.Uint32 // 0 while there is none

	mu      sync.Mutex
	waiting map[question]chan notify.Message // for answers
}

// question is what an answer belongs to.
type question struct {
	kind notify.Kind // of the answer
	id   event.HandoverID
}

// reauthBefore the end of a session it is authenticated again, or at its half if
// that is sooner.
const reauthBefore = 5 * time.Minute

// opening is how an authentication ended in which EAP succeeded.
type opening struct {
	tls string // its version, when the method has one
	err error  // why there are no keys for the session
}

// eapPeer makes the peer of one authentication and remembers it.
func (s *session) eapPeer() (pana.EAPPeer, error) {
	p, err := s.n.cfg.NewEAP()
	s.eap = p
	return p, err
}

// tlsVersion is what the last authentication used, empty when it is not known.
func (s *session) tlsVersion() string {
	if p, ok := s.eap.(interface{ TLSVersion() string }); ok {
		return p.TLSVersion()
	}
	return ""
}

var errClosedSession = errors.New("the session has ended")

// openSession authenticates at a network's router, from the address from; awaited says that
// the router begins. Where the router says that its AAA server was lost meanwhile and another
// one stands by, that is done once more.
func (n *Node) openSession(ctx context.Context, id event.HandoverID, net Network, from netip.Addr, preauth, awaited bool, rekeyed chan<- struct{}) (*session, error) {
	s, err := n.openSessionOnce(ctx, id, net, from, preauth, awaited, rekeyed)
	if said := (*saidError)(nil); errors.As(err, &said) && said.again && ctx.Err() == nil {
		n.cfg.Log.Warn("authenticating once more", "paa", net.PAA, "err", err)
		return n.openSessionOnce(ctx, id, net, from, preauth, awaited, rekeyed)
	}
	return s, err
}

func (n *Node) openSessionOnce(ctx context.Context, id event.HandoverID, net Network, from netip.Addr, preauth, awaited bool, rekeyed chan<- struct{}) (s *session, err error) {
	span := n.cfg.Recorder.Begin(id, event.PhaseAuth, "paa", net.PAA.String(), "preauth", preauth)
	var at []any
	defer func() { span.End(err, at...) }()
	listen := n.udp
	if awaited {
		listen = n.invitee
	}
	conn, err := listen(from, net.PAA.Addr())
	if err != nil {
		return nil, err
	}
	at = []any{"from", conn.LocalAddr().String()} // the router's and the AAA server's records name it
	s = &session{
		n: n, net: net, acks: map[uint64]chan error{},
		opened: make(chan opening, 1), rekeyed: rekeyed, stale: make(chan struct{}, 1), waiting: map[question]chan notify.Message{}, closed: make(chan struct{}),
	}
	cfg := pana.PaCConfig{
		Preauth: preauth, NewEAP: s.eapPeer, Rand: n.cfg.Rand, AuthTimeout: n.cfg.Timers.Auth,
		PingInterval: n.cfg.Ping, PingTimeout: n.cfg.Ping, ReauthBefore: reauthBefore,
	}
	if awaited {
		s.client, err = pana.Await(n.ctx, conn, net.PAA.Addr(), cfg, s.output)
	} else {
		s.client, err = pana.Dial(n.ctx, conn, net.PAA, cfg, s.output)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Timers.Auth+time.Second)
	defer cancel()
	select {
	case o := <-s.opened:
		at = append(at, "session", fmt.Sprintf("%08x", s.sid.Load())) // as the router's record names it, whatever address it sees
		if o.tls != "" {
			at = append(at, "tls", o.tls)
		}
		err = o.err
	case <-s.closed:
		err = explain(s.reason)
	case <-ctx.Done():
		err = ctx.Err()
		if awaited && errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("%w: nobody has named a PAA, and the router %v has begun no session: does mpa-ar run there, with access.enforce? Else give paa of that network", err, net.PAA.Addr())
		}
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// saidError is a failure for which the router gave a reason. Nobody has signed
// the reason: it is shown and decides nothing, but whether to try once more.
type saidError struct {
	said  string
	again bool // whoever authenticates again now may succeed
	err   error
}

func (e *saidError) Error() string {
	return fmt.Sprintf("the router says: %q (not authenticated)", e.said)
}
func (e *saidError) Unwrap() error { return e.err }

// explain puts the router's own reason for a rejection in the place of what EAP
// makes of it.
func explain(err error) error {
	if silent := (*pana.ErrAuthTimeout)(nil); errors.As(err, &silent) && silent.State == "" {
		return fmt.Errorf("%w: is mpa-ar running there, does the path let UDP port %d through, and may we pre-authenticate from here?", err, silent.Peer.Port())
	}
	var rejected *pana.ErrAuthRejected
	if !errors.As(err, &rejected) {
		return err
	}
	said := &saidError{err: err}
	for _, a := range rejected.AVPs {
		if a.Vendor != pana.VendorID {
			continue
		}
		switch a.Code {
		case notify.AVPReason:
			if text, parseErr := notify.ParseReasonAVP(a.Data); parseErr == nil {
				said.said = text
			}
		case notify.AVPAgain:
			said.again = true
		}
	}
	if said.said == "" {
		return err
	}
	return said
}

// derive makes the session's keys, again after each re-authentication; the
// router's names came under AUTH.
func (s *session) derive(o pana.Opened) error {
	defer o.MSK.Clear()
	for _, a := range o.AVPs {
		if a.Vendor != pana.VendorID || a.Code != notify.AVPIdentities {
			continue
		}
		names, err := notify.ParseIdentities(a.Data)
		if err != nil {
			return err
		}
		if err := s.net.expected(names); err != nil {
			return err
		}
		k := keys.DeriveSession(o.PRF, o.MSK.Bytes(), o.SID, o.KeyID, names.CA, names.AR)
		channel, err := notify.NewChannel(o.SID, k, keys.ToRouter)
		if err != nil {
			k.Clear()
			return err
		}
		s.keys.Clear()
		s.keys, s.channel = k, channel
		return nil
	}
	return fmt.Errorf("%s did not name its configuration agent and access router: it is a PAA, but not one for RFC 6252", s.net.PAA)
}

// output takes what the PaC machine says, on its goroutine.
func (s *session) output(o pana.Output) {
	switch o := o.(type) {
	case pana.Opened:
		err := s.derive(o)
		s.sid.Store(o.SID)
		switch {
		case !o.Rekeyed:
			s.opened <- opening{s.tlsVersion(), err}
		case err != nil:
			s.n.cfg.Log.Error("keys of a session not renewed", "paa", s.net.PAA, "err", err)
		default:
			poke(s.stale)
			select {
			case s.rekeyed <- struct{}{}:
			default: // nobody has seen to the last time yet
			}
		}
	case pana.Notified:
		s.notified(o)
	case pana.NotifyDone:
		if ch := s.acks[o.Token]; ch != nil {
			delete(s.acks, o.Token)
			ch <- o.Err
		}
	case pana.Closed:
		s.reason = o.Reason
		s.sid.Store(0)
		if s.channel != nil && !errors.Is(o.Reason, pana.ErrTerminated) {
			s.n.cfg.Log.Warn("the session has ended: the router may give the address to another node", "paa", s.net.PAA, "reason", o.Reason)
		}
		for _, ch := range s.acks {
			ch <- errClosedSession
		}
		s.acks = map[uint64]chan error{}
		close(s.closed)
		poke(s.n.ladder.wake)
	}
}

func (s *session) notified(o pana.Notified) {
	for _, a := range o.AVPs {
		if a.Vendor != pana.VendorID || a.Code != notify.AVPForCA && a.Code != notify.AVPForAR || s.channel == nil {
			continue
		}
		m, err := s.channel.Open(a.Code, a.Data)
		if err != nil {
			s.n.cfg.Log.Warn("message dropped", "from", s.net.PAA, "err", err)
			continue
		}
		switch m := m.(type) {
		case *notify.Report:
			s.n.report(s.net.Name, m)
			continue
		case *notify.NeighboursChanged:
			poke(s.n.attached)
			continue
		case *notify.RekeyDue:
			s.asked.Store(m.Old)
			poke(s.stale)
			continue
		}
		s.mu.Lock()
		ch := s.waiting[question{m.Kind(), m.ID()}]
		s.mu.Unlock()
		select {
		case ch <- m:
		default:
			s.n.cfg.Log.Debug("message dropped: nobody waits for it", "from", s.net.PAA, "message", m.Kind())
		}
	}
}

// send seals m and sends it, without waiting; the channel says when the router
// has it.
func (s *session) send(m notify.Message, opt pana.NotifyOptions) (<-chan error, error) {
	ack := make(chan error, 1)
	err := s.client.Post(func(now time.Time, p *pana.PaC) {
		if s.channel == nil {
			ack <- errClosedSession
			return
		}
		code, value, err := s.channel.Seal(m)
		if err != nil {
			ack <- err
			return
		}
		token, err := p.Notify(now, []pana.AVP{{Code: code, Vendor: pana.VendorID, Data: value}}, opt)
		if err != nil {
			ack <- err
			return
		}
		s.acks[token] = ack
	})
	return ack, err
}

// flush returns when what was given to send is on its way.
func (s *session) flush() { _ = s.client.Do(func(time.Time, *pana.PaC) {}) }

// ask sends m and waits for the answer of kind want. Several may be asked at once.
func (s *session) ask(ctx context.Context, m notify.Message, want notify.Kind, within time.Duration) (notify.Message, error) {
	a, err := s.pose(m, want)
	if err != nil {
		return nil, err
	}
	return a.wait(ctx, within)
}

// answer is one that is expected.
type answer struct {
	s   *session
	of  notify.Message
	q   question
	ack <-chan error
	got chan notify.Message
}

// pose sends m, without waiting.
func (s *session) pose(m notify.Message, want notify.Kind) (*answer, error) {
	a := &answer{s: s, of: m, q: question{want, m.ID()}, got: make(chan notify.Message, 1)}
	s.mu.Lock()
	s.waiting[a.q] = a.got
	s.mu.Unlock()
	var err error
	if a.ack, err = s.send(m, pana.NotifyOptions{}); err != nil {
		a.forget()
	}
	return a, err
}

func (a *answer) forget() {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	if a.s.waiting[a.q] == a.got {
		delete(a.s.waiting, a.q)
	}
}

// wait waits for it, no longer than within.
func (a *answer) wait(ctx context.Context, within time.Duration) (notify.Message, error) {
	defer a.forget()
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	acked, paa, kind := false, a.s.net.PAA, a.of.Kind()
	for {
		select {
		case err := <-a.ack:
			if err != nil {
				return nil, err
			}
			acked, a.ack = true, nil
		case m := <-a.got:
			return m, nil
		case <-a.s.closed:
			return nil, a.s.reason
		case <-ctx.Done():
			if parent := context.Cause(ctx); !errors.Is(parent, context.DeadlineExceeded) {
				return nil, parent
			}
			if acked {
				return nil, fmt.Errorf("%s took the %s and gave no answer in %s", paa, kind, within)
			}
			return nil, fmt.Errorf("%s did not acknowledge the %s in %s: is the path to it cut?", paa, kind, within)
		}
	}
}

// rtt is the measured round-trip time to the router.
func (s *session) rtt() (d time.Duration) {
	_ = s.client.Do(func(_ time.Time, p *pana.PaC) { d = p.RTT() })
	return d
}

// terminate ends the session, and waits a little for the router to say that it knows.
func (s *session) terminate(ctx context.Context) (confirmed bool) {
	defer s.close()
	if err := s.client.Do(func(now time.Time, p *pana.PaC) { p.Terminate(now) }); err != nil {
		return true // it ended before
	}
	select {
	case <-s.closed:
		return errors.Is(s.reason, pana.ErrTerminated)
	case <-ctx.Done():
		return false
	case <-time.After(terminateWithin):
		s.n.cfg.Log.Warn("the router did not confirm the end of the session", "paa", s.net.PAA)
		return false
	}
}

// terminateWithin is how long an answer to the end of a session is waited for.
const terminateWithin = 2 * time.Second

// close forgets the session, without a word to the router.
func (s *session) close() {
	s.client.Close()
	s.keys.Clear()
}

// ended returns why the session has ended, nil while it stands.
func (s *session) ended() error {
	select {
	case <-s.closed:
		return s.reason
	default:
		return nil
	}
}

// near is the address by which the node at a care-of address speaks to somebody: the care-of
// address; or with the other family what the kernel takes, of addresses that somebody else keeps.
func near(careOf, to netip.Addr) netip.Addr {
	switch {
	case !to.IsValid() || careOf.Is4() == to.Is4():
		return careOf
	case to.Is4():
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// udp opens a socket at a care-of address for what is said to somebody.
func (n *Node) udp(careOf, to netip.Addr) (host.UDP, error) {
	from := near(careOf, to)
	conn, err := n.net.ListenUDP(netip.AddrPortFrom(from, 0))
	if err != nil {
		return nil, fmt.Errorf("socket at %s: %w", from, err)
	}
	return conn, nil
}

// invitee opens the socket at a care-of address to which a PAA sends who begins a session.
func (n *Node) invitee(from, _ netip.Addr) (host.UDP, error) {
	conn, err := n.net.ListenUDP(netip.AddrPortFrom(from, pana.Port))
	if err != nil {
		return nil, fmt.Errorf("socket at %s for a PAA: %w", from, err)
	}
	return conn, nil
}
