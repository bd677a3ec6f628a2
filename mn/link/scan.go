package link

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"openmpa/internal/wpactrl"
)

const (
	fresh        = 2 * time.Second         // a sighting is young enough to prepare by: wpa_supplicant associates by results of up to 5 s
	stale        = 3 * time.Second         // and to associate by: it counts whole seconds
	never        = 1 << 62                 // as an age
	maxLook      = 16                      // channels of one look
	maxSeen      = 256                     // sightings of one answer
	reportWithin = 1500 * time.Millisecond // for an 802.11k report; wpa_supplicant gives up after 1 s
	reportQuiet  = 50 * time.Millisecond   // all of a report's access points come in one go
	maxChannels  = 256                     // access points whose channel is remembered
)

// Scan implements Scanner. It waits for the end of its scan, or of one that is under way. TYPE=ONLY: else wpa_supplicant
// chooses anew by what it sees, and may leave for another network.
func (s *Supplicant) Scan(ctx context.Context, freqs ...int) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	sub, err := s.listen(ctx, wpactrl.EventScanResults, wpactrl.EventScanFailed)
	if err != nil {
		return err
	}
	defer sub.Close()
	command, sep := "SCAN TYPE=ONLY", " freq="
	for _, f := range freqs {
		command += sep + strconv.Itoa(f)
		sep = ","
	}
	defer func() {
		if ctx.Err() != nil { // its results could come at a bad moment; also of one whose beginning nobody has confirmed
			_ = s.client.Do(context.WithoutCancel(ctx), "ABORT_SCAN")
		}
	}()
	err = s.client.Do(ctx, command)
	if err != nil && !strings.Contains(err.Error(), "FAIL-BUSY") {
		return fmt.Errorf("link: scan: %w", err)
	}
	for {
		e, err := next(ctx, sub)
		switch {
		case err != nil:
			return fmt.Errorf("link: scan: %w", err)
		case e.Name == wpactrl.EventScanResults, e.Missed > 0:
			return nil
		case e.Name == wpactrl.EventScanFailed:
			return fmt.Errorf("link: scan: the driver fails: %s", wpactrl.Printable(e.Rest))
		}
	}
}

// Seen implements Scanner.
func (s *Supplicant) Seen(ctx context.Context) ([]Sighting, error) {
	var out []Sighting
	for from := 0; from >= 0 && len(out) < maxSeen; {
		answer, err := s.client.Command(ctx, wpactrl.BSSRange(from))
		if errors.Is(err, wpactrl.ErrFail) { // none
			break
		}
		if err != nil {
			return nil, fmt.Errorf("link: %w", err)
		}
		list, next := wpactrl.ParseBSSList(answer)
		for _, b := range list {
			out = append(out, Sighting{Point: s.name(b.BSSID), BSSID: b.BSSID, SSID: b.SSID, Freq: b.Freq, Signal: b.Signal, Age: b.Age})
		}
		if len(list) == 0 {
			break
		}
		from = next
	}
	return out, nil
}

// Look implements Scanner. While an attachment is under way it does nothing: that one looks for itself.
func (s *Supplicant) Look(ctx context.Context, points ...string) error {
	select {
	case <-s.turn:
		defer func() { s.turn <- struct{}{} }()
	default:
		return nil
	}
	var places []Place
	for _, poa := range points {
		p, err := s.place(poa)
		if err != nil {
			return err
		}
		places = append(places, p)
	}
	s.looking.Store(true)
	defer s.looking.Store(false)
	return s.look(ctx, places, fresh)
}

// look has every place seen within age, as far as its channel is known. A beacon may be missed: it looks twice.
func (s *Supplicant) look(ctx context.Context, places []Place, age time.Duration) error {
	known := false
	for range 2 {
		seen, err := s.Seen(ctx)
		if err != nil {
			return err
		}
		var freqs []int
		for _, p := range places {
			freq, ago := s.channel(p, seen)
			if ago <= age {
				s.sights(p, ago)
			}
			known = known || freq != 0
			if freq != 0 && ago > age && len(freqs) < maxLook {
				freqs = append(freqs, freq)
			}
		}
		if len(freqs) == 0 {
			break
		}
		slices.Sort(freqs)
		if err := s.Scan(ctx, slices.Compact(freqs)...); err != nil {
			return err
		}
	}
	if !known && len(places) > 0 {
		return ErrChannel
	}
	return nil
}

