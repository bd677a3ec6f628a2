package paa

import "strings"

// giveWay ends the oldest session of a node that has opened more than it may have at once:
// one that has lost its sessions has others, and who has a node's credentials, with however
// many sessions, leaves room for the other nodes. Re-authentication opens none.
func (s *Service) giveWay(sid uint32, c *session) {
	if s.cfg.PerNode == 0 || !personal(c.identity) {
		return
	}
	oldest, n := sid, 0
	for other, o := range s.sessions {
		if o.order == 0 || o.ending || o.identity != c.identity {
			continue
		}
		if n++; o.order < s.sessions[oldest].order {
			oldest = other
		}
	}
	if n <= s.cfg.PerNode {
		return
	}
	s.cfg.Log.Warn("a node has more sessions than it may have: the oldest ends", "identity", c.identity, "sid", oldest, "at most", s.cfg.PerNode)
	s.sessions[oldest].ending = true
	if err := s.Terminate(oldest); err != nil && s.ctx.Err() == nil {
		s.cfg.Log.Error("session not ended", "sid", oldest, "err", err)
	}
}

// personal reports whether an identity names one node: "@realm" and "anonymous" hide whoever
// authenticates by them (RFC 7542 section 2.4).
func personal(identity string) bool {
	user, _, _ := strings.Cut(identity, "@")
	return user != "" && !strings.EqualFold(user, "anonymous")
}
