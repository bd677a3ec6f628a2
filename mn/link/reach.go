package link

import (
	"context"
	"errors"
	"fmt"

	"openmpa/internal/wpactrl"
)

// Reacher is an Adapter that can test whether a point would answer, without leaving
// the present one for good (RFC 6252 section 7.6.3).
type Reacher interface {
	Adapter
	// Reach exchanges link-layer management frames with a point, on its channel. The present link carries nothing
	// meanwhile. nil: it has answered, or nobody knows where to ask: ErrChannel.
	Reach(ctx context.Context, poa string) error
}

// UnreachableError is a point that did not answer.
type UnreachableError struct {
	Point string
	Freq  int // MHz
}

// Error implements error.
func (e *UnreachableError) Error() string {
	return fmt.Sprintf("link: %s is not there: no beacon and no probe response of it on %d MHz", e.Point, e.Freq)
}

// Reach implements Reacher by a scan of the point's channel: its probe response or a beacon counts, and nothing that
// was seen before. One may be missed: it asks twice.
func (s *Supplicant) Reach(ctx context.Context, poa string) error {
	p, err := s.place(poa)
	if err != nil {
		return err
	}
	if err := s.take(ctx); err != nil {
		return fmt.Errorf("link: %s: another attachment is under way: %w", poa, err)
	}
	defer func() { s.turn <- struct{}{} }()
	s.looking.Store(true)
	defer s.looking.Store(false)
	seen, err := s.Seen(ctx)
	if err != nil {
		return err
	}
	freq, _ := s.channel(p, seen)
	if freq == 0 {
		return ErrChannel
	}
	before, err := s.heard(ctx, p.BSSID)
	if err != nil {
		return err
	}
	for range 2 {
		if err := s.Scan(ctx, freq); err != nil {
			return err
		}
		if now, err := s.heard(ctx, p.BSSID); err != nil {
			return err
		} else if now != before {
			s.sights(p, 0)
			return nil
		}
	}
	return &UnreachableError{Point: poa, Freq: freq}
}

// heard is the number of the last scan in which an access point was heard, 0 if in none.
func (s *Supplicant) heard(ctx context.Context, bssid wpactrl.MAC) (scan int, err error) {
	answer, err := s.client.Command(ctx, wpactrl.BSSUpdate(bssid))
	if errors.Is(err, wpactrl.ErrFail) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("link: %w", err)
	}
	scan, _ = wpactrl.Lines(answer).Int("update_idx")
	return scan, nil
}
