package scenario

import (
	"context"
	"fmt"
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
	roamSteered    = "bss_tm_req, same network"
	roamKept       = "wpa_cli select_network, prepared"
	roamKicked     = "deauthenticated, prepared"
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
				{roamSteered, "a", false, s.steer},
				{roamKept, "b", true, s.selectNetwork},
				{roamKicked, "a", true, s.kick},
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
						result, err := s.follow(ctx, r.at, step.to, kept, step.shove)
						if err == nil {
							err = s.restore(ctx)
						}
						return result, err
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

// ready prepares the network, where wanted.
func (s *shover) ready(ctx context.Context, to string, wanted bool) (kept event.HandoverID, err error) {
	if wanted {
		kept, err = prepare(ctx, s.b, to)
	}
	return kept, err
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

// points are the access point where the station is, and the other one of its network.
func (s *shover) points(ctx context.Context) (here, other *bed.AccessPoint, err error) {
	answer, err := s.b.Radio.Control.Command(ctx, "STATUS")
	if err != nil {
		return nil, nil, fmt.Errorf("scenario: %w", err)
	}
	status, err := wpactrl.ParseStatus(answer)
	if err != nil {
		return nil, nil, fmt.Errorf("scenario: %w", err)
	}
	for _, a := range s.b.Radio.APs {
		switch {
		case a.BSSID == status.BSSID:
			here = a
		case a.SSID == status.SSID:
			other = a
		}
	}
	if here == nil || other == nil {
		return nil, nil, fmt.Errorf("scenario: the station is at %v in %q: expected one of two access points", status.BSSID, wpactrl.Printable(status.SSID))
	}
	return here, other, nil
}

// roam goes to the other access point of the same network, as `wpa_cli roam` does.
func (s *shover) roam(ctx context.Context, to string) error {
	if err := s.look(ctx, to); err != nil {
		return err
	}
	_, other, err := s.points(ctx)
	if err != nil {
		return err
	}
	return s.do(ctx, "ROAM "+other.BSSID.String())
}

// steer has the access point ask the station to go to the other one (BSS transition management, IEEE 802.11-2020,
// section 11.21.7); it goes by itself.
func (s *shover) steer(ctx context.Context, to string) error {
	if err := s.look(ctx, to); err != nil {
		return err
	}
	here, other, err := s.points(ctx)
	if err != nil {
		return err
	}
	err = here.Control.Do(ctx, fmt.Sprintf("BSS_TM_REQ %v pref=1 abridged=1 valid_int=255 neighbor=%v,0x0000,81,%d,7,0301ff",
		s.b.Radio.Address, other.BSSID, other.Channel))
	if err != nil {
		return fmt.Errorf("scenario: %w", err)
	}
	return nil
}

// selectNetwork goes to another network; the one of before cannot be used then, until restore.
func (s *shover) selectNetwork(ctx context.Context, to string) error {
	if err := s.look(ctx, to); err != nil {
		return err
	}
	return s.do(ctx, fmt.Sprintf("SELECT_NETWORK %d", networkOf(to)))
}

// restore has all networks be used again, which changes nothing where the station is.
func (s *shover) restore(ctx context.Context) error {
	for _, n := range topo.Networks {
		if err := s.do(ctx, fmt.Sprintf("ENABLE_NETWORK %d no-connect", networkOf(n.Name))); err != nil {
			return err
		}
	}
	return nil
}

// ssid is a network's.
func (s *shover) ssid(network string) string {
	n, _ := topo.NetworkByName(network)
	return s.b.Radio.AP(n.Points[0]).SSID
}

// kick has the access point end the association where another network is preferred; wpa_supplicant looks for one. (The
// kernel refuses `iw disconnect` where wpa_supplicant has made the link.) A slow radio may miss the other network's beacons and
// find the other access point of this one, which then ends the association as well.
func (s *shover) kick(ctx context.Context, to string) error {
	if err := s.do(ctx, fmt.Sprintf("SET_NETWORK %d priority 100", networkOf(to))); err != nil {
		return err
	}
	for moved := false; !moved; {
		here, _, err := s.points(ctx)
		if err != nil {
			return err
		}
		if err := here.Control.Do(ctx, "DEAUTHENTICATE "+s.b.Radio.Address.String()); err != nil {
			return fmt.Errorf("scenario: %w", err)
		}
		err = s.settled(ctx, func(st wpactrl.Status) bool {
			moved = st.SSID == s.ssid(to)
			return st.State == wpactrl.StateCompleted && st.BSSID != here.BSSID
		})
		if err != nil {
			return err
		}
	}
	return s.do(ctx, fmt.Sprintf("SET_NETWORK %d priority 0", networkOf(to)))
}

// settled waits until the station is as it is wanted.
func (s *shover) settled(ctx context.Context, wanted func(wpactrl.Status) bool) error {
	var status wpactrl.Status
	err := await(ctx, linkLimit, func() bool {
		answer, err := s.b.Radio.Control.Command(ctx, "STATUS")
		if err != nil {
			return false
		}
		status, err = wpactrl.ParseStatus(answer)
		return err == nil && wanted(status)
	})
	if err != nil {
		return fmt.Errorf("scenario: wpa_supplicant is %q at %v: %w", wpactrl.Printable(status.State), status.BSSID, err)
	}
	return nil
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
		case kept.IsZero(): // what is prepared for nothing ends, too
			return e.Outcome != event.Cancelled
		default:
			return e.Handover == kept
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
