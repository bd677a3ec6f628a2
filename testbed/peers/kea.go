package peers

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"openmpa/testbed/dhcpd"
)

// A Kea is a DHCPv4 server of several links, on an interface each. It hears
// the nodes' own broadcasts there, and what relays send to its addresses.
type Kea struct {
	Dir      string // the run directory
	Name     string // of its files there
	Pools    []dhcpd.Pool
	Lifetime time.Duration
}

// subnetID is what Kea calls the link of the pool number i.
func subnetID(i int) int { return i + 1 }

func (k Kea) control() keaControl { return keaControl(filepath.Join(k.Dir, k.Name+".ctl")) }

// Program finds the server's program, or says what to install.
func (Kea) Program() (string, error) { return Program("kea-dhcp4", "kea-dhcp4-server") }

// leaseCommands finds the library by which leases are read and changed.
func leaseCommands() (string, error) {
	found, err := filepath.Glob("/usr/lib/*/kea/hooks/libdhcp_lease_cmds.so")
	if err != nil || len(found) == 0 {
		return "", errors.New("peers: Kea's libdhcp_lease_cmds.so is not in /usr/lib/*/kea/hooks: the package kea-common brings it")
	}
	return found[0], nil
}

// Command writes the configuration and returns how the server is started: in
// the foreground, saying what it has to say on standard output.
func (k Kea) Command() ([]string, error) {
	path, err := k.Program()
	if err != nil {
		return nil, err
	}
	hook, err := leaseCommands()
	if err != nil {
		return nil, err
	}
	return keaCommand(path, filepath.Join(k.Dir, k.Name+".conf"), map[string]any{"Dhcp4": k.settings(hook)})
}

// keaCommand writes the configuration and returns how the program is started.
//
// That is through the dynamic loader: Debian's AppArmor profile
// for its path lets it write in /run/kea and /var/lib/kea only, which is where
// nothing of a lab has any business.
func keaCommand(path, conf string, settings map[string]any) ([]string, error) {
	loader, err := loaderOf(path)
	if err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(settings, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("peers: %w", err)
	}
	if err := os.WriteFile(conf, append(text, '\n'), 0o600); err != nil {
		return nil, fmt.Errorf("peers: %w", err)
	}
	return []string{loader, path, "-c", conf}, nil
}

// Environment is what the server needs so that its lock and its pid file are
// in the run directory, too.
func (k Kea) Environment() []string {
	return []string{"KEA_LOCKFILE_DIR=" + k.Dir, "KEA_PIDFILE_DIR=" + k.Dir}
}

func (k Kea) settings(hook string) map[string]any {
	type list = []map[string]any
	output := list{{"output": "stdout", "flush": true}}
	interfaces := []string{}
	subnets := list{}
	for i, p := range k.Pools {
		interfaces = append(interfaces, p.Interface)
		options := list{
			{"name": "routers", "data": p.Router.String()},
			{"name": "domain-name-servers", "data": p.DNS.String()},
		}
		if p.PAA.IsValid() {
			options = append(options, map[string]any{"name": "pana-agent", "code": 136, "data": p.PAA.String()})
		}
		subnets = append(subnets, map[string]any{
			"id": subnetID(i), "subnet": p.Prefix.Masked().String(), "interface": p.Interface,
			"relay":       map[string]any{"ip-addresses": []string{p.Router.String()}},
			"pools":       list{{"pool": p.Low.String() + " - " + p.High.String()}},
			"option-data": options,
		})
	}
	return map[string]any{
		// Raw: a node without an address can be answered. Broadcasts reach each
		// interface of its own, which they do not with one UDP socket.
		"interfaces-config": map[string]any{
			"interfaces": interfaces, "dhcp-socket-type": "raw", "service-sockets-require-all": true,
		},
		"control-socket":     map[string]any{"socket-type": "unix", "socket-name": string(k.control())},
		"hooks-libraries":    list{{"library": hook}},
		"lease-database":     map[string]any{"type": "memfile", "name": filepath.Join(k.Dir, k.Name+".csv"), "lfc-interval": 0},
		"valid-lifetime":     int(k.Lifetime / time.Second),
		"renew-timer":        int(k.Lifetime / 2 / time.Second),
		"rebind-timer":       int(k.Lifetime * 7 / 8 / time.Second),
		"multi-threading":    map[string]any{"enable-multi-threading": false},
		"dhcp-queue-control": map[string]any{"enable-queue": false},
		"subnet4":            subnets,
		"loggers": list{
			{"name": "kea-dhcp4", "severity": "INFO", "output_options": output},
			{"name": "kea-dhcp4.commands", "severity": "WARN", "output_options": output}, // the lab asks all the time
		},
	}
}

// Leases are the addresses that are not free now. Kea does not remember what
// it has only offered.
func (k Kea) Leases() ([]dhcpd.Lease, error) { return k.control().leases("lease4-get-all", k.Pools) }

// SetEmpty has a network without a free address, by having declined all that
// are free, until empty is false or [Kea.Reset].
func (k Kea) SetEmpty(network string, empty bool) error {
	if !empty {
		return k.Reset()
	}
	leases, err := k.Leases()
	if err != nil {
		return err
	}
	return k.control().fill("lease4-add", network, k.Pools, leases, func(int) map[string]any {
		return map[string]any{"hw-address": "02:00:00:00:00:00"}
	})
}

// Reset frees every declined address.
func (k Kea) Reset() error {
	leases, err := k.Leases()
	if err != nil {
		return err
	}
	return k.control().reset("lease4-del", leases)
}

// Close is nothing: the process is its owner's to end.
func (k Kea) Close() error { return nil }
