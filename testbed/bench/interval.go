package bench

import (
	"math"
	"math/rand/v2"
	"slices"
)

const (
	resamples  = 2000
	confidence = 0.95
)

// intervals computes ratios of medians, and where they are: by bootstrap, in two stages,
// since samples of one round have more in common than those of several. Rounds are drawn
// with replacement, and from each of them as many samples of each subject as it has.
func (r *Row) intervals() {
	if !r.Interval {
		return
	}
	i := slices.IndexFunc(r.Samples, func(c *Cells) bool { return c.Subject == r.Base })
	if i < 0 {
		return
	}
	base := r.Samples[i]
	for _, c := range r.Samples {
		q := c.Median / base.Median
		if math.IsNaN(q) || math.IsInf(q, 0) {
			continue
		}
		c.Ratio, c.Within = &q, nil
		rounds, other := c.byRound(), base.byRound()
		n := min(len(rounds), len(other))
		if c == base || n < 2 {
			continue
		}
		dice := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same for the same samples
		ratios := make([]float64, resamples)
		var of, to []float64
		for k := range ratios {
			of, to = of[:0], to[:0]
			for range n {
				j := dice.IntN(n)
				of, to = draw(dice, of, rounds[j]), draw(dice, to, other[j])
			}
			ratios[k] = median(of) / median(to)
		}
		slices.Sort(ratios)
		tail := (1 - confidence) / 2
		c.Within = &[2]float64{ratios[int(tail*resamples)], ratios[int((1-tail)*resamples)-1]}
	}
}

// byRound are the values of each round.
func (c *Cells) byRound() (list [][]float64) {
	rest := c.Values
	for _, n := range c.rounds {
		list, rest = append(list, rest[:n]), rest[n:]
	}
	return list
}

func draw(dice *rand.Rand, into, from []float64) []float64 {
	for range from {
		into = append(into, from[dice.IntN(len(from))])
	}
	return into
}
