package main

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"

	"openmpa/internal/config"
	"openmpa/internal/inet"
	"openmpa/internal/neighbourhood"
	"openmpa/mn"
	"openmpa/mn/discover"
)

// network is an entry of networks.
type network struct {
	Name     string          `yaml:"name"`
	PAA      config.Addr     `yaml:"paa"`
	Port     uint16          `yaml:"port"`
	Operator string          `yaml:"operator"`
	CA       string          `yaml:"ca"`
	AR       string          `yaml:"ar"`
	Prefixes []config.Prefix `yaml:"prefixes"`
	Cost     *float64        `yaml:"cost"`
	Points   []point         `yaml:"points"`
}

// model is what the entry says.
func (n network) model() mn.Network {
	out := mn.Network{Name: n.Name, PAA: netip.AddrPortFrom(n.PAA, n.Port)}
	a := &out.About
	a.Operator, a.Prefixes = n.Operator, n.Prefixes
	if n.CA != "" {
		a.Agents = append(a.Agents, neighbourhood.Agent{Role: neighbourhood.CA, Identity: n.CA})
	}
	if n.AR != "" {
		a.Agents = append(a.Agents, neighbourhood.Agent{Role: neighbourhood.AR, Identity: n.AR})
	}
	if n.Cost != nil {
		c := float32(*n.Cost)
		a.Cost = &c
	}
	for _, p := range n.Points {
		out.Points = append(out.Points, p.Name)
		a.Points = append(a.Points, neighbourhood.Point{
			Name: p.Name, SSID: p.SSID, Freq: p.Freq, Security: neighbourhood.Security(p.Security), Location: p.Location.Place(), Reach: float32(p.Reach),
		})
	}
	return out
}

// check says what is wrong with what the entry says of its network.
func (n network) check(key string) error {
	m := n.model()
	m.About.Name = n.Name
	return config.At(key, m.About.Check())
}

// discoveryConfig is the section discovery: where the node learns of networks besides those of the file, and where it is.
type discoveryConfig struct {
	Router   bool           `yaml:"router"`
	DNS      bool           `yaml:"dns"`
	Domains  []string       `yaml:"domains"`
	Unknown  bool           `yaml:"unknown-points"`
	Position positionConfig `yaml:"position"`
}

// positionConfig says who knows where the node is.
type positionConfig struct {
	GPSD string      `yaml:"gpsd"`
	File config.Path `yaml:"file"`
	Plan string      `yaml:"plan"`
}

// SetDefaults implements the hook of package config.
func (d *discoveryConfig) SetDefaults() { d.Router, d.DNS = true, true }

// Check implements the hook of package config.
func (d *discoveryConfig) Check() error {
	for i, name := range d.Domains {
		if !inet.Domain(name) {
			return config.Errorf(fmt.Sprintf("domains[%d]", i), "%q: expected the name of a domain, such as site.example", name)
		}
	}
	return nil
}

// Check implements the hook of package config.
func (p *positionConfig) Check() error {
	switch {
	case p.GPSD != "" && p.File != "":
		return config.Errorf("file", "gpsd is there, too: expected one of the two")
	case p.Plan != "" && p.File == "":
		return config.Errorf("plan", "expected with file only: gpsd tells degrees")
	case p.GPSD != "":
		if _, _, err := net.SplitHostPort(p.GPSD); err != nil {
			return config.Errorf("gpsd", "%q: expected its address and port, such as 127.0.0.1:2947", p.GPSD)
		}
	}
	return nil
}

// discovery is the section as package mn takes it.
func (c configuration) discovery(log *slog.Logger) mn.Discovery {
	d := mn.Discovery{Router: c.Discovery.Router, DNS: c.Discovery.DNS, Domains: c.Discovery.Domains, Air: true, Unknown: c.Discovery.Unknown, Aliases: map[string]string{}}
	for _, n := range c.Networks {
		for _, p := range n.Points {
			if !p.BSSID.IsZero() && p.Name != p.BSSID.String() {
				d.Aliases[p.BSSID.String()] = p.Name
			}
		}
	}
	switch p := c.Discovery.Position; {
	case p.GPSD != "":
		d.Locator = discover.GPSD{Addr: p.GPSD, Log: log}
	case p.File != "":
		d.Locator = discover.File{Path: p.File.String(), Plan: p.Plan, Log: log}
	}
	return d
}

// networksKey is where the entry of a network stands in the file.
func networksKey(i int) string { return fmt.Sprintf("networks[%d]", i) }
