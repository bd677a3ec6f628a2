package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/netip"

	"openmpa/internal/config"
	"openmpa/internal/neighbourhood"
	"openmpa/internal/wpactrl"
	"openmpa/par"
	"openmpa/par/info"
)

// infoConfig is the section info: what nodes are told of this network, and by whom routers around may ask.
type infoConfig struct {
	Off         bool            `yaml:"off"`
	Network     string          `yaml:"network"`
	Operator    string          `yaml:"operator"`
	Cost        *float64        `yaml:"cost"`
	Points      []placedPoint   `yaml:"points"`
	Lifetime    config.Duration `yaml:"lifetime"`
	Every       config.Duration `yaml:"every"`
	Hops        uint8           `yaml:"hops"`
	Listen      config.AddrPort `yaml:"listen"`
	CA          config.File     `yaml:"ca"`
	Certificate config.File     `yaml:"certificate"`
	Key         config.File     `yaml:"key"`
	Routers     []string        `yaml:"routers"`
	Site        string          `yaml:"site"`
}

// placedPoint is a point of attachment of this network or of one around.
type placedPoint struct {
	Name     string           `yaml:"name"`
	BSSID    wpactrl.MAC      `yaml:"bssid"`
	SSID     string           `yaml:"ssid"`
	Freq     int              `yaml:"freq"`
	Security string           `yaml:"security"`
	Location *config.Location `yaml:"location"`
	Reach    float64          `yaml:"reach"`
}

// Scalar implements the hook of package config: a name alone.
func (p *placedPoint) Scalar(text string) error {
	p.Name = text
	return nil
}

// model is the point; nodes know one with a BSSID by that.
func (p placedPoint) model() neighbourhood.Point {
	out := neighbourhood.Point{
		Name: p.Name, SSID: p.SSID, Freq: p.Freq, Security: neighbourhood.Security(p.Security), Location: p.Location.Place(), Reach: float32(p.Reach),
	}
	if !p.BSSID.IsZero() {
		out.Name = p.BSSID.String()
	}
	return out
}

func models(points []placedPoint) (out []neighbourhood.Point) {
	for _, p := range points {
		out = append(out, p.model())
	}
	return out
}

// neighbourConfig is an entry of neighbours: a network around. What its own router says is believed where this says nothing.
type neighbourConfig struct {
	Name     string          `yaml:"name"`
	Operator string          `yaml:"operator"`
	PAA      config.Addr     `yaml:"paa"`
	Port     uint16          `yaml:"port"`
	CA       string          `yaml:"ca"`
	AR       string          `yaml:"ar"`
	Prefixes []config.Prefix `yaml:"prefixes"`
	Cost     *float64        `yaml:"cost"`
	Points   []placedPoint   `yaml:"points"`
	Router   string          `yaml:"router"`
	Identity string          `yaml:"identity"`
}

func (n neighbourConfig) neighbour() info.Neighbour {
	out := info.Neighbour{
		Network: neighbourhood.Network{Name: n.Name, Operator: n.Operator, Prefixes: n.Prefixes, Cost: decibels(n.Cost), Points: models(n.Points)},
		Address: n.Router, Identity: n.Identity,
	}
	a := &out.Network.Agents
	if n.PAA.IsValid() {
		*a = append(*a, neighbourhood.Agent{Role: neighbourhood.PAA, Addr: netip.AddrPortFrom(n.PAA, n.Port)})
	}
	*a = named(*a, neighbourhood.CA, n.CA, netip.AddrPort{})
	*a = named(*a, neighbourhood.AR, n.AR, netip.AddrPort{})
	return out
}

// named adds an agent, if it has a name.
func named(list []neighbourhood.Agent, role neighbourhood.Role, identity string, at netip.AddrPort) []neighbourhood.Agent {
	if identity == "" {
		return list
	}
	return append(list, neighbourhood.Agent{Role: role, Addr: at, Identity: identity})
}

func decibels(cost *float64) *float32 {
	if cost == nil {
		return nil
	}
	c := float32(*cost)
	return &c
}

