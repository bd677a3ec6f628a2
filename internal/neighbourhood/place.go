package neighbourhood

import (
	"math"
	"time"
)

// Fix is where a node is.
type Fix struct {
	At      time.Time
	Where   Location
	Speed   float64 // m/s; less than 0: not known
	Heading float64 // radians, anticlockwise from east, where Speed is greater than 0
}

// earth is its mean radius, in metres (IUGG).
const earth = 6371008.8

// Valid says whether l is a place: finite, and on earth where it is in degrees.
func (l Location) Valid() bool {
	for _, v := range []float64{l.X, l.Y, l.Alt} {
		if math.IsNaN(v) || math.Abs(v) > 1e9 {
			return false
		}
	}
	return l.Plan != "" || math.Abs(l.X) <= 180 && math.Abs(l.Y) <= 90
}

// Metres is where l is east and north of an origin. Degrees are laid on a plane that touches the earth there: 100 km away that
// is wrong by some 100 m. ok is false for two plans, and for what is no place.
func (l Location) Metres(origin Location) (x, y float64, ok bool) {
	if l.Plan != origin.Plan || !l.Valid() || !origin.Valid() {
		return 0, 0, false
	}
	x, y = l.X-origin.X, l.Y-origin.Y
	if l.Plan == "" {
		x = math.Remainder(x, 360) * math.Pi / 180 * earth * math.Cos(origin.Y*math.Pi/180)
		y *= math.Pi / 180 * earth
	}
	return x, y, true
}
