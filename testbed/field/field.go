package field

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Signal is how loud a point is.
type Signal struct {
	Point string
	DBm   float64
}

// Floor is the least that is heard, in dBm.
const Floor = -95

// A Field tells what is heard at a time since its beginning, points below Floor left out, the loudest first.
type Field interface {
	At(since time.Duration) []Signal
}

// Of is a point's signal in what is heard, ok if it is heard at all.
func Of(heard []Signal, point string) (dBm float64, ok bool) {
	for _, s := range heard {
		if s.Point == point {
			return s.DBm, true
		}
	}
	return 0, false
}

// Loss is the share of frames lost at a signal: half of them at -90 dBm, and hardly any above -80.
func Loss(dBm float64) float64 { return 1 / (1 + math.Exp((dBm+90)/1.5)) }

// rates are those of 802.11g, Mbit/s, with the signal that each needs.
var rates = []struct{ above, mbps float64 }{
	{-65, 54}, {-66, 48}, {-70, 36}, {-74, 24}, {-77, 18}, {-79, 12}, {-81, 9}, {-82, 6}, {-90, 2}, {math.Inf(-1), 1},
}

// Rate is what a link has at a signal, in Mbit/s.
func Rate(dBm float64) float64 {
	for _, r := range rates {
		if dBm >= r.above {
			return r.mbps
		}
	}
	return 0
}

// loudestFirst sorts what is heard.
func loudestFirst(heard []Signal) []Signal {
	slices.SortFunc(heard, func(a, b Signal) int {
		return cmp.Or(cmp.Compare(b.DBm, a.DBm), cmp.Compare(a.Point, b.Point))
	})
	return heard
}
