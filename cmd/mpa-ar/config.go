package main

import (
	"net/netip"
	"time"

	"openmpa/internal/config"
	"openmpa/internal/operators"
	"openmpa/paa/pana"
	"openmpa/par"
)

// configuration is the file's form; example is a complete one.
type configuration struct {
	Node     string         `yaml:"node"`
	Control  config.Path    `yaml:"control"`
	Records  config.Records `yaml:"records"`
	State    config.Path    `yaml:"state"`
	Access   accessConfig   `yaml:"access"`
	Address  config.Addr    `yaml:"address"`
	Identity struct {
		CA string `yaml:"ca"`
		AR string `yaml:"ar"`
	} `yaml:"identity"`
	PANA struct {
		Lifetime config.Duration `yaml:"lifetime"`
		Auth     config.Duration `yaml:"auth"`
		Sessions int             `yaml:"sessions"`
		PerNode  int             `yaml:"per-node"`
		Ping     config.Duration `yaml:"ping"`
		Allow    []config.Prefix `yaml:"allow"`
	} `yaml:"pana"`
	AAA    operators.List   `yaml:"aaa"`
	RADIUS operators.Former `yaml:"radius"`
	DHCP   struct {
		Server  config.Addr     `yaml:"server"`
		Timeout config.Duration `yaml:"timeout"`
	} `yaml:"dhcp"`
	Ahead  aheadConfig `yaml:"ahead"`
	DAD    config.DAD  `yaml:"dad"`
	IPv6   *ipv6Config `yaml:"ipv6"`
	Tunnel struct {
		Device        string               `yaml:"device"`
		Address       config.Prefix        `yaml:"address"`
		Port          uint16               `yaml:"port"`
		MTU           int                  `yaml:"mtu"`
		Offload       *bool                `yaml:"offload"`
		Encapsulation config.Encapsulation `yaml:"encapsulation"`
		Suites        []config.Suite       `yaml:"suites"`
		Rekey         config.Rekey         `yaml:"rekey"`
		Unused        config.Duration      `yaml:"unused"`
	} `yaml:"tunnel"`
	Buffer     bufferConfig      `yaml:"buffer"`
	Classes    []class           `yaml:"classes"`
	Points     []point           `yaml:"access-points"`
	Info       infoConfig        `yaml:"info"`
	Neighbours []neighbourConfig `yaml:"neighbours"`
}

const example = `node: a                              # name in events and reports
control: /run/openmpa/a.sock
records: 8192                         # of the timeline, the last ones
state: /var/lib/openmpa/ar.db        # file of what is kept over a crash, made on first start
access: {interface: lan0}            # towards the points of attachment; with "rate: 100Mb/s" what was held leaves no faster
#  with "enforce: true" only nodes that have authenticated may send through it, and others to "open: [10.0.4.53/32]"
address: 10.2.0.1                    # of the router there: PANA (UDP 716), ESP (UDP 4500), DHCP relay
identity: {ca: ca.a.example, ar: ar.a.example}
pana:
  lifetime: 1h
  allow: [10.1.0.0/24]               # from where nodes may log in, besides the access link; none: everywhere
  per-node: 8                        # sessions of one identity at once; the oldest gives way
  ping: 30s                          # a silent node is asked after this; after twice this it is given up
aaa:                                 # whose servers authenticate nodes, an operator an entry
  - name: home
    realms: [home.example, "*.home.example"]   # of which nodes; left out: of all that no other entry has
    radius:
      nas-identifier: ar-a
      retransmit: 2s                 # until a request is repeated, doubled each time (RFC 5080); a near server needs less
      servers: [{address: "10.0.5.1:1812", secret-file: radius.secret}]   # in this order; accounting: another port than the next, or none
      orders: "10.2.0.1:3799"        # where servers may end sessions, or have nodes authenticate again; left out: nowhere
#  - name: partner                    # RADIUS over TLS; docs/aaa.md says which protocol is for whom
#    realms: [partner.example]
#    radsec: {servers: [{address: "192.0.2.7:2083", name: aaa.partner.example}], ca: partner-ca.pem, certificate: ar.pem, key: ar.key}
#  - diameter: {identity: ar-a.visited.example, peers: [{address: "10.0.6.1:5868", identity: relay.visited.example}], ca: peers-ca.pem, certificate: ar.pem, key: ar.key}
dhcp: {server: 10.2.0.3}
# addresses that are leased and past duplicate address detection before a node asks, so that preparing does not wait for these:
# as many as the last nodes would have needed; "min" is kept always, and what was not needed for "idle" is given back
#ahead: {max: 8, min: 1, idle: 10m}
dad: {probe-wait: 1s, probe-num: 3, probe-min: 1s, probe-max: 2s, announce-wait: 2s}   # RFC 5227
ipv6:                                # leave it out for IPv4 alone; who advertises the prefix on the link (as radvd) is another
  address: 2001:db8:2::1/64          # of the router on the access link: PANA, ESP, DHCPv6 relay
  addresses: slaac                   # nodes form them, unless the router advertisement says M; dhcp: they come from the server
  dhcp: 2001:db8:2::3                # DHCPv6 server; left out: nodes form their addresses
  dad: {delay: 1s, transmits: 1, retrans: 1s}   # RFC 4862
tunnel:
  device: mpa0
  address: 169.254.62.52/31
  port: 4500
  offload: true                      # false: packets to and from the kernel one by one, where it cannot do otherwise
  unused: 60s
  suites: [aes-128-gcm, aes-256-gcm, chacha20-poly1305]   # that nodes may choose from, by what their processors like
  encapsulation: esp                                      # ipip: nodes that want it have packets unprotected, see docs/operating.md
  rekey: {after: 1h, octets: 256GiB}                      # other keys then, without loss; packets: N likewise
# What nodes that are here are told of this network and of those around; "off: true" tells nothing. docs/neighbours.md says more.
info:
  network: a                         # as nodes call it; left out: the name of this router
  operator: home.example
  points: [{name: poa-a0, ssid: corp, freq: 2437, security: wpa-eap, location: {plan: hall, x: 0, y: 4}, reach: 40}]
#  cost: 3                           # dB by which a signal here is worth less
#  listen: 10.0.1.2:7161             # TCP, where the neighbours' routers may ask; each shows a certificate
#  ca: ca.pem                        # who signs routers' certificates
#  certificate: ar.pem               # this router's, with a DNS name
#  key: ar.key
#  site: home.example                # routers with the names ar.NETWORK.home.example may ask, and are asked when they do
# Networks around: what is said here is believed before anything that their routers say.
#neighbours:
#  - {name: b, paa: 10.1.0.1, points: [{name: poa-b, bssid: "02:00:00:00:02:00"}]}
#  - {name: c, router: "10.0.1.3:7161", identity: ar.c.example}     # what is left out is asked there
# What comes while nodes move is held, as much as each is expected to need. "off: true" holds nothing.
buffer:
  age: 10s                           # what is held longer is dropped
  router: {packets: 32768, bytes: 64MiB}      # for all nodes together: a packet takes 2 KiB of memory
  guarantee: {packets: 16, bytes: 24KiB}      # for each of them; of the rest it has its share
  gap: 500ms                         # how long a node is away, until it has been measured
  spare: 0.25                        # a quarter more than what was measured
#  packets: 4096                     # one node may have this at most; left out: its share
#  bytes: 8MiB
# What a move means for a class of traffic, told by DSCP; the first goes first, the last takes the rest. Left out: all is held.
#classes:
#  - {name: voice, dscp: [46], handling: bicast, age: 200ms}   # to both places around a move, where the node asks for it
#  - {name: scavenger, dscp: [8], handling: pass}              # dropped while a node is away
#  - {name: rest, handling: hold}
# 802.11 with hostapd: a node's keys are in these before it comes. One here, and one on another machine with mpa-ar ap-agent.
#access-points:
#  - {name: poa-a1, bssid: "02:00:00:00:01:00", akm: WPA-EAP, socket: /run/hostapd/wlan0}
#  - {name: poa-a2, bssid: "02:00:00:00:01:01", akm: WPA-EAP, agent: "10.2.0.5:7160", identity: ap2.a.example,
#     ca: ca.pem, certificate: ar.pem, key: ar.key}
`

