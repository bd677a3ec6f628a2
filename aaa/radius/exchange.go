package radius

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// Exchange sends a request and returns the verified answer. A first request goes to
// the servers in order, those that were silent lately last, until one answers; one
// with Server set goes there only. *TimeoutError says that none answered, before ctx
// ended by its deadline or on their own time. A cancelled ctx returns its error.
func (c *Client) Exchange(ctx context.Context, req Request) (Response, error) {
	order, err := c.order(c.servers, req.Server)
	if err != nil {
		return Response{}, err
	}
	others := false
	if req.Server.IsValid() {
		_, others = c.Next(req.Server)
	}
	return c.exchange(ctx, order, req, others)
}

// Next is the server that a new conversation would begin with if that one were away; ok is
// false when there is no other that may live.
func (c *Client) Next(not netip.AddrPort) (next netip.AddrPort, ok bool) {
	order, err := c.order(c.servers, netip.AddrPort{})
	if err != nil {
		return netip.AddrPort{}, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range order {
		if s.Addr != not && s.health.at(time.Now()) != Dead {
			return s.Addr, true
		}
	}
	return netip.AddrPort{}, false
}

// exchange asks servers in that order. others says that there are more than in it.
func (c *Client) exchange(ctx context.Context, order []*server, req request, others bool) (Response, error) {
	if c.cfg.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.cfg.Timeout)
		defer cancel()
	}
	silent := &TimeoutError{}
	start := time.Now()
	for i, srv := range order {
		if i > 0 {
			c.count.failovers.Add(1)
			c.cfg.Log.Warn("RADIUS server silent, asking the next", "silent", order[i-1].Addr, "next", srv.Addr)
		}
		silent.Tried = append(silent.Tried, srv.Addr)
		r, err := c.ask(ctx, srv, req, way{
			tries: c.cfg.Timing.tries(others || len(order) > 1), hurry: others && len(order) == 1, last: !others && i == len(order)-1,
		}, silent)
		if err == nil {
			return r, nil
		}
		if !errors.Is(err, errSilent) {
			return Response{}, err
		}
		if ctx.Err() != nil {
			break
		}
	}
	silent.Waited = time.Since(start)
	if errors.Is(ctx.Err(), context.Canceled) {
		return Response{}, fmt.Errorf("radius: request abandoned: %w", ctx.Err())
	}
	if err := ctx.Err(); err != nil && silent.Err == nil {
		silent.Err = err
	}
	return Response{}, silent
}

// order lists the servers to ask: those that live, those in doubt, the dead. Over TLS one
// that was never reached is in doubt.
func (c *Client) order(of []*server, only netip.AddrPort) ([]*server, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var alive, suspect, dead []*server
	now := time.Now()
	for _, s := range of {
		if only.IsValid() && s.Addr != only {
			continue
		}
		switch state := s.health.at(now); {
		case state == Dead:
			dead = append(dead, s)
		case state == Suspect, state == Unknown && c.cfg.TLS != nil:
			suspect = append(suspect, s)
		default:
			alive = append(alive, s)
		}
	}
	out := append(append(alive, suspect...), dead...)
	if only.IsValid() && len(out) == 0 {
		return nil, fmt.Errorf("radius: %v is none of our servers", only)
	}
	return out, nil
}

// errSilent is for exchange only: try the next.
var errSilent = errors.New("radius: silent")

// lostTries bounds the connections that one request may lose.
const lostTries = 3

// way is how a server is asked.
type way struct {
	tries int  // transmissions
	hurry bool // not at all, if it is known to be dead
	last  bool // nobody is asked after it: it may come back until time is over
}

// ask sends a request to one server until it answers, or has had its time, or, where there
// is another, is known to be dead.
func (c *Client) ask(ctx context.Context, srv *server, req request, w way, silent *TimeoutError) (Response, error) {
	c.mu.Lock()
	dead := srv.health.at(time.Now()) == Dead && srv.watched
	c.mu.Unlock()
	if w.hurry && dead {
		silent.Err = errDead
		return Response{}, errSilent
	}
	end := time.Now().Add(c.cfg.Timing.MRD)
	for lost := 0; lost < lostTries; {
		p, err := c.reserve(ctx, srv, req)
		if err == nil {
			var r Response
			r, err = c.wait(ctx, p, w.tries, !w.last && !dead, silent)
			c.release(p)
			if err == nil {
				return r, nil
			}
		}
		var away *awayError
		switch {
		case errors.Is(err, errLost):
			lost++
			silent.Err = err
		case !errors.As(err, &away):
			return Response{}, err
		default:
			silent.Err = away
			if stranger := (*strangerError)(nil); errors.As(err, &stranger) || !w.last || !c.recovers(ctx, srv, end) {
				return Response{}, errSilent
			}
		}
	}
	return Response{}, errSilent
}

