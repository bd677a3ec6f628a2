package main

import (
	"cmp"
	"crypto/rand"
	"fmt"

	"openmpa/internal/config"
	"openmpa/internal/ha/cn"
	"openmpa/internal/ha/ha6"
	"openmpa/internal/ha/path"
	"openmpa/mn/mobility/mip6"
)

// ipv6 is the home agent for Mobile IPv6, beside the other.
type ipv6 struct {
	Address config.Addr `yaml:"address,required"`
	Home    struct {
		Interface string        `yaml:"interface"`
		Prefix    config.Prefix `yaml:"prefix,required"`
	} `yaml:"home"`
	Tunnel struct {
		Device string `yaml:"device"`
		MTU    int    `yaml:"mtu"`
	} `yaml:"tunnel"`
	Nodes []mobileNode6 `yaml:"nodes,required"`
}

type mobileNode6 struct {
	HomeAddress config.Addr       `yaml:"home-address,required"`
	SPI         uint32            `yaml:"spi,required"`
	KeyFile     config.SecretFile `yaml:"key-file,required"`
	Sequence    bool              `yaml:"sequence"`
}

type mobileNode struct {
	HomeAddress config.Addr       `yaml:"home-address,required"`
	SPI         uint32            `yaml:"spi,required"`
	KeyFile     config.SecretFile `yaml:"key-file,required"`
	Algorithm   string            `yaml:"algorithm"`
}

// Check implements the hook of config.Load.
func (c ipv6) Check() error {
	if !mip6.Unicast(c.Address) {
		return config.Errorf("address", "expected a routable IPv6 address, found %v", c.Address)
	}
	if !c.Home.Prefix.Contains(c.Address) {
		return config.Errorf("address", "%v does not lie in the home network %v", c.Address, c.Home.Prefix)
	}
	for i, n := range c.Nodes {
		key := fmt.Sprintf("nodes[%d]", i)
		if !c.Home.Prefix.Contains(n.HomeAddress) {
			return config.Errorf(key+".home-address", "%v does not lie in the home network %v", n.HomeAddress, c.Home.Prefix)
		}
		if n.SPI <= mip6.SPIReserved {
			return config.Errorf(key+".spi", "%d is reserved: expected 256 or more", n.SPI)
		}
	}
	return nil
}

// agent6 is agent, for Mobile IPv6.
func (c configuration) agent6() (cfg ha6.Config, clear func(), err error) {
	six := c.IPv6
	cfg = ha6.Config{
		HomeInterface: six.Home.Interface, Device: six.Tunnel.Device, MTU: six.Tunnel.MTU,
		Core: ha6.CoreConfig{
			Limits: c.limits(),
			Agent: mip6.AgentConfig{
				Address: six.Address, Prefixes: []config.Prefix{six.Home.Prefix}, Lifetime: c.Lifetime.D(), ClockWindow: c.ClockWindow.D(),
			},
		},
	}
	clear = func() {
		for _, n := range cfg.Core.Agent.Nodes {
			n.Security.Key.Clear()
		}
	}
	for _, n := range six.Nodes {
		key, err := n.KeyFile.Load()
		if err != nil {
			clear()
			return cfg, nil, err
		}
		cfg.Core.Agent.Nodes = append(cfg.Core.Agent.Nodes, mip6.Node{
			Home: n.HomeAddress, Security: mip6.Security{SPI: n.SPI, Key: key, Sequence: n.Sequence},
		})
	}
	return cfg, clear, nil
}

// correspondent is one that does route optimisation.
type correspondent struct {
	Address   config.Addr `yaml:"address,required"`
	Interface string      `yaml:"interface"`
	Tunnel    struct {
		Device string `yaml:"device"`
		MTU    int    `yaml:"mtu"`
	} `yaml:"tunnel"`
}

// Check implements the hook of config.Load.
func (c correspondent) Check() error {
	if !mip6.Unicast(c.Address) {
		return config.Errorf("address", "expected a routable IPv6 address, found %v", c.Address)
	}
	return nil
}

func (c configuration) peer() cn.Config {
	return cn.Config{
		Interface: c.Correspondent.Interface, Device: c.Correspondent.Tunnel.Device, MTU: c.Correspondent.Tunnel.MTU,
		Core: mip6.CorrespondentConfig{Address: c.Correspondent.Address, OldPath: cmp.Or(c.OldPath.D(), path.DefaultOldPath), Rand: rand.Reader},
	}
}
