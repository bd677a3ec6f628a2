package diameter

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/avp"
)

// conn is one connection with one peer: a reader, a writer, and the owner, which has the
// state machine and the only timer.
type conn struct {
	// fixed
	n         *Node
	raw       net.Conn
	cert      *x509.Certificate // of the peer; nil: no TLS
	initiator bool
	remote    netip.Addr
	out       chan []byte
	handlers  chan struct{} // one for each request being worked on
	stop      chan disconnectCause
	probe     chan struct{} // wants a sign of life now
	down      chan struct{} // closed at the end

	// owner goroutine
	link   linkState
	peer   *peer     // nil until the CER
	hello  time.Time // until when something is to happen, in any state but open
	why    error     // of the end
	opened bool      // it came to capabilities
	known  func()    // called once the peer is known; nil: it is

	mu      sync.Mutex // guards the fields below
	pending map[uint32]*pending
	next    uint32 // Hop-by-Hop Identifier
	ended   error
}

// pending is a request that waits for its answer.
type pending struct {
	cmd, app, end uint32
	done          chan result // of capacity 1
}

type result struct {
	m   *diam.Message
	err error
}

func (n *Node) newConn(raw net.Conn, cert *x509.Certificate, p *peer) *conn {
	c := &conn{
		n: n, raw: raw, cert: cert, peer: p, initiator: p != nil,
		out: make(chan []byte, maxQueue), handlers: make(chan struct{}, maxHandlers),
		stop: make(chan disconnectCause, 1), probe: make(chan struct{}, 1), down: make(chan struct{}),
		pending: make(map[uint32]*pending), next: n.random(),
	}
	c.remote = addrOf(raw.RemoteAddr())
	return c
}

// addrOf is the IP address of a socket; the zero one if it has none.
func addrOf(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

// inbound is what the reader hands over: a frame, or why there are no more.
type inbound struct {
	frame []byte
	err   error
}

// run is the owner, from the first message to the end. It returns why it ended, with the
// socket closed and its goroutines gone.
func (c *conn) run() error {
	in := make(chan inbound)
	var both sync.WaitGroup
	ended, written := make(chan struct{}), make(chan struct{})
	both.Go(func() { defer close(ended); c.read(in) })
	both.Go(func() { c.write(written, ended) })

	c.hello = time.Now().Add(helloTime)
	c.link = linkWaitCER
	if c.initiator {
		c.link = linkWaitCEA
		c.push(c.n.self.cer(addrOf(c.raw.LocalAddr())))
	}
	timer := time.NewTimer(helloTime)
	defer timer.Stop()
	for c.link != linkClosed {
		timer.Reset(time.Until(c.deadline()))
		select {
		case x := <-in:
			if x.err != nil {
				c.end(c.cut(x.err))
				break
			}
			c.frame(x.frame)
		case cause := <-c.stop:
			c.stopping(cause)
		case <-c.probe:
			c.overdue()
		case <-written:
			c.end(errClosed)
		case <-timer.C:
			c.expire(time.Now())
		}
	}
	c.finish()
	both.Wait()
	return c.why
}

// finish lets whoever waits know, and closes the socket once what was queued is out.
func (c *conn) finish() {
	c.mu.Lock()
	if c.ended != nil {
		c.why = c.ended
	}
	if !errors.Is(c.why, errLeaves) && !errors.Is(c.why, errSuspect) && !errors.Is(c.why, errClosed) {
		c.ended = fmt.Errorf("%w: %w", errClosed, c.why)
	} else {
		c.ended = c.why
	}
	lost, ended := c.pending, c.ended
	c.pending = nil
	c.mu.Unlock()
	if c.peer != nil {
		c.n.lost(c.peer, c)
	}
	for _, p := range lost {
		p.done <- result{err: ended}
	}
	close(c.down)
}

// cut says why there are no more messages.
func (c *conn) cut(err error) error {
	if c.link == linkWaitCEA && errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: it hung up on our Capabilities-Exchange-Request: does it know %s, and does it expect TLS here?", errClosed, c.n.self.identity)
	}
	return fmt.Errorf("%w: %w", errClosed, err)
}

