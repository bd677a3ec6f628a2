package main

import (
	"fmt"

	"openmpa/internal/config"
	"openmpa/par"
	"openmpa/tunnel/flow"
)

// bufferConfig is what the router holds for nodes that move. It sizes itself: what is
// said here are bounds, and what it begins with.
type bufferConfig struct {
	Off       bool            `yaml:"off"`
	Packets   int             `yaml:"packets"` // of one node
	Bytes     config.Bytes    `yaml:"bytes"`   // of one node
	Age       config.Duration `yaml:"age"`
	Router    amount          `yaml:"router"`    // of all nodes
	Guarantee amount          `yaml:"guarantee"` // to each
	Gap       config.Duration `yaml:"gap"`
	Spare     float64         `yaml:"spare"`
}

type amount struct {
	Packets int          `yaml:"packets"`
	Bytes   config.Bytes `yaml:"bytes"`
}

func (a amount) limits() flow.Limits { return flow.Limits{Packets: a.Packets, Bytes: a.Bytes.Int()} }

// SetDefaults implements the hook of package config: here 0 says something.
func (b *bufferConfig) SetDefaults() {
	d := par.DefaultBuffer()
	b.Guarantee = amount{d.Guaranteed.Packets, config.Bytes(d.Guaranteed.Bytes)}
	b.Gap, b.Spare = config.Duration(d.Gap), d.Spare
}

// withDefaults fills in the bounds: one node may have all that is free, and the
// router has no less than one node may have.
func (b bufferConfig) withDefaults() bufferConfig {
	d := par.DefaultBuffer()
	config.Default(&b.Router.Packets, max(d.All.Packets, b.Packets))
	config.Default(&b.Router.Bytes, max(config.Bytes(d.All.Bytes), b.Bytes))
	config.Default(&b.Packets, b.Router.Packets)
	config.Default(&b.Bytes, b.Router.Bytes)
	config.Default(&b.Age, config.Duration(d.Each.MaxAge))
	return b
}

// buffer is what may be held; the zero Buffer holds nothing.
func (b bufferConfig) buffer() par.Buffer {
	if b.Off {
		return par.Buffer{}
	}
	b = b.withDefaults()
	return par.Buffer{
		Each: flow.Limits{Packets: b.Packets, Bytes: b.Bytes.Int(), MaxAge: b.Age.D()},
		All:  b.Router.limits(), Guaranteed: b.Guarantee.limits(), Gap: b.Gap.D(), Spare: b.Spare,
	}
}

// Check implements the hook of package config.
func (b bufferConfig) Check() error {
	for key, a := range map[string]amount{"packets": {b.Packets, b.Bytes}, "router": b.Router, "guarantee": b.Guarantee} {
		if a.Packets < 0 {
			return config.Errorf(key, "%d packets: expected 0 or more", a.Packets)
		}
	}
	return config.At("guarantee", b.buffer().Check())
}

// leastRate is that of an access link which could carry anything in time.
const leastRate = config.BitRate(10_000)

// accessConfig is the link towards the points of attachment.
type accessConfig struct {
	Interface string          `yaml:"interface"`
	Rate      config.BitRate  `yaml:"rate"`
	Burst     config.Bytes    `yaml:"burst"`
	Enforce   bool            `yaml:"enforce"`
	Open      []config.Prefix `yaml:"open"`
}

func (a accessConfig) link() par.Link { return par.Link{Rate: float64(a.Rate), Burst: a.Burst.Int()} }

// Check implements the hook of package config.
func (a accessConfig) Check() error {
	switch {
	case a.Rate != 0 && a.Rate < leastRate:
		return config.Errorf("rate", "%v: expected what the access link takes, %v or more, or nothing if that is not known", a.Rate, leastRate)
	case a.Burst != 0 && a.Rate == 0:
		return config.Errorf("burst", "without a rate it has no meaning: give access.rate, too")
	case len(a.Open) > 0 && !a.Enforce:
		return config.Errorf("open", "without enforce everything is open: give access.enforce, too")
	}
	for i, p := range a.Open {
		if a := p.Addr(); !p.IsValid() || a.Is4In6() || a.IsLinkLocalUnicast() || a.IsMulticast() {
			return config.Errorf(fmt.Sprintf("open[%d]", i), "%v: expected a prefix of addresses that routers forward", p)
		}
	}
	return nil
}
