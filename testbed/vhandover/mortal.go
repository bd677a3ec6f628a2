package vhandover

import (
	"sync"
	"time"

	"openmpa/internal/state"
)

// mortal is a store that a daemon loses when it is killed, and the next one has.
type mortal struct {
	state.Store
	mu   sync.Mutex
	dead bool
}

func (m *mortal) die() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead = true
}

func (m *mortal) alive() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return state.ErrClosed
	}
	return nil
}

func (m *mortal) Get(key string) (state.Record, error) {
	if err := m.alive(); err != nil {
		return state.Record{}, err
	}
	return m.Store.Get(key)
}

func (m *mortal) List(prefix string) ([]state.Record, error) {
	if err := m.alive(); err != nil {
		return nil, err
	}
	return m.Store.List(prefix)
}

func (m *mortal) Put(key string, value []byte, expires time.Time) (uint64, error) {
	if err := m.alive(); err != nil {
		return 0, err
	}
	return m.Store.Put(key, value, expires)
}

func (m *mortal) CompareAndSet(key string, value []byte, version uint64, expires time.Time) (uint64, error) {
	if err := m.alive(); err != nil {
		return 0, err
	}
	return m.Store.CompareAndSet(key, value, version, expires)
}

func (m *mortal) Delete(key string) error {
	if err := m.alive(); err != nil {
		return err
	}
	return m.Store.Delete(key)
}

// Close leaves the store to the next daemon.
func (m *mortal) Close() error { return nil }