func (c *conn) end(why error) {
	c.link = linkClosed
	if c.why == nil {
		c.why = why
	}
}

func (c *conn) deadline() time.Time {
	if c.link == linkOpen {
		return c.n.watchAt(c.peer)
	}
	return c.hello
}

func (c *conn) read(in chan<- inbound) {
	for {
		b, err := readFrame(c.raw)
		select {
		case in <- inbound{b, err}:
		case <-c.down:
			if err == nil {
				_, _ = io.Copy(io.Discard, c.raw) // until the other side has closed, too
			}
			return
		}
		if err != nil {
			return
		}
	}
}

// linger ends our side of the stream, and waits for the other side to end its own: a
// socket closed at once, or with octets unread, would take from the peer what it has
// still to read, or to say.
func (c *conn) linger(ended <-chan struct{}) {
	if err := c.raw.SetReadDeadline(time.Now().Add(leaveTime)); err != nil {
		return
	}
	type halfCloser interface{ CloseWrite() error }
	raw := c.raw
	if t, ok := raw.(*tls.Conn); ok {
		if t.CloseWrite() != nil {
			return
		}
		raw = t.NetConn()
	}
	if h, ok := raw.(halfCloser); ok && h.CloseWrite() == nil {
		<-ended
		_, _ = io.Copy(io.Discard, raw) // what comes behind the end of TLS: some say it twice
	}
}

// write writes what is queued, and at the end what is queued still.
func (c *conn) write(failed chan<- struct{}, ended <-chan struct{}) {
	defer c.raw.Close()
	for {
		select {
		case b := <-c.out:
			if !c.put(b, c.n.cfg.Watchdog) {
				close(failed)
				return
			}
			continue
		case <-c.down:
		}
		for {
			select {
			case b := <-c.out:
				if !c.put(b, leaveTime) {
					return
				}
				continue
			default:
			}
			c.linger(ended)
			return
		}
	}
}

func (c *conn) put(b []byte, within time.Duration) bool {
	c.raw.SetWriteDeadline(time.Now().Add(within)) //nolint:errcheck // the write says so, too
	_, err := c.raw.Write(b)
	clear(b) // may have keys
	return err == nil
}

// push queues a message. A peer that does not read what it has asked for is gone.
func (c *conn) push(m *diam.Message) bool {
	m.Header.MessageLength = uint32(m.Len())
	if m.Header.CommandFlags&diam.RequestFlag != 0 && m.Header.ApplicationID == appBase {
		m.Header.HopByHopID, m.Header.EndToEndID = c.hop(), c.n.endToEnd()
	}
	b, err := m.Serialize()
	if err != nil || len(b) > maxMessage {
		c.n.cfg.Log.Error("diameter: message not sent", "command", m.Header.CommandCode, "octets", len(b), "err", err)
		return false
	}
	return c.queue(b)
}

func (c *conn) queue(b []byte) bool {
	select {
	case <-c.down:
		return false
	default:
	}
	select {
	case c.out <- b:
		c.n.count.sent.Add(1)
		return true
	default:
		c.n.count.queueFull.Add(1)
		return false
	}
}

func (c *conn) hop() uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hopLocked()
}

func (c *conn) hopLocked() uint32 {
	for {
		c.next++
		if _, busy := c.pending[c.next]; !busy {
			return c.next
		}
	}
}

// expire is the timer.
func (c *conn) expire(now time.Time) {
	if now.Before(c.deadline()) {
		return
	}
	if c.link == linkOpen {
		c.watch(c.n.watchExpired(c.peer, c, now))
		return
	}
	err := errors.New("it did not say goodbye in time")
	switch c.link {
	case linkWaitCER:
		err = fmt.Errorf("no Capabilities-Exchange-Request within %v", helloTime)
	case linkWaitCEA:
		err = fmt.Errorf("no answer to our Capabilities-Exchange-Request within %v: does the peer know %s?", helloTime, c.n.self.identity)
	}
	c.link, _ = c.link.next(timedOut)
	c.end(err)
}

