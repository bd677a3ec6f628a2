package apctl

import (
	"bytes"
	"sync"
	"sync/atomic"
)

// syncBuffer is a buffer that several goroutines write.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// syncFlag is a switch that a test turns and a fake reads.
type syncFlag struct{ v atomic.Bool }

func (f *syncFlag) set(on bool) { f.v.Store(on) }
func (f *syncFlag) get() bool   { return f.v.Load() }
