package link

import (
	"context"
	"fmt"

	"openmpa/internal/wpactrl"
)

// AttachError is an attachment that failed.
type AttachError struct {
	Point  string
	BSSID  wpactrl.MAC
	Status int    // 802.11 status code of a refused authentication or association; 0: none
	Reason int    // 802.11 reason code of a disconnection; 0: none
	Text   string // what happened, for people
	Err    error  // ctx's, or of the control socket; nil when the access point refused
}

// Error implements error.
func (e *AttachError) Error() string {
	s := fmt.Sprintf("link: attach to %s (%v): %s", e.Point, e.BSSID, e.Text)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *AttachError) Unwrap() error { return e.Err }

// take takes the turn, and ends a look that has it.
func (s *Supplicant) take(ctx context.Context) error {
	select {
	case <-s.turn:
		return nil
	default:
	}
	if s.looking.Load() {
		_ = s.client.Do(ctx, "ABORT_SCAN") // else it ends by itself
	}
	select {
	case <-s.turn:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// arrive waits for the end of the 4-way handshake with an access point.
func (s *Supplicant) arrive(ctx context.Context, sub *wpactrl.Subscription, bssid wpactrl.MAC) error {
	for {
		e, err := next(ctx, sub)
		if err != nil {
			text := "wpa_supplicant went away"
			if ctx.Err() != nil {
				text = "not connected in time"
				if st, err := s.status(context.WithoutCancel(ctx)); err == nil {
					text += ": wpa_supplicant is " + wpactrl.Printable(st.State)
				}
			}
			return &AttachError{Text: text, Err: err}
		}
		if e.Missed > 0 || e.Kind == wpactrl.Back { // it may have been told
			st, err := s.status(ctx)
			if err == nil && st.State == wpactrl.StateCompleted && st.BSSID == bssid {
				return nil
			}
			continue
		}
		if err := verdict(e, bssid); err != nil {
			return err
		}
		if e.Name == wpactrl.EventConnected && e.Peer() == bssid {
			return nil
		}
	}
}

// verdict says whether an event means that the attachment to bssid has failed.
func verdict(e wpactrl.Event, bssid wpactrl.MAC) error {
	peer := e.Peer()
	switch e.Name {
	case wpactrl.EventConnected:
		if peer != bssid {
			return &AttachError{Text: fmt.Sprintf("wpa_supplicant connected to %v instead", peer)}
		}
	case wpactrl.EventAssocReject, wpactrl.EventAuthReject:
		if peer == bssid || peer.IsZero() {
			status, _ := e.Int("status_code")
			return &AttachError{Status: status, Text: fmt.Sprintf("the access point refuses, status code %d", status)}
		}
	case wpactrl.EventDisconnected:
		if peer == bssid { // of the old one it is part of every move
			reason, _ := e.Int("reason")
			return &AttachError{Reason: reason, Text: fmt.Sprintf("disconnected within the handshake, reason code %d: do the keys differ?", reason)}
		}
	case wpactrl.EventTempDisabled:
		return &AttachError{Text: "wpa_supplicant gives the network a rest after failures: " + wpactrl.Printable(e.Rest)}
	case wpactrl.EventNotFound:
		return &AttachError{Text: "no access point with this BSSID is in sight"}
	}
	return nil
}
