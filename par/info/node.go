package info

import (
	"fmt"
	"time"

	"openmpa/paa/notify"
)

// Answer is what the node of session sid is told. It does not wait.
func (s *Service) Answer(sid uint32, m *notify.NeighboursRequest) *notify.NeighboursReply {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.nodes[sid]
	if n == nil {
		n = &node{tokens: burst, filled: now}
		s.nodes[sid] = n
	}
	if !n.may(now) {
		s.counts.Refused++
		if !n.refused {
			n.refused = true
			s.cfg.Log.Warn("a node asks too often which networks are around", "sid", sid)
		}
		return &notify.NeighboursReply{Header: m.Header, Reason: fmt.Sprintf("asked too often: %d times at once, and then every %v", burst, refill)}
	}
	a := s.current(now)
	r := a.Reply(m, a.lives(now, s.cfg.Lifetime))
	n.told = r.Revision
	if r.Parts == 0 {
		s.counts.Unchanged++
	} else {
		s.counts.Answers++
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
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.nodes, sid)
}

// push tells nodes that have asked when there is another answer than they know of.
func (s *Service) push() {
	look := time.NewTicker(s.cfg.Every) // what ends, and the load, are nobody's word
	defer look.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.wake:
		case <-look.C:
		}
		s.tell()
		select {
		case <-s.ctx.Done():
			return
		case <-time.After(pushPause):
		}
	}
}

func (s *Service) tell() {
	s.mu.Lock()
	revision, send := s.current(time.Now()).Revision(), s.send
	var late []uint32
	for sid, n := range s.nodes {
		if n.told != revision {
			n.told = revision
			late = append(late, sid)
		}
	}
	s.counts.Pushed += uint64(len(late))
	s.mu.Unlock() // whoever sends may wait for somebody who asks us
	for _, sid := range late {
		send(sid, &notify.NeighboursChanged{Revision: revision})
	}
}
