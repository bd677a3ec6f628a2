package enroll

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"strings"
	"unicode"

	"openmpa/internal/wpactrl"
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
	CSR     []byte   `json:"csr,omitempty"`     // PKCS #10, DER; routers of before have none
	Network *Network `json:"network,omitempty"` // of a router: the one it serves
}

// Network is one that nodes may move to.
type Network struct {
	Name   string     `json:"name"`
	Router netip.Addr `json:"router"` // of the access router there
	Points []Point    `json:"points"` // of attachment
}

// Point is an access point, a switch's port, or whatever a node's link can be attached to.
type Point struct {
	Name string `json:"name"`
	// Of an access point; all zero for anything else.
	BSSID wpactrl.MAC `json:"bssid,omitzero"`
	SSID  string      `json:"ssid,omitempty"`
	Freq  int         `json:"freq,omitempty"` // MHz; 0: not known
}

// Grant is what it gets.
type Grant struct {
	Error      string  `json:"error,omitempty"` // why there is none
	Realm      string  `json:"realm,omitempty"`
	ServerName string  `json:"server_name,omitempty"` // in the RADIUS server's certificate
	RADIUS     *RADIUS `json:"radius,omitempty"`      // for a router
	First      string  `json:"first,omitempty"`       // for a router: the network of the one that grants

	// For who has sent a request.
	CA          []byte `json:"ca,omitempty"`          // PEM
	Certificate []byte `json:"certificate,omitempty"` // PEM

	// For a node.
	Networks []Network `json:"networks,omitempty"`
	Home     *Home     `json:"home,omitempty"`
}

// RADIUS is a router's way to the server.
type RADIUS struct {
	Server netip.AddrPort `json:"server"`
	Secret []byte         `json:"secret"` // letters and digits
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
		if err := p.check(); err != nil {
			return err
		}
	}
	return nil
}

func (p Point) check() error {
	if err := CheckName(p.Name); err != nil {
		return err
	}
	if p.BSSID.IsZero() {
		if p.SSID != "" || p.Freq != 0 {
			return fmt.Errorf("enroll: point %s: expected a BSSID beside SSID and channel", p.Name)
		}
		return nil
	}
	if p.BSSID.IsGroup() || p.Freq != 0 && (p.Freq < 2000 || p.Freq > 8000) {
		return fmt.Errorf("enroll: point %s: BSSID %v at %d MHz: expected the address of one access point, and its channel", p.Name, p.BSSID, p.Freq)
	}
	if p.SSID == "" || len(p.SSID) > 32 || strings.ContainsFunc(p.SSID, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) {
		return fmt.Errorf("enroll: point %s: SSID %q: expected 1 to 32 octets of text", p.Name, p.SSID)
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
	case kind == Router && (g.RADIUS == nil || !g.RADIUS.Server.IsValid() || !radiusSecret.Match(g.RADIUS.Secret)):
		return errors.New("enroll: the grant has no RADIUS server with a secret of 16 to 128 letters and digits")
	case kind == Router && len(g.Certificate) > 0 && (len(g.CA) == 0 || CheckName(g.First) != nil):
		return errors.New("enroll: the grant has a certificate, and no authority or network of who grants it")
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

// radiusSecret is text, since hostapd's configuration takes it as such.
var radiusSecret = regexp.MustCompile(`^[A-Za-z0-9]{16,128}$`)

var domain = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,250}[a-z0-9])?$`)

func receive(r io.Reader, v any) error {
	if err := json.NewDecoder(io.LimitReader(r, maxMessage)).Decode(v); err != nil {
		return fmt.Errorf("enroll: expected a message in JSON of at most %d octets: %w", maxMessage, err)
	}
	return nil
}
