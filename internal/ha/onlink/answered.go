package onlink

import (
	"context"
	"net/netip"
	"sync"
	"time"
)

const (
	announceCount    = 3 // "a small number of times" (RFC 5944 section 4.6); MAX_NEIGHBOR_ADVERTISEMENT (RFC 4861 section 10)
	announceInterval = time.Second
)

// Answered are the addresses of either family that are answered for on a link. Its methods may be
// called concurrently.
type Answered struct {
	// fixed after NewAnswered
	ctx    context.Context // ends the announcements
	cancel context.CancelFunc

	mu   sync.Mutex
	list map[netip.Addr]context.CancelFunc // ends the announcements of one
	shut bool
	wg   sync.WaitGroup // announcements; Add with mu held and shut false
}

// NewAnswered returns an empty list.
func NewAnswered() *Answered {
	s := &Answered{list: make(map[netip.Addr]context.CancelFunc)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Add puts an address on the list, if begin has no error, and has it announced a few times. begin
// must not call the list.
func (s *Answered) Add(a netip.Addr, begin, announce func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shut || s.list[a] != nil {
		return nil
	}
	if err := begin(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(s.ctx)
	s.list[a] = cancel
	s.wg.Go(func() { Announce(ctx, announce) })
	return nil
}

// Remove takes an address from the list; end ends what Add's begin began.
func (s *Answered) Remove(a netip.Addr, end func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cancel := s.list[a]; cancel != nil {
		cancel()
		delete(s.list, a)
		end()
	}
}

// Has reports whether an address is on the list.
func (s *Answered) Has(a netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.list[a] != nil
}

// Go runs f, which Close ends and waits for.
func (s *Answered) Go(f func(ctx context.Context)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.shut {
		s.wg.Go(func() { f(s.ctx) })
	}
}

// Announce calls announce a few times, a second apart, until it has an error or ctx is done.
func Announce(ctx context.Context, announce func() error) {
	t := time.NewTicker(announceInterval)
	defer t.Stop()
	for range announceCount {
		if ctx.Err() != nil || announce() != nil {
			return
		}
		select {
		case <-ctx.Done():
		case <-t.C:
		}
	}
}

// Closed says that the list is closed.
func (s *Answered) Closed() bool { return s.ctx.Err() != nil }

// Close ends the announcements.
func (s *Answered) Close() {
	s.mu.Lock()
	s.shut = true
	s.mu.Unlock()
	s.cancel()
	s.wg.Wait()
}
