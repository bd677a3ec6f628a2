package peers

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// A Radvd advertises a router on one link (RFC 4861), as a service of its own on the router's machine.
type Radvd struct {
	Dir       string // the run directory
	Name      string // of its files there
	Interface string
	Prefix    netip.Prefix // the link's
	DNS       netip.Addr
	// Managed has nodes ask DHCPv6 for addresses; else they form their own (RFC 4862).
	Managed bool
}

// Program finds the daemon, or says what to install.
func (Radvd) Program() (string, error) { return Program("radvd", "radvd") }

// Command writes the configuration and returns how the daemon is started: in the foreground, saying what it has to say on
// standard error.
func (r Radvd) Command() ([]string, error) {
	path, err := r.Program()
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(r.file("conf"), []byte(r.settings()), 0o600); err != nil {
		return nil, fmt.Errorf("peers: %w", err)
	}
	return []string{path, "--nodaemon", "--config", r.file("conf"), "--pidfile", r.file("radvd.pid"), "--logmethod", "stderr", "--username", "root"}, nil
}

func (r Radvd) file(what string) string { return filepath.Join(r.Dir, r.Name+"."+what) }

// settings are those of a network that mobile nodes come to: MinDelayBetweenRAs of RFC 6275, section 7.5, or a node that solicits
// without an address waits for 3 s because another one has heard an advertisement just now; and the option of section 7.3.
func (r Radvd) settings() string {
	onOff := map[bool]string{true: "on", false: "off"}
	var b strings.Builder
	fmt.Fprintf(&b, `interface %s {
	AdvSendAdvert on; MinRtrAdvInterval 10; MaxRtrAdvInterval 30; MinDelayBetweenRAs 0.03; AdvIntervalOpt on;
	AdvManagedFlag %s; AdvOtherConfigFlag %s;
	prefix %v { AdvOnLink on; AdvAutonomous %s; };
`, r.Interface, onOff[r.Managed], onOff[r.Managed], r.Prefix.Masked(), onOff[!r.Managed])
	if r.DNS.IsValid() {
		fmt.Fprintf(&b, "\tRDNSS %v { };\n", r.DNS)
	}
	b.WriteString("};\n")
	return b.String()
}

// Answers waits until the daemon has written the number of its process, as it does once its sockets are there.
func (r Radvd) Answers(context.Context) error {
	b, err := os.ReadFile(r.file("radvd.pid"))
	if err != nil {
		return fmt.Errorf("peers: radvd: %w", err)
	}
	if len(b) == 0 {
		return errors.New("peers: radvd has not written its process id yet")
	}
	return nil
}
