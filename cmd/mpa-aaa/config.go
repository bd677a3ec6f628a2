package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"openmpa/aaa/server"
	"openmpa/internal/config"
	"openmpa/internal/operators"
)

// configuration is the file's form; example is a complete one.
type configuration struct {
	Node       string         `yaml:"node"`
	Control    config.Path    `yaml:"control"`
	Records    config.Records `yaml:"records"`
	State      config.Path    `yaml:"state"`
	ServerName string         `yaml:"server-name"`

	RADIUS   *radiusFront   `yaml:"radius"`
	RadSec   *radsecFront   `yaml:"radsec"`
	Diameter *diameterFront `yaml:"diameter"`

	Methods []string        `yaml:"methods"`
	Users   config.Path     `yaml:"users"`
	Resume  config.Duration `yaml:"resume"`
	TLS     struct {
		Min version `yaml:"min-version"`
		Max version `yaml:"max-version"`
	} `yaml:"tls"`

	Realms []string       `yaml:"realms"`
	AAA    operators.List `yaml:"aaa"`

	Books          config.Path     `yaml:"books"`
	Interim        config.Duration `yaml:"interim"`
	SessionTimeout config.Duration `yaml:"session-timeout"`
	Sessions       int             `yaml:"sessions"`

	Listen  moved `yaml:"listen"`
	Clients moved `yaml:"clients"`
}

// radiusFront is the key radius: routers that ask over UDP.
type radiusFront struct {
	Listen     config.AddrPort `yaml:"listen"`
	Accounting accounting      `yaml:"accounting"`
	Clients    []client        `yaml:"clients"`
}

type client struct {
	Prefix     config.Prefix     `yaml:"prefix"`
	SecretFile config.SecretFile `yaml:"secret-file"`
	Orders     config.AddrPort   `yaml:"orders"`
}

// accounting is where records come in: an address, "none", or nothing, which is the port
// after that of authentication.
type accounting string

func (a accounting) of(listen netip.AddrPort) (netip.AddrPort, error) {
	switch a {
	case "":
		return netip.AddrPortFrom(listen.Addr(), listen.Port()+1), nil
	case "none":
		return netip.AddrPort{}, nil
	}
	at, err := netip.ParseAddrPort(string(a))
	if err != nil || at.Port() == 0 {
		return netip.AddrPort{}, fmt.Errorf("%q: expected an address and port such as 10.0.5.1:1813, or none; left out, it is the port after that of listen", string(a))
	}
	return at, nil
}

// radsecFront is the key radsec: routers that ask over TLS.
type radsecFront struct {
	Listen      config.AddrPort `yaml:"listen"`
	Clients     []string        `yaml:"clients"`
	CA          config.File     `yaml:"ca"`
	Certificate config.File     `yaml:"certificate"`
	Key         config.File     `yaml:"key"`
}

// moved is a key that has its place in radius: now.
type moved struct{}

// UnmarshalYAML takes whatever is there.
func (*moved) UnmarshalYAML([]byte) error { return nil }

// Check implements the hook of config.Load.
func (*moved) Check() error {
	return errors.New("is now in radius: write \"radius: {listen: ..., clients: [...]}\" with what stands here")
}

const example = `node: aaa                            # name in events and reports
control: /run/openmpa/aaa.sock
records: 8192                        # of the timeline, the last ones
state: /var/lib/openmpa/aaa          # certificate authority and server certificate, made on first start
server-name: aaa.home.example        # what nodes check the server's certificate by
radius:                              # routers, and servers of other operators, ask by radius, radsec or diameter, or several
  listen: 10.0.5.1:1812              # authentication, UDP
  accounting: 10.0.5.1:1813          # left out: the next port; none: not taken
  clients: [{prefix: 10.0.0.0/8, secret-file: radius.secret, orders: "0.0.0.0:3799"}]   # the longest prefix counts; orders: where a router takes them, 0.0.0.0 at its own address
#radsec:                             # RADIUS over TLS 1.3, both sides with certificates
#  listen: 10.0.5.1:2083
#  clients: [ar-a.home.example, "*.visited.example"]   # names in routers' certificates
#  ca: peers-ca.pem                  # of their certificates; never the one that nodes have theirs from
#  certificate: peers.pem            # mpa-aaa cert issue --state peers --name aaa.home.example
#  key: peers.key
#diameter:
#  identity: aaa.home.example         # a host name, and the name in the certificate
#  realm: home.example
#  listen-tls: 10.0.5.1:5868          # TLS 1.3, both sides with certificates; listen: the same without TLS
#  watchdog: 30s                      # of silence until a peer is asked for a sign of life
#  peers:                             # routers, and relays that speak for them; *: any name below
#    - {identity: "*.visited.example"}
#    - {identity: ar-l.home.example, tls: false, from: [10.0.2.0/24]}   # known by where it comes from
#  ca: peers-ca.pem                   # of the peers' certificates; never the one that nodes have theirs from
#  certificate: diameter.pem
#  key: diameter.key
methods: [tls, ttls, peap]           # as they are offered; left out: all, or tls only without users
users: users.json                    # who has a password, or is blocked: mpa-aaa user add
resume: 8h                           # how long TLS sessions are resumed after a full authentication; 0s: never
tls: {min-version: "1.2", max-version: "1.3"}
#realms: [home.example]              # this server's own, where aaa: has others
#aaa:                                # whose servers authenticate nodes of other realms: as in mpa-ar's configuration
#  - {name: partner, realms: [partner.example], radius: {servers: [{address: "10.9.0.1:1812", secret-file: partner.secret}]}}
books: /var/lib/openmpa/aaa.books    # accounting records, a JSON object a line; move it away at any time
interim: 10m                         # between records of a session; 0s: start and stop only
session-timeout: 1h                  # after which a node has to authenticate again
sessions: 1024                       # authentications under way at once
`