// sighting is when an access point was seen.
type sighting struct {
	bssid wpactrl.MAC
	at    time.Time
}

// sights notes that a place was seen.
func (s *Supplicant) sights(p Place, ago time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sighted = sighting{p.BSSID, time.Now().Add(-ago)}
}

// sightedLately says whether the last look has seen a place: to ask once more would cost time between two links.
func (s *Supplicant) sightedLately(p Place) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sighted.bssid == p.BSSID && time.Since(s.sighted.at) <= stale
}

// channel says where a place is, in MHz, 0 if nobody knows, and how long ago it was seen there.
func (s *Supplicant) channel(p Place, seen []Sighting) (freq int, age time.Duration) {
	for _, g := range seen {
		if g.BSSID == p.BSSID && g.Freq != 0 {
			return g.Freq, g.Age
		}
	}
	if p.Freq != 0 {
		return p.Freq, never
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.channels[p.BSSID], never
}

// Reported implements Scanner by NEIGHBOR_REP_REQUEST.
func (s *Supplicant) Reported(ctx context.Context) ([]Sighting, error) {
	ctx, cancel := context.WithTimeout(ctx, reportWithin)
	defer cancel()
	sub, err := s.listen(ctx, wpactrl.EventNeighbor, wpactrl.EventNeighborFail)
	if err != nil {
		return nil, err
	}
	defer sub.Close()
	if err := s.client.Do(ctx, "NEIGHBOR_REP_REQUEST"); err != nil {
		return nil, fmt.Errorf("link: neighbour report: access point or driver has none to give (802.11k): %w", err)
	}
	var out []Sighting
	quiet := time.NewTimer(reportWithin)
	defer quiet.Stop()
	for {
		select {
		case e, ok := <-sub.C:
			switch {
			case !ok:
				return nil, wpactrl.ErrClosed
			case e.Name == wpactrl.EventNeighborFail || e.Kind == wpactrl.Gone:
				return nil, fmt.Errorf("link: neighbour report: the access point did not answer: %s", wpactrl.Printable(e.Rest))
			}
			n, ok := e.Neighbour()
			if !ok || len(out) == maxSeen {
				continue
			}
			g := Sighting{Point: s.name(n.BSSID), BSSID: n.BSSID, Freq: n.Freq()}
			out = append(out, g)
			s.mu.Lock()
			if _, known := s.channels[g.BSSID]; g.Freq != 0 && (known || len(s.channels) < maxChannels) {
				s.channels[g.BSSID] = g.Freq
			}
			s.mu.Unlock()
			quiet.Reset(reportQuiet)
		case <-quiet.C:
			return out, nil
		case <-ctx.Done():
			return out, nil
		}
	}
}

// Signal implements Scanner.
func (s *Supplicant) Signal(ctx context.Context) (int, error) {
	q, err := s.Measure(ctx)
	return int(q.Signal), err
}

// Measure implements Meter; wpa_supplicant does not count what is lost.
func (s *Supplicant) Measure(ctx context.Context) (Quality, error) {
	answer, err := s.client.Command(ctx, "SIGNAL_POLL")
	if err != nil {
		return Quality{}, fmt.Errorf("link: signal: %w", err)
	}
	sig, err := wpactrl.ParseSignalPoll(answer)
	if err != nil {
		return Quality{}, fmt.Errorf("link: %w", err)
	}
	return Quality{Signal: float32(sig.RSSI), Loss: -1, Rate: float32(max(sig.Speed, 0))}, nil
}

// MayStray implements Strayer.
func (s *Supplicant) MayStray() {}
