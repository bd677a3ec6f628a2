package paa

import (
	"time"

	"openmpa/aaa"
	"openmpa/paa/pana"
)

func deref(r *aaa.Result) aaa.Result {
	if r == nil {
		return aaa.Result{}
	}
	return *r
}

// unused says of an accept that nobody waits for it; current is the grant of its session.
func (s *Service) unused(r aaa.Result, current *aaa.Grant) {
	if r.Decision == aaa.Accept && (current == nil || current.Session != r.Grant.Session) {
		s.cfg.Backend.Ended(r.Grant, aaa.CauseError, aaa.Usage{})
	}
}

// accept keeps a grant until the node has its keys.
func (s *Service) accept(c *session, g aaa.Grant) {
	s.refused(c)
	c.accepted = &g
}

// refused says of an accept that its session was never in use.
func (s *Service) refused(c *session) {
	if c.accepted != nil {
		s.unused(aaa.Result{Decision: aaa.Accept, Grant: *c.accepted}, c.grant)
		c.accepted = nil
	}
}

// grants says that a session is in use, or is so again.
func (s *Service) grants(sid uint32, c *session) {
	g := c.accepted
	if g == nil {
		return
	}
	c.accepted = nil
	if c.grant != nil && c.grant.Session != g.Session { // by another operator now
		s.cfg.Backend.Ended(*c.grant, aaa.CauseMoved, usage(*c.grant))
	}
	c.grant = g
	c.stopExpiry()
	s.grantMu.Lock()
	s.granted[sid] = *g
	s.grantMu.Unlock()
	s.cfg.Backend.Granted(*g)
}

// usage is what a session has had. Packets go by the kernel, which nobody has count.
func usage(g aaa.Grant) aaa.Usage { return aaa.Usage{Time: max(0, time.Since(g.Began))} }

// over says whether the handler was told of a session's end.
func (s *Service) over(sid uint32) bool {
	c := s.sessions[sid]
	return c == nil || c.ended
}

// end tells handler and AAA, once, that a session is over.
func (s *Service) end(sid uint32, c *session, reason error) {
	if c.ended {
		return
	}
	c.ended = true
	c.stopExpiry()
	s.refused(c)
	cause := c.cause
	if cause == aaa.CauseNone {
		cause = causeOf(reason)
	}
	s.grantMu.Lock()
	delete(s.granted, sid)
	s.grantMu.Unlock()
	s.cfg.Log.Info("session ended", "sid", sid, "cause", cause, "reason", reason)
	s.handler.SessionClosed(sid, reason)
	if c.grant != nil {
		s.cfg.Backend.Ended(*c.grant, cause, usage(*c.grant))
	}
}

func (c *session) stopExpiry() {
	if c.expiry != nil {
		c.expiry.Stop()
		c.expiry = nil
	}
}

// OrderError is why a session ends that its AAA server has ended.
type OrderError struct{ Why string }

// Error implements error.
func (e *OrderError) Error() string {
	if e.Why == "" {
		return "paa: the AAA server has ended the session"
	}
	return "paa: the AAA server has ended the session: " + e.Why
}

// each has f done to the sessions that m chooses, and says how many these are.
func (s *Service) each(m aaa.Match, f func(now time.Time, p *pana.PAA, sid uint32, c *session)) (n int) {
	s.grantMu.Lock()
	defer s.grantMu.Unlock()
	for sid, g := range s.granted {
		if !m.Matches(g) {
			continue
		}
		err := s.server.Post(func(now time.Time, p *pana.PAA) {
			if c := s.sessions[sid]; c != nil && !c.ended && c.grant != nil && c.grant.Session == g.Session {
				f(now, p, sid, c)
			}
		})
		if err == nil {
			n++
		}
	}
	return n
}

// End implements aaa.Orders. The handler hears of it first: what the session has is gone
// before the node is told.
func (s *Service) End(m aaa.Match, why string) int {
	return s.each(m, func(now time.Time, p *pana.PAA, sid uint32, c *session) {
		c.cause = aaa.CauseAdmin
		s.end(sid, c, &OrderError{why})
		p.Terminate(now, sid)
	})
}

// Again implements aaa.Orders.
func (s *Service) Again(m aaa.Match) int {
	return s.each(m, func(now time.Time, p *pana.PAA, sid uint32, _ *session) {
		if err := p.Reauthenticate(now, sid); err != nil { // it is about to end, or to authenticate
			s.cfg.Log.Debug("re-authentication not begun", "sid", sid, "err", err)
		}
	})
}

// slack is how much later than our own timer PANA's ends a session.
const slack = time.Minute

// Extend implements aaa.Orders. No message of PANA tells the node how long the session
// lasts but the one that ends an authentication (RFC 5191 section 8.8): it goes by what it
// was told then, and authenticates again before that.
func (s *Service) Extend(m aaa.Match, life time.Duration) int {
	return s.each(m, func(now time.Time, p *pana.PAA, sid uint32, c *session) {
		if err := p.SetLifetime(now, sid, life+slack); err != nil { // an authentication under way sets it
			s.cfg.Log.Debug("session not extended", "sid", sid, "err", err)
			return
		}
		c.stopExpiry()
		s.handler.SessionExtended(sid, life)
		c.expiry = time.AfterFunc(life, func() { s.expire(sid, c) })
		s.cfg.Log.Info("the AAA server says how long a session lasts", "sid", sid, "from now", life)
	})
}

// expire ends a session whose time, as AAA has set it since, is over.
func (s *Service) expire(sid uint32, c *session) {
	_ = s.server.Post(func(now time.Time, p *pana.PAA) { // else the service has ended
		if s.sessions[sid] != c || c.expiry == nil || c.eap != nil || c.accepted != nil {
			return // an authentication that has begun decides
		}
		c.cause = aaa.CauseExpired
		s.end(sid, c, &OrderError{"its time is over"})
		p.Expire(now, sid)
	})
}
