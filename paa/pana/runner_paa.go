package pana

import (
	"context"
	"encoding/binary"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Server runs a PAA over a UDP socket, or over one of each family.
type Server struct {
	*runner
	paa      *PAA
	handler  func(Output)
	sids     *sidSet
	sendErrs atomic.Uint64
}

// sidSet is the session identifiers that exist, for the reader goroutine.
type sidSet struct {
	mu   sync.RWMutex
	sids map[uint32]struct{} // guarded by mu
}

func (s *sidSet) add(sid uint32) {
	s.mu.Lock()
	s.sids[sid] = struct{}{}
	s.mu.Unlock()
}

func (s *sidSet) remove(sid uint32) {
	s.mu.Lock()
	delete(s.sids, sid)
	s.mu.Unlock()
}

// classify sorts datagrams by what their header says. Somebody who has seen a session
// identifier can claim it, as he can fill the socket's buffer: it takes AUTH to get
// further.
func (s *sidSet) classify(b []byte) class {
	if len(b) < HeaderLen {
		return classStranger
	}
	s.mu.RLock()
	_, known := s.sids[binary.BigEndian.Uint32(b[8:])]
	s.mu.RUnlock()
	flags := Flags(binary.BigEndian.Uint16(b[4:]))
	switch {
	case known:
		return classSession
	case MessageType(binary.BigEndian.Uint16(b[6:])) == TypeAuth && flags.Has(FlagS) && !flags.Has(FlagR):
		return classStart
	}
	return classStranger
}

// Serve runs a PAA over conn. The Server owns it from then on and closes it in the
// end; after an error it is still the
// caller's. Bind it to one address: answers have to leave from the address
// that was asked.
//
// handler gets every output but Send, in order, on the Server's goroutine. It
// must neither block nor call Do; Post is for that. It is not called after
// Close has returned. The end of ctx is like Close without waiting.
func Serve(ctx context.Context, conn Conn, cfg PAAConfig, handler func(Output)) (*Server, error) {
	return ServeBoth(ctx, conn, nil, cfg, handler)
}

// ServeBoth is Serve over two sockets: what goes to an IPv6 address leaves by six, unless that is nil. A session may change between
// the families (RFC 5191 section 5.6).
func ServeBoth(ctx context.Context, conn, six Conn, cfg PAAConfig, handler func(Output)) (*Server, error) {
	paa, err := NewPAA(cfg)
	if err != nil {
		return nil, err
	}
	sids := &sidSet{sids: make(map[uint32]struct{})}
	s := &Server{runner: newRunner(conn, sids.classify), paa: paa, handler: handler, sids: sids}
	s.six = six
	s.run(ctx, s)
	return s, nil
}

// Do runs f on the Server's goroutine and waits for it; what f makes the PAA
// put out follows right after. The error is ErrRunnerClosed or nil.
func (s *Server) Do(f func(now time.Time, p *PAA)) error {
	return s.do(func(now time.Time) { f(now, s.paa) })
}

// Post is Do without waiting, for handlers.
func (s *Server) Post(f func(now time.Time, p *PAA)) error {
	return s.post(func(now time.Time) { f(now, s.paa) })
}

// SendErrors counts datagrams that the socket did not take; retransmission
// makes up for them.
func (s *Server) SendErrors() uint64 { return s.sendErrs.Load() }

// Overflows counts datagrams that were dropped unseen because too many others of
// strangers waited. Those of sessions have a queue of their own, and go first.
func (s *Server) Overflows() uint64 { return s.overflow.Load() }

// Done is closed when the Server has ended, by Close or the end of its context.
func (s *Server) Done() <-chan struct{} { return s.done }

// Close ends the Server and every session without a word to the PaCs.
func (s *Server) Close() { s.close() }

func (s *Server) deadline() (time.Time, bool) { return s.paa.Deadline() }
func (s *Server) onDeadline(now time.Time)    { s.paa.OnDeadline(now) }

func (s *Server) abandon() {} // EAP is the handler's

func (s *Server) packet(now time.Time, from netip.AddrPort, b []byte) {
	s.paa.HandlePacket(now, from, b)
}

func (s *Server) flush() {
	for o, ok := s.paa.Poll(); ok; o, ok = s.paa.Poll() {
		d, isSend := o.(Send)
		if !isSend {
			switch o := o.(type) {
			case EAPStart:
				s.sids.add(o.SID)
			case Closed:
				s.sids.remove(o.SID)
			}
			s.handler(o)
			continue
		}
		conn := s.conn
		if s.six != nil && d.To.Addr().Is6() {
			conn = s.six
		}
		if _, err := conn.WriteToUDPAddrPort(d.Data, d.To); err != nil {
			s.sendErrs.Add(1)
		}
	}
}
