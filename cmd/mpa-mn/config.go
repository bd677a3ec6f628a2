package main

import (
	"fmt"
	"slices"
	"time"

	"openmpa/internal/config"
	"openmpa/internal/wpactrl"
	"openmpa/mn"
	"openmpa/paa/pana"
)

// configuration is the file's form; example is a complete one.
type configuration struct {
	Node      string            `yaml:"node"`
	Control   config.Path       `yaml:"control"`
	Records   config.Records    `yaml:"records"`
	State     config.Path       `yaml:"state"`
	Interface string            `yaml:"interface"` // the only one, and
	Link      linkConfig        `yaml:"link"`      // who moves it
	Several   []interfaceConfig `yaml:"interfaces"`
	Tunnel    struct {
		Device        string               `yaml:"device"`
		MTU           int                  `yaml:"mtu"`
		Offload       *bool                `yaml:"offload"`
		Suites        []config.Suite       `yaml:"suites"`
		Rekey         config.Rekey         `yaml:"rekey"`
		Encapsulation config.Encapsulation `yaml:"encapsulation"`
	} `yaml:"tunnel"`
	EAP  eapConfig `yaml:"eap"`
	PANA struct {
		Ping  config.Duration `yaml:"ping"`
		Await bool            `yaml:"await"`
	} `yaml:"pana"`
	Family    int             `yaml:"family"`
	IPv6      ipv6Config      `yaml:"ipv6"`
	ClientID  config.HexBytes `yaml:"client-id"`
	Networks  []network       `yaml:"networks"`
	Discovery discoveryConfig `yaml:"discovery"`
	Mobility  mobility        `yaml:"mobility"`
	DAD       config.DAD      `yaml:"dad"`
	Timers    struct {
		Auth      config.Duration  `yaml:"auth"`
		Configure config.Duration  `yaml:"configure"`
		Tunnel    config.Duration  `yaml:"tunnel"`
		Bind      config.Duration  `yaml:"bind"`
		Depart    config.Duration  `yaml:"depart"`
		LinkUp    config.Duration  `yaml:"link-up"`
		LinkAuth  config.Duration  `yaml:"link-auth"`
		Arrive    config.Duration  `yaml:"arrive"`
		Settle    config.Duration  `yaml:"settle"`
		Prepared  config.Duration  `yaml:"prepared"`
		PathEnd   config.Duration  `yaml:"path-end"`
		Hold      *config.Duration `yaml:"hold"`
	} `yaml:"timers"`
	Buffer struct {
		Packets int          `yaml:"packets"`
		Bytes   config.Bytes `yaml:"bytes"`
	} `yaml:"buffer"`
	Reach    bool            `yaml:"reach"`
	Prepare  *bool           `yaml:"prepare"`
	Moves    movesConfig     `yaml:"handover"`
	Decision *decisionConfig `yaml:"decision"`
	Watchdog *watchdogConfig `yaml:"watchdog"`
}

