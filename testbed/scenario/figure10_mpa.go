package scenario

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"openmpa/internal/event"
	"openmpa/testbed/radio"
	"openmpa/testbed/report"
	"openmpa/testbed/topo"
)

// byMPA has our node prepare a move to the other network, which then the node makes
// or, to see what share in it the node has, nobody but wpa_supplicant.
func (f *roundabout) byMPA(ctx context.Context, way string) (report.Handover, error) {
	r := f.run
	h := report.Handover{From: r.at, To: topo.Other(r.at), Phases: make(map[string]float64)}
	if err := r.awaitClean(ctx, f.bed, h.To); err != nil {
		return h, err
	}
	to := f.siteOf(h.To)
	if err := radio.Forget(ctx, to.ap.Socket(0), f.bed.Radio.Address); err != nil { // as in the other ways
		return h, err
	}
	kept, err := prepare(ctx, f.bed, h.To)
	if err != nil {
		return h, err
	}
	if err := f.hand.byHand(ctx, func() error { return f.hand.roamer.Scan(ctx, f.hand.freqs()...) }); err != nil {
		return h, err
	}
	before, err := authentications(f.bed)
	if err != nil {
		return h, err
	}
	move := f.ordered
	if way == report.WayByHand {
		move = f.shoved
	}
	m, err := move(ctx, &h, kept)
	if err != nil || h.Outcome != string(event.Completed) {
		return h, err
	}
	r.at = h.To
	if h.Radio, err = needed(f.bed, before, m.point, m.began, time.Now()); err != nil {
		return h, err
	}
	took := make(map[event.Phase]time.Duration)
	for _, e := range ofNode(m.records, topo.MN) {
		if _, there := took[e.Phase]; !there && e.Kind == event.KindEnd && e.Outcome == event.OK {
			took[e.Phase] = e.Duration
		}
	}
	if m.affecting == 0 {
		m.affecting = took[event.PhaseL2]
	}
	h.SetRoam(took[event.PhaseAuth], took[event.PhaseKeys], m.away, m.affecting)
	return h, r.oneLease(ctx, f.bed, r.at)
}

// siteOf is the figure's access point of a network.
func (f *roundabout) siteOf(network string) site {
	n, _ := topo.NetworkByName(network)
	i := slices.IndexFunc(f.hand.sites[:], func(s site) bool { return slices.Contains(n.Points, s.name) })
	return f.hand.sites[i]
}

// A roamed is a move between the networks of our node.
type roamed struct {
	began     time.Time
	point     string        // where it has come
	away      time.Duration // from wpa_supplicant's first word of leaving to the end of the handshake
	affecting time.Duration // from the command to the end; 0: the node's timeline says it
	records   []event.Event
}

// ordered has the node move, and looks at it afterwards only: who follows its
// timeline takes part of the processors from it.
func (f *roundabout) ordered(ctx context.Context, h *report.Handover, _ event.HandoverID) (m roamed, err error) {
	ctx, cancel := context.WithTimeout(ctx, handoverLimit)
	defer cancel()
	w := &watch{}
	f.bed.OnMove(w.moved)
	defer f.bed.OnMove(nil)
	m.began = time.Now()
	result, err := ordered(f.bed, h.To)(ctx)
	if err != nil {
		return m, err
	}
	h.ID, h.Outcome, h.Reason = result.ID.String(), string(result.Outcome), result.Reason
	if result.Outcome != event.Completed {
		return m, nil
	}
	moves := w.done()
	if len(moves) == 0 || moves[len(moves)-1].Up.IsZero() {
		return m, errors.New("scenario: the node has moved, and wpa_supplicant says nothing of it")
	}
	last := moves[len(moves)-1]
	m.point, m.away = last.To, last.Up.Sub(moves[0].Lost)
	m.records, err = f.timeline(ctx, result.ID)
	return m, err
}

// shoved has wpa_supplicant move while the node, which has prepared it, stands still.
// The node then follows.
func (f *roundabout) shoved(ctx context.Context, h *report.Handover, kept event.HandoverID) (m roamed, err error) {
	ctx, cancel := context.WithTimeout(ctx, handoverLimit)
	defer cancel()
	to := f.siteOf(h.To)
	var t radio.Timing
	shove := func(ctx context.Context, _ string) error {
		return f.hand.byHand(ctx, func() error {
			resume, err := f.bed.Pause(topo.MN)
			if err != nil {
				return err
			}
			t, err = f.hand.roamer.Roam(ctx, f.bed.Radio.AP(to.name).BSSID, false)
			return errors.Join(err, resume())
		})
	}
	result, err := (&shover{f.bed}).follow(ctx, h.From, h.To, kept, shove)
	if err != nil {
		return m, err
	}
	h.ID, h.Outcome, h.Reason = result.ID.String(), string(result.Outcome), result.Reason
	if t.Leave.IsZero() {
		return m, errors.New("scenario: moved by hand, and wpa_supplicant said nothing of leaving")
	}
	m = roamed{began: t.Begin, point: to.name, away: t.Away(), affecting: t.Total}
	m.records, err = f.timeline(ctx, kept)
	return m, err
}

// timeline is what the node has recorded of a handover.
func (f *roundabout) timeline(ctx context.Context, id event.HandoverID) ([]event.Event, error) {
	detail, err := f.bed.Client(topo.MN).Handover(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("scenario: timeline of the handover: %w", err)
	}
	return detail.Records, nil
}