// version is a TLS version in the file.
type version uint16

// number is the version as crypto/tls has it; 0 where the file says none.
func (v version) number() uint16 { return uint16(v) }

// UnmarshalText implements encoding.TextUnmarshaler.
func (v *version) UnmarshalText(text []byte) error {
	switch string(text) {
	case "1.2":
		*v = tls.VersionTLS12
	case "1.3":
		*v = tls.VersionTLS13
	default:
		return fmt.Errorf("%q is no TLS version we speak: expected \"1.2\" or \"1.3\"", text)
	}
	return nil
}

// SetDefaults implements the hook of config.Load.
func (c *configuration) SetDefaults() {
	c.TLS.Min, c.TLS.Max = tls.VersionTLS12, tls.VersionTLS13
	c.Resume = config.Duration(8 * time.Hour)
	c.SessionTimeout = config.Duration(time.Hour)
	c.Sessions = 1024
}

// Check implements the hook of config.Load.
func (c *configuration) Check() error {
	switch {
	case c.Node == "":
		return config.Errorf("node", "missing: a name for this server")
	case c.Control == "":
		return config.Errorf("control", "missing: where to make the control socket")
	case c.State == "":
		return config.Errorf("state", "missing: the directory of the certificates")
	case c.ServerName == "":
		return config.Errorf("server-name", "missing: the DNS name nodes check the server by")
	case c.RADIUS == nil && c.RadSec == nil && c.Diameter == nil:
		return errors.New("expected radius, radsec or diameter: how routers ask")
	case c.TLS.Min > c.TLS.Max:
		return config.Errorf("tls", "min-version is above max-version")
	case c.Sessions <= 0:
		return config.Errorf("sessions", "expected a positive number")
	case len(c.AAA) > 0 && len(c.Realms) == 0:
		return config.Errorf("realms", "missing: this server's own realms, since aaa has others")
	case c.Interim > 0 && c.Interim.D() < time.Minute:
		return config.Errorf("interim", "expected 1m at least (RFC 2869 section 5.16)")
	}
	if len(c.Methods) == 0 {
		if c.Methods = []string{"tls"}; c.Users != "" {
			c.Methods = server.Methods
		}
	}
	for i, m := range c.Methods {
		at := fmt.Sprintf("methods[%d]", i)
		switch {
		case !slices.Contains(server.Methods, m):
			return config.Errorf(at, "%q: expected %s", m, strings.Join(server.Methods, ", "))
		case slices.Contains(c.Methods[:i], m):
			return config.Errorf(at, "%q is there twice", m)
		case m != "tls" && c.Users == "":
			return config.Errorf("users", "missing: %s asks for passwords, name the file that has them", m)
		}
	}
	for i, r := range c.Realms {
		if r == "" || strings.ContainsAny(r, "@* \t") {
			return config.Errorf(fmt.Sprintf("realms[%d]", i), "%q: expected a realm such as home.example", r)
		}
	}
	return nil
}

// Check implements the hook of config.Load.
func (r *radiusFront) Check() error {
	if !r.Listen.IsValid() || r.Listen.Port() == 0 {
		return config.Errorf("listen", "expected an address and port such as 10.0.5.1:1812")
	}
	if _, err := r.Accounting.of(r.Listen); err != nil {
		return config.At("accounting", err)
	}
	if len(r.Clients) == 0 {
		return config.Errorf("clients", "missing: at least one prefix of access routers, with its secret")
	}
	for i, cl := range r.Clients {
		if !cl.Prefix.IsValid() || cl.SecretFile == "" {
			return config.Errorf(fmt.Sprintf("clients[%d]", i), "expected prefix and secret-file")
		}
	}
	return nil
}

// Check implements the hook of config.Load.
func (r *radsecFront) Check() error {
	switch {
	case !r.Listen.IsValid() || r.Listen.Port() == 0:
		return config.Errorf("listen", "expected an address and port such as 10.0.5.1:2083")
	case len(r.Clients) == 0:
		return config.Errorf("clients", "missing: the names in routers' certificates; a certificate alone makes nobody a router")
	case r.CA == "" || r.Certificate == "" || r.Key == "":
		return errors.New("expected ca, certificate and key: both sides have certificates")
	}
	return nil
}
