package operators

import (
	"cmp"
	"fmt"
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
}

// RADIUSServer is one of them. Those of lower priority numbers are asked first, and of
// one number those that come first.
type RADIUSServer struct {
	Address    config.AddrPort   `yaml:"address"`
	SecretFile config.SecretFile `yaml:"secret-file"`
	Priority   int               `yaml:"priority"`
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
	}
	slices.SortStableFunc(r.Servers, func(a, b RADIUSServer) int { return cmp.Compare(a.Priority, b.Priority) })
	return nil
}

// Client makes a client of the servers; node is the name of whoever asks.
func (r *RADIUS) Client(o Options) (*radius.Client, error) {
	cfg := radius.Config{
		NASIdentifier: cmp.Or(r.NASIdentifier, o.Node), Timeout: r.Timeout.D(),
		Timing: radius.Timing{IRT: r.Retransmit.D()}, Rand: o.Rand, Log: o.Log,
	}
	for _, s := range r.Servers {
		secret, err := s.SecretFile.Load()
		if err != nil {
			return nil, err
		}
		cfg.Servers = append(cfg.Servers, radius.Server{Addr: s.Address, Secret: secret})
	}
	return radius.NewClient(cfg)
}
