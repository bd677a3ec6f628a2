package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"openmpa/testbed/scenario"
	"openmpa/testbed/traffic"
)

// Buffers compares buffers that size themselves with fixed ones.
func Buffers() Bench {
	return Bench{
		Name: "buffer-sizing", Doc: "buffers that size themselves beside fixed ones: what is dropped, how late the rest is, what it takes",
		Rounds: 2, Seconds: 1, Measure: measureBuffers,
	}
}

// The rows are "at routers", of real moves in the lab, and "simulated".
var (
	bufferRates = []string{"50", "20M", "100M"}
	// realGaps and realRates are those of the lab: each move takes seconds there.
	realGaps  = []time.Duration{50 * time.Millisecond, 500 * time.Millisecond}
	realRates = []string{"50", "100M"}
	simGaps   = []time.Duration{4 * time.Millisecond, 50 * time.Millisecond, 500 * time.Millisecond, 0} // 0: random
)

const (
	leastRandomGap, mostRandomGap = 4 * time.Millisecond, 500 * time.Millisecond
	crowdSize                     = 8
	crowdGap                      = 500 * time.Millisecond
)

func bufferRow(how, what, unit string, gap time.Duration, rate traffic.Rate) Row {
	length := gap.String()
	if gap == 0 {
		length = fmt.Sprintf("%v to %v", leastRandomGap, mostRandomGap)
	}
	speed := rate.Flag() + " packets/s"
	if rate.Bits() {
		speed = strings.Replace(rate.Flag(), "M", " Mb/s", 1)
	}
	return Row{Name: fmt.Sprintf("%s, %s, gap %s: %s", how, speed, length, what), Unit: unit, Better: Less}
}

func measureBuffers(ctx context.Context, o Options, a *Adder) error {
	recorded, err := recordStreams(ctx, o, a)
	if err != nil {
		return err
	}
	for round := range o.Rounds {
		for i := range sizings {
			how := sizings[(i+round)%len(sizings)]
			o.Say.Line("round %d of %d: %s", round+1, o.Rounds, how.name)
			if err := realMoves(ctx, o, a, how); err != nil {
				return fmt.Errorf("%s: %w", how.name, err)
			}
			if err := simulatedMoves(ctx, o, a, how, recorded, uint64(round)); err != nil {
				return fmt.Errorf("%s: %w", how.name, err)
			}
		}
	}
	a.Note("at routers: one move each, what they know of moves before is that of the same lab; fixed sizes are of one node (buffer: {packets: N})")
	a.Note("simulated: the routers' own machines (tunnel/flow) with packets as recorded in the lab, %d moves each, the access link takes %.0f Mb/s", simMoves, simLink*8/1e6)
	return nil
}

// recordStreams has a move at each rate in the lab and keeps when its packets were sent.
func recordStreams(ctx context.Context, o Options, a *Adder) (map[string]*stream, error) {
	var moves []scenario.BufferMove
	for _, text := range bufferRates {
		rate, err := traffic.ParseRate(text)
		if err != nil {
			return nil, err
		}
		moves = append(moves, scenario.BufferMove{Gap: realGaps[0], Rate: rate})
	}
	recorded := map[string]*stream{}
	o.Say.Line("packets are being recorded")
	var bad error
	err := playMoves(ctx, o, a, 0, moves, func(m scenario.BufferMoved) {
		s, err := record(m.Sent, m.Rate.Payload+28)
		if err != nil {
			bad = err
		}
		recorded[m.Rate.Flag()] = s
	})
	if err == nil {
		err = bad
	}
	return recorded, err
}

func playMoves(ctx context.Context, o Options, a *Adder, packets int, moves []scenario.BufferMove, tell func(scenario.BufferMoved)) error {
	problems, err := scenario.Buffers(ctx, o.Bin, o.Logs, packets, moves, o.Say, tell)
	for _, p := range problems {
		a.Problem("%s", p)
	}
	return err
}

