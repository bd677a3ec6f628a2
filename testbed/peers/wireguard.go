package peers

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// A WireGuard is one end of a tunnel by wireguard-go, WireGuard outside of the kernel.
type WireGuard struct {
	Interface string // of the whole machine: the program's socket has its name
	KeyFile   string // private; WriteKey makes one
	Port      uint16 // to listen on; 0: any
	Peer      WireGuardPeer
}

// WireGuardPeer is the other end.
type WireGuardPeer struct {
	Key      string         // public
	Endpoint netip.AddrPort // zero: it comes to us
	Allowed  []netip.Prefix // behind it
}

// WriteKey makes a private key in a file, and returns the public one.
func (WireGuard) WriteKey(path string) (public string, err error) {
	k, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return "", fmt.Errorf("peers: %w", err)
	}
	if err := os.WriteFile(path, []byte(base64.StdEncoding.EncodeToString(k.Bytes())+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("peers: %w", err)
	}
	return base64.StdEncoding.EncodeToString(k.PublicKey().Bytes()), nil
}

// Program finds wireguard-go, or says what to install.
func (WireGuard) Program() (string, error) { return Program("wireguard-go", "wireguard-go") }

// Tool finds wg(8), or says what to install.
func (WireGuard) Tool() (string, error) { return Program("wg", "wireguard-tools") }

// Command is how the program is started: in the foreground. It makes the interface,
// which goes with it.
func (w WireGuard) Command() ([]string, error) {
	path, err := w.Program()
	if err != nil {
		return nil, err
	}
	if _, err := w.Tool(); err != nil {
		return nil, err
	}
	return []string{path, "--foreground", w.Interface}, nil
}

// Run runs wg(8), where the interface is, and returns what it says.
type Run func(arguments ...string) (string, error)

// Answers asks the program for its port.
func (w WireGuard) Answers(_ context.Context, wg Run) error {
	_, err := wg("show", w.Interface, "listen-port")
	return err
}

// Configure gives the program its keys and its peer.
func (w WireGuard) Configure(wg Run) error {
	arguments := []string{"set", w.Interface, "private-key", w.KeyFile}
	if w.Port != 0 {
		arguments = append(arguments, "listen-port", strconv.Itoa(int(w.Port)))
	}
	var allowed []string
	for _, p := range w.Peer.Allowed {
		allowed = append(allowed, p.String())
	}
	arguments = append(arguments, "peer", w.Peer.Key, "allowed-ips", strings.Join(allowed, ","))
	if w.Peer.Endpoint.IsValid() {
		arguments = append(arguments, "endpoint", w.Peer.Endpoint.String())
	}
	_, err := wg(arguments...)
	return err
}

// HasPeer reports whether the ends have agreed on keys.
func (w WireGuard) HasPeer(wg Run) (bool, error) {
	text, err := wg("show", w.Interface, "latest-handshakes")
	_, at, _ := strings.Cut(strings.TrimSpace(text), "\t")
	return err == nil && at != "" && at != "0", err
}