// withDefaults fills in what the file leaves out.
func (c configuration) withDefaults() configuration {
	config.Default(&c.State, config.StateFile("ar"))
	config.Default(&c.PANA.Lifetime, config.Duration(time.Hour))
	config.Default(&c.PANA.Auth, config.Duration(20*time.Second))
	config.Default(&c.PANA.Sessions, 1000)
	config.Default(&c.PANA.PerNode, 8)
	config.Default(&c.PANA.Ping, config.Duration(30*time.Second))
	config.Default(&c.DHCP.Timeout, config.Duration(8*time.Second))
	config.Default(&c.Tunnel.Device, "mpa0")
	config.Default(&c.Tunnel.Address, netip.MustParsePrefix("169.254.62.52/31"))
	config.Default(&c.Tunnel.Port, 4500)
	if c.IPv6 != nil {
		config.Default(&c.Tunnel.MTU, par.DefaultMTU6)
	}
	config.Default(&c.Tunnel.MTU, par.DefaultMTU)
	config.Default(&c.Tunnel.Unused, config.Duration(time.Minute))
	return c
}

// Check implements the hook of config.Load.
func (c configuration) Check() error {
	switch {
	case c.Node == "":
		return config.Errorf("node", "missing: a name for this router")
	case c.Control == "":
		return config.Errorf("control", "missing: where to make the control socket")
	case c.Access.Interface == "":
		return config.Errorf("access.interface", "missing: the interface of the access link")
	case !c.Address.Is4():
		return config.Errorf("address", "expected the router's IPv4 address on the access link")
	case c.Identity.CA == "" || c.Identity.AR == "":
		return config.Errorf("identity", "expected names for ca and ar; keys are bound to them")
	case len(c.AAA) == 0:
		return config.Errorf("aaa", "missing: who authenticates nodes, as \"aaa: [{radius: {servers: [...]}}]\"; mpa-ar --example shows it")
	case c.PANA.PerNode < 0 || c.PANA.PerNode == 1: // a new session overlaps the one that it replaces
		return config.Errorf("pana.per-node", "%d: expected how many sessions a node may have at once, 2 or more", c.PANA.PerNode)
	case !c.DHCP.Server.Is4():
		return config.Errorf("dhcp.server", "expected the IPv4 address of the DHCP server")
	}
	ids := make([]pointID, len(c.Points))
	for i, p := range c.Points {
		ids[i] = p.ID
	}
	if err := differ("access-points", ids); err != nil {
		return err
	}
	if err := c.IPv6.check(); err != nil {
		return err
	}
	if err := c.Tunnel.Rekey.Check(); err != nil {
		return config.At("tunnel.rekey", err)
	}
	if err := c.checkClasses(); err != nil {
		return err
	}
	if err := c.checkInfo(); err != nil {
		return err
	}
	return config.At("dad", c.DAD.Timers().Check())
}

func (c configuration) listen() netip.AddrPort { return netip.AddrPortFrom(c.Address, pana.Port) }
