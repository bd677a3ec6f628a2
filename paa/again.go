package paa

import (
	"cmp"
	"errors"
	"time"

	"openmpa/aaa"
	"openmpa/paa/pana"
)

const (
	// restAfter is how long servers that are all silent are left alone.
	restAfter = time.Second
	// answerTime is what is left for the node and for a server that answers.
	answerTime = 2 * time.Second
)

// goesOn has a re-authentication for which no server has given an answer begin anew, with
// another server or with the same one later, as long as its time allows: want of an answer is
// no refusal, and the session with all it has stands until there is one. RFC 5191 section 4.3
// ends the session when a re-authentication fails, so this one must not have failed before; see
// package pana. It is for nodes of ours only.
func (s *Service) goesOn(sid uint32, c *session, err error) bool {
	var lost *aaa.LostError
	if c.again.IsZero() || !c.ours || c.ended || !errors.Is(err, aaa.ErrTimeout) {
		return false
	}
	wait := restAfter
	if errors.As(err, &lost) && c.losses == 0 {
		wait = 0 // another one stands by
	}
	now := time.Now()
	limit := cmp.Or(s.cfg.AuthTimeout, pana.DefaultAuthTimeout)
	if took := now.Sub(c.tried); now.Add(wait+max(took, answerTime)).Sub(c.again) > limit {
		return false
	}
	s.cfg.Log.Info("re-authentication begins anew: the session stands meanwhile", "sid", sid, "in", wait)
	c.span.End(err)
	c.stop()
	c.losses++
	if wait == 0 {
		s.converse(c.asked, c)
		return true
	}
	var rest *time.Timer
	rest = time.AfterFunc(wait, func() {
		_ = s.server.Post(func(time.Time, *pana.PAA) { // else the service has ended
			if s.sessions[sid] == c && c.rest == rest && !c.ended {
				c.rest = nil
				s.converse(c.asked, c)
			}
		})
	})
	c.rest = rest
	return true
}
