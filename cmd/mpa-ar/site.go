package main

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"openmpa/aaa/server"
	"openmpa/internal/config"
	"openmpa/internal/enroll"
	"openmpa/par/info"
)

const (
	firstSPI  = 256
	algorithm = "hmac-sha256"
	secretLen = 32 // octets

	portOrders = 3799 // UDP; where routers take what mpa-aaa wants of sessions (RFC 5176)
)

// site is what the first router knows of a site, in site.json beside its configuration.
type site struct {
	Realm      string           `json:"realm"`
	ServerName string           `json:"server_name"`
	Server     netip.AddrPort   `json:"server"` // RADIUS
	Agent      netip.Addr       `json:"agent"`  // home agent
	State      string           `json:"state"`  // folder of the certificate authority
	Networks   []enroll.Network `json:"networks"`
	Seats      []seat           `json:"seats"`

	dir string // of the configuration
}

// seat is a home address with a key, for one node.
type seat struct {
	Address netip.Addr `json:"address"`
	SPI     uint32     `json:"spi"`
	KeyFile string     `json:"key_file"`
	Node    string     `json:"node,omitempty"` // who has it
}

func loadSite(dir string) (*site, error) {
	text, err := config.ReadPrivate(filepath.Join(dir, "site.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w; invite on the first router of the site, after \"mpa-ar init\" there", err)
	}
	if err != nil {
		return nil, err
	}
	s := &site{dir: dir}
	if err := json.Unmarshal(text, s); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, "site.json"), err)
	}
	return s, nil
}

func (s *site) file() (enroll.File, error) {
	text, err := json.MarshalIndent(s, "", "  ")
	return enroll.File{Path: filepath.Join(s.dir, "site.json"), Text: append(text, '\n')}, err
}

// save writes site.json, and with it more files of which the site speaks.
func (s *site) save(more ...enroll.File) error {
	f, err := s.file()
	if err != nil {
		return err
	}
	return enroll.Write(append(more, f), true)
}

// newSecret is random.
func newSecret() ([]byte, error) {
	raw := make([]byte, secretLen)
	if _, err := rand.Read(raw); err != nil {
		return nil, fmt.Errorf("make a secret: %w", err)
	}
	return raw, nil
}

// newRADIUSSecret is text: hostapd's configuration takes it as such.
func newRADIUSSecret() ([]byte, error) {
	raw, err := newSecret()
	return hex.AppendEncode(nil, raw), err
}

// grant is what a machine gets that has come with a code.
func (s *site) grant(r enroll.Request, from netip.Addr) (*enroll.Grant, error) {
	g := &enroll.Grant{Realm: s.Realm, ServerName: s.ServerName}
	var err error
	if r.Kind == enroll.Router {
		g.First = s.Networks[0].Name
		if len(r.CSR) > 0 {
			if g.Certificate, g.CA, err = s.sign(routerName(r.Network.Name, s.Realm), r.CSR); err != nil {
				return nil, err
			}
		}
		if g.RADIUS, err = s.admitRouter(*r.Network, from); err != nil {
			return nil, err
		}
		return g, nil
	}
	if slices.ContainsFunc(s.Seats, func(p seat) bool { return p.Node == r.Name }) {
		return nil, fmt.Errorf("a node %s has joined already: choose another name by --name", r.Name)
	}
	i := slices.IndexFunc(s.Seats, func(p seat) bool { return p.Node == "" })
	if i < 0 {
		return nil, fmt.Errorf("all %d home addresses are given away", len(s.Seats))
	}
	free := &s.Seats[i]
	key, err := config.SecretFile(filepath.Join(s.dir, free.KeyFile)).Load()
	if err != nil {
		return nil, err
	}
	defer key.Clear()
	if g.Certificate, g.CA, err = s.sign(r.Name+"@"+s.Realm, r.CSR); err != nil {
		return nil, err
	}
	g.Networks = s.Networks
	g.Home = &enroll.Home{Address: free.Address, Agent: s.Agent, SPI: free.SPI, Key: bytes.Clone(key.Bytes()), Algorithm: algorithm}
	free.Node = r.Name
	if err := s.save(); err != nil {
		free.Node = ""
		return nil, err
	}
	return g, nil
}

// sign has the site's authority certify a machine.
func (s *site) sign(name string, csr []byte) (certificate, ca []byte, err error) {
	authority, err := server.OpenState(s.State)
	if err != nil {
		return nil, nil, err
	}
	return authority.Sign(name, csr)
}

// routerName is what a site's router is called in its certificate, and as access router.
func routerName(network, realm string) string { return info.RouterLabel + network + "." + realm }

// admitRouter makes a router, which asks RADIUS from an address, a client of mpa-aaa, and its network one of the site's.
func (s *site) admitRouter(n enroll.Network, from netip.Addr) (*enroll.RADIUS, error) {
	if slices.ContainsFunc(s.Networks, func(o enroll.Network) bool { return o.Name == n.Name || o.Router == n.Router }) {
		return nil, fmt.Errorf("network %s, or another with the router %v, is there already", n.Name, n.Router)
	}
	for _, p := range n.Points {
		if o := s.holder(p); o != "" {
			return nil, fmt.Errorf("point %s, or another with the BSSID %v, is there already, of network %s: say --points", p.Name, p.BSSID, o)
		}
	}
	secret, err := newRADIUSSecret()
	if err != nil {
		return nil, err
	}
	keyFile := "routers/" + n.Name + ".secret"
	clients, err := withClient(filepath.Join(s.dir, "aaa.yaml"), from, keyFile)
	if err != nil {
		return nil, err
	}
	before := s.Networks
	s.Networks = append(slices.Clone(before), n)
	if err := s.save(enroll.File{Path: filepath.Join(s.dir, keyFile), Text: append(bytes.Clone(secret), '\n')}, clients); err != nil {
		s.Networks = before
		return nil, err
	}
	return &enroll.RADIUS{Server: s.Server, Secret: secret}, nil
}

// holder is the network that has a point of that name or BSSID.
func (s *site) holder(p enroll.Point) string {
	for _, n := range s.Networks {
		for _, o := range n.Points {
			if o.Name == p.Name || o.BSSID == p.BSSID && !p.BSSID.IsZero() {
				return n.Name
			}
		}
	}
	return ""
}

// withClient is aaa.yaml with one client more, which leaves everything else as an operator may have changed it.
func withClient(path string, from netip.Addr, secretFile string) (enroll.File, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return enroll.File{}, err
	}
	line := clientLine(from, secretFile)
	out := strings.TrimRight(string(text), "\n") + "\n" + line
	type part struct {
		RADIUS struct {
			Clients []struct {
				Prefix config.Prefix `yaml:"prefix"`
			} `yaml:"clients"`
		} `yaml:"radius"`
	}
	was, err := config.Peek[part](path)
	if err != nil {
		return enroll.File{}, err
	}
	now, err := config.PeekText[part](path, []byte(out))
	if err != nil || len(now.RADIUS.Clients) != len(was.RADIUS.Clients)+1 {
		return enroll.File{}, fmt.Errorf("%s does not end with the list clients of radius, one a line: put it there, or add %q yourself", path, strings.TrimSpace(line))
	}
	return enroll.File{Path: path, Text: []byte(out)}, nil
}

func clientLine(from netip.Addr, secretFile string) string {
	return fmt.Sprintf("    - {prefix: %v/%d, secret-file: %s, orders: \"0.0.0.0:%d\"}\n", from, from.BitLen(), secretFile, portOrders)
}