// own is what this router's file says of its network. The prefixes are those of the access link.
func (c configuration) own() neighbourhood.Network {
	n := neighbourhood.Network{Name: c.Info.Network, Operator: c.Info.Operator, Cost: decibels(c.Info.Cost), Points: models(c.Info.Points)}
	config.Default(&n.Name, c.Node)
	for _, at := range []netip.AddrPort{c.listen(), c.listen6()} {
		if at.IsValid() {
			n.Agents = append(n.Agents, neighbourhood.Agent{Role: neighbourhood.PAA, Addr: at})
		}
	}
	at := netip.AddrPortFrom(c.Address, 0)
	n.Agents = named(named(n.Agents, neighbourhood.CA, c.Identity.CA, at), neighbourhood.AR, c.Identity.AR, at)
	if len(n.Points) == 0 { // hostapd's, which authenticates there
		for _, p := range c.Points {
			n.Points = append(n.Points, neighbourhood.Point{Name: p.ID.BSSID.String(), Security: neighbourhood.WPAEAP})
		}
	}
	return n
}

// checkInfo says what is wrong with the sections info and neighbours.
func (c configuration) checkInfo() error {
	i := c.Info
	files := 0
	for _, f := range []config.File{i.CA, i.Certificate, i.Key} {
		if f != "" {
			files++
		}
	}
	if files != 0 && files != 3 {
		return config.Errorf("info.certificate", "expected ca, certificate and key together: routers show each other who they are")
	}
	if i.Listen.IsValid() && files == 0 {
		return config.Errorf("info.listen", "expected ca, certificate and key with it: routers show each other who they are")
	}
	if i.Off {
		return nil
	}
	own := c.own()
	if err := own.Check(); err != nil {
		return config.At("info", err)
	}
	for n, o := range c.Neighbours {
		key := fmt.Sprintf("neighbours[%d]", n)
		one := o.neighbour()
		switch err := one.Network.Check(); {
		case err != nil:
			return config.At(key, err)
		case o.Router != "" && (o.Identity == "" || files == 0):
			return config.Errorf(key+".router", "expected with it identity, the DNS name in that router's certificate, and ca, certificate and key in info")
		case o.Router != "":
			if _, _, err := net.SplitHostPort(o.Router); err != nil {
				return config.Errorf(key+".router", "%q: expected its address and port, as 10.0.1.1:7161", o.Router)
			}
		}
	}
	cfg := c.informationConfig()
	return config.At("info", cfg.Check())
}

// informationConfig is what package info needs, without certificates.
func (c configuration) informationConfig() info.Config {
	cfg := info.Config{
		Own: c.own(), Sessions: c.PANA.Sessions, Lifetime: c.Info.Lifetime.D(), Every: c.Info.Every.D(), Hops: c.Info.Hops, Routers: c.Info.Routers, Site: c.Info.Site,
	}
	for _, n := range c.Neighbours {
		cfg.Neighbours = append(cfg.Neighbours, n.neighbour())
	}
	return cfg
}

// information is the service, if there is to be one.
type information struct{ *info.Service }

// openInformation starts the information service.
func openInformation(ctx context.Context, c configuration, log *slog.Logger) (information, error) {
	if c.Info.Off {
		return information{}, nil
	}
	cfg := c.informationConfig()
	cfg.Log = log
	var err error
	if c.Info.Certificate != "" {
		if cfg.Certificate, cfg.Roots, err = credentials(c.Info.CA, c.Info.Certificate, c.Info.Key); err != nil {
			return information{}, config.At("info", err)
		}
		key, err := fingerprint(cfg.Certificate)
		if err != nil {
			return information{}, config.At("info.certificate", err)
		}
		for i := range cfg.Own.Agents {
			if a := &cfg.Own.Agents[i]; a.Role == neighbourhood.AR {
				a.Key = key
			}
		}
	}
	if c.Info.Listen.IsValid() {
		if cfg.Listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", c.Info.Listen.String()); err != nil {
			return information{}, fmt.Errorf("listen for neighbouring routers on %v: %w; is the address on this machine and the port free?", c.Info.Listen, err)
		}
	}
	s, err := info.Open(cfg)
	return information{s}, err
}

func fingerprint(pair tls.Certificate) (neighbourhood.Fingerprint, error) {
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return neighbourhood.Fingerprint{}, err
	}
	return sha256.Sum256(leaf.RawSubjectPublicKeyInfo), nil
}

// router is what package par has of it; nil: nothing.
func (i information) router() par.Information {
	if i.Service == nil {
		return nil
	}
	return i.Service
}

// status is what it knows; nil where it is off.
func (i information) status() *info.Status {
	if i.Service == nil {
		return nil
	}
	s := i.Status()
	return &s
}

// Close ends it.
func (i information) Close() error {
	if i.Service == nil {
		return nil
	}
	return i.Service.Close()
}
