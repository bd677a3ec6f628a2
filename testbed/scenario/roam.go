package scenario

import (
	"context"
	"fmt"
	"os/exec"
	"time"

	"openmpa/internal/control"
	"openmpa/internal/event"
	"openmpa/internal/wpactrl"
	"openmpa/testbed/bed"
	"openmpa/testbed/radio"
	"openmpa/testbed/report"
	"openmpa/testbed/topo"
)

// The moves of the scenario roam.
const (
	roamOrdered    = "ordered of mpa-mn"
	roamInside     = "wpa_cli roam, same network"
	roamDisconnect = "iw disconnect, same network"
	roamKept       = "wpa_cli select_network, prepared"
	roamKeptIW     = "iw disconnect, prepared"
	roamUnprepared = "wpa_cli select_network, not prepared"
)

// networkOf is wpa_supplicant's number of the network block of one of ours: their places in topo.Networks.
func networkOf(name string) int {
	for i, n := range topo.Networks {
		if n.Name == name {
			return i
		}
	}
	return -1
}

// roam moves the node behind mpa-mn's back, inside a network and between networks, and once by mpa-mn to compare.
func roam(ctx context.Context, r *run) error {
	return r.withBed(ctx, r.opt.bed(r.p), func(b *bed.Bed) error {
		s := &shover{b: b}
		for i := range r.opt.Repeat {
			for _, step := range []struct {
				name, to string
				prepare  bool
				shove    func(ctx context.Context, to string) error // nil: mpa-mn moves
			}{
				{roamOrdered, "a", false, nil},
				{roamInside, "a", false, s.roam},
				{roamDisconnect, "a", false, s.disconnectInside},
				{roamKept, "b", true, s.selectNetwork},
				{roamKeptIW, "a", true, s.disconnectTowards},
				{roamUnprepared, "b", false, s.selectNetwork},
			} {
				r.p.Line("roam: %d of %d: %s, from %s to %s", i+1, r.opt.Repeat, step.name, r.at, step.to)
				if r.at != step.to {
					if err := r.awaitClean(ctx, b, step.to); err != nil {
						return err
					}
				}
				give := ordered(b, step.to)
				if step.shove != nil {
					kept, err := s.ready(ctx, step.to, step.prepare)
					if err != nil {
						return err
					}
					give = func(ctx context.Context) (control.HandoverResult, error) {
						return s.follow(ctx, r.at, step.to, kept, step.shove)
					}
				}
				m, err := r.attemptBy(ctx, b, r.at, step.to, give)
				if err != nil {
					return fmt.Errorf("scenario: %s: %w", step.name, err)
				}
				m.Case = step.name
				r.res.Handovers = append(r.res.Handovers, m.Handover)
				r.judgeRoam(fmt.Sprintf("roam %d, %s", i+1, step.name), step.name, m)
				if m.Outcome != string(event.Completed) {
					return nil // where it is then is anybody's guess
				}
				from := r.at
				r.at = step.to
				if err := r.oneLease(ctx, b, r.at); err != nil {
					return err
				}
				if from != r.at {
					if err := r.keysGone(ctx, b, from); err != nil {
						return err
					}
				}
			}
		}
		r.compareRoams()
		return nil
	})
}

// A shover moves the node's link without telling mpa-mn.
type shover struct{ b *bed.Bed }

// do sends commands to wpa_supplicant, as wpa_cli does.
func (s *shover) do(ctx context.Context, commands ...string) error {
	for _, c := range commands {
		if err := s.b.Radio.Control.Do(ctx, c); err != nil {
			return fmt.Errorf("scenario: %w", err)
		}
	}
	return nil
}

// ready prepares the network, where wanted, and has wpa_supplicant see the points: whoever roams has looked before.
func (s *shover) ready(ctx context.Context, to string, prepare bool) (kept event.HandoverID, err error) {
	if prepare {
		var result control.HandoverResult
		err := s.b.Client(topo.MN).Command(ctx, control.CommandPrepare, control.HandoverArgs{Network: to, Wait: true}, &result)
		if err == nil && result.Outcome != event.OK {
			err = fmt.Errorf("%s: %s", result.Outcome, result.Reason)
		}
		if err != nil {
			return kept, fmt.Errorf("scenario: prepare %s: %w", to, err)
		}
		kept = result.ID
	}
	return kept, nil
}

// look has wpa_supplicant look for the points of a network, without choosing among them.
func (s *shover) look(ctx context.Context, to string) error {
	n, _ := topo.NetworkByName(to)
	var freqs []int
	for _, p := range n.Points {
		freqs = append(freqs, radio.Frequency(s.b.Radio.AP(p).Channel))
	}
	roamer, err := radio.NewRoamer(ctx, s.b.Radio.Station.Socket(), s.b.Run.Path)
	if err != nil {
		return err
	}
	defer roamer.Close()
	return roamer.Scan(ctx, freqs...)
}

