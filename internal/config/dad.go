package config

import (
	"time"

	"openmpa/internal/acd"
	"openmpa/internal/acd/nd"
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

// DAD6 are the timers of duplicate address detection of IPv6 (RFC 4862 §5.1, RFC 4861 §10) as
// a file gives them; what is left out is as the RFCs say.
type DAD6 struct {
	Delay     *Duration `yaml:"delay"`
	Transmits int       `yaml:"transmits"`
	Retrans   Duration  `yaml:"retrans"`
}

// Timers returns the timers with the RFCs' values filled in.
func (d DAD6) Timers() nd.Timers {
	t := nd.DefaultTimers()
	if d.Delay != nil {
		t.Delay = d.Delay.D()
	}
	if d.Retrans != 0 {
		t.Retrans = d.Retrans.D()
	}
	Default(&d.Transmits, t.Transmits)
	t.Transmits = d.Transmits
	return t
}
