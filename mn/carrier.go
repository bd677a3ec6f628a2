package mn

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"openmpa/internal/osnet"
)

// carrier is what is known of the link: one watch, for all who look.
type carrier struct {
	mu   sync.Mutex
	now  sight
	next chan struct{} // closed at the next report
}

// sight is a look at the carrier.
type sight struct {
	osnet.LinkState
	known      bool      // there was a report
	ups, downs uint64    // since the node was opened; a report of both counts as both
	lost       time.Time // when it went down last, or later if nobody saw that
	ended      bool      // nobody watches any more
	changed    <-chan struct{}
}

func newCarrier() *carrier { return &carrier{next: make(chan struct{})} }

func (c *carrier) look() sight {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.now
	s.changed = c.next
	return s
}

// report takes what the adapter says; the first report is no change.
func (c *carrier) report(s osnet.LinkState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now.known {
		if s.Up {
			c.now.ups++
		}
		if !s.Up || s.Missed {
			c.now.downs++
			c.now.lost = s.At
		}
	}
	c.now.LinkState, c.now.known = s, true
	close(c.next)
	c.next = make(chan struct{})
}

func (c *carrier) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now.ended = true
	close(c.next)
	c.next = make(chan struct{})
}

// watch reads the adapter's reports until they end.
func (p *port) watch() {
	n := p.n
	for s := range p.reports {
		if !s.Up && n.tryTurn() { // else whoever has it moves the link, or looks where it is
			if n.servingPort() == p {
				n.home.pause()
			}
			n.endTurn()
		}
		p.carrier.report(s)
		p.tell()
	}
	p.carrier.end()
	p.tell()
}

// tell has Run look at the interfaces.
func (p *port) tell() {
	select {
	case p.n.changed <- struct{}{}:
	default: // it will
	}
}

var (
	errNobodyWatches = errors.New("nobody watches the link any more")
	errMovedOn       = errors.New("the link has moved on")
	errNoLink        = errors.New("no link")
	errEnding        = errors.New("mn: the node is shutting down")
)

// whileAt returns a context that ends when the link turns up outside of a network;
// since is a look at the carrier from before it was known to be there. In the network
// itself the link may come and go, if there is no other interface to go on with.
func (p *port) whileAt(ctx context.Context, network string, since sight) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		var lost <-chan time.Time
		for {
			if since.known && !since.Up && lost == nil && p.n.hasOther(p) {
				lost = time.After(lostFor)
			}
			select {
			case <-since.changed:
			case <-lost:
				cancel(errNoLink)
				return
			case <-p.n.ending:
				cancel(errEnding)
				return
			case <-ctx.Done():
				return
			}
			since = p.carrier.look()
			if since.ended {
				return
			}
			if !since.Up {
				continue
			}
			lost = nil
			point, at, err := p.here(ctx)
			switch {
			case err != nil: // attached nowhere, or nobody says where: so it stays
			case at.Name != network:
				cancel(fmt.Errorf("%w: it is at %s, of %s", errMovedOn, point, at.Name))
				return
			default:
				p.stayed(network)
			}
		}
	})
	return ctx, func() {
		cancel(nil)
		wg.Wait()
	}
}

// stayed goes on at the network that serves, where the link has come up again
// while something else is under way.
func (p *port) stayed(network string) {
	n := p.n
	n.mu.Lock()
	c := n.serving
	n.mu.Unlock()
	if c != nil && c.port == p && c.net.Name == network && !n.away.Load() {
		n.proceed(c)
	}
}

// announce tells the link where the serving address is. The neighbours' and the
// bridges' tables may be of before; our own entry of the router is permanent.
func (n *Node) announce(c *candidate) {
	if err := c.port.ip.announce(c.address.addr()); err != nil {
		n.cfg.Log.Warn("address not announced", "addr", c.address.addr(), "err", err)
	}
}

// proceed goes on at the serving network, where the link is up again: what waited
// follows the announcement at once.
func (n *Node) proceed(c *candidate) {
	n.announce(c)
	if err := n.home.proceed(c); err != nil {
		n.cfg.Log.Error("uplink", "err", err)
	}
}
