package main

import (
	"fmt"

	"openmpa/internal/config"
	"openmpa/tunnel/flow"
)

// class is a class of traffic to nodes, and what a move means for it.
type class struct {
	Name     string          `yaml:"name"`
	DSCP     []int           `yaml:"dscp"`
	Handling handling        `yaml:"handling"`
	Age      config.Duration `yaml:"age"`
}

// handling is one of the package flow's, by its name.
type handling flow.Handling

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *handling) UnmarshalText(text []byte) error {
	for _, k := range []flow.Handling{flow.HandleHold, flow.HandleBicast, flow.HandlePass} {
		if string(text) == k.String() {
			*h = handling(k)
			return nil
		}
	}
	return fmt.Errorf("%.40q: expected hold (while a node is away), bicast (to both places) or pass (neither: dropped meanwhile)", text)
}

// classes are those of the configuration, as the router takes them.
func (c configuration) classes() []flow.Class {
	var list []flow.Class
	for _, k := range c.Classes {
		f := flow.Class{Name: k.Name, Handling: flow.Handling(k.Handling), Limits: flow.Limits{MaxAge: k.Age.D()}}
		for _, d := range k.DSCP {
			f.DSCP = append(f.DSCP, uint8(d))
		}
		list = append(list, f)
	}
	return list
}

// checkClasses says what of them cannot be.
func (c configuration) checkClasses() error {
	if len(c.Classes) == 0 {
		return nil
	}
	names := map[string]bool{}
	for i, k := range c.Classes {
		at := fmt.Sprintf("classes[%d]", i)
		if k.Name == "" || names[k.Name] {
			return config.Errorf(at, "name %q: expected one that no other class has", k.Name)
		}
		names[k.Name] = true
		for _, d := range k.DSCP {
			if d < 0 || d > 63 {
				return config.Errorf(at, "dscp %d: expected 0 to 63", d)
			}
		}
	}
	_, err := flow.NewClasses(c.classes()...)
	return config.At("classes", err)
}
