package mn

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/host"
	"openmpa/paa/keys"
	"openmpa/paa/notify"
	"openmpa/paa/pana"
	"openmpa/tunnel"
	"openmpa/tunnel/esp"
)

// candidate is one access router the node deals with, whether it serves or
// will: the PANA session with it, the address there and the path through it.
type candidate struct {
	n    *Node
	net  Network
	slot int // of routing tables

	client *pana.Client

	// owner goroutine of client
	eap     pana.EAPPeer // of the last authentication
	keys    *keys.SessionKeys
	channel *notify.Channel
	acks    map[uint64]chan error

	opened   chan opening
	messages chan notify.Message
	closed   chan struct{} // closed with reason set
	reason   error
	sid      atomic.Uint32 // of the session, 0 while there is none

	address *address // the care-of address and how it was obtained
	path    *path
	socket  *tunnel.Socket // of the tunnel
	// bindTried: the home agent may have c's care-of address.
	bindTried bool
	markers   chan tunnel.Marker
}

const (
	pingInterval = 30 * time.Second // of silence; then PANA asks whether the router is there
	reauthBefore = 5 * time.Minute  // the end of a session, or at its half if that is sooner
)

// opening is how an authentication ended in which EAP succeeded.
type opening struct {
	tls string // its version, when the method has one
	err error  // why there are no keys for the session
}

// eapPeer makes the peer of one authentication and remembers it.
func (c *candidate) eapPeer() (pana.EAPPeer, error) {
	p, err := c.n.cfg.NewEAP()
	c.eap = p
	return p, err
}

// tlsVersion is what the last authentication used, empty when it is not known.
func (c *candidate) tlsVersion() string {
	if p, ok := c.eap.(interface{ TLSVersion() string }); ok {
		return p.TLSVersion()
	}
	return ""
}

var errClosedSession = errors.New("the session has ended")

