package operators

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"openmpa/aaa/radius"
	"openmpa/internal/config"
)

// RADIUS is the key radius: of an operator.
type RADIUS struct {
	NASIdentifier string          `yaml:"nas-identifier"` // left out: the node's name
	Timeout       config.Duration `yaml:"timeout"`        // of one request, over all servers
	Retransmit    config.Duration `yaml:"retransmit"`     // until a request is repeated, doubled each time (RFC 5080)
	Servers       []RADIUSServer  `yaml:"servers"`
	Orders        config.AddrPort `yaml:"orders"`        // where Disconnect- and CoA-Requests of the servers are taken; left out: nowhere
	OperatorName  string          `yaml:"operator-name"` // the realm of this network, told to the servers; left out: not told
}

// RADIUSServer is one of them. Those of lower priority numbers are asked first, and of
// one number those that come first.
type RADIUSServer struct {
	Address    config.AddrPort   `yaml:"address"`
	SecretFile config.SecretFile `yaml:"secret-file"`
	Accounting Accounting        `yaml:"accounting"`
	Priority   int               `yaml:"priority"`
}

// Accounting is where a server takes records: an address, "none", or nothing, which is the
// port after that of authentication.
type Accounting string

const noAccounting = "none"

// of is the address, invalid if there is none.
func (a Accounting) of(server netip.AddrPort) (netip.AddrPort, error) {
	switch a {
	case "":
		return netip.AddrPortFrom(server.Addr(), server.Port()+1), nil
	case noAccounting:
		return netip.AddrPort{}, nil
	}
	to, err := netip.ParseAddrPort(string(a))
	if err != nil || to.Port() == 0 {
		return netip.AddrPort{}, fmt.Errorf("%q: expected an address, as \"10.0.5.1:1813\", or none; left out, it is the port after that of the server", string(a))
	}
	return to, nil
}

// minRetransmit bounds RADIUS.Retransmit.
const minRetransmit = 20 * time.Millisecond

// SetDefaults implements the hook of config.Load.
func (r *RADIUS) SetDefaults() {
	r.Timeout = config.Duration(8 * time.Second)
	r.Retransmit = config.Duration(2 * time.Second)
}

// Check implements the hook of config.Load.
func (r *RADIUS) Check() error {
	switch {
	case len(r.Servers) == 0:
		return config.Errorf("servers", "missing: at least one RADIUS server")
	case r.Retransmit.D() < minRetransmit:
		return config.Errorf("retransmit", "expected %v at least: a server that is slow for a moment must not be flooded", minRetransmit)
	}
	for i, s := range r.Servers {
		if !s.Address.IsValid() || s.Address.Port() == 0 || s.SecretFile == "" {
			return config.Errorf(fmt.Sprintf("servers[%d]", i), "expected address, as \"10.0.5.1:1812\", and secret-file")
		}
		if _, err := s.Accounting.of(s.Address); err != nil {
			return config.Errorf(fmt.Sprintf("servers[%d].accounting", i), "%w", err)
		}
	}
	slices.SortStableFunc(r.Servers, func(a, b RADIUSServer) int { return cmp.Compare(a.Priority, b.Priority) })
	return nil
}

// Client makes a client of the servers; node is the name of whoever asks.
func (r *RADIUS) Client(o Options) (*radius.Client, error) {
	cfg := radius.Config{
		NASIdentifier: cmp.Or(r.NASIdentifier, o.Node), Timeout: r.Timeout.D(),
		Timing: radius.Timing{IRT: r.Retransmit.D()}, Orders: r.Orders, Operator: r.OperatorName, Rand: o.Rand, Log: o.Log,
	}
	for _, s := range r.Servers {
		secret, err := s.SecretFile.Load()
		if err != nil {
			return nil, err
		}
		books, err := s.Accounting.of(s.Address)
		if err != nil {
			return nil, err
		}
		cfg.Servers = append(cfg.Servers, radius.Server{Addr: s.Address, Accounting: books, Secret: secret})
	}
	return radius.NewClient(cfg)
}
