package main

import (
	"time"

	"openmpa/internal/config"
	"openmpa/mn/decision"
)

// watchdogConfig is the section watchdog: when a link is dead though its carrier is
// there. asks: 0 switches it off.
type watchdogConfig struct {
	Quiet config.Duration `yaml:"quiet"`
	Wait  config.Duration `yaml:"wait"`
	Asks  int             `yaml:"asks"`
}

// SetDefaults implements the hook of package config.
func (w *watchdogConfig) SetDefaults() {
	d := decision.DefaultWatch()
	*w = watchdogConfig{Quiet: config.Duration(d.Quiet), Wait: config.Duration(d.Wait), Asks: d.Asks}
}

// Check implements the hook of package config.
func (w *watchdogConfig) Check() error {
	switch {
	case w.Quiet.D() < 20*time.Millisecond || w.Quiet.D() > time.Minute:
		return config.Errorf("quiet", "%v: expected 20ms to 1m", w.Quiet.D())
	case w.Wait.D() < 10*time.Millisecond || w.Wait.D() > 10*time.Second:
		return config.Errorf("wait", "%v: expected 10ms to 10s, two round trips to the router at least", w.Wait.D())
	case w.Asks < 0 || w.Asks > 100:
		return config.Errorf("asks", "%d: expected 1 to 100, or 0 for no watchdog", w.Asks)
	}
	return nil
}

// watchdog is the default when the file has none.
func (c configuration) watchdog() decision.WatchLimits {
	w := c.Watchdog
	if w == nil {
		w = new(watchdogConfig)
		w.SetDefaults()
	}
	return decision.WatchLimits{Quiet: w.Quiet.D(), Wait: w.Wait.D(), Asks: w.Asks}
}