const example = `node: mn                              # name in events
control: /run/openmpa/mn.sock
records: 8192                         # of the timeline, the last ones
state: /var/lib/openmpa/mn.db         # file of what is kept over a crash, made on first start
interface: wlan0                      # towards the points of attachment
link: {type: auto}                    # who moves it: wpa_supplicant, ethernet (nobody) or external (a program of yours); auto looks
# interfaces:                         # in the place of both, where there are two; each network is reached by one. raise: move: up for its move only
#   - {name: wlan0, points: [poa-b1], raise: always, link: {type: auto}}
#   - {name: wlan1, points: [poa-a1, poa-a2], raise: move}
tunnel: {device: mpa0, mtu: 1400, offload: true, rekey: {after: 1h, octets: 256GiB}}   # suites: [chacha20-poly1305, aes-128-gcm, aes-256-gcm], the best first; without it the processor decides. offload: false: packets to and from the kernel one by one
eap:
  method: tls                         # or ttls or peap, with a password in the place of certificate and key
  identity: mn@home.example
  ca: ca.pem                          # who signs the server's certificate
  certificate: mn.pem
  key: mn.key
  server-name: aaa.home.example       # that the certificate must have
  resume: true                        # TLS sessions, at whichever network; they are in memory only
  # password-file: mn.password        # of ttls and peap; plain, hex:... or base64:...
  # inner: mschapv2                   # how the server sees the password; ttls knows pap, too
  # anonymous: anonymous@home.example # what the visited network learns of the identity
pana: {ping: 15s}                     # a silent router is asked after this; after twice this it is given up. await: true: where neither this file nor DHCP names a PAA, the link's router may begin the session
networks:                             # points: of attachment, the preferred one first; external: names alone, [poa-b1, poa-b2]
  - name: b
    paa: 10.1.0.1                     # of its router; left out: as DHCP (option 136), DNS or a router names it
    points: [{name: poa-b1, bssid: 02:00:00:00:0b:01, ssid: site-b, freq: 2412}]
  - name: a
    paa: 10.2.0.1
    operator: home.example            # its realm. From here on all may be left out: it is for decisions
    ca: ca.a.example                  # as its configuration agent and its access router call themselves: others are refused
    ar: ar.a.example
    prefixes: [10.2.0.0/24]
    cost: 3                           # dB that its signals are worth less
    points:
      - {name: poa-a1, bssid: 02:00:00:00:0a:01, ssid: site-a, freq: 2437, security: wpa-eap, location: {plan: hall, x: 12, y: 4}, reach: 40}   # MHz; without it all channels are looked at
      - {name: poa-a2, bssid: 02:00:00:00:0a:02, ssid: site-a, freq: 2462}
discovery: {router: true, dns: true}  # where the node learns of more: the serving router; _pana._udp in the link's domain. domains: [site.example]: and in these. unknown-points: true: access points that nobody has named are of the network whose SSID they send. position: {gpsd: "127.0.0.1:2947"}, or {file: /run/openmpa/place, plan: hall}: where it is
family: 4                             # of care-of addresses, that of the home address; 6: they are formed from what routers advertise (RFC 4862), or of DHCPv6
ipv6: {dad: {delay: 1s, transmits: 1, retrans: 1s}}   # RFC 4862, without preparation. identifier: ::1234:5678:9abc:def0: of addresses the node forms, without it stable and opaque ones (RFC 7217)
mobility:                             # one of these; key-file: hex:..., base64:... or plain
  mip4: {home-address: 10.9.0.2, home-agent: 10.0.3.1, spi: 256, key-file: mn-ha.key, algorithm: hmac-sha256, lifetime: 600s}
  # mip6: {home-address: 2001:db8:9::2, home-agent: "2001:db8:3::1", spi: 256, key-file: mn-ha.key, lifetime: 600s}   # family is 6 then. correspondents: [2001:db8:3::/64]: to whom packets go without the home agent (RFC 6275 §5.2); several: true, of mip4, too: while it moves, mpa-ha sends to the old and the new address (RFC 5648, RFC 5944 §3.6.1.2); sequence: true: as the home agent has it
  # hook: {command: [/usr/lib/openmpa/hooks/wireguard, wg0], timeout: 5s}   # an executable that moves the binding, see docs/hook.md
dad: {probe-wait: 1s, probe-num: 3, probe-min: 1s, probe-max: 2s, announce-wait: 2s}   # RFC 5227, without preparation
reach: false                          # true: before the old point is left the new one is asked whether it is there, while both ends hold
prepare: true                         # false: break before make
handover:                             # what becomes of packets around a move
  hold: next                          # by whom they are held: the next router, or the previous one, which then forwards
  guard: never                        # copies kept by a router, for a link that is cut: never, weak (signal below look) or always
decision: {policy: era, look: -65, leave: -72, accept: -65, dwell: 1s, interval: 500ms}   # dBm; policy: sra, era, hara or predictive, see docs/decision.md; without it the node moves when it is told
watchdog: {quiet: 100ms, wait: 120ms, asks: 3}   # of a link that dies with its carrier up; asks: 0 for none
`

