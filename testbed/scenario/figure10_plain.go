package scenario

import (
	"context"
	"errors"
	"fmt"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/wpactrl"
	"openmpa/testbed/bed"
	"openmpa/testbed/radio"
	"openmpa/testbed/report"
)

// A way is one column of the figure.
type way struct {
	name string
	mode radio.Mode
	ess  int  // place of its BSS at either access point
	ds   bool // over the distribution system
}

// plainWays are those that need nothing of ours.
var plainWays = []way{
	{name: report.WayFull, mode: radio.Full, ess: 1},
	{name: report.WayPreAuth, mode: radio.PreAuth, ess: 2},
	{name: report.WayFTAir, mode: radio.FT, ess: 3},
	{name: report.WayFTDS, mode: radio.FT, ess: 3, ds: true},
}

// A site is one access point of the figure.
type site struct {
	name string // point of attachment
	ap   radio.AP
}

func (s site) bssid(ess int) wpactrl.MAC { return s.ap.BSSes[ess].BSSID }

// A roaming is the station with the access points it moves between, by hand.
type roaming struct {
	roamer   *radio.Roamer // within byHand
	sites    [2]site
	networks map[radio.Mode]int // blocks of wpa_supplicant
	bed      *bed.Bed
}

// byHand calls fn with a roamer, which hears wpa_supplicant's events as long: each of
// those who do takes part of the processors in a move.
func (r *roaming) byHand(ctx context.Context, fn func() error) (err error) {
	if r.roamer, err = radio.NewRoamer(ctx, r.bed.Radio.Station.Socket(), r.bed.Run.Path); err != nil {
		return err
	}
	err = fn()
	return errors.Join(err, r.roamer.Close())
}

// stepLimit bounds each step of a move by hand.
const stepLimit = 30 * time.Second

// move joins the ESS of a way at one access point, with no key anywhere,
// prepares, and moves to the other one.
func (r *roaming) move(ctx context.Context, w way, from, to site) (report.Handover, error) {
	h := report.Handover{From: from.name, To: to.name, Outcome: string(event.Completed), Phases: make(map[string]float64)}
	ctx, cancel := context.WithTimeout(ctx, 4*stepLimit)
	defer cancel()
	for _, s := range r.sites {
		if err := radio.Forget(ctx, s.ap.Socket(w.ess), r.bed.Radio.Address); err != nil {
			return h, err
		}
	}
	joined, err := r.roamer.Join(ctx, r.networks[w.mode], from.bssid(w.ess))
	if err != nil {
		return h, err
	}
	if joined.EAP == 0 {
		return h, fmt.Errorf("scenario: %s: joined without authentication", w.name)
	}
	auth := joined.EAP // of fast transition; it is done once
	if w.mode == radio.PreAuth {
		p, err := r.preauthenticate(ctx, from.ap.Socket(w.ess), to.bssid(w.ess))
		if err != nil {
			return h, err
		}
		auth = p.EAP
	}
	if err := r.roamer.Scan(ctx, r.freqs()...); err != nil {
		return h, err
	}
	before, err := authentications(r.bed)
	if err != nil {
		return h, err
	}
	t, err := r.roamer.Roam(ctx, to.bssid(w.ess), w.ds)
	if err != nil {
		return h, err
	}
	if w.mode == radio.Full {
		auth = t.EAP
	}
	if h.Radio, err = needed(r.bed, before, to.name, t.Begin, t.Begin.Add(t.Total)); err != nil {
		return h, err
	}
	if t.Leave.IsZero() {
		return h, fmt.Errorf("scenario: %s: moved, and wpa_supplicant said nothing of leaving", w.name)
	}
	h.SetRoam(auth, 0, t.Away(), t.Total)
	return h, nil
}

// preauthenticate authenticates at an access point through another one, as soon
// as that lets frames pass: the first one is not repeated for seconds.
func (r *roaming) preauthenticate(ctx context.Context, through string, bssid wpactrl.MAC) (radio.Timing, error) {
	for {
		ok, err := radio.Authorized(ctx, through, r.bed.Radio.Address)
		if err != nil {
			return radio.Timing{}, err
		}
		if ok {
			break
		}
		if err := bed.Sleep(ctx, time.Millisecond); err != nil {
			return radio.Timing{}, fmt.Errorf("scenario: wait for %s to let the station in: %w", through, err)
		}
	}
	t, err := r.roamer.PreAuthenticate(ctx, bssid)
	if err == nil && t.EAP == 0 {
		err = errors.New("scenario: pre-authenticated without EAP")
	}
	return t, err
}

func (r *roaming) freqs() (all []int) {
	for _, s := range r.sites {
		all = append(all, radio.Frequency(s.ap.Channel))
	}
	return all
}