// overdue sends a watchdog before its time: somebody else says it is this peer.
func (c *conn) overdue() {
	if c.link == linkOpen && c.n.watchProbe(c.peer, c, time.Now()) {
		c.push(c.n.self.dwr())
	}
}

// watch does what the watchdog wants.
func (c *conn) watch(out watchdogOut) {
	if out&sendDWR != 0 {
		c.push(c.n.self.dwr())
	}
	if out&failOver != 0 {
		c.abandon(errSuspect)
	}
	if out&failBack != 0 {
		c.n.cfg.Log.Info("diameter: peer is back", "peer", c.peer.name)
	}
	if out&closeConnection != 0 {
		c.end(errSuspect)
	}
}

// abandon lets those that wait go elsewhere.
func (c *conn) abandon(why error) {
	c.mu.Lock()
	lost := c.pending
	c.pending = make(map[uint32]*pending)
	c.mu.Unlock()
	for _, p := range lost {
		p.done <- result{err: why}
	}
}

// stopping is Stop: goodbye, if that can be said here.
func (c *conn) stopping(cause disconnectCause) {
	var do linkAction
	c.link, do = c.link.next(stopped)
	switch do {
	case bye:
		c.hello = time.Now().Add(leaveTime)
		c.n.leaving(c.peer, c)
		c.push(c.n.self.dpr(cause))
	case hangUp:
		c.end(errors.New("this node ends"))
	}
}

// exchange sends a request and waits for its answer. With other, asked now and then,
// it gives up after the node's patience when somebody else could be asked.
func (c *conn) exchange(ctx context.Context, m *diam.Message, other func() bool) (*diam.Message, error) {
	h := *m.Header
	h.MessageLength = uint32(m.Len())
	p := &pending{cmd: h.CommandCode, app: h.ApplicationID, end: h.EndToEndID, done: make(chan result, 1)}
	c.mu.Lock()
	switch {
	case c.ended != nil:
		defer c.mu.Unlock()
		return nil, fmt.Errorf("%w%w", errUnsent, c.ended)
	case len(c.pending) >= maxPending:
		c.mu.Unlock()
		return nil, fmt.Errorf("%w%w", errUnsent, errBusy)
	}
	h.HopByHopID = c.hopLocked()
	c.pending[h.HopByHopID] = p
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.pending, h.HopByHopID)
		c.mu.Unlock()
	}()

	copied := *m
	copied.Header = &h
	b, err := copied.Serialize()
	if err != nil || len(b) > maxMessage {
		return nil, fmt.Errorf("diameter: command %d of %d octets, expected at most %d: %w", h.CommandCode, len(b), maxMessage, err)
	}
	if !c.queue(b) {
		return nil, fmt.Errorf("%w%w", errUnsent, errBusy)
	}
	tick := time.NewTicker(c.n.cfg.Patience)
	defer tick.Stop()
	for {
		select {
		case r := <-p.done:
			return r.m, r.err
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-tick.C:
			if other() {
				return nil, errSilent
			}
		}
	}
}

// deliver gives an answer to whoever waits for it.
func (c *conn) deliver(m *diam.Message, f *Fault) {
	c.mu.Lock()
	p := c.pending[m.Header.HopByHopID]
	if p == nil || p.cmd != m.Header.CommandCode || p.app != m.Header.ApplicationID || p.end != m.Header.EndToEndID {
		c.mu.Unlock()
		c.n.count.unsolicited.Add(1)
		return
	}
	delete(c.pending, m.Header.HopByHopID)
	c.mu.Unlock()
	c.n.count.answers.Add(1)
	if f == nil && m.Header.CommandFlags&diam.ErrorFlag == 0 {
		f = c.n.rules.check(m)
	}
	if f == nil && resultCode(m) == 0 {
		f = &Fault{Code: diam.MissingAVP, Failed: emptyAVP(avp.ResultCode, avp.Mbit, 0, nil), Why: "Result-Code is missing"}
	}
	if f != nil {
		c.n.count.badAnswers.Add(1)
		p.done <- result{err: fmt.Errorf("diameter: what %s answers is no answer: %w", c.peer.name, f)}
		return
	}
	p.done <- result{m: m}
}
