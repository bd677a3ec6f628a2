package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"openmpa/internal/config"
	"openmpa/internal/host"
	"openmpa/internal/state"
	"openmpa/internal/wpactrl"
	"openmpa/mn/link"
)

// Values of link.type.
const (
	linkAuto       = "auto"
	linkSupplicant = string(link.KindSupplicant)
	linkEthernet   = string(link.KindEthernet)
	linkExternal   = "external"
)

// linkConfig is the section link: who moves the link.
type linkConfig struct {
	Type    string          `yaml:"type"`
	Socket  config.Path     `yaml:"socket"`
	Timeout config.Duration `yaml:"timeout"`
}

// Check implements the hook of package config.
func (l *linkConfig) Check() error {
	switch l.Type {
	case "", linkAuto, linkSupplicant:
	case linkEthernet:
		if l.Socket != "" || l.Timeout != 0 {
			return config.Errorf("type", "ethernet takes no socket and no timeout: there is nobody to ask")
		}
	case linkExternal:
		if l.Socket == "" {
			return config.Errorf("socket", "missing: the socket of the link controller")
		}
	default:
		return config.Errorf("type", "%q: expected auto, wpa_supplicant, ethernet or external", l.Type)
	}
	if l.Timeout < 0 || l.Timeout > config.Duration(time.Minute) {
		return config.Errorf("timeout", "%v: expected more than 0 and at most 1m", l.Timeout)
	}
	return nil
}

// point is an entry of networks[].points: a name, or a group of keys.
type point struct {
	Name     string           `yaml:"name"`
	BSSID    wpactrl.MAC      `yaml:"bssid"`
	SSID     string           `yaml:"ssid"`
	Freq     int              `yaml:"freq"`
	Network  *int             `yaml:"network"`
	Security string           `yaml:"security"`
	Location *config.Location `yaml:"location"`
	Reach    float64          `yaml:"reach"`
}

// Scalar implements the hook of package config: a name alone, which may be a BSSID.
func (p *point) Scalar(text string) error {
	p.Name = text
	return nil
}

// Check implements the hook of package config.
func (p *point) Check() error {
	if p.Name == "" && !p.BSSID.IsZero() {
		p.Name = p.BSSID.String()
	}
	if err := link.CheckPoint(p.Name); err != nil {
		return config.At("name", err)
	}
	if named, err := wpactrl.ParseMAC(p.Name); err == nil && p.BSSID.IsZero() {
		p.BSSID = named
	}
	switch {
	case p.BSSID.IsGroup():
		return config.Errorf("bssid", "%v: expected the address of one access point", p.BSSID)
	case len(p.SSID) > 32:
		return config.Errorf("ssid", "%d octets: expected at most 32", len(p.SSID))
	case p.Freq != 0 && (p.Freq < 2000 || p.Freq > 8000):
		return config.Errorf("freq", "%d: expected the channel's frequency in MHz, as 2437", p.Freq)
	case p.Network != nil && *p.Network < 0:
		return config.Errorf("network", "%d: expected wpa_supplicant's id of the network block, as wpa_cli list_networks shows it", *p.Network)
	}
	return nil
}

// place is where the point is, for wpa_supplicant.
func (p *point) place() link.Place {
	l := link.Place{BSSID: p.BSSID, Network: link.AnyNetwork, SSID: p.SSID, Freq: p.Freq}
	if p.Network != nil {
		l.Network = *p.Network
	}
	return l
}

// find says which adapter moves the link, and the socket of whoever it asks. root is the file system, to look in.
func (c interfaceConfig) find(root fs.FS) (link.Found, error) {
	socket := c.Link.Socket.String()
	switch {
	case c.Link.Type == linkEthernet:
		return link.Found{Kind: link.KindEthernet}, nil
	case c.Link.Type == linkSupplicant && socket != "":
		return link.Found{Kind: link.KindSupplicant, Socket: socket}, nil
	}
	f, err := link.Find(root, c.Name)
	switch {
	case errors.Is(err, link.ErrNoSupplicant) && socket != "", err == nil && f.Kind == link.KindSupplicant && socket != "":
		return link.Found{Kind: link.KindSupplicant, Socket: socket}, nil
	case err != nil:
		return f, config.At(c.key("link"), err)
	case f.Kind == link.KindEthernet && c.Link.Type == linkSupplicant:
		return f, config.Errorf(c.key("link.type"), "%s is not wireless, so which socket of wpa_supplicant is meant? Expected socket: too, or type: auto", c.Name)
	case f.Kind == link.KindEthernet && socket != "":
		return f, config.Errorf(c.key("link.socket"), "%s is a cable, for which there is nobody to ask: leave socket out, or say type: external if it is that of a link controller", c.Name)
	}
	return f, nil
}

// adapter makes what moves the link of i.
func (c configuration) adapter(i interfaceConfig, root fs.FS, net host.Tables, store state.Store, log *slog.Logger) (link.Adapter, error) {
	if i.Link.Type == linkExternal {
		return link.NewExternal(link.ExternalConfig{Socket: i.Link.Socket.String(), Timeout: i.Link.Timeout.D(), Interface: i.Name, Net: net})
	}
	found, err := i.find(root)
	if err != nil {
		return nil, err
	}
	if found.Kind == link.KindEthernet {
		if len(i.Points) != 1 {
			return nil, config.Errorf(i.pointsKey(), "%s is a cable, so it has one point of one network: expected no more, or link: {type: external} with a program that moves it", i.Name)
		}
		return link.NewEthernet(i.Points[0], i.Name, net)
	}
	places := map[string]link.Place{}
	for j, n := range c.Networks {
		for k, p := range n.Points {
			if !slices.Contains(i.Points, p.Name) {
				continue
			}
			if p.BSSID.IsZero() {
				return nil, config.Errorf(fmt.Sprintf("networks[%d].points[%d]", j, k), "%s: bssid is missing, by which wpa_supplicant knows it: see \"iw dev %s scan\"", p.Name, i.Name)
			}
			places[p.Name] = p.place()
		}
	}
	return link.NewSupplicant(link.SupplicantConfig{
		Socket: found.Socket, Dir: filepath.Dir(c.Control.String()), Points: places, Timeout: i.Link.Timeout.D(),
		Interface: i.Name, Net: net, State: store, Log: log,
	})
}
