package discover

import (
	"context"
	"sync"
	"time"

	"openmpa/internal/neighbourhood"
)

// Locator tells where the node is.
type Locator interface {
	// Run tells every fix until ctx ends, and the zero Fix when there is none any more.
	Run(ctx context.Context, tell func(neighbourhood.Fix))
}

// fixAge is how long a place is where the node is.
const fixAge = 10 * time.Second

// position is the newest fix.
type position struct {
	mu   sync.Mutex
	last neighbourhood.Fix
}

func (p *position) take(f neighbourhood.Fix) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = f
}

// Fix is where the node is; false where nobody has said that lately.
func (s *Service) Fix() (neighbourhood.Fix, bool) {
	s.position.mu.Lock()
	defer s.position.mu.Unlock()
	f := s.position.last
	return f, !f.At.IsZero() && time.Since(f.At) <= fixAge && f.Where.Valid()
}

// where is the place of the node, nil where nobody knows.
func (s *Service) where() *neighbourhood.Location {
	if f, ok := s.Fix(); ok {
		return &f.Where
	}
	return nil
}
