package main

import (
	"cmp"
	"errors"
	"time"

	"openmpa/internal/config"
	"openmpa/mn"
	"openmpa/mn/decision"
)

// decisionConfig is the section decision: when the node moves by itself, and where to. Signals in dBm. What is left out is as
// the policy has it.
type decisionConfig struct {
	Policy   decision.Style   `yaml:"policy"`
	Look     *float32         `yaml:"look"`
	Leave    *float32         `yaml:"leave"`
	Accept   *float32         `yaml:"accept"`
	Lost     *float32         `yaml:"lost"`
	Margin   *float32         `yaml:"margin"`
	Dwell    *config.Duration `yaml:"dwell"`
	Window   *config.Duration `yaml:"window"`
	PingPong *config.Duration `yaml:"ping-pong"`
	Rungs    *int             `yaml:"candidates"`
	Interval config.Duration  `yaml:"interval"`
}

// SetDefaults implements the hook of package config.
func (d *decisionConfig) SetDefaults() { d.Policy = decision.Enterprise }

// Check implements the hook of package config.
func (d *decisionConfig) Check() error {
	policy := d.policy()
	if err := policy.Check(); err != nil {
		var wrong *decision.PolicyError
		if errors.As(err, &wrong) {
			return config.Errorf(cmp.Or(map[string]string{"within": "ping-pong", "rungs": "candidates"}[wrong.Field], wrong.Field), "%s", wrong.Text)
		}
		return err
	}
	if i := d.Interval.D(); i != 0 && (i < 50*time.Millisecond || i > 10*time.Second) {
		return config.Errorf("interval", "%v: expected 50ms to 10s", i)
	}
	return nil
}

// policy is that of the file's style, with what else the file says.
func (d *decisionConfig) policy() decision.Policy {
	p := decision.DefaultPolicy(d.Policy)
	given(&p.Look, d.Look)
	given(&p.Leave, d.Leave)
	given(&p.Accept, d.Accept)
	given(&p.Lost, d.Lost)
	given(&p.Margin, d.Margin)
	given(&p.Rungs, d.Rungs)
	given(&p.Dwell, (*time.Duration)(d.Dwell))
	given(&p.Window, (*time.Duration)(d.Window))
	given(&p.Within, (*time.Duration)(d.PingPong))
	return p
}

// given takes what the file gives.
func given[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// deciding is nil when the file has no such section.
func (c configuration) deciding() *mn.Deciding {
	if c.Decision == nil {
		return nil
	}
	return &mn.Deciding{Policy: c.Decision.policy(), Interval: c.Decision.Interval.D()}
}
