package info

import (
	"fmt"
	"time"

	"openmpa/paa/notify"
)

// Answer is what the node of session sid is told. It waits for nothing: what is told was put together before.
func (s *Service) Answer(sid uint32, m *notify.NeighboursRequest) *notify.NeighboursReply {
	now := time.Now()
	s.nodeMu.Lock()
	defer s.nodeMu.Unlock()
	n := s.nodes[sid]
	if n == nil {
		n = &node{tokens: burst, filled: now}
		s.nodes[sid] = n
	}
	if !n.may(now) {
		s.given.Refused++
		if !n.refused {
			n.refused = true
			s.cfg.Log.Warn("a node asks too often which networks are around", "sid", sid)
		}
		return &notify.NeighboursReply{Header: m.Header, Reason: fmt.Sprintf("asked too often: %d times at once, and then every %v", burst, refill)}
	}
	a := s.answer.Load()
	r := a.Reply(m, a.lives(now, s.cfg.Lifetime))
	n.told = r.Revision
	if r.Parts == 0 {
		s.given.Unchanged++
	} else {
		s.given.Answers++
	}
	return r
}

// may says whether the node may ask now.
func (n *node) may(now time.Time) bool {
	if more := int(now.Sub(n.filled) / refill); more > 0 {
		n.tokens = min(burst, n.tokens+more)
		n.filled = n.filled.Add(time.Duration(more) * refill)
	}
	if n.tokens == 0 {
		return false
	}
	n.tokens--
	return true
}

// Ended forgets a session.
func (s *Service) Ended(sid uint32) {
	s.nodeMu.Lock()
	defer s.nodeMu.Unlock()
	delete(s.nodes, sid)
}

// keep makes the answer anew when something has changed, and tells nodes that have asked when there is another one than they know of.
func (s *Service) keep() {
	var told time.Time
	due := time.NewTimer(s.cfg.Every)
	defer due.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.wake:
		case <-due.C:
		}
		now := time.Now()
		a := s.refresh(now)
		wait := s.cfg.Every // the load is nobody's word
		if !a.fresh.IsZero() {
			wait = max(0, min(wait, a.fresh.Sub(now)))
		}
		if rest := told.Add(pushPause).Sub(now); rest > 0 {
			wait = min(wait, rest)
		} else if s.tell(a.Revision()) {
			told = now
		}
		due.Reset(wait)
	}
}

// tell tells nodes of an answer that they do not know of, if there are such.
func (s *Service) tell(revision notify.Revision) bool {
	s.nodeMu.Lock()
	send := s.send
	var late []uint32
	for sid, n := range s.nodes {
		if n.told != revision {
			n.told = revision
			late = append(late, sid)
		}
	}
	s.given.Pushed += uint64(len(late))
	s.nodeMu.Unlock() // whoever sends may wait for somebody who asks us
	for _, sid := range late {
		send(sid, &notify.NeighboursChanged{Revision: revision})
	}
	return len(late) > 0
}
