package diameter

import (
	"strings"
	"sync"
	"time"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/avp"
)

// Bounds of what is remembered of answers, for requests that come again (RFC 6733
// section 3, End-to-End Identifier; section 9.4 for accounting).
const (
	seenMax  = 4096
	seenSize = 16 << 20 // octets, of the answers
	seenTime = 2 * time.Minute
)

// seenKey tells requests apart, over all peers and connections.
type seenKey struct {
	host          string
	end, cmd, app uint32
}

// seenEntry is a request and its answer.
type seenEntry struct {
	key    seenKey
	at     time.Time
	done   chan struct{} // closed when there is an answer, or none will be
	answer *diam.Message // set before; nil: none
	size   int           // of it, as it counts
	gone   bool          // forgotten before it was there
}

// seen remembers answers.
type seen struct {
	mu   sync.Mutex
	all  map[seenKey]*seenEntry
	line []*seenEntry // the oldest first
	size int          // of all answers
}

// begin notes a request. With again it is a repetition of what the entry has: only the T
// bit makes it one, an identifier alone may have come round.
func (s *seen) begin(m *diam.Message, now time.Time) (e *seenEntry, again bool) {
	k := seenKey{strings.ToLower(fields(m.AVP).text(avp.OriginHost)), m.Header.EndToEndID, m.Header.CommandCode, m.Header.ApplicationID}
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.line) > 0 && (len(s.line) >= seenMax || s.size > seenSize || now.Sub(s.line[0].at) > seenTime) {
		s.dropLocked(s.line[0], now)
		s.line = s.line[1:]
	}
	if e = s.all[k]; e != nil && m.Header.CommandFlags&diam.RetransmittedFlag != 0 {
		return e, true
	}
	e = &seenEntry{key: k, at: now, done: make(chan struct{})}
	if s.all == nil {
		s.all = make(map[seenKey]*seenEntry)
	}
	s.all[k] = e
	s.line = append(s.line, e)
	return e, false
}

func (s *seen) dropLocked(e *seenEntry, now time.Time) {
	if s.all[e.key] == e {
		delete(s.all, e.key)
	}
	select {
	case <-e.done:
		s.size -= e.size
		if now.Sub(e.at) > seenTime/4 { // nobody is about to send it
			wipe(e.answer)
		}
	default: // still being worked on
		e.gone = true
	}
}

// finish has the answer remembered. The answer is the entry's from then on.
func (s *seen) finish(e *seenEntry, a *diam.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.answer = a
	if !e.gone {
		e.size = a.Len()
		s.size += e.size
	}
	close(e.done)
}

// forget says that there will be no answer, and that the request may come again.
func (s *seen) forget(e *seenEntry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all[e.key] == e {
		delete(s.all, e.key)
	}
	close(e.done)
}

// answerTo is the remembered answer, for a copy of the request that has come by another
// way: without the Proxy-Info of the first one. Nil: there is none.
func (e *seenEntry) answerTo(m *diam.Message) *diam.Message {
	if e.answer == nil {
		return nil
	}
	a := *e.answer
	a.AVP = nil
	for _, x := range e.answer.AVP {
		if x.Code != avp.ProxyInfo || x.VendorID != 0 {
			a.AVP = append(a.AVP, x)
		}
	}
	return &a
}
