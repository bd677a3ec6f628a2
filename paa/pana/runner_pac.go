package pana

import (
	"context"
	"fmt"
	"net/netip"
	"time"
)

// Client runs a PaC over a UDP socket.
type Client struct {
	*runner
	pac     *PaC
	paa     netip.AddrPort
	handler func(Output)
	awaited bool // the PAA's port is that of its PAR[S]
}

// Dial starts a session with the PAA over conn: the first PCI leaves at once.
// The Client owns conn from then on and closes it in the end; after an error it
// is still the caller's.
//
// handler gets every output but Send, in order, on the Client's goroutine. It
// must neither block nor call Do; Post is for that. It is not called after
// Close has returned. The end of ctx is like Close without waiting.
func Dial(ctx context.Context, conn Conn, paa netip.AddrPort, cfg PaCConfig, handler func(Output)) (*Client, error) {
	if !paa.IsValid() || paa.Port() == 0 {
		return nil, fmt.Errorf("%w: the PAA's address %v needs a port, %d as a rule", ErrConfig, paa, Port)
	}
	paa = netip.AddrPortFrom(paa.Addr().Unmap(), paa.Port())
	if !cfg.PAA.IsValid() {
		cfg.PAA = paa
	}
	pac, err := NewPaC(cfg)
	if err != nil {
		return nil, err
	}
	c := &Client{runner: newRunner(conn, onlyPeer), pac: pac, paa: paa, handler: handler}
	pac.Start(time.Now())
	c.run(ctx, c)
	return c, nil
}

// Await is Dial for a session that the PAA begins, from any port of its address. conn
// is bound to the port where the PAA expects PaCs, [Port] as a rule.
func Await(ctx context.Context, conn Conn, paa netip.Addr, cfg PaCConfig, handler func(Output)) (*Client, error) {
	if !paa.IsValid() {
		return nil, fmt.Errorf("%w: the PAA's address is missing", ErrConfig)
	}
	c := &Client{runner: newRunner(conn, onlyPeer), paa: netip.AddrPortFrom(paa.Unmap(), 0), handler: handler, awaited: true}
	cfg.PAA = c.paa
	var err error
	if c.pac, err = NewPaC(cfg); err != nil {
		return nil, err
	}
	c.pac.Await()
	c.run(ctx, c)
	return c, nil
}

// Do runs f on the Client's goroutine and waits for it; what f makes the PaC
// put out follows right after. The error is ErrRunnerClosed or nil.
func (c *Client) Do(f func(now time.Time, p *PaC)) error {
	return c.do(func(now time.Time) { f(now, c.pac) })
}

// Post is Do without waiting, for handlers.
func (c *Client) Post(f func(now time.Time, p *PaC)) error {
	return c.post(func(now time.Time) { f(now, c.pac) })
}

// Rebind makes the Client send and receive by another socket from now on, and
// closes the old one: the PaC's address has changed. What is outstanding is
// sent again at once. The PAA adopts the address with the next message that it
// can authenticate: the activating notification, a termination, or an empty
// notification if there is nothing else to say. A closed Client closes conn.
func (c *Client) Rebind(conn Conn) {
	err := c.do(func(now time.Time) {
		old := c.conn
		c.conn = conn
		c.read(conn)
		_ = old.Close() // ends its reader
		c.pac.PathChanged(now)
	})
	if err != nil {
		_ = conn.Close() // may have been closed by the owner goroutine already
	}
}

// onlyPeer: a PaC has one peer, and who else sends to it is told by the address.
func onlyPeer([]byte) class { return classSession }

// Done is closed when the Client has ended, by Close or the end of its context.
func (c *Client) Done() <-chan struct{} { return c.done }

// Close ends the Client without a word to the PAA; [PaC.Terminate] is the
// polite way, Close follows its Closed.
func (c *Client) Close() { c.close() }

func (c *Client) deadline() (time.Time, bool) { return c.pac.Deadline() }
func (c *Client) onDeadline(now time.Time)    { c.pac.OnDeadline(now) }

// abandon ends the goroutine of an EAP conversation under way.
func (c *Client) abandon() { c.pac.dropEAP() }

func (c *Client) packet(now time.Time, from netip.AddrPort, b []byte) {
	if c.awaited && c.pac.State() == PaCWaitPAA && from.Addr() == c.paa.Addr() && from != c.paa {
		// Only a PAR[S] that the PaC takes says by which port the PAA speaks.
		if taken := c.pac.starts; c.pac.rxElsewhere(now, b) && c.pac.starts != taken {
			c.paa = from
		}
		return
	}
	if from != c.paa {
		c.pac.drop(DiscardAddress)
		return
	}
	c.pac.HandlePacket(now, b)
}

func (c *Client) flush() {
	for o, ok := c.pac.Poll(); ok; o, ok = c.pac.Poll() {
		s, isSend := o.(Send)
		if !isSend {
			c.handler(o)
			continue
		}
		if _, err := c.conn.WriteToUDPAddrPort(s.Data, c.paa); err != nil {
			c.pac.SendFailed(err)
		}
	}
}