// realMoves measures in the lab what is wanted of it.
func realMoves(ctx context.Context, o Options, a *Adder, how sizing) error {
	row := func(what, unit string, m scenario.BufferMove) Row {
		return bufferRow("at routers", what, unit, m.Gap, m.Rate)
	}
	rows := func(m scenario.BufferMove) []Row {
		return []Row{row("dropped", "% of what came in the hold", m), row("longest delay", "ms", m), row("held at most", "KiB", m)}
	}
	var moves []scenario.BufferMove
	for _, gap := range realGaps {
		for _, text := range realRates {
			rate, err := traffic.ParseRate(text)
			if err != nil {
				return err
			}
			m := scenario.BufferMove{Gap: gap, Rate: rate}
			for _, r := range rows(m) {
				if o.Wants(r.Name) {
					moves = append(moves, m)
					break
				}
			}
		}
	}
	if len(moves) == 0 {
		return nil
	}
	return playMoves(ctx, o, a, how.packets, moves, func(m scenario.BufferMoved) {
		b := m.Buffer
		if b == nil || m.Flow.Down.DelayMaxMS == nil {
			a.Problem("%s: %s: the router does not say what it held, or nothing arrived", how.name, m.Rate)
			return
		}
		size := float64(m.Rate.Payload+28) / 1024
		for i, value := range []float64{100 * float64(b.Dropped) / float64(max(b.Dropped+b.Packets, 1)), *m.Flow.Down.DelayMaxMS, float64(b.Packets) * size} {
			if r := rows(m.BufferMove)[i]; o.Wants(r.Name) {
				a.Add(r, how.name, value)
			}
		}
		if m.Flow.Down.Lost != b.Dropped || m.Flow.Down.Duplicated > 0 {
			a.Problem("%s: %s, %v: %d lost, and the routers dropped %d; %d duplicated",
				how.name, m.Rate, m.Gap, m.Flow.Down.Lost, b.Dropped, m.Flow.Down.Duplicated)
		}
	})
}

// simulatedMoves measures what is wanted of the simulation. All sizings meet the same
// gaps.
func simulatedMoves(ctx context.Context, o Options, a *Adder, how sizing, recorded map[string]*stream, seed uint64) error {
	for _, text := range bufferRates {
		rate, err := traffic.ParseRate(text)
		if err != nil {
			return err
		}
		for _, gap := range simGaps {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			row := func(what, unit string) Row { return bufferRow("simulated", what, unit, gap, rate) }
			dropped, late, most := row("dropped", "% of what came in the hold"), row("delay, 99th percentile", "ms"), row("held at most", "KiB")
			room := row("room made", "times what came in the hold")
			if !o.Wants(dropped.Name) && !o.Wants(late.Name) && !o.Wants(most.Name) && !o.Wants(room.Name) {
				continue
			}
			n, err := simulate(how, recorded[rate.Flag()], gap, seed)
			if err != nil {
				return err
			}
			for _, f := range []struct {
				row   Row
				value float64
			}{{dropped, n.dropped()}, {late, n.late99()}, {most, float64(n.most) / 1024}, {room, median(n.room)}} {
				if o.Wants(f.row.Name) {
					a.Add(f.row, how.name, f.value)
				}
			}
		}
	}
	return simulatedCrowd(o, a, how, recorded)
}

// simulate has one node move, with a gap or random ones.
func simulate(how sizing, s *stream, gap time.Duration, seed uint64) (*simNode, error) {
	r, err := newSimRouter(how)
	if err != nil {
		return nil, err
	}
	now := time.Unix(0, 0)
	n, err := r.node("node", s.again(now))
	if err != nil {
		return nil, err
	}
	rnd := rand.New(rand.NewPCG(seed, 0))
	return n, n.moves(now, simMoves, func() time.Duration {
		if gap != 0 {
			return gap
		}
		return leastRandomGap + time.Duration(rnd.Int64N(int64(mostRandomGap-leastRandomGap)))
	})
}

// simulatedCrowd has nodes leave that never come, and one more that does.
func simulatedCrowd(o Options, a *Adder, how sizing, recorded map[string]*stream) error {
	name := fmt.Sprintf("simulated, %d nodes at 100 Mb/s never come, one at 20 Mb/s is away for %v: ", crowdSize, crowdGap)
	dropped := Row{Name: name + "dropped of its", Unit: "% of what came", Better: Less}
	most := Row{Name: name + "held for all", Unit: "MiB", Better: Less}
	if !o.Wants(dropped.Name) && !o.Wants(most.Name) {
		return nil
	}
	r, err := newSimRouter(how)
	if err != nil {
		return err
	}
	n, held, err := crowd(r, recorded["100M"], recorded["20M"], crowdSize, crowdGap)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		row   Row
		value float64
	}{{dropped, n.dropped()}, {most, float64(held) / (1 << 20)}} {
		if o.Wants(f.row.Name) {
			a.Add(f.row, how.name, f.value)
		}
	}
	return nil
}
