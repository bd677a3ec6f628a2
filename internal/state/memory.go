package state

// Memory is a Store without a file: for tests and for simulated machines, whose
// crashes it outlives when it is handed to the next daemon.
type Memory struct{ *table }

var _ Store = (*Memory)(nil)

// NewMemory returns an empty store.
func NewMemory() *Memory { return &Memory{newTable()} }

// Close implements Store.
func (m *Memory) Close() error { return m.close(nil) }
