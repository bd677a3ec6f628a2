package scenario

import (
	"context"
	"fmt"
	"strings"
	"time"

	"openmpa/internal/event"
	"openmpa/testbed/bed"
	"openmpa/testbed/dhcpd"
	"openmpa/testbed/linkctl"
	"openmpa/testbed/report"
	"openmpa/testbed/topo"
	"openmpa/testbed/traffic"
)

// repeat moves the node from where it is to the other network, back, and so
// on, and has judge look at each move.
func (r *run) repeat(ctx context.Context, b *bed.Bed, judge func(name string, m measured)) error {
	for i := range r.opt.Repeat {
		from, to := r.at, topo.Other(r.at)
		r.p.Line("%s: %d of %d, from %s to %s", r.res.Scenario, i+1, r.opt.Repeat, from, to)
		m, err := r.move(ctx, b, from, to)
		if err != nil {
			return fmt.Errorf("scenario: %s %d of %d, from %s to %s: %w", r.res.Scenario, i+1, r.opt.Repeat, from, to, err)
		}
		m.Case = r.caseName
		r.res.Handovers = append(r.res.Handovers, m.Handover)
		judge(fmt.Sprintf("%s %d (%s to %s)", r.res.Scenario, i+1, from, to), m)
		if m.Outcome == string(event.Completed) {
			r.at = to
		}
		if err := r.oneLease(ctx, b, r.at); err != nil {
			return err
		}
		if !r.keyed {
			continue
		}
		if err := r.keysGone(ctx, b, topo.Other(r.at)); err != nil {
			return err
		}
	}
	return nil
}

