package sim

import (
	"math"
	"math/rand/v2"
)

// shadows draws a field of n by n points that are step metres apart: normal with a standard deviation in dB, and a correlation of
// exp(-|dx|/d)*exp(-|dy|/d).
func shadows(dice *rand.Rand, n int, step, deviation, d float64) []float32 {
	near := math.Exp(-step / d)
	fresh := math.Sqrt(1 - near*near)
	f := make([]float64, n*n)
	for i := range f {
		f[i] = dice.NormFloat64()
		if i%n > 0 {
			f[i] = near*f[i-1] + fresh*f[i]
		}
	}
	out := make([]float32, n*n)
	for i := range f {
		if i >= n {
			f[i] = near*f[i-n] + fresh*f[i]
		}
		out[i] = float32(deviation * f[i])
	}
	return out
}
