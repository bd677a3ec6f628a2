package peers

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"

	"openmpa/aaa/eap"
	"openmpa/aaa/radius"
	"openmpa/paa/keys"
)

// A FreeRADIUS is an authentication server for EAP-TLS over RADIUS, or a proxy to one.
// Every field is required but those with a default. What it is told in accounting it
// keeps in the file Name.detail.
type FreeRADIUS struct {
	Dir     string // the run directory
	Name    string // of its files there
	Listen  netip.AddrPort
	Clients netip.Prefix // the access routers
	Secret  string       // theirs, in letters and digits
	// State is the directory of the certificates as package aaa/server keeps
	// them: ca.pem is the authority of the nodes, server.pem with server.key
	// its own.
	State          string
	MinTLS, MaxTLS string        // "1.2" or "1.3"; default: from 1.2 to 1.3
	Curves         string        // in OpenSSL's words; default "X25519:prime256v1"
	Fragment       int           // octets of an EAP-TLS packet; default 1024
	SessionTimeout time.Duration // told in every accept; default one hour
	// Sessions is a directory of TLS sessions, for nodes to resume; none without.
	Sessions string
	// Passwords of users, in letters and digits: with them it knows EAP-TTLS and PEAP, too.
	Passwords map[string]string

	// RadSec is where it listens for RADIUS over TLS, too (RFC 6614); zero: nowhere.
	RadSec    netip.AddrPort
	Transport Transport // for that, and for TLS with home servers
	// Home makes it a proxy, which has no State, and authenticates nobody itself.
	Home *Home
}

// Transport names the files by which an AAA server or client is known to others of its
// kind, all PEM: the authority of both, and its own certificate and key.
type Transport struct{ CA, Certificate, Key string }

// Home is where a proxy sends what is for a realm.
type Home struct {
	Realm    string
	Operator string // that the proxy belongs to: a domain name, for Operator-Name (RFC 5580)
	Servers  []netip.AddrPort
	RadSec   bool // over TLS; otherwise accounting goes to the same port as authentication, plus one
}

//go:embed freeradius.conf.tmpl
var freeradiusText string

var freeradiusConf = template.Must(template.New("freeradius.conf").Parse(freeradiusText))

// Program finds the server's program, or says what to install.
func (FreeRADIUS) Program() (string, error) { return Program("freeradius", "freeradius") }

// Command writes the configuration and returns how the server is started: in
// the foreground, saying what it has to say on standard output.
func (f FreeRADIUS) Command() ([]string, error) {
	path, err := f.Program()
	if err != nil {
		return nil, err
	}
	if f.MinTLS == "" {
		f.MinTLS = "1.2"
	}
	if f.MaxTLS == "" {
		f.MaxTLS = "1.3"
	}
	if f.Curves == "" {
		f.Curves = "X25519:prime256v1"
	}
	if f.Fragment == 0 {
		f.Fragment = 1024
	}
	if f.SessionTimeout == 0 {
		f.SessionTimeout = time.Hour
	}
	var text bytes.Buffer
	if err := freeradiusConf.Execute(&text, f); err != nil {
		return nil, fmt.Errorf("peers: %w", err)
	}
	if err := os.WriteFile(filepath.Join(f.Dir, f.Name+".conf"), text.Bytes(), 0o600); err != nil {
		return nil, fmt.Errorf("peers: %w", err)
	}
	if len(f.Passwords) > 0 {
		var users strings.Builder
		for _, name := range slices.Sorted(maps.Keys(f.Passwords)) {
			fmt.Fprintf(&users, "%q Cleartext-Password := %q\n", name, f.Passwords[name])
		}
		if err := os.WriteFile(filepath.Join(f.Dir, f.Name+".users"), []byte(users.String()), 0o600); err != nil {
			return nil, fmt.Errorf("peers: %w", err)
		}
	}
	return []string{path, "-d", f.Dir, "-n", f.Name, "-f", "-l", "stdout"}, nil
}

// AccountingPort is where it listens for accounting: one above that of authentication.
func (f FreeRADIUS) AccountingPort() uint16 { return f.Listen.Port() + 1 }

// Books is the file of the accounting records it was told.
func (f FreeRADIUS) Books() string { return filepath.Join(f.Dir, f.Name+".detail") }

// Seconds is the session timeout as the configuration has it.
func (f FreeRADIUS) Seconds() int { return int(f.SessionTimeout / time.Second) }

// Answers asks the server, from a socket that listen opens, to authenticate
// somebody, until it answers or ctx ends.
func (f FreeRADIUS) Answers(ctx context.Context, identity string, listen func() (radius.Conn, error)) error {
	client, err := radius.NewClient(radius.Config{
		NASIdentifier: "lab", Listen: listen,
		Servers: []radius.Server{{Addr: f.Listen, Secret: keys.NewSecret([]byte(f.Secret))}},
		Timing:  radius.Timing{IRT: 50 * time.Millisecond, MRT: 200 * time.Millisecond, MRD: time.Hour, MRC: 1 << 20},
	})
	if err != nil {
		return err
	}
	defer client.Close()
	identityResponse, err := eap.Packet{Code: eap.CodeResponse, ID: 1, Type: eap.TypeIdentity, Data: []byte(identity)}.AppendBinary(nil)
	if err != nil {
		return err
	}
	r, err := client.Exchange(ctx, radius.Request{UserName: identity, EAP: identityResponse})
	if err != nil {
		return err
	}
	if r.Code != radius.AccessChallenge || len(r.EAP) == 0 {
		return fmt.Errorf("peers: %v answers an identity by %v, expected %v with an EAP request", f.Listen, r.Code, radius.AccessChallenge)
	}
	return nil
}

// ErrMissing says that a server is not installed.
var ErrMissing = errors.New("is not installed")

// Program finds a program, also where sudo and a user's PATH do not look.
func Program(name, pkg string) (string, error) {
	for _, p := range []string{name, "/usr/sbin/" + name} {
		if path, err := exec.LookPath(p); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("peers: %s %w: sudo apt-get install --no-install-recommends %s, or start the lab by `sudo ./testbed/lab`, which does", name, ErrMissing, pkg)
}
