package bench

import (
	"context"
	"fmt"
	"time"

	"openmpa/mn/decision"
	"openmpa/testbed/bed"
	"openmpa/testbed/impair"
	"openmpa/testbed/scenario"
	"openmpa/testbed/topo"
	"openmpa/testbed/traffic"
)

// Speed measures how fast a node may pass a cell for its preparation to fit (RFC 6252, appendix C.6).
func Speed() Bench {
	return Bench{
		Name: "speed", Doc: "how fast a node may go for its preparation to fit into the cell, beside RFC 6252's formula, and what is lost beyond that",
		Rounds: 1, Seconds: 1, Measure: measureSpeed,
	}
}

var (
	// speedRTTs are round trips from the routers to the authentication server at home.
	speedRTTs = []time.Duration{20 * time.Millisecond, 100 * time.Millisecond, 300 * time.Millisecond}
	// speedCells are the ways on which the next cell is heard until the present one is not, in metres: the RFC's 100 ft, and four
	// times that.
	speedCells = []float64{30, 120}
	// speedParts are of the speed at which the preparation just fits by the formula.
	speedParts = []float64{0.3, 0.6, 0.8, 0.9, 1, 1.1, 1.25, 1.6, 2.5, 5}
)

const (
	slowPassage = 5 * time.Second // in which everything is prepared
	speedRate   = "200"           // packets a second each way
)

func measureSpeed(ctx context.Context, o Options, a *Adder) error {
	rate, err := traffic.ParseRate(speedRate)
	if err != nil {
		return err
	}
	a.Note("a node in the lab goes from cell to cell and decides itself (policy era, dwell 0s, a sample every 50 ms); a passage is from when the next cell is heard until the present one is not: D metres in D/v")
	a.Note("%s packets/s each way; duplicate address detection with short timers; rounds take as long as they take", speedRate)
	for _, rtt := range speedRTTs {
		var cells []float64
		for _, d := range speedCells {
			if o.wantsAny(speedRows(rtt, d)...) {
				cells = append(cells, d)
			}
		}
		if len(cells) == 0 {
			continue
		}
		opt := scenario.Options{
			Bin: o.Bin, Logs: o.Logs, DAD: bed.DADFast, Rate: rate, Slow: rate, Direction: scenario.Default, Gap: 4 * time.Millisecond,
			Links: map[string]impair.Both{topo.LinkAAA: {In: impair.Params{Delay: rtt / 2}, Out: impair.Params{Delay: rtt / 2}}},
		}
		problems, err := scenario.Pass(ctx, opt, o.Say, func(g *scenario.Passing) error { return passages(ctx, o, a, g, rtt, cells) })
		for _, p := range problems {
			a.Problem("RTT %v: %s", rtt, p)
		}
		if err != nil {
			return fmt.Errorf("RTT %v: %w", rtt, err)
		}
	}
	return nil
}

// The rows of a round trip and a cell.
const (
	rowFits = iota
	rowDepth
	rowLost
	rowSilence
)

func speedRows(rtt time.Duration, d float64) []Row {
	of := fmt.Sprintf("RTT %v, D %g m: ", rtt, d)
	return []Row{
		rowFits:    {Name: of + "fastest with a tunnel before the move", Unit: "m/s", Better: More},
		rowDepth:   {Name: of + "prepared before the link went", Unit: "steps: 1 authenticated, 2 configured, 3 tunnel, 4 bound", Better: More},
		rowLost:    {Name: of + "packets lost", Unit: "both ways", Better: Less},
		rowSilence: {Name: of + "longest silence", Unit: "ms", Better: Less},
	}
}

// passages has a node pass, slowly first, to know what its steps take.
func passages(ctx context.Context, o Options, a *Adder, g *scenario.Passing, rtt time.Duration, cells []float64) error {
	var slow scenario.Passed
	for range 3 { // from the second on its sessions are resumed
		var err error
		o.Say.Line("RTT %v: a slow passage", rtt)
		if slow, err = g.Pass(ctx, slowPassage); err != nil {
			return err
		}
	}
	if slow.Depth < decision.Tunnel {
		return fmt.Errorf("bench: in %v the next network was prepared to %v only, expected to the tunnel at least: the steps were %v", slowPassage, slow.Depth, slow.Steps)
	}
	var need time.Duration
	for d := decision.Authenticate; d <= decision.Tunnel; d++ {
		need += slow.Steps[d]
	}
	auth := slow.Steps[decision.Authenticate]
	a.Note("RTT %v: Tauth %.0f ms (%.1f RTT), Tconf %.0f ms, tunnel %.0f ms, binding %.0f ms: n*RTT + Tpsk + Tconf + tunnel = %.0f ms", rtt, ms(auth), float64(auth)/float64(rtt),
		ms(slow.Steps[decision.Configure]), ms(slow.Steps[decision.Tunnel]), ms(slow.Steps[decision.Bind]), ms(need))
	for round := range o.Rounds {
		for _, d := range cells {
			rows := speedRows(rtt, d)
			fits := d / need.Seconds()
			still, all := 0.0, true
			for _, part := range speedParts {
				v := part * fits
				o.Say.Line("round %d of %d: RTT %v, D %g m, %.0f m/s", round+1, o.Rounds, rtt, d, v)
				p, err := g.Pass(ctx, time.Duration(d/v*float64(time.Second)))
				if err != nil {
					return fmt.Errorf("bench: at %.1f m/s, D %g m: %w", v, d, err)
				}
				if all = all && p.Depth >= decision.Tunnel; all {
					still = v
				}
				if p.Depth >= decision.Tunnel && p.Left && p.Lost > 0 {
					a.Problem("RTT %v, D %g m, %.1f m/s: %d of %d packets were lost although the tunnel stood and the node went by itself", rtt, d, v, p.Lost, p.Sent)
				}
				subject := fmt.Sprintf("%.3g m/s, D/v %.0f ms (%g)", v, 1e3*d/v, part)
				a.Add(rows[rowDepth], subject, float64(p.Depth))
				a.Add(rows[rowLost], subject, float64(p.Lost))
				a.Add(rows[rowSilence], subject, ms(p.Silence))
			}
			a.Add(rows[rowFits], "formula: D/(n*RTT+Tpsk+Tconf+tunnel)", fits)
			a.Add(rows[rowFits], "formula: D/(n*RTT+Tpsk), authentication only", d/auth.Seconds())
			a.Add(rows[rowFits], "measured", still)
		}
	}
	return nil
}
