package neigh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"openmpa/internal/acd"
)

// Probe finds out whether addr is free on the link, on behalf of the visitor (RFC 5227 section 2.1, RFC 6252 appendix A). What
// the visitor itself sends (nil: not known) is no conflict: it may be on the link already, or come back. The interface's rate
// limit for conflicts is kept. nil: free. Errors: *acd.ConflictError (wrapped), ctx's, net.ErrClosed, or the socket's. Takes as
// long as the timers say, 4 to 7 s with those of the RFC.
func (p *Proxy) Probe(ctx context.Context, addr netip.Addr, visitor net.HardwareAddr) error {
	c := p.question()
	if err := c.except(visitor); err != nil {
		return fmt.Errorf("neigh: probe %v: %w", addr, err)
	}
	defer p.register(c)()
	if err := p.link.Probe(ctx, c, addr, p.mac.HardwareAddr(), p.cfg.Rand); err != nil {
		return fmt.Errorf("neigh: %w", err)
	}
	return nil
}

// presencePause is between two questions of Present.
const presencePause = 300 * time.Millisecond

// Present finds out whether the visitor itself has addr on the link: it is asked for, from the router's address, until it answers,
// which is true, or ctx ends, which is false. Errors: net.ErrClosed, or the socket's.
func (p *Proxy) Present(ctx context.Context, router, addr netip.Addr, visitor net.HardwareAddr) (bool, error) {
	mac, err := acd.MACFrom(visitor)
	if err != nil {
		return false, fmt.Errorf("neigh: presence of %v: %w", addr, err)
	}
	c := p.question()
	defer p.register(c)()
	ask := acd.Packet{Op: acd.OpRequest, SenderMAC: p.mac, SenderIP: router, TargetIP: addr}
	there, err := repeat(ctx,
		func() error { return c.WriteARP(acd.Broadcast(), ask) }, c.next,
		func(a acd.Packet) bool { return a.SenderIP == addr && a.SenderMAC == mac })
	if err != nil {
		return false, fmt.Errorf("neigh: presence of %v: %w", addr, err)
	}
	return there, nil
}

// repeat asks again every presencePause until is takes an answer, which is true, or ctx ends, which is false.
func repeat[P any](ctx context.Context, ask func() error, next func(context.Context) (P, error), is func(P) bool) (bool, error) {
	for ctx.Err() == nil {
		if err := ask(); err != nil {
			return false, err
		}
		step, cancel := context.WithTimeout(ctx, presencePause)
		for step.Err() == nil {
			a, err := next(step)
			switch {
			case errors.Is(err, net.ErrClosed):
				cancel()
				return false, err
			case err == nil && is(a):
				cancel()
				return true, nil
			}
		}
		cancel()
	}
	return false, nil
}

// register has c see what the proxy reads, until the returned function is called.
func (p *Proxy) register(c *probeConn) (unregister func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.probed[c] = struct{}{}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.probed, c)
	}
}

// DefendOrProbe probes addr if it is not answered for yet, and when it is free begins to answer for it; an address already
// set was probed before and gets the new policy at once. After an error nothing is set.
func (p *Proxy) DefendOrProbe(ctx context.Context, addr netip.Addr, pol Policy) error {
	p.mu.RLock()
	_, known := p.addrs[addr]
	p.mu.RUnlock()
	if !known {
		if err := p.Probe(ctx, addr, pol.IgnoreMAC); err != nil {
			return err
		}
	}
	return p.Set(addr, pol)
}

// probeConn gives one Probe the packets the proxy reads.
type probeConn struct {
	listener[acd.Packet]
	p *Proxy
}

func (p *Proxy) question() *probeConn { return &probeConn{listen[acd.Packet](p.done), p} }

// ReadARP implements acd.Conn.
func (c *probeConn) ReadARP(ctx context.Context) (acd.Packet, error) { return c.next(ctx) }

// WriteARP implements acd.Conn. A proxy on an interface that is down probes nothing.
func (c *probeConn) WriteARP(dst net.HardwareAddr, a acd.Packet) error {
	err := c.p.conn.WriteARP(dst, a)
	if errors.Is(err, net.ErrClosed) {
		return net.ErrClosed
	}
	return err
}
