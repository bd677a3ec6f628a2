package operators

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"openmpa/aaa/diameter"
	"openmpa/internal/config"
)

// Diameter is the key diameter: of an operator: the EAP application (RFC 4072) and base
// accounting, directly to servers or through relays.
type Diameter struct {
	Identity      string          `yaml:"identity"`       // of this node: a host name, that of its certificate
	Realm         string          `yaml:"realm"`          // of this node; left out: its identity's domain
	NASIdentifier string          `yaml:"nas-identifier"` // left out: the node's name
	Timeout       config.Duration `yaml:"timeout"`        // of one request, over all servers
	Watchdog      config.Duration `yaml:"watchdog"`       // of silence until a peer is asked for a sign of life
	Accounting    string          `yaml:"accounting"`     // none: nobody takes records; left out: the servers do
	Peers         []DiameterPeer  `yaml:"peers"`
	CA            config.File     `yaml:"ca"` // authorities of the peers' certificates
	Certificate   config.File     `yaml:"certificate"`
	Key           config.File     `yaml:"key"`
}

// DiameterPeer is a server, or a relay on the way to servers. Those of lower priority
// numbers are asked first, and of one number those that come first.
type DiameterPeer struct {
	Address  config.AddrPort `yaml:"address"`
	Identity string          `yaml:"identity"`
	Realms   []string        `yaml:"realms"` // reached by it; left out: every one
	TLS      bool            `yaml:"tls"`    // left out: with TLS
	Priority int             `yaml:"priority"`
}

// SetDefaults implements the hook of config.Load.
func (p *DiameterPeer) SetDefaults() { p.TLS = true }

// SetDefaults implements the hook of config.Load.
func (d *Diameter) SetDefaults() {
	d.Timeout = config.Duration(8 * time.Second)
	d.Watchdog = config.Duration(30 * time.Second)
}

// minWatchdog is of RFC 3539 section 3.4.1.
const minWatchdog = 6 * time.Second

// Check implements the hook of config.Load.
func (d *Diameter) Check() error {
	_, domain, ok := strings.Cut(d.Identity, ".")
	switch {
	case !ok || domain == "":
		return config.Errorf("identity", "%q: expected a host name with its domain, as ar-a.visited.example", d.Identity)
	case d.Watchdog.D() < minWatchdog:
		return config.Errorf("watchdog", "expected %v at least (RFC 3539)", minWatchdog)
	case d.Accounting != "" && d.Accounting != noAccounting:
		return config.Errorf("accounting", "%q: expected none, or nothing: records go over the same connections", d.Accounting)
	case len(d.Peers) == 0:
		return config.Errorf("peers", "missing: at least one Diameter server or relay")
	}
	config.Default(&d.Realm, domain)
	for i, p := range d.Peers {
		at := fmt.Sprintf("peers[%d]", i)
		switch {
		case !p.Address.IsValid() || p.Address.Port() == 0 || p.Identity == "":
			return config.Errorf(at, "expected address, as \"10.0.5.1:3868\", and identity, as aaa.home.example")
		case p.TLS && (d.CA == "" || d.Certificate == "" || d.Key == ""):
			return errors.New("expected ca, certificate and key: both sides have certificates; a peer in a network that is secured otherwise has \"tls: false\"")
		}
	}
	slices.SortStableFunc(d.Peers, func(a, b DiameterPeer) int { return cmp.Compare(a.Priority, b.Priority) })
	return nil
}

// Client makes a client of the peers.
func (d *Diameter) Client(o Options) (*diameter.Client, error) {
	cfg := diameter.Config{Identity: d.Identity, Realm: d.Realm, Watchdog: d.Watchdog.D(), Rand: o.Rand, Log: o.Log}
	for i, p := range d.Peers {
		cfg.Peers = append(cfg.Peers, diameter.Peer{
			Identity: p.Identity, Addr: p.Address.String(), TLS: p.TLS, Realms: p.Realms, Priority: i,
		})
	}
	if d.CA != "" {
		pair, roots, err := Certificates(d.CA, d.Certificate, d.Key)
		if err != nil {
			return nil, err
		}
		cfg.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, ClientCAs: roots}
	}
	return diameter.NewClient(cfg, diameter.ClientConfig{NASIdentifier: cmp.Or(d.NASIdentifier, o.Node), Timeout: d.Timeout.D(), NoAccounting: d.Accounting != "", Log: o.Log})
}
