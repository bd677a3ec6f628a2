package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Item is a record whose value was read.
type Item[T any] struct {
	Value  T
	Record Record
}

// GetJSON reads a record whose value is JSON.
func GetJSON[T any](s Store, key string) (T, Record, error) {
	var v T
	r, err := s.Get(key)
	if err == nil {
		v, err = decode[T](r)
	}
	return v, r, err
}

func decode[T any](r Record) (T, error) {
	var v, zero T
	if err := json.Unmarshal(r.Value, &v); err != nil {
		return zero, fmt.Errorf("state: the value of %q cannot be read: %w", r.Key, err)
	}
	return v, nil
}

// PutJSON is Put of v as JSON.
func PutJSON[T any](s Store, key string, v T, expires time.Time) (version uint64, err error) {
	b, err := json.Marshal(v)
	if err != nil {
		return 0, fmt.Errorf("state: the value for %q: %w", key, err)
	}
	return s.Put(key, b, expires)
}

// CompareAndSetJSON is CompareAndSet of v as JSON.
func CompareAndSetJSON[T any](s Store, key string, v T, version uint64, expires time.Time) (uint64, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return 0, fmt.Errorf("state: the value for %q: %w", key, err)
	}
	return s.CompareAndSet(key, b, version, expires)
}

// ListJSON reads all records whose keys begin with prefix, sorted by key. An error that
// names the unreadable ones comes along with the readable ones.
func ListJSON[T any](s Store, prefix string) ([]Item[T], error) {
	records, err := s.List(prefix)
	if err != nil {
		return nil, err
	}
	var errs []error
	out := make([]Item[T], 0, len(records))
	for _, r := range records {
		v, err := decode[T](r)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, Item[T]{Value: v, Record: r})
	}
	return out, errors.Join(errs...)
}
