package main

import (
	"openmpa/internal/config"
	"openmpa/mn"
)

// movesConfig is the section handover: what becomes of packets around a move.
type movesConfig struct {
	Hold  mn.HoldAt    `yaml:"hold"`
	Guard mn.GuardWhen `yaml:"guard"`
}

// SetDefaults implements the hook of package config.
func (m *movesConfig) SetDefaults() {
	*m = movesConfig{Hold: mn.HoldNext, Guard: mn.GuardNever}
}

// Check implements the hook of package config.
func (m *movesConfig) Check() error {
	switch m.Hold {
	case mn.HoldNext, mn.HoldPrevious:
	default:
		return config.Errorf("hold", "%q: expected %s or %s, the router that holds packets during a move", m.Hold, mn.HoldNext, mn.HoldPrevious)
	}
	switch m.Guard {
	case mn.GuardNever, mn.GuardWeak, mn.GuardAlways:
		return nil
	}
	return config.Errorf("guard", "%q: expected %s, %s or %s", m.Guard, mn.GuardNever, mn.GuardWeak, mn.GuardAlways)
}

// checkMoves looks at what the section needs of others.
func (c configuration) checkMoves() error {
	switch {
	case c.Moves.Hold == mn.HoldPrevious && len(c.Mobility.Hook.Command) > 0:
		return config.Errorf("handover.hold", "%s needs mobility.mip4 or mobility.mip6: with a hook the kernel sends what would have to wait", c.Moves.Hold)
	case c.Moves.Guard == mn.GuardWeak && c.Decision == nil:
		return config.Errorf("handover.guard", "%s needs the section decision, which knows the signal; or expected %s or %s", c.Moves.Guard, mn.GuardNever, mn.GuardAlways)
	}
	return nil
}