// authenticate makes the session with c's router, from the address from.
func (c *candidate) authenticate(ctx context.Context, id event.HandoverID, from netip.Addr, preauth bool) (err error) {
	span := c.n.cfg.Recorder.Begin(id, event.PhaseAuth, "paa", c.net.PAA.String(), "preauth", preauth)
	var at []any
	defer func() { span.End(err, at...) }()
	conn, err := c.n.udp(from)
	if err != nil {
		return err
	}
	at = []any{"from", conn.LocalAddr().String()} // the router's and the AAA server's records name it
	c.acks = map[uint64]chan error{}
	c.opened, c.messages, c.closed = make(chan opening, 1), make(chan notify.Message, 16), make(chan struct{})
	c.client, err = pana.Dial(c.n.ctx, conn, c.net.PAA, pana.PaCConfig{
		Preauth: preauth, NewEAP: c.eapPeer, Rand: c.n.cfg.Rand, AuthTimeout: c.n.cfg.Timers.Auth,
		PingInterval: pingInterval, ReauthBefore: reauthBefore,
	}, c.output)
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	ctx, cancel := context.WithTimeout(ctx, c.n.cfg.Timers.Auth+time.Second)
	defer cancel()
	select {
	case o := <-c.opened:
		if o.tls != "" {
			at = append(at, "tls", o.tls)
		}
		return o.err
	case <-c.closed:
		return explain(c.reason)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// saidError is a failure for which the router gave a reason. Nobody has signed
// the reason: it is shown and decides nothing.
type saidError struct {
	said string
	err  error
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
	for _, a := range rejected.AVPs {
		if a.Vendor != pana.VendorID || a.Code != notify.AVPReason {
			continue
		}
		if said, parseErr := notify.ParseReasonAVP(a.Data); parseErr == nil {
			return &saidError{said: said, err: err}
		}
	}
	return err
}

// derive makes the session's keys, again after each re-authentication; the
// router's names came under AUTH.
func (c *candidate) derive(o pana.Opened) error {
	defer o.MSK.Clear()
	for _, a := range o.AVPs {
		if a.Vendor != pana.VendorID || a.Code != notify.AVPIdentities {
			continue
		}
		names, err := notify.ParseIdentities(a.Data)
		if err != nil {
			return err
		}
		k := keys.DeriveSession(o.MSK.Bytes(), o.SID, o.KeyID, names.CA, names.AR)
		channel, err := notify.NewChannel(o.SID, k, keys.ToRouter)
		if err != nil {
			k.Clear()
			return err
		}
		c.keys.Clear()
		c.keys, c.channel = k, channel
		return nil
	}
	return fmt.Errorf("%s did not name its configuration agent and access router: it is a PAA, but not one for RFC 6252", c.net.PAA)
}

// output takes what the PaC machine says, on its goroutine.
func (c *candidate) output(o pana.Output) {
	switch o := o.(type) {
	case pana.Opened:
		err := c.derive(o)
		c.sid.Store(o.SID)
		select {
		case c.opened <- opening{c.tlsVersion(), err}: // the first time
		default:
			if err != nil {
				c.n.cfg.Log.Error("keys of a session not renewed", "paa", c.net.PAA, "err", err)
			}
		}
	case pana.Notified:
		c.notified(o)
	case pana.NotifyDone:
		if ch := c.acks[o.Token]; ch != nil {
			delete(c.acks, o.Token)
			ch <- o.Err
		}
	case pana.Closed:
		c.reason = o.Reason
		c.sid.Store(0)
		if c.channel != nil && !errors.Is(o.Reason, pana.ErrTerminated) {
			c.n.cfg.Log.Warn("the session has ended: the router may give the address to another node", "paa", c.net.PAA, "reason", o.Reason)
		}
		for _, ch := range c.acks {
			ch <- errClosedSession
		}
		c.acks = map[uint64]chan error{}
		close(c.closed)
	}
}

func (c *candidate) notified(o pana.Notified) {
	for _, a := range o.AVPs {
		if a.Vendor != pana.VendorID || a.Code != notify.AVPForCA && a.Code != notify.AVPForAR || c.channel == nil {
			continue
		}
		m, err := c.channel.Open(a.Code, a.Data)
		if err != nil {
			c.n.cfg.Log.Warn("message dropped", "from", c.net.PAA, "err", err)
			continue
		}
		if r, ok := m.(*notify.Report); ok {
			c.n.report(c.net.Name, r)
			continue
		}
		select {
		case c.messages <- m:
		default:
			c.n.cfg.Log.Warn("message dropped: too many wait", "from", c.net.PAA, "message", m.Kind())
		}
	}
}

// send seals m and sends it, without waiting; the channel says when the router
// has it.
func (c *candidate) send(m notify.Message, opt pana.NotifyOptions) (<-chan error, error) {
	ack := make(chan error, 1)
	err := c.client.Post(func(now time.Time, p *pana.PaC) {
		if c.channel == nil {
			ack <- errClosedSession
			return
		}
		code, value, err := c.channel.Seal(m)
		if err != nil {
			ack <- err
			return
		}
		token, err := p.Notify(now, []pana.AVP{{Code: code, Vendor: pana.VendorID, Data: value}}, opt)
		if err != nil {
			ack <- err
			return
		}
		c.acks[token] = ack
	})
	return ack, err
}

// ask sends m and waits for the answer of kind want.
func (c *candidate) ask(ctx context.Context, m notify.Message, want notify.Kind, within time.Duration) (notify.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	ack, err := c.send(m, pana.NotifyOptions{})
	if err != nil {
		return nil, err
	}
	acked := false
	for {
		select {
		case err := <-ack:
			if err != nil {
				return nil, err
			}
			acked, ack = true, nil
		case got := <-c.messages:
			if got.Kind() == want && got.ID() == m.ID() {
				return got, nil
			}
		case <-c.closed:
			return nil, c.reason
		case <-ctx.Done():
			if parent := context.Cause(ctx); !errors.Is(parent, context.DeadlineExceeded) {
				return nil, parent
			}
			if acked {
				return nil, fmt.Errorf("%s took the %s and gave no answer in %s", c.net.PAA, m.Kind(), within)
			}
			return nil, fmt.Errorf("%s did not acknowledge the %s in %s: is the path to it cut?", c.net.PAA, m.Kind(), within)
		}
	}
}

// espKeys makes the keys of a tunnel from MN-AR, both nonces and both SPIs.
func (c *candidate) espKeys(nonce []byte, r *notify.TunnelReply, spi uint32) (k *keys.ESPKeys, err error) {
	err = c.client.Do(func(time.Time, *pana.PaC) {
		k = keys.DeriveESP(c.keys.MNAR.Bytes(), nonce, r.Nonce, r.SPI, spi, int(r.Cipher)/8+esp.SaltLen)
	})
	return k, err
}

// leaveTunnel ends the node's end of a tunnel it no longer needs.
func (c *candidate) leaveTunnel() {
	if c.path != nil {
		c.path.leaveTunnel()
	}
	if c.socket != nil {
		_ = c.socket.Close()
		c.socket = nil
	}
}

// rtt is the measured round-trip time to the router.
func (c *candidate) rtt() (d time.Duration) {
	_ = c.client.Do(func(_ time.Time, p *pana.PaC) { d = p.RTT() })
	return d
}

// leave ends the session, from wherever the node now is, and waits a little for
// the router to say that it knows.
func (c *candidate) leave(from host.UDP) {
	if c.client == nil {
		if from != nil {
			_ = from.Close()
		}
		return
	}
	if from != nil {
		c.client.Rebind(from)
	}
	if err := c.client.Do(func(now time.Time, p *pana.PaC) { p.Terminate(now) }); err == nil {
		select {
		case <-c.closed:
		case <-time.After(2 * time.Second):
			c.n.cfg.Log.Warn("the router did not confirm the end of the session", "paa", c.net.PAA)
			if c.address != nil {
				c.address.byRouter = false // the router may have forgotten the lease, too
			}
		}
	}
	c.client.Close()
	c.client = nil
	c.keys.Clear()
}

// ended returns why the session has ended, nil while it stands.
func (c *candidate) ended() error {
	select {
	case <-c.closed:
		return c.reason
	default:
		return nil
	}
}

// udp opens a socket at a care-of address for PANA.
func (n *Node) udp(from netip.Addr) (host.UDP, error) {
	conn, err := n.net.ListenUDP(netip.AddrPortFrom(from, 0))
	if err != nil {
		return nil, fmt.Errorf("socket at %s: %w", from, err)
	}
	return conn, nil
}
