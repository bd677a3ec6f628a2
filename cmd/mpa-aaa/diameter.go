package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"openmpa/aaa/diameter"
	"openmpa/aaa/server"
	"openmpa/internal/config"
	"openmpa/internal/operators"
)

// diameterFront is the key diameter: routers, and relays that speak for them, ask by the
// Diameter EAP application.
type diameterFront struct {
	Identity    string          `yaml:"identity"`
	Realm       string          `yaml:"realm"`
	Listen      config.AddrPort `yaml:"listen"`
	ListenTLS   config.AddrPort `yaml:"listen-tls"`
	Watchdog    config.Duration `yaml:"watchdog"`
	Peers       []diameterPeer  `yaml:"peers"`
	CA          config.File     `yaml:"ca"`
	Certificate config.File     `yaml:"certificate"`
	Key         config.File     `yaml:"key"`
}

// diameterPeer is a router or a relay. One without an address connects to us.
type diameterPeer struct {
	Identity string          `yaml:"identity"`
	Realms   []string        `yaml:"realms"`
	Address  config.AddrPort `yaml:"address"`
	From     []config.Prefix `yaml:"from"`
	TLS      bool            `yaml:"tls"`
}

// SetDefaults implements the hook of config.Load.
func (d *diameterFront) SetDefaults() { d.Watchdog = config.Duration(30 * time.Second) }

// SetDefaults implements the hook of config.Load.
func (p *diameterPeer) SetDefaults() { p.TLS = true }

// Check implements the hook of config.Load.
func (d *diameterFront) Check() error {
	_, domain, ok := strings.Cut(d.Identity, ".")
	switch {
	case !ok || domain == "":
		return config.Errorf("identity", "%q: expected a host name with its domain, as aaa.home.example", d.Identity)
	case len(d.Peers) == 0:
		return config.Errorf("peers", "missing: at least one router or relay")
	}
	config.Default(&d.Realm, domain)
	dialled, secured := false, d.ListenTLS.IsValid()
	for i, p := range d.Peers {
		at := fmt.Sprintf("peers[%d]", i)
		dialled, secured = dialled || p.Address.IsValid(), secured || p.TLS
		switch {
		case p.Identity == "":
			return config.Errorf(at, "expected identity, as ar-a.visited.example or *.visited.example")
		case !p.TLS && !p.Address.IsValid() && len(p.From) == 0:
			return config.Errorf(at, "expected from, the prefixes it connects from: without TLS that is all it is known by")
		}
	}
	switch {
	case !d.Listen.IsValid() && !d.ListenTLS.IsValid() && !dialled:
		return errors.New("expected listen-tls or listen, as 10.0.5.1:5868, or a peer with an address: nobody could ask")
	case secured && (d.CA == "" || d.Certificate == "" || d.Key == ""):
		return errors.New("expected ca, certificate and key: both sides have certificates; a peer without TLS has \"tls: false\"")
	}
	return nil
}

// front makes the front of a server, which listens on what is returned beside it.
func (d *diameterFront) front(core *server.Server, log *slog.Logger) (*server.Diameter, []diameter.Listener, error) {
	cfg := diameter.Config{Identity: d.Identity, Realm: d.Realm, Watchdog: d.Watchdog.D(), Log: log}
	for _, p := range d.Peers {
		one := diameter.Peer{Identity: p.Identity, Realms: p.Realms, From: p.From, TLS: p.TLS}
		if p.Address.IsValid() {
			one.Addr = p.Address.String()
		}
		cfg.Peers = append(cfg.Peers, one)
	}
	if d.CA != "" {
		pair, roots, err := operators.Certificates(d.CA, d.Certificate, d.Key)
		if err != nil {
			return nil, nil, err
		}
		cfg.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, ClientCAs: roots}
	}
	for i, addr := range []config.AddrPort{d.Listen, d.ListenTLS} {
		if !addr.IsValid() {
			continue
		}
		l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(addr))
		if err != nil {
			return nil, nil, errors.Join(fmt.Errorf("listen on %v: %w; is the address on this machine, and the port free?", addr, err), closeAll(cfg.Listeners))
		}
		cfg.Listeners = append(cfg.Listeners, diameter.Listener{Listener: l, TLS: i == 1})
	}
	f, err := server.NewDiameter(core, cfg)
	if err != nil {
		return nil, nil, errors.Join(err, closeAll(cfg.Listeners))
	}
	return f, cfg.Listeners, nil
}

func closeAll(list []diameter.Listener) error {
	var errs []error
	for _, l := range list {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}
