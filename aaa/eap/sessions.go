package eap

import (
	"crypto/tls"
	"fmt"
)

// sessions is one conversation's view of a cache of TLS sessions. What TLS puts in
// waits until the whole method has succeeded, since TLS may hand out tickets before the
// server has asked for the password. After a refusal there is nothing left to resume,
// so that the next conversation begins from nothing.
//
// Fields are TLS's while it runs, the owner's when it has ended.
type sessions struct {
	cache tls.ClientSessionCache
	key   string

	got  *tls.ClientSessionState // put by this conversation, the last one
	drop bool                    // TLS found the old one of no use
	hold bool                    // the conversation was broken off: what is there stays
}

// newSessions keeps apart what must not be resumed for another user, method or server.
func newSessions(cache tls.ClientSessionCache, kind Type, user, server string) *sessions {
	return &sessions{cache: cache, key: fmt.Sprintf("%d %q %q", kind, user, server)}
}

// Get implements tls.ClientSessionCache.
func (s *sessions) Get(string) (*tls.ClientSessionState, bool) {
	if _, avoided := s.cache.Get(s.avoidKey()); avoided {
		return nil, false
	}
	return s.cache.Get(s.key)
}

// avoid is for a server that resumes sessions, but not as it should: they begin from
// nothing from now on.
func (s *sessions) avoid() {
	if s != nil {
		s.cache.Put(s.avoidKey(), &tls.ClientSessionState{})
	}
}

func (s *sessions) avoidKey() string { return "avoid " + s.key }

// Put implements tls.ClientSessionCache; nil: the old one is of no use.
func (s *sessions) Put(_ string, state *tls.ClientSessionState) {
	s.got, s.drop = state, state == nil
}

// keep says that the conversation was broken off, by nobody's refusal.
func (s *sessions) keep() {
	if s != nil {
		s.hold = true
	}
}

// settle is for the end of the conversation, when TLS has ended.
func (s *sessions) settle(success bool) {
	switch {
	case s == nil:
	case success && s.got != nil:
		s.cache.Put(s.key, s.got)
	case success && s.drop, !success && !s.hold:
		if old, ok := s.cache.Get(s.key); ok && old != nil { // Put would add it where there is none
			s.cache.Put(s.key, nil)
		}
	}
}
