package main

import (
	"fmt"

	"openmpa/internal/config"
	"openmpa/internal/ha"
	"openmpa/internal/ha/path"
	"openmpa/mn/mobility/mip4"
	"openmpa/tunnel/flow"
)

// configuration is the file's form; example is a complete one.
type configuration struct {
	Node    string         `yaml:"node,required"`
	Control config.Path    `yaml:"control,required"`
	Records config.Records `yaml:"records"`
	State   config.Path    `yaml:"state"`
	Address config.Addr    `yaml:"address"`
	Home    struct {
		Interface string        `yaml:"interface"`
		Prefix    config.Prefix `yaml:"prefix"`
	} `yaml:"home"`
	Tunnel struct {
		Device  string        `yaml:"device"`
		Address config.Prefix `yaml:"address"`
		MTU     int           `yaml:"mtu"`
	} `yaml:"tunnel"`
	Nodes       []mobileNode    `yaml:"nodes"`
	Lifetime    config.Duration `yaml:"lifetime"`
	ClockWindow config.Duration `yaml:"clock-window"`
	MarkerWait  config.Duration `yaml:"marker-wait"`
	OldPath     config.Duration `yaml:"old-path"`
	Copies      config.Duration `yaml:"copies"`
	Hold        struct {
		Packets int          `yaml:"packets"`
		Bytes   config.Bytes `yaml:"bytes"`
	} `yaml:"hold"`
	IPv6          *ipv6          `yaml:"ipv6"`
	Correspondent *correspondent `yaml:"correspondent"`
}

const example = `node: ha                             # name in events and reports
control: /run/openmpa/ha.sock
records: 8192                        # of the timeline, the last ones
state: /var/lib/openmpa/ha.db        # file of what is kept over a crash, made on first start
address: 10.0.3.1                    # of this home agent: registrations (UDP 434) and IP in IP
home: {interface: home0, prefix: 10.9.0.0/24}   # home link; without an interface no ARP is answered
tunnel: {device: mpa0, mtu: 1400}    # mtu: of an inner packet
nodes:                               # without address and nodes it is a home agent for Mobile IPv6 alone
  - {home-address: 10.9.0.2, spi: 256, key-file: mn-ha.key, algorithm: hmac-sha256}   # or hmac-md5
ipv6:                                # Mobile IPv6; leave it out for Mobile IPv4 alone
  address: 2001:db8:9::1             # of this home agent, within the home network; no interface may have it
  home: {interface: home0, prefix: 2001:db8:9::/64}   # without an interface nothing is answered for
  tunnel: {device: mpa6, mtu: 1320}  # mtu: of an inner packet, 40 octets less than any path carries, 88 for nodes with several care-of addresses
  nodes:
    - {home-address: 2001:db8:9::2, spi: 257, key-file: mn-ha.key, sequence: false}   # true: replays are told by sequence numbers, not time stamps
correspondent:                       # makes this host one that mobile nodes speak to directly; leave it out where it is not
  address: 2001:db8:4::c             # by which it does, for its applications to use; no interface may have it
  interface: eth0                    # on whose link it is answered for; without one it must be routed here
  tunnel: {device: mpac, mtu: 1500}  # mtu: of that link
# Of all:
lifetime: 600s                       # longest that a home agent grants
clock-window: 7s                     # how far a node's clock may be off before it is corrected
marker-wait: 500ms                   # how long a new path waits for the end of the old one
old-path: 5s                         # how long packets are taken from the care-of address before
copies: 10s                          # how long packets go to all of several care-of addresses
hold: {packets: 4096, bytes: 8MiB}   # of packets that wait, for each node
`

// Check implements the hook of config.Load.
func (c configuration) Check() error {
	others := c.IPv6 != nil || c.Correspondent != nil
	switch without := !c.Address.IsValid() && len(c.Nodes) == 0; {
	case without && others:
	case len(c.Nodes) == 0:
		return config.Errorf("nodes", "expected the mobile nodes that are served, or neither address nor nodes, and ipv6 or correspondent")
	case !c.Address.Is4():
		return config.Errorf("address", "expected the IPv4 address of this home agent, found %v", c.Address)
	}
	for i, n := range c.Nodes {
		key := fmt.Sprintf("nodes[%d]", i)
		if !n.HomeAddress.Is4() {
			return config.Errorf(key+".home-address", "expected an IPv4 address, found %v", n.HomeAddress)
		}
		if c.Home.Prefix.IsValid() && !c.Home.Prefix.Contains(n.HomeAddress) {
			return config.Errorf(key+".home-address", "%v does not lie in the home network %v", n.HomeAddress, c.Home.Prefix)
		}
		if n.SPI <= mip4.SPIReserved {
			return config.Errorf(key+".spi", "%d is reserved: expected 256 or more", n.SPI)
		}
		if _, err := mip4.ParseAlgorithm(n.Algorithm); err != nil {
			return config.At(key+".algorithm", err)
		}
	}
	if c.Hold.Packets < 0 || c.Tunnel.MTU < 0 {
		return config.Errorf("hold", "packets and tunnel.mtu must not be negative")
	}
	return nil
}

// limits are those of both home agents.
func (c configuration) limits() path.Limits {
	return path.Limits{
		MarkerWait: c.MarkerWait.D(), OldPath: c.OldPath.D(), Copies: c.Copies.D(),
		Hold: flow.Limits{Packets: c.Hold.Packets, Bytes: c.Hold.Bytes.Int()},
	}
}

// agent reads the keys. clear wipes them when the home agent has ended.
func (c configuration) agent() (cfg ha.Config, clear func(), err error) {
	cfg = ha.Config{
		Node: c.Node, HomeInterface: c.Home.Interface, HomePrefix: c.Home.Prefix,
		Device: c.Tunnel.Device, TunnelAddress: c.Tunnel.Address, MTU: c.Tunnel.MTU,
		Core: ha.CoreConfig{
			Address: c.Address, Lifetime: c.Lifetime.D(), ClockWindow: c.ClockWindow.D(), Limits: c.limits(),
		},
	}
	clear = func() {
		for _, n := range cfg.Core.Nodes {
			n.Security.Key.Clear()
		}
	}
	for _, n := range c.Nodes {
		key, err := n.KeyFile.Load()
		if err != nil {
			clear()
			return cfg, nil, err
		}
		algorithm, err := mip4.ParseAlgorithm(n.Algorithm)
		if err != nil {
			clear()
			return cfg, nil, err
		}
		cfg.Core.Nodes = append(cfg.Core.Nodes, ha.Node{
			HomeAddress: n.HomeAddress, Security: mip4.Security{SPI: n.SPI, Key: key, Algorithm: algorithm},
		})
	}
	return cfg, clear, nil
}
