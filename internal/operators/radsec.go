package operators

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"time"

	"openmpa/aaa/radius"
	"openmpa/internal/config"
)

// RadSec is the key radsec: of an operator: RADIUS over TLS 1.3, where both sides have a
// certificate (RFC 6614).
type RadSec struct {
	NASIdentifier string          `yaml:"nas-identifier"` // left out: the node's name
	Timeout       config.Duration `yaml:"timeout"`        // of one request, over all servers
	Servers       []RadSecServer  `yaml:"servers"`
	CA            config.File     `yaml:"ca"` // authorities of the servers' certificates
	Certificate   config.File     `yaml:"certificate"`
	Key           config.File     `yaml:"key"`
	OperatorName  string          `yaml:"operator-name"` // as of RADIUS
}

// RadSecServer is one of them, as of RADIUS. Records go over the same connection.
type RadSecServer struct {
	Address    config.AddrPort `yaml:"address"`
	Name       string          `yaml:"name"`       // that its certificate must have; left out: the address
	Accounting string          `yaml:"accounting"` // none: it takes no records; left out: it does
	Priority   int             `yaml:"priority"`
}

// SetDefaults implements the hook of config.Load.
func (r *RadSec) SetDefaults() { r.Timeout = config.Duration(8 * time.Second) }

// Check implements the hook of config.Load.
func (r *RadSec) Check() error {
	switch {
	case len(r.Servers) == 0:
		return config.Errorf("servers", "missing: at least one RadSec server")
	case r.CA == "" || r.Certificate == "" || r.Key == "":
		return errors.New("expected ca, certificate and key: both sides of RadSec have certificates")
	}
	for i, s := range r.Servers {
		at := fmt.Sprintf("servers[%d]", i)
		if !s.Address.IsValid() || s.Address.Port() == 0 {
			return config.Errorf(at, "expected address, as \"10.0.5.1:2083\"")
		}
		if s.Accounting != "" && s.Accounting != noAccounting {
			return config.Errorf(at+".accounting", "%q: expected none, or nothing: records go over the same connection", s.Accounting)
		}
	}
	slices.SortStableFunc(r.Servers, func(a, b RadSecServer) int { return cmp.Compare(a.Priority, b.Priority) })
	return nil
}

// Client makes a client of the servers.
func (r *RadSec) Client(o Options) (*radius.Client, error) {
	pair, roots, err := Certificates(r.CA, r.Certificate, r.Key)
	if err != nil {
		return nil, err
	}
	cfg := radius.Config{
		TLS:           &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots},
		NASIdentifier: cmp.Or(r.NASIdentifier, o.Node), Operator: r.OperatorName, Timeout: r.Timeout.D(), Rand: o.Rand, Log: o.Log,
	}
	for _, s := range r.Servers {
		one := radius.Server{Addr: s.Address, Name: s.Name}
		if s.Accounting == "" {
			one.Accounting = s.Address
		}
		cfg.Servers = append(cfg.Servers, one)
	}
	return radius.NewClient(cfg)
}
