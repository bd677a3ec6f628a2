package main

import (
	"crypto/rand"

	"openmpa/internal/config"
	"openmpa/mn"
	"openmpa/mn/mobility/hook"
	"openmpa/mn/mobility/mip4"
)

// mobility is who moves the binding: one of the two.
type mobility struct {
	MIP4 struct {
		HomeAddress config.Addr       `yaml:"home-address"`
		HomeAgent   config.Addr       `yaml:"home-agent"`
		SPI         uint32            `yaml:"spi"`
		KeyFile     config.SecretFile `yaml:"key-file"`
		Algorithm   string            `yaml:"algorithm"`
		Lifetime    config.Duration   `yaml:"lifetime"`
	} `yaml:"mip4"`
	Hook struct {
		Command []string        `yaml:"command"`
		Timeout config.Duration `yaml:"timeout"`
	} `yaml:"hook"`
}

// check says what is wrong, or nil. The defaults are filled in.
func (m mobility) check() error {
	set := m.MIP4.HomeAddress.IsValid() || m.MIP4.HomeAgent.IsValid()
	switch {
	case len(m.Hook.Command) > 0 && set:
		return config.Errorf("mobility", "both mip4 and hook: expected one of them")
	case len(m.Hook.Command) > 0:
		if err := m.hook().Check(); err != nil {
			return config.At("mobility.hook.command", err)
		}
		return nil
	case !m.MIP4.HomeAddress.Is4() || !m.MIP4.HomeAgent.Is4():
		return config.Errorf("mobility.mip4", "expected the IPv4 addresses home-address and home-agent, or a hook in the place of mip4")
	case m.MIP4.SPI <= mip4.SPIReserved:
		return config.Errorf("mobility.mip4.spi", "%d: 0 to %d are reserved (RFC 5944 §3.5)", m.MIP4.SPI, mip4.SPIReserved)
	}
	if _, err := mip4.ParseAlgorithm(m.MIP4.Algorithm); err != nil {
		return config.At("mobility.mip4.algorithm", err)
	}
	return nil
}

func (m mobility) hook() hook.Config {
	return hook.Config{Command: m.Hook.Command, Timeout: m.Hook.Timeout.D()}
}

// into puts the client that was chosen into the node's configuration.
func (m mobility) into(c *mn.Config) error {
	if len(m.Hook.Command) > 0 {
		c.Hook = m.hook()
		return nil
	}
	key, err := m.MIP4.KeyFile.Load()
	if err != nil {
		return config.At("mobility.mip4.key-file", err)
	}
	algorithm, err := mip4.ParseAlgorithm(m.MIP4.Algorithm)
	if err != nil {
		return err
	}
	c.Home = mip4.ClientConfig{
		HomeAddress: m.MIP4.HomeAddress, HomeAgent: m.MIP4.HomeAgent, SPI: m.MIP4.SPI, Key: key, Algorithm: algorithm,
		Lifetime: m.MIP4.Lifetime.D(), GiveUp: c.Timers.Bind, Rand: rand.Reader,
	}
	return nil
}
