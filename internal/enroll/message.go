package enroll

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"regexp"
)

// Kind is what joins.
type Kind string

// The kinds.
const (
	Node   Kind = "node"
	Router Kind = "router"
)

// maxMessage bounds a request and a grant, in octets; a site has room for some hundred networks in it.
const maxMessage = 64 << 10

// Request is what the machine that joins says.
type Request struct {
	Secret  []byte   `json:"secret"`            // of the code
	Kind    Kind     `json:"kind"`              // must be the invitation's
	Name    string   `json:"name"`              // of the machine, see CheckName
	CSR     []byte   `json:"csr,omitempty"`     // of a node: PKCS #10, DER
	Network *Network `json:"network,omitempty"` // of a router: the one it serves
}

// Network is one that nodes may move to.
type Network struct {
	Name   string     `json:"name"`
	Router netip.Addr `json:"router"` // of the access router there
	Points []string   `json:"points"` // of attachment
}

// Grant is what it gets.
type Grant struct {
	Error      string  `json:"error,omitempty"` // why there is none
	Realm      string  `json:"realm,omitempty"`
	ServerName string  `json:"server_name,omitempty"` // in the RADIUS server's certificate
	RADIUS     *RADIUS `json:"radius,omitempty"`      // for a router

	// For a node.
	CA          []byte    `json:"ca,omitempty"`          // PEM
	Certificate []byte    `json:"certificate,omitempty"` // PEM
	Networks    []Network `json:"networks,omitempty"`
	Home        *Home     `json:"home,omitempty"`
}

// RADIUS is a router's way to the server.
type RADIUS struct {
	Server netip.AddrPort `json:"server"`
	Secret []byte         `json:"secret"`
}

// Home is a node's place at the home agent.
type Home struct {
	Address   netip.Addr `json:"address"`
	Agent     netip.Addr `json:"agent"`
	SPI       uint32     `json:"spi"`
	Key       []byte     `json:"key"`
	Algorithm string     `json:"algorithm"`
}

var names = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)

// CheckName says what is wrong with the name of a machine, network or point. What passes needs no quotes in YAML and is a
// label of a DNS name, a file's name and a NAI's user.
func CheckName(s string) error {
	if !names.MatchString(s) || s == "ca" || s == "server" {
		return fmt.Errorf("enroll: name %.40q: expected up to 32 small letters, digits and dashes, and not ca or server", s)
	}
	return nil
}

// Check says what is wrong with a network.
func (n Network) Check() error {
	if err := CheckName(n.Name); err != nil {
		return err
	}
	if !n.Router.Is4() || n.Router.IsUnspecified() || len(n.Points) == 0 || len(n.Points) > 64 {
		return fmt.Errorf("enroll: network %s: expected the IPv4 address of its router, and 1 to 64 points of attachment", n.Name)
	}
	for _, p := range n.Points {
		if err := CheckName(p); err != nil {
			return err
		}
	}
	return nil
}

func (r Request) check() error {
	if err := CheckName(r.Name); err != nil {
		return err
	}
	switch {
	case r.Kind == Node && len(r.CSR) > 0:
		return nil
	case r.Kind == Router && r.Network != nil:
		return r.Network.Check()
	}
	return fmt.Errorf("enroll: kind %.20q: expected a node with a certificate request, or a router with a network", r.Kind)
}

// check says whether a grant has all that its kind needs, and in a form that may go into files.
func (g Grant) check(kind Kind) error {
	switch {
	case !domain.MatchString(g.Realm) || !domain.MatchString(g.ServerName):
		return errors.New("enroll: the grant has no realm or server name")
	case kind == Router && (g.RADIUS == nil || !g.RADIUS.Server.IsValid() || len(g.RADIUS.Secret) < 16):
		return errors.New("enroll: the grant has no RADIUS server with a secret of 16 octets or more")
	case kind == Node && (len(g.CA) == 0 || len(g.Certificate) == 0 || len(g.Networks) == 0):
		return errors.New("enroll: the grant lacks certificates or networks")
	case kind == Node && (g.Home == nil || !g.Home.Address.Is4() || !g.Home.Agent.Is4() || len(g.Home.Key) < 16 || g.Home.Algorithm != "hmac-sha256"):
		return errors.New("enroll: the grant has no home address with a key")
	}
	for _, n := range g.Networks {
		if err := n.Check(); err != nil {
			return err
		}
	}
	return nil
}

var domain = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,250}[a-z0-9])?$`)

func receive(r io.Reader, v any) error {
	if err := json.NewDecoder(io.LimitReader(r, maxMessage)).Decode(v); err != nil {
		return fmt.Errorf("enroll: expected a message in JSON of at most %d octets: %w", maxMessage, err)
	}
	return nil
}
