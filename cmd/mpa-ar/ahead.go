package main

import (
	"openmpa/internal/config"
	"openmpa/par"
)

// aheadConfig is how many addresses the router verifies before anybody asks.
type aheadConfig struct {
	Min  int             `yaml:"min"`
	Max  int             `yaml:"max"`
	Idle config.Duration `yaml:"idle"`
}

func (a aheadConfig) ahead() par.Ahead { return par.Ahead{Least: a.Min, Most: a.Max, Idle: a.Idle.D()} }

// Check implements the hook of package config.
func (a aheadConfig) Check() error { return a.ahead().Check() }
