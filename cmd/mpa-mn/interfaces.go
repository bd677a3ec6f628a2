package main

import (
	"fmt"
	"slices"

	"openmpa/internal/config"
)

// Values of interfaces[].raise.
const (
	raiseAlways = "always" // also when empty
	raiseMove   = "move"
)

// interfaceConfig is an entry of interfaces.
type interfaceConfig struct {
	Name   string     `yaml:"name"`
	Points []string   `yaml:"points"`
	Raise  string     `yaml:"raise"`
	Link   linkConfig `yaml:"link"`

	place string // in the file; empty: it is the only one, which has no group of keys
}

// Check implements the hook of package config.
func (c *interfaceConfig) Check() error {
	switch {
	case c.Name == "":
		return config.Errorf("name", "missing: the interface's, as ip link shows it")
	case c.Raise != "" && c.Raise != raiseAlways && c.Raise != raiseMove:
		return config.Errorf("raise", "%q: expected always, or move for one that is to be up for its move only", c.Raise)
	case len(c.Points) == 0:
		return config.Errorf("points", "missing: which of networks[].points it reaches")
	}
	return nil
}

// key is where one of its keys stands in the file.
func (c interfaceConfig) key(name string) string {
	if c.place == "" {
		return name
	}
	return c.place + "." + name
}

// pointsKey is where it is said which points it reaches.
func (c interfaceConfig) pointsKey() string {
	if c.place == "" {
		return "networks"
	}
	return c.key("points")
}

// maySee says whether what moves it may be able to tell the signal.
func (c interfaceConfig) maySee() bool {
	return c.Link.Type != linkEthernet
}

// interfaces are those of the configuration, in either of its forms.
func (c configuration) interfaces() []interfaceConfig {
	if c.Interface == "" {
		out := slices.Clone(c.Several)
		for i := range out {
			out[i].place = fmt.Sprintf("interfaces[%d]", i)
		}
		return out
	}
	only := interfaceConfig{Name: c.Interface, Link: c.Link}
	for _, n := range c.Networks {
		for _, p := range n.Points {
			only.Points = append(only.Points, p.Name)
		}
	}
	return []interfaceConfig{only}
}

// checkInterfaces checks which interface reaches what.
func (c configuration) checkInterfaces() error {
	if len(c.Several) == 0 {
		return nil
	}
	if c.Interface != "" {
		return config.Errorf("interface", "interfaces: is there, too: expected one of the two")
	}
	if c.Link != (linkConfig{}) {
		return config.Errorf("link", "there are several interfaces: expected it in each group of interfaces")
	}
	reaches, names, always := map[string]string{}, map[string]bool{}, false
	for _, i := range c.interfaces() {
		if names[i.Name] {
			return config.Errorf(i.key("name"), "%s stands in two places: expected all of its points in one", i.Name)
		}
		names[i.Name] = true
		always = always || i.Raise != raiseMove
		for _, p := range i.Points {
			if other := reaches[p]; other != "" {
				return config.Errorf(i.key("points"), "%s is reached by %s already: expected every point at one interface; what both can attach to is two points", p, other)
			}
			reaches[p] = i.Name
		}
	}
	if !always {
		return config.Errorf("interfaces", "all have raise: move: expected one at least that is up before the first move")
	}
	return c.checkReach(reaches)
}

// checkReach checks that each network is reached by one interface; reaches has that of
// each point.
func (c configuration) checkReach(reaches map[string]string) error {
	known := map[string]bool{}
	for k, n := range c.Networks {
		first := n.Points[0].Name
		for j, p := range n.Points {
			known[p.Name] = true
			key := fmt.Sprintf("networks[%d].points[%d]", k, j)
			switch by := reaches[p.Name]; {
			case by == "":
				return config.Errorf(key, "%s is at no interface: expected it in the points of one of interfaces", p.Name)
			case by != reaches[first]:
				return config.Errorf(key, "%s is reached by %s, %s by %s: expected one interface for a network", p.Name, by, first, reaches[first])
			}
		}
	}
	for _, i := range c.interfaces() {
		for _, p := range i.Points {
			if !known[p] {
				return config.Errorf(i.key("points"), "%s is no point of any of networks: add it to one, or correct the name", p)
			}
		}
	}
	return nil
}
