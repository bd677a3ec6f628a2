package operators

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"openmpa/aaa"
)

// Options are what a daemon adds to its list.
type Options struct {
	Node string       // its name, where the list gives none of its own to a protocol
	Rand io.Reader    // nil: crypto/rand
	Log  *slog.Logger // nil: none
}

// Set is a list in use.
type Set struct {
	Realms *aaa.Realms

	closers []io.Closer
	orders  atomic.Pointer[aaa.Orders] // of whoever has the sessions, from Bind on
	cancel  context.CancelFunc         // of Start; nil before
	done    chan error
}

// Open makes clients of all operators. They ask nobody yet.
func Open(l List, o Options) (*Set, error) {
	s := &Set{}
	var all []aaa.Operator
	for _, one := range l {
		carrier, client, err := one.carrier(o)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("aaa: %s: %w", one.Name, err), s.Close())
		}
		s.closers = append(s.closers, client)
		all = append(all, aaa.Operator{Name: one.Name, Realms: one.Realms, Carrier: carrier})
	}
	var err error
	if s.Realms, err = aaa.NewRealms(all...); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Start keeps connections up and brings the books to servers, until Close; ended is told
// why where that cannot begin, and is called once at most.
func (s *Set) Start(ended func(error)) {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel, s.done = cancel, make(chan error, 1)
	go func() {
		err := s.Realms.Run(ctx, s)
		if err != nil {
			ended(err)
		}
		s.done <- err
	}()
}

// Bind hands the orders of servers to o from now on; before, they find no session.
func (s *Set) Bind(o aaa.Orders) { s.orders.Store(&o) }

// End implements aaa.Orders.
func (s *Set) End(m aaa.Match, why string) int {
	if o := s.orders.Load(); o != nil {
		return (*o).End(m, why)
	}
	return 0
}

// Again implements aaa.Orders.
func (s *Set) Again(m aaa.Match) int {
	if o := s.orders.Load(); o != nil {
		return (*o).Again(m)
	}
	return 0
}

// Extend implements aaa.Orders.
func (s *Set) Extend(m aaa.Match, life time.Duration) int {
	if o := s.orders.Load(); o != nil {
		return (*o).Extend(m, life)
	}
	return 0
}

// Status is what is known of servers and of the records they have not got.
type Status struct {
	Servers []aaa.ServerStatus `json:"servers,omitempty"`
	Books   *aaa.BooksStatus   `json:"books,omitempty"`
}

// Status returns how things are now.
func (s *Set) Status() Status {
	out := Status{Servers: s.Realms.Servers()}
	if b, ok := s.Realms.Books(); ok {
		out.Books = &b
	}
	return out
}

// Close gives the last records a moment, lets go of the clients, and ends what they have
// under way.
func (s *Set) Close() error {
	var errs []error
	if s.cancel != nil {
		s.cancel()
		<-s.done
	}
	for _, c := range s.closers {
		errs = append(errs, c.Close())
	}
	s.closers = nil
	return errors.Join(errs...)
}
