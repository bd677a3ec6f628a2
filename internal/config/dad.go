package config

import (
	"time"

	"openmpa/internal/acd"
)

// DAD are the timers of duplicate address detection (RFC 5227 §1.1) as a file
// gives them; what is left out is as the RFC says.
type DAD struct {
	ProbeWait    Duration `yaml:"probe-wait"`
	ProbeNum     int      `yaml:"probe-num"`
	ProbeMin     Duration `yaml:"probe-min"`
	ProbeMax     Duration `yaml:"probe-max"`
	AnnounceWait Duration `yaml:"announce-wait"`
	MaxConflicts int      `yaml:"max-conflicts"`
}

// Timers returns the timers with the RFC's values filled in.
func (d DAD) Timers() acd.Timers {
	t := acd.DefaultTimers()
	for _, f := range []struct {
		to   *time.Duration
		from Duration
	}{{&t.ProbeWait, d.ProbeWait}, {&t.ProbeMin, d.ProbeMin}, {&t.ProbeMax, d.ProbeMax}, {&t.AnnounceWait, d.AnnounceWait}} {
		if f.from != 0 {
			*f.to = f.from.D()
		}
	}
	Default(&d.ProbeNum, t.ProbeNum)
	Default(&d.MaxConflicts, t.MaxConflicts)
	t.ProbeNum, t.MaxConflicts = d.ProbeNum, d.MaxConflicts
	return t
}

// Default sets *v to d if the file left it out.
func Default[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}