// oneLease waits until the serving network's lease is the only one, where addresses are leased.
func (r *run) oneLease(ctx context.Context, b *bed.Bed, serving string) error {
	if !b.Leased() {
		return nil
	}
	var bound []dhcpd.Lease
	var err error
	good := func() bool {
		bound, err = b.Bound("")
		return err != nil || len(bound) == 1 && bound[0].Network == serving
	}
	if await(ctx, cleanLimit, good) == nil {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	r.problem("leases after the handover: %v; expected one, in network %s", bound, serving)
	return nil
}

// completed checks the outcome.
func (r *run) expectOutcome(name string, m measured, want event.Outcome) {
	if m.Outcome == string(want) {
		return
	}
	line := fmt.Sprintf("%s: the outcome is %q, expected %q", name, m.Outcome, want)
	if m.Reason != "" {
		line += ": " + m.Reason
	}
	r.problem("%s", line)
}

func handovers(ctx context.Context, r *run) error {
	r.keyed = true
	return r.withBed(ctx, r.opt.bed(r.p), func(b *bed.Bed) error {
		if err := r.repeat(ctx, b, r.judgeClean); err != nil {
			return err
		}
		return r.strangers(ctx, b)
	})
}

// judgeClean holds a prepared handover to its promise.
func (r *run) judgeClean(name string, m measured) {
	r.expectOutcome(name, m, event.Completed)
	down, up := r.opt.tolerance(), r.opt.tolerance()
	down.onAir, up.onAir = m.onAir.down, m.onAir.up
	if m.Buffer != nil && r.opt.BufferOff {
		down.dropped, down.others = m.Buffer.Dropped, r.opt.Probe
	}
	for _, d := range []struct {
		word    string
		s       traffic.Stats
		t       tolerance
		onLinks int
		forced  int // the uplink has no flips
	}{{"to", m.down, down, m.onLinks.down, m.forced()}, {"from", m.up, up, m.onLinks.up, 0}} {
		if flaws := d.t.flaws(d.s, d.onLinks, d.forced); len(flaws) > 0 {
			r.problem("%s: of %d packets %s the mobile node %s%s", name, d.s.Sent, d.word, strings.Join(flaws, ", "), where(m, d.s))
		}
	}
	if n := len(r.hooks.steal); len(m.MarkersLost) != n {
		r.problem("%s: of the markers %v, only %v were seen and lost", name, r.hooks.steal, m.MarkersLost)
	}
	if m.translator.IsValid() {
		r.expectTranslated(name, m)
	}
	if want := "TLS " + r.opt.TLS; r.opt.TLS != "" && m.Outcome == string(event.Completed) && m.TLS != want {
		r.problem("%s: authenticated by %q, expected %s", name, m.TLS, want)
	}
	r.expectKeyed(name, m)
	r.expectDown(name, m)
	if r.opt.Probe && m.Outcome == string(event.Completed) {
		if _, ok := m.Phases["l3_ms"]; !ok {
			r.problem("%s: no packet of the probe arrived after link up", name)
		}
	}
}

func breakBeforeMake(ctx context.Context, r *run) error {
	opt := r.opt.bed(r.p)
	opt.NoPrepare = true
	return r.withBed(ctx, opt, func(b *bed.Bed) error {
		return r.repeat(ctx, b, r.judgeBroken)
	})
}

// judgeBroken holds a handover that was not prepared to its promise.
func (r *run) judgeBroken(name string, m measured) {
	r.expectOutcome(name, m, event.Completed)
	r.expectQuiet(name, m, m.end)
}

// expectQuiet checks that nothing sent after a point in time was lost, and
// that something was sent.
func (r *run) expectQuiet(name string, m measured, after time.Time) {
	for _, d := range []struct {
		word  string
		stats traffic.Stats
		track report.Strip
	}{{"to", m.down, m.strips.Down}, {"from", m.up, m.strips.Up}} {
		sent, lost := 0, 0
		for _, at := range d.track.Sent {
			if at > after.UnixNano() {
				sent++
			}
		}
		for _, run := range d.stats.Losses {
			if !run.At.After(after) {
				run.First = firstAfter(d.track.Sent, after)
			}
			if run.Last >= run.First {
				lost += int(run.Last-run.First) + 1
			}
		}
		if sent == 0 || lost > 0 {
			r.problem("%s: after its end %d of %d packets %s the mobile node are lost", name, lost, sent, d.word)
		}
	}
}

// firstAfter is the first number sent after a point in time.
func firstAfter(sent []int64, after time.Time) uint64 {
	for i, at := range sent {
		if at > after.UnixNano() {
			return uint64(i)
		}
	}
	return uint64(len(sent))
}

func failedSwitch(ctx context.Context, r *run) error {
	// A probe would fill every buffer while there is no link.
	r.opt.Probe = false
	return r.withBed(ctx, r.opt.bed(r.p), func(b *bed.Bed) error {
		a, _ := topo.NetworkByName("a")
		i := 0
		// Every other time the point answers, with a refusal.
		fail := func() {
			how := linkctl.Dead
			if i%2 == 1 {
				how = linkctl.Refuses
			}
			for _, p := range a.Points {
				b.Link.Fail(p, how)
			}
			i++
		}
		fail()
		return r.repeat(ctx, b, func(name string, m measured) {
			r.expectOutcome(name, m, event.SwitchedBack)
			r.expectQuiet(name, m, m.end)
			if n, _ := topo.NetworkByName("b"); b.Link.Point() != n.Points[0] {
				r.problem("%s: the node is attached to %q, expected %s where it came from", name, b.Link.Point(), n.Points[0])
			}
			fail()
		})
	})
}

const (
	smallBuffer5 = 5
	smallGap     = 200 * time.Millisecond
)

func adjustSmallBuffer(o *Options, given func(string) bool) {
	if !given("l2-gap") {
		o.Gap = smallGap
	}
}

func smallBuffer(ctx context.Context, r *run) error {
	// The probe's packets would be dropped too, and nobody counts them.
	r.opt.Probe = false
	opt := r.opt.bed(r.p)
	opt.BufferPackets = smallBuffer5
	return r.withBed(ctx, opt, func(b *bed.Bed) error {
		return r.repeat(ctx, b, func(name string, m measured) {
			r.expectOutcome(name, m, event.Completed)
			if m.Buffer == nil {
				r.problem("%s: the router does not say what it held", name)
				return
			}
			sum := 0
			for _, n := range m.Buffer.Reasons {
				sum += n
			}
			switch down := m.Flow.Down; {
			case down.Lost != m.Buffer.Dropped:
				r.problem("%s: %d packets to the mobile node are lost, and the router counts %d as dropped", name, down.Lost, m.Buffer.Dropped)
			case down.Lost == 0:
				r.problem("%s: nothing was lost although the router may hold %d packets only", name, smallBuffer5)
			case sum != m.Buffer.Dropped:
				r.problem("%s: %d packets dropped, but reasons for %d: %v", name, m.Buffer.Dropped, sum, m.Buffer.Reasons)
			case down.Duplicated > 0 || down.Reordered > 0:
				r.problem("%s: %d duplicated, %d reordered to the mobile node", name, down.Duplicated, down.Reordered)
			}
			if !m.Flow.Up.Clean() {
				r.problem("%s: %d lost, %d duplicated, %d reordered from the mobile node, whose buffer is large enough",
					name, m.Flow.Up.Lost, m.Flow.Up.Duplicated, m.Flow.Up.Reordered)
			}
		})
	})
}
