package radius

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// ServerStatus is what a client knows of a server.
type ServerStatus struct {
	Addr       netip.AddrPort `json:"addr"`
	Name       string         `json:"name,omitzero"` // of its certificate
	Accounting bool           `json:"accounting,omitzero"`
	State      State          `json:"-"`
	Is         string         `json:"state"`
	Since      time.Time      `json:"since,omitzero"` // of that state
	Waiting    int            `json:"waiting"`        // requests
	Err        string         `json:"err,omitzero"`   // why there is no connection
}

// Servers says how the servers are, those of authentication first, in order of
// preference.
func (c *Client) Servers() []ServerStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	var out []ServerStatus
	add := func(s *server, accounting bool) {
		st := ServerStatus{Addr: s.Addr, Name: s.Name, Accounting: accounting, State: s.health.at(now), Since: s.health.since}
		st.Is = st.State.String()
		for _, sock := range c.sockets {
			for _, p := range sock.waiting {
				if p != nil && p.server == s {
					st.Waiting++
				}
			}
		}
		if s.dialErr != nil {
			st.Err = s.dialErr.Error()
		}
		out = append(out, st)
	}
	for _, s := range c.servers {
		add(s, false)
	}
	for _, s := range c.accounting {
		if c.cfg.TLS == nil {
			add(s, true)
		}
	}
	return out
}

// watch probes a server from now on, and keeps a connection to it up over TLS, until
// Close.
func (c *Client) watch(srv *server) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if srv.watched || c.closed {
		return
	}
	srv.watched = true
	c.readers.Go(func() {
		for c.ctx.Err() == nil {
			if c.cfg.TLS != nil {
				c.connect(c.ctx, srv)
			} else {
				c.check(c.ctx, srv)
			}
		}
	})
}

// rest waits until a time, or for somebody who has a reason not to.
func (c *Client) rest(ctx context.Context, srv *server, until time.Time) {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-srv.kick:
	case <-ctx.Done():
	}
}

// check probes a server when it is time.
func (c *Client) check(ctx context.Context, srv *server) {
	c.mu.Lock()
	next := srv.health.nextProbe
	wait := srv.health.wait()
	c.mu.Unlock()
	if time.Now().Before(next) {
		c.rest(ctx, srv, next)
		return
	}
	ok, refused, rtt, err := c.probe(ctx, srv, wait)
	if err != nil {
		return
	}
	c.change(srv, func(h *health, now time.Time) { h.probed(now, ok, refused, rtt, c.jitter()) })
}

// errNoAnswer is why a server is dead that could be sent to.
var errNoAnswer = errors.New("no answer, or the port refused: expected a RADIUS server there, which knows this host as a client")

// change changes what is known of a server, and says so to whoever waits for it.
func (c *Client) change(srv *server, f func(h *health, now time.Time)) {
	c.mu.Lock()
	now := time.Now()
	before, due := srv.health.at(now), srv.health.nextProbe
	f(&srv.health, now)
	after := srv.health.state
	if before != after {
		srv.tell()
	}
	if srv.health.nextProbe.Before(due) {
		srv.poke()
	}
	err := srv.dialErr
	c.mu.Unlock()
	if err == nil {
		err = errNoAnswer
	}
	switch {
	case before == after:
	case after == Dead:
		c.cfg.Log.Warn("RADIUS server dead", "server", srv.Addr, "err", err)
	case before == Dead:
		c.cfg.Log.Info("RADIUS server alive again", "server", srv.Addr)
	}
}

// connect dials a server that has no connection, or checks the one it has.
func (c *Client) connect(ctx context.Context, srv *server) {
	c.mu.Lock()
	_, count := c.pick(srv, 1)
	wanted, redial := srv.wanted, srv.redial
	c.mu.Unlock()
	switch {
	case count > 0 && (!wanted || count >= maxSockets):
		c.check(ctx, srv)
		c.mu.Lock()
		dead := srv.health.state == Dead
		c.mu.Unlock()
		if dead {
			c.hangUp(srv)
		}
		return
	case !wanted && time.Now().Before(redial):
		c.rest(ctx, srv, redial)
		return
	}
	stream, err := c.dial(ctx, srv)
	c.change(srv, func(h *health, now time.Time) {
		srv.dials++
		srv.wanted = false // since then
		srv.tell()
		switch {
		case err != nil:
			srv.failed(now, err, c.jitter())
			return
		case c.closed:
			_ = stream.Close()
			return
		}
		srv.dialErr, srv.redial = nil, now.Add(redialMin)
		h.answers = false // nobody knows of this connection
		h.become(Alive, now)
		h.failed, h.refused, h.nextProbe = 0, 0, now
		s := newSocket(stream, uint8(c.random()), srv)
		s.stream = true
		c.start(s)
	})
}

// failed notes that there was no connection, or one that was of no use. Client.mu is held.
func (s *server) failed(now time.Time, err error, rnd float64) {
	s.failures++
	s.dialErr = err
	d := min(redialMin<<min(s.failures-1, 16), backoffMax)
	s.redial = now.Add(d + time.Duration(rnd*float64(d)))
	s.health.answers = true // only a connection has it alive again
	s.health.kill(now)
}

// hangUp closes the connections of a server that answers nothing on them.
func (c *Client) hangUp(srv *server) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.sockets {
		if s.server == srv && s.stream {
			s.broken = true
			_ = s.conn.Close()
		}
	}
}