// recovers waits until there is a connection to a server again: dialling is its watcher's.
func (c *Client) recovers(ctx context.Context, srv *server, end time.Time) bool {
	timer := time.NewTimer(time.Until(end))
	defer timer.Stop()
	for {
		c.mu.Lock()
		changed, dead := srv.changed, srv.health.state == Dead
		c.mu.Unlock()
		if !dead {
			return true
		}
		select {
		case <-changed:
		case <-timer.C:
			return false
		case <-ctx.Done():
			return false
		case <-c.done:
			return false
		}
	}
}

// errDead says why a server was not waited for.
var errDead = errors.New("radius: it answers no Status-Server, either")

// wait sends one request and waits for its answer; with leave no longer than its server
// lives.
func (c *Client) wait(ctx context.Context, p *pending, tries int, leave bool, silent *TimeoutError) (Response, error) {
	srv := p.server
	wire, err := c.encode(p)
	if err != nil {
		return Response{}, err
	}
	timing := c.cfg.Timing
	start := time.Now()
	end := start.Add(timing.MRD)
	timer := time.NewTimer(0)
	defer timer.Stop()
	c.mu.Lock()
	patience := srv.health.patience(timing.IRT)
	changed := srv.changed
	c.mu.Unlock()
	doubt := time.NewTimer(patience)
	defer doubt.Stop()
	var rt time.Duration
	for sent := 0; ; {
		select {
		case r := <-p.reply:
			c.count.replies.Add(1)
			r.Sent, r.RTT = sent, time.Since(start)
			c.change(srv, func(h *health, now time.Time) { h.heard(now, r.RTT) })
			return r, nil
		case err := <-p.refused:
			silent.Refused = err
			continue
		case <-p.unreachable:
			c.doubt(srv)
			continue
		case <-doubt.C:
			c.doubt(srv)
			continue
		case <-changed:
			c.mu.Lock()
			changed = srv.changed
			dead, err := srv.watched && srv.health.state == Dead, srv.dialErr
			c.mu.Unlock()
			if dead && leave {
				c.count.timeouts.Add(1)
				silent.Err = errDead
				if err != nil {
					silent.Err = err
				}
				return Response{}, errSilent
			}
			continue
		case <-p.sock.gone: // the request may go again on another
			c.mu.Lock()
			err := srv.dialErr
			c.mu.Unlock()
			if err != nil {
				return Response{}, &awayError{err}
			}
			return Response{}, errLost
		case <-c.done:
			return Response{}, net.ErrClosed
		case <-ctx.Done():
			if sent > 1 { // it had at least one timeout to answer
				c.silent(srv)
			}
			c.count.timeouts.Add(1)
			return Response{}, errSilent
		case <-timer.C:
		}
		if sent == tries || !time.Now().Before(end) {
			c.silent(srv)
			c.count.timeouts.Add(1)
			return Response{}, errSilent
		}
		if sent == 0 || !p.sock.stream {
			if _, err := p.sock.conn.WriteToUDPAddrPort(wire, srv.Addr); err != nil {
				silent.Err = err // a route may come back: go on
			}
			c.count.sent.Add(1)
			silent.Sent++
			if sent > 0 {
				c.count.retransmitted.Add(1)
				c.doubt(srv)
			}
		}
		sent++
		rt = timing.next(rt, c.jitter())
		timer.Reset(min(rt, time.Until(end)))
	}
}

// doubt has a server probed that is watched.
func (c *Client) doubt(srv *server) {
	c.mu.Lock()
	watched := srv.watched
	c.mu.Unlock()
	if watched {
		c.change(srv, func(h *health, now time.Time) { h.doubt(now) })
	}
}

// silent notes that a server had all the time of a request.
func (c *Client) silent(srv *server) {
	c.change(srv, func(h *health, now time.Time) { h.silent(now, srv.watched) })
}
