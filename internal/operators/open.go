package operators

import (
	"errors"
	"fmt"
	"io"
	"log/slog"

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

// Close lets go of the clients, and ends what they have under way.
func (s *Set) Close() error {
	var errs []error
	for _, c := range s.closers {
		errs = append(errs, c.Close())
	}
	s.closers = nil
	return errors.Join(errs...)
}
