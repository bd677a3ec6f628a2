package scenario

import (
	"context"
	"fmt"
	"slices"
	"time"

	"openmpa/internal/control"
	"openmpa/internal/event"
	"openmpa/mn"
	"openmpa/mn/decision"
	"openmpa/testbed/bed"
	"openmpa/testbed/topo"
)

// The cases of the scenario walk.
const (
	walkAway   = "away"
	walkInside = "inside"
)

// Signals in dBm, and the levels between them. An emulated processor needs its time for a sample.
const (
	loud         = -50
	weak         = -68
	faint        = -80
	walkDecision = "{policy: era, look: -65, leave: -72, accept: -65, dwell: 600ms, interval: 300ms}"
	walkLimit    = 40 * time.Second
)

func adjustWalk(o *Options, given func(string) bool) {
	if !given("probe") {
		o.Probe = false // the node departs when it likes
	}
}

// walk takes the node from its network to the other, by the signal alone, and from one point to another on the way.
func walk(ctx context.Context, r *run) error {
	opt := r.opt.bed(r.p)
	opt.Wifi.Decision = walkDecision
	return r.withBed(ctx, opt, func(b *bed.Bed) error {
		w := &walker{b: b}
		for i := range r.opt.Repeat {
			for _, step := range []string{walkInside, walkAway} {
				to := r.at
				if step == walkAway {
					to = topo.Other(r.at)
					if err := r.awaitClean(ctx, b, to); err != nil {
						return err
					}
				}
				r.p.Line("walk: %d of %d: %s, from %s to %s", i+1, r.opt.Repeat, step, r.at, to)
				here, err := w.everywhere(ctx, loud)
				if err != nil {
					return err
				}
				m, err := r.attemptBy(ctx, b, r.at, to, func(ctx context.Context) (control.HandoverResult, error) {
					if step == walkInside {
						return w.inside(ctx, r.at, here)
					}
					return w.away(ctx, r.at)
				})
				if err != nil {
					return fmt.Errorf("scenario: walk %s: %w", step, err)
				}
				m.Case = step
				r.res.Handovers = append(r.res.Handovers, m.Handover)
				name := fmt.Sprintf("walk %d, %s", i+1, step)
				if step == walkAway {
					r.judgeClean(name, m)
				} else {
					r.expectOutcome(name, m, event.Completed)
					r.expectQuiet(name, m, m.end)
				}
				if m.Radio != nil && (m.Radio.EAP > 0 || m.Radio.RADIUS > 0) {
					r.problem("%s: %d authentications at %s, and %d packets at the authentication server; expected none: the keys were there",
						name, m.Radio.EAP, m.Radio.Point, m.Radio.RADIUS)
				}
				if m.Outcome != string(event.Completed) {
					return nil // where it is then is anybody's guess
				}
				if r.at = to; step == walkAway {
					if err := r.oneLease(ctx, b, r.at); err != nil {
						return err
					}
				}
			}
		}
		return nil
	})
}

// A walker makes access points louder and weaker.
type walker struct{ b *bed.Bed }

// walking is what matters of the node's status.
type walking struct {
	State    string              `json:"state"`
	Network  string              `json:"network"`
	Standing []mn.StandingStatus `json:"standing"`
	Decision *mn.DecisionStatus  `json:"decision"`
}

// signals makes the access points of a network as loud as that.
func (w *walker) signals(network string, dBm int) error {
	n, _ := topo.NetworkByName(network)
	for _, p := range n.Points {
		if err := w.b.Radio.AP(p).Phy.SetSignal(dBm); err != nil {
			return err
		}
	}
	return nil
}

// everywhere makes all access points as loud as that, and returns where the node is when it has noticed.
func (w *walker) everywhere(ctx context.Context, dBm int) (here string, err error) {
	for _, n := range topo.Networks {
		if err := w.signals(n.Name, dBm); err != nil {
			return "", err
		}
	}
	err = w.until(ctx, func(s walking) bool {
		if s.Decision != nil {
			here = s.Decision.Point
		}
		return s.State == "attached" && s.Decision != nil && s.Decision.Signal == float64(dBm)
	})
	return here, err
}

// until waits for a status of the node.
func (w *walker) until(ctx context.Context, done func(walking) bool) error {
	var s walking
	err := await(ctx, walkLimit, func() bool {
		s = walking{}
		return w.b.Client(topo.MN).Status(ctx, &s) == nil && done(s)
	})
	if err != nil {
		reason := "it decides nothing"
		if s.Decision != nil {
			reason = s.Decision.Reason
		}
		return fmt.Errorf("scenario: the node does not do what the signals say (%q): %w", reason, err)
	}
	return nil
}

// inside makes the point where the node is weaker than the others of its network.
func (w *walker) inside(ctx context.Context, network, here string) (control.HandoverResult, error) {
	since := lastSeq(ctx, w.b.Client(topo.MN))
	if err := w.b.Radio.AP(here).Phy.SetSignal(weak); err != nil {
		return control.HandoverResult{}, err
	}
	_, err := w.b.Await(ctx, topo.MN, since, func(e event.Event) bool {
		return e.Phase == event.PhaseL2 && e.Kind == event.KindPoint && e.Attrs["network"] == network
	})
	if err != nil {
		return control.HandoverResult{}, fmt.Errorf("scenario: no roam: %w", err)
	}
	return control.HandoverResult{Outcome: event.Completed}, nil
}

// away makes a network weaker until the node has prepared another, and then fainter.
func (w *walker) away(ctx context.Context, network string) (control.HandoverResult, error) {
	since := lastSeq(ctx, w.b.Client(topo.MN))
	if err := w.signals(network, weak); err != nil {
		return control.HandoverResult{}, err
	}
	err := w.until(ctx, func(s walking) bool {
		return s.Network == network && slices.ContainsFunc(s.Standing, func(st mn.StandingStatus) bool {
			return st.Network == topo.Other(network) && (st.Depth == decision.Tunnel.String() || st.Depth == decision.Bind.String())
		})
	})
	if err != nil {
		return control.HandoverResult{}, err
	}
	if err := w.signals(network, faint); err != nil {
		return control.HandoverResult{}, err
	}
	e, err := w.b.Await(ctx, topo.MN, since, func(e event.Event) bool { return e.Phase == event.PhaseHandover && e.Kind == event.KindEnd })
	if err != nil {
		return control.HandoverResult{}, fmt.Errorf("scenario: no handover: %w", err)
	}
	return control.HandoverResult{ID: e.Handover, Outcome: e.Outcome, Reason: e.Reason}, nil
}
