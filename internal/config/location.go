package config

import "openmpa/internal/neighbourhood"

// Location is a place: {lat: 47.37, lon: 8.54} in degrees of WGS 84, or {plan: hall, x: 12.5, y: 4} in metres of a plan of the
// site; alt is in metres in both.
type Location struct {
	Lat  *float64 `yaml:"lat"`
	Lon  *float64 `yaml:"lon"`
	Plan string   `yaml:"plan"`
	X    *float64 `yaml:"x"`
	Y    *float64 `yaml:"y"`
	Alt  float64  `yaml:"alt"`
}

// Check implements the hook of Load.
func (l *Location) Check() error {
	switch p := l.Place(); {
	case p == nil || p.Plan == "" && (l.X != nil || l.Y != nil) || p.Plan != "" && (l.Lat != nil || l.Lon != nil):
		return Errorf("", "expected lat and lon in degrees, or plan, x and y in metres of that plan")
	case !p.Valid():
		return Errorf("", "no place there is: expected lat from -90 to 90, lon from -180 to 180")
	}
	return nil
}

// Place is the location; nil for none, or half of one.
func (l *Location) Place() *neighbourhood.Location {
	switch {
	case l == nil:
	case l.Plan != "" && l.X != nil && l.Y != nil:
		return &neighbourhood.Location{Plan: l.Plan, X: *l.X, Y: *l.Y, Alt: l.Alt}
	case l.Plan == "" && l.Lat != nil && l.Lon != nil:
		return &neighbourhood.Location{X: *l.Lon, Y: *l.Lat, Alt: l.Alt}
	}
	return nil
}
