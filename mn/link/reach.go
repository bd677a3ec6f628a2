package link

import (
	"context"
	"errors"
	"fmt"

	"openmpa/internal/wpactrl"
)

// Reacher is a Move that can test whether its point would answer, before it begins: without leaving the present one for
// good (RFC 6252 section 7.6.3).
type Reacher interface {
	Move
	// Reach exchanges link-layer management frames with the point, on its channel. The present link carries nothing
	// meanwhile. nil: it has answered. ErrChannel: nobody knows where to ask.
	Reach(ctx context.Context) error
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
func (m *supplicantMove) Reach(ctx context.Context) error {
	s := m.s
	seen, err := s.Seen(ctx)
	if err != nil {
		return err
	}
	freq, _ := s.channel(m.place, seen)
	if freq == 0 {
		return ErrChannel
	}
	before, err := s.heard(ctx, m.place.BSSID)
	if err != nil {
		return err
	}
	for range 2 {
		if err := s.Scan(ctx, freq); err != nil {
			return err
		}
		if now, err := s.heard(ctx, m.place.BSSID); err != nil {
			return err
		} else if now != before {
			s.sights(m.place, 0)
			return nil
		}
	}
	return &UnreachableError{Point: m.point, Freq: freq}
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
