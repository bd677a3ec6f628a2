package link

import (
	"context"
	"errors"
	"fmt"
	"slices"

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

// Attach implements Adapter. It returns when the 4-way handshake is done.
func (s *Supplicant) Attach(ctx context.Context, poa string) error {
	p, err := s.place(poa)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	failed := func(text string, err error) error {
		return &AttachError{Point: poa, BSSID: p.BSSID, Text: text, Err: err}
	}
	if err := s.take(ctx); err != nil {
		return failed("another attachment is under way", err)
	}
	defer func() { s.turn <- struct{}{} }()
	st, err := s.status(ctx)
	if err != nil {
		return err
	}
	if st.State == wpactrl.StateCompleted && st.BSSID == p.BSSID {
		return nil
	}
	network, list, err := s.network(ctx, p, st)
	if err != nil {
		return err
	}
	sub, err := s.listen(ctx)
	if err != nil {
		return err
	}
	defer sub.Close()
	if st.State == wpactrl.StateCompleted && network == st.Network {
		err = s.roam(ctx, sub, p)
	} else {
		err = s.selectNetwork(ctx, sub, p, network, list, st)
	}
	var e *AttachError
	if errors.As(err, &e) {
		e.Point, e.BSSID = poa, p.BSSID
		return e
	}
	if err != nil {
		return failed("wpa_supplicant", err)
	}
	return nil
}

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

// roam moves within the present ESS.
func (s *Supplicant) roam(ctx context.Context, sub *wpactrl.Subscription, p Place) error {
	err := s.client.Do(ctx, "ROAM "+p.BSSID.String())
	if errors.Is(err, wpactrl.ErrFail) { // it has not seen the access point, or no more
		var freqs []int
		if freq, _ := s.channel(p, nil); freq != 0 {
			freqs = []int{freq}
		}
		if err := s.scan(ctx, sub, freqs); err != nil {
			return &AttachError{Text: "not seen before, and cannot be looked for", Err: err}
		}
		if err = s.client.Do(ctx, "ROAM "+p.BSSID.String()); errors.Is(err, wpactrl.ErrFail) {
			return &AttachError{Text: "no access point with this BSSID is in sight", Err: err}
		}
	}
	if err != nil {
		return err
	}
	return s.arrive(ctx, sub, p.BSSID)
}

// selectNetwork moves to another ESS, and back to the network of st if that fails. SELECT_NETWORK leaves the link and then scans all
// channels, unless the last scan is younger than 5 s and has the access point. Look sees to that; who did not call it has the
// point's channel looked at here, if it is known. (To restrict the network by scan_freq would take its keys: any change but
// that of bssid does.) SELECT_NETWORK disables all other networks: what was enabled before is enabled again, so that
// wpa_supplicant finds a network by itself when this one is lost.
func (s *Supplicant) selectNetwork(ctx context.Context, sub *wpactrl.Subscription, p Place, network int, list []wpactrl.Network, st wpactrl.Status) error {
	var err error
	if !s.sightedLately(p) {
		if err := s.look(ctx, []Place{p}, stale); err != nil && !errors.Is(err, ErrChannel) {
			return err
		}
	}
	if list == nil {
		if list, err = s.networks(ctx); err != nil {
			return err
		}
	}
	i := slices.IndexFunc(list, func(n wpactrl.Network) bool { return n.ID == network })
	if i < 0 {
		return &AttachError{Text: fmt.Sprintf("wpa_supplicant has no network %d", network)}
	}
	before := "any"
	if !list[i].BSSID.IsZero() {
		before = list[i].BSSID.String()
	}
	err = s.client.Do(ctx, fmt.Sprintf("SET_NETWORK %d bssid %v", network, p.BSSID))
	if err == nil {
		err = s.client.Do(ctx, fmt.Sprintf("SELECT_NETWORK %d", network))
	}
	if err == nil {
		err = s.arrive(ctx, sub, p.BSSID)
	}
	// Even when ctx has ended: the rest puts back what was changed. Each command has a time limit of its own.
	undo := context.WithoutCancel(ctx)
	commands := []string{fmt.Sprintf("SET_NETWORK %d bssid %s", network, before)}
	selected := network
	if err != nil && st.Network >= 0 && st.Network != network {
		selected = st.Network
		commands = append(commands, fmt.Sprintf("SELECT_NETWORK %d", selected))
	}
	first := len(commands)
	for _, n := range list {
		if n.ID != selected && !slices.Contains(n.Flags, "DISABLED") {
			commands = append(commands, fmt.Sprintf("ENABLE_NETWORK %d no-connect", n.ID))
		}
	}
	for i, c := range commands {
		if i == first {
			err = errors.Join(err, s.prefer(undo, selected)) // before the others may be used
		}
		err = errors.Join(err, s.client.Do(undo, c))
	}
	return err
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
