package main

import (
	"errors"
	"time"

	"openmpa/internal/config"
	"openmpa/mn"
	"openmpa/mn/decision/bylevel"
)

// triggerConfig is the section trigger: when the node moves by itself. dBm.
type triggerConfig struct {
	Look     int             `yaml:"look"`
	Leave    int             `yaml:"leave"`
	Accept   int             `yaml:"accept"`
	Dwell    config.Duration `yaml:"dwell"`
	Interval config.Duration `yaml:"interval"`
}

// SetDefaults implements the hook of package config.
func (t *triggerConfig) SetDefaults() {
	d := bylevel.Default()
	*t = triggerConfig{Look: d.Look, Leave: d.Leave, Accept: d.Accept, Dwell: config.Duration(d.Dwell), Interval: config.Duration(500 * time.Millisecond)}
}

// Check implements the hook of package config.
func (t *triggerConfig) Check() error {
	if err := t.levels().Check(); err != nil {
		var level *bylevel.LevelError
		if errors.As(err, &level) {
			return config.Errorf(level.Level, "%s", level.Text)
		}
		return err
	}
	if i := t.Interval.D(); i < 50*time.Millisecond || i > 10*time.Second {
		return config.Errorf("interval", "%v: expected 50ms to 10s", i)
	}
	return nil
}

func (t *triggerConfig) levels() bylevel.Levels {
	return bylevel.Levels{Look: t.Look, Leave: t.Leave, Accept: t.Accept, Dwell: t.Dwell.D()}
}

// trigger is nil when the file has none.
func (c configuration) trigger() *mn.Trigger {
	if c.Trigger == nil {
		return nil
	}
	return &mn.Trigger{Levels: c.Trigger.levels(), Interval: c.Trigger.Interval.D()}
}
