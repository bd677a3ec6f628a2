package main

import (
	"crypto/rand"
	"fmt"

	"openmpa/internal/config"
	"openmpa/mn"
	"openmpa/mn/mobility/hook"
	"openmpa/mn/mobility/mip4"
	"openmpa/mn/mobility/mip6"
)

// mobility is who moves the binding: one of these.
type mobility struct {
	MIP4 struct {
		HomeAddress config.Addr       `yaml:"home-address"`
		HomeAgent   config.Addr       `yaml:"home-agent"`
		SPI         uint32            `yaml:"spi"`
		KeyFile     config.SecretFile `yaml:"key-file"`
		Algorithm   string            `yaml:"algorithm"`
		Lifetime    config.Duration   `yaml:"lifetime"`
		Several     bool              `yaml:"several"`
		Beside      []string          `yaml:"beside"`
	} `yaml:"mip4"`
	MIP6 struct {
		HomeAddress    config.Addr       `yaml:"home-address"`
		HomeAgent      config.Addr       `yaml:"home-agent"`
		SPI            uint32            `yaml:"spi"`
		KeyFile        config.SecretFile `yaml:"key-file"`
		Sequence       bool              `yaml:"sequence"`
		Lifetime       config.Duration   `yaml:"lifetime"`
		Correspondents []config.Prefix   `yaml:"correspondents"`
		Several        bool              `yaml:"several"`
		Beside         []string          `yaml:"beside"`
	} `yaml:"mip6"`
	Hook struct {
		Command []string        `yaml:"command"`
		Timeout config.Duration `yaml:"timeout"`
	} `yaml:"hook"`
}

// check says what is wrong, or nil. The defaults are filled in.
func (m mobility) check() error {
	set := m.MIP4.HomeAddress.IsValid() || m.MIP4.HomeAgent.IsValid()
	switch {
	case len(m.Hook.Command) > 0 && (set || m.is6()) || set && m.is6():
		return config.Errorf("mobility", "expected one of mip4, mip6 and hook")
	case len(m.Hook.Command) > 0:
		if err := m.hook().Check(); err != nil {
			return config.At("mobility.hook.command", err)
		}
		return nil
	case m.is6():
		return m.check6()
	case !m.MIP4.HomeAddress.Is4() || !m.MIP4.HomeAgent.Is4():
		return config.Errorf("mobility.mip4", "expected the IPv4 addresses home-address and home-agent, or mip6 or a hook in the place of mip4")
	case m.MIP4.SPI <= mip4.SPIReserved:
		return config.Errorf("mobility.mip4.spi", "%d: 0 to %d are reserved (RFC 5944 §3.5)", m.MIP4.SPI, mip4.SPIReserved)
	}
	if _, err := mip4.ParseAlgorithm(m.MIP4.Algorithm); err != nil {
		return config.At("mobility.mip4.algorithm", err)
	}
	return nil
}

// is6 says that it is Mobile IPv6: the family of care-of addresses is 6 then.
func (m mobility) is6() bool { return m.MIP6.HomeAddress.IsValid() || m.MIP6.HomeAgent.IsValid() }

func (m mobility) check6() error {
	c := m.MIP6
	switch {
	case !mip6.Unicast(c.HomeAddress) || !mip6.Unicast(c.HomeAgent):
		return config.Errorf("mobility.mip6", "expected the routable IPv6 addresses home-address and home-agent")
	case c.SPI <= mip6.SPIReserved:
		return config.Errorf("mobility.mip6.spi", "%d: 0 to %d are reserved (RFC 4285 §5.1)", c.SPI, mip6.SPIReserved)
	}
	for i, p := range c.Correspondents {
		if !p.Addr().Is6() {
			return config.Errorf(fmt.Sprintf("mobility.mip6.correspondents[%d]", i), "%v: expected an IPv6 prefix or address", p)
		}
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
	if m.is6() {
		return m.into6(c)
	}
	key, err := m.MIP4.KeyFile.Load()
	if err != nil {
		return config.At("mobility.mip4.key-file", err)
	}
	algorithm, err := mip4.ParseAlgorithm(m.MIP4.Algorithm)
	if err != nil {
		return err
	}
	c.Several, c.Beside = m.MIP4.Several || len(m.MIP4.Beside) > 0, m.MIP4.Beside
	c.Home = mip4.ClientConfig{
		HomeAddress: m.MIP4.HomeAddress, HomeAgent: m.MIP4.HomeAgent, SPI: m.MIP4.SPI, Key: key, Algorithm: algorithm,
		Lifetime: m.MIP4.Lifetime.D(), GiveUp: c.Timers.Bind, Rand: rand.Reader,
	}
	return nil
}

// into6 puts Mobile IPv6 into the node's configuration.
func (m mobility) into6(c *mn.Config) error {
	key, err := m.MIP6.KeyFile.Load()
	if err != nil {
		return config.At("mobility.mip6.key-file", err)
	}
	c.Home6 = mip6.ClientConfig{
		Home: m.MIP6.HomeAddress, HomeAgent: m.MIP6.HomeAgent,
		Security: mip6.Security{SPI: m.MIP6.SPI, Key: key, Sequence: m.MIP6.Sequence},
		Lifetime: m.MIP6.Lifetime.D(), GiveUp: c.Timers.Bind, Rand: rand.Reader,
	}
	c.Correspondents = append(c.Correspondents, m.MIP6.Correspondents...)
	c.Several, c.Beside = m.MIP6.Several || len(m.MIP6.Beside) > 0, m.MIP6.Beside
	return nil
}