// roam goes to the other access point of the same network.
func (s *shover) roam(ctx context.Context, to string) error {
	if err := s.look(ctx, to); err != nil {
		return err
	}
	answer, err := s.b.Radio.Control.Command(ctx, "STATUS")
	if err != nil {
		return fmt.Errorf("scenario: %w", err)
	}
	status, err := wpactrl.ParseStatus(answer)
	if err != nil {
		return fmt.Errorf("scenario: %w", err)
	}
	n, _ := topo.NetworkByName(to)
	for _, p := range n.Points {
		if a := s.b.Radio.AP(p); a.BSSID != status.BSSID {
			return s.do(ctx, "ROAM "+a.BSSID.String())
		}
	}
	return fmt.Errorf("scenario: network %s has one point only", to)
}

// selectNetwork goes to another network, and leaves both for later.
func (s *shover) selectNetwork(ctx context.Context, to string) error {
	if err := s.look(ctx, to); err != nil {
		return err
	}
	return s.do(ctx, fmt.Sprintf("SELECT_NETWORK %d", networkOf(to)), fmt.Sprintf("ENABLE_NETWORK %d no-connect", networkOf(topo.Other(to))))
}

// disconnect is `iw dev wlan0 disconnect`; wpa_supplicant then looks for something better.
func (s *shover) disconnect(ctx context.Context) error {
	var out []byte
	err := s.b.Top.Space(topo.MN).Do(func() (err error) {
		out, err = exec.CommandContext(ctx, "iw", "dev", topo.WirelessIf, "disconnect").CombinedOutput()
		return err
	})
	if err != nil {
		return fmt.Errorf("scenario: iw disconnect: %w: %s", err, out)
	}
	return nil
}

// disconnectInside cuts the link where nothing but the present network is wanted.
func (s *shover) disconnectInside(ctx context.Context, to string) error {
	other := networkOf(topo.Other(to))
	if err := s.do(ctx, fmt.Sprintf("DISABLE_NETWORK %d", other)); err != nil {
		return err
	}
	if err := s.disconnect(ctx); err != nil {
		return err
	}
	return s.settled(ctx, fmt.Sprintf("ENABLE_NETWORK %d no-connect", other))
}

// disconnectTowards cuts the link where another network is preferred.
func (s *shover) disconnectTowards(ctx context.Context, to string) error {
	if err := s.do(ctx, fmt.Sprintf("SET_NETWORK %d priority 1", networkOf(to))); err != nil {
		return err
	}
	if err := s.disconnect(ctx); err != nil {
		return err
	}
	return s.settled(ctx, fmt.Sprintf("SET_NETWORK %d priority 0", networkOf(to)))
}

// settled waits until wpa_supplicant is connected, and puts back what was changed for it, by commands.
func (s *shover) settled(ctx context.Context, undo ...string) error {
	var status wpactrl.Status
	err := await(ctx, handoverLimit, func() bool {
		answer, err := s.b.Radio.Control.Command(ctx, "STATUS")
		if err != nil {
			return false
		}
		status, err = wpactrl.ParseStatus(answer)
		return err == nil && status.State == wpactrl.StateCompleted
	})
	if err != nil {
		return fmt.Errorf("scenario: wpa_supplicant is %q: %w", status.State, err)
	}
	return s.do(ctx, undo...)
}

// follow shoves the link and waits until mpa-mn says that it has gone on.
func (s *shover) follow(ctx context.Context, from, to string, kept event.HandoverID, shove func(context.Context, string) error) (control.HandoverResult, error) {
	client := s.b.Client(topo.MN)
	since := lastSeq(ctx, client)
	if err := shove(ctx, to); err != nil {
		return control.HandoverResult{}, err
	}
	e, err := s.b.Await(ctx, topo.MN, since, func(e event.Event) bool {
		switch {
		case from == to:
			return e.Phase == event.PhaseL2 && e.Kind == event.KindPoint
		case e.Phase != event.PhaseHandover || e.Kind != event.KindEnd:
			return false
		default:
			return kept.IsZero() || e.Handover == kept
		}
	})
	if err != nil {
		return control.HandoverResult{}, err
	}
	if from == to {
		return control.HandoverResult{Outcome: event.Completed}, nil
	}
	return control.HandoverResult{ID: e.Handover, Outcome: e.Outcome, Reason: e.Reason}, nil
}

// judgeRoam holds one move to its promise.
func (r *run) judgeRoam(name, step string, m measured) {
	if step == roamOrdered {
		r.judgeClean(name, m)
		return
	}
	r.expectOutcome(name, m, event.Completed)
	r.expectQuiet(name, m, m.end)
	if step != roamUnprepared {
		r.expectKeyed(name, m)
	}
}

// slower is how much longer than an ordered move one by somebody else may take until traffic is back.
const slower = 2

// compareRoams compares the medians of the time without traffic.
func (r *run) compareRoams() {
	back := report.Backs(r.res.Handovers)
	for _, c := range []string{roamInside, roamKept} {
		if back[c] > slower*back[roamOrdered] {
			r.problem("%s: traffic is back after %v, and in a move by mpa-mn after %v (medians); expected at most %d times that",
				c, back[c].Round(time.Millisecond), back[roamOrdered].Round(time.Millisecond), slower)
		}
	}
}