// withDefaults fills in what the file leaves out.
func (c configuration) withDefaults() configuration {
	config.Default(&c.State, config.StateFile("mn"))
	config.Default(&c.Link.Type, linkAuto)
	c.Several = slices.Clone(c.Several)
	for i := range c.Several {
		config.Default(&c.Several[i].Link.Type, linkAuto)
	}
	config.Default(&c.Tunnel.Device, "mpa0")
	config.Default(&c.Tunnel.MTU, 1400)
	c.EAP = c.EAP.withDefaults()
	config.Default(&c.Mobility.MIP4.Algorithm, "hmac-md5")
	config.Default(&c.Mobility.MIP4.Lifetime, config.Duration(10*time.Minute))
	config.Default(&c.Mobility.MIP6.Lifetime, config.Duration(10*time.Minute))
	if c.Mobility.is6() {
		config.Default(&c.Family, 6)
	}
	config.Default(&c.PANA.Ping, config.Duration(15*time.Second))
	config.Default(&c.Buffer.Packets, 8192)
	config.Default(&c.Buffer.Bytes, 16<<20)
	for i := range c.Networks {
		config.Default(&c.Networks[i].Port, pana.Port)
	}
	return c
}

// Check implements the hook of config.Load.
func (c configuration) Check() error {
	d := c.withDefaults()
	switch {
	case c.Node == "":
		return config.Errorf("node", "missing: a name for this node")
	case c.Control == "":
		return config.Errorf("control", "missing: where to make the control socket")
	case c.Interface == "" && len(c.Several) == 0:
		return config.Errorf("interface", "missing: the interface towards the points of attachment")
	case d.Tunnel.MTU < 576 || d.Tunnel.MTU > 1400:
		return config.Errorf("tunnel.mtu", "%d: expected 576 to 1400, so that IP-in-IP in ESP fits 1500", d.Tunnel.MTU)
	case d.PANA.Ping < config.Duration(time.Second):
		return config.Errorf("pana.ping", "%v: expected at least 1s", d.PANA.Ping.D())
	case c.Decision != nil && !slices.ContainsFunc(c.interfaces(), interfaceConfig.maySee):
		return config.Errorf("decision", "link.type %s cannot tell the signal: leave decision out, or expected wpa_supplicant or external", c.interfaces()[0].Link.Type)
	case len(c.Networks) == 0:
		return config.Errorf("networks", "missing: at least the one to attach to first")
	}
	names, points, places := map[string]bool{}, map[string]bool{}, map[wpactrl.MAC]bool{}
	for i, n := range c.Networks {
		key := networksKey(i)
		switch {
		case n.Name == "" || names[n.Name]:
			return config.Errorf(key+".name", "%q: expected a name that no other network has", n.Name)
		case len(n.Points) == 0:
			return config.Errorf(key+".points", "missing: at least one point of attachment")
		}
		names[n.Name] = true
		if err := n.check(key); err != nil {
			return err
		}
		for j, p := range n.Points {
			if points[p.Name] || places[p.BSSID] {
				return config.Errorf(fmt.Sprintf("%s.points[%d]", key, j), "%s, or its bssid, stands in two places", p.Name)
			}
			points[p.Name], places[p.BSSID] = true, !p.BSSID.IsZero()
		}
	}
	if err := c.checkInterfaces(); err != nil {
		return err
	}
	if err := d.checkFamily(); err != nil {
		return err
	}
	if err := d.Mobility.check(); err != nil {
		return err
	}
	if err := c.checkMoves(); err != nil {
		return err
	}
	if err := d.EAP.check(); err != nil {
		return err
	}
	if err := c.Tunnel.Rekey.Check(); err != nil {
		return config.At("tunnel.rekey", err)
	}
	return config.At("dad", c.DAD.Timers().Check())
}

func (c configuration) timers() mn.Timers {
	t := mn.DefaultTimers()
	for _, f := range []struct {
		to   *time.Duration
		from config.Duration
	}{
		{&t.Auth, c.Timers.Auth},
		{&t.Configure, c.Timers.Configure},
		{&t.Tunnel, c.Timers.Tunnel},
		{&t.Bind, c.Timers.Bind},
		{&t.Depart, c.Timers.Depart},
		{&t.LinkUp, c.Timers.LinkUp},
		{&t.LinkAuth, c.Timers.LinkAuth},
		{&t.Arrive, c.Timers.Arrive},
		{&t.Settle, c.Timers.Settle},
		{&t.Prepared, c.Timers.Prepared},
		{&t.PathEnd, c.Timers.PathEnd},
	} {
		if f.from != 0 {
			*f.to = f.from.D()
		}
	}
	if c.Timers.Hold != nil {
		t.Hold = c.Timers.Hold.D()
	}
	return t
}

func (c configuration) networks() (out []mn.Network) {
	for _, n := range c.Networks {
		out = append(out, n.model())
	}
	return out
}
