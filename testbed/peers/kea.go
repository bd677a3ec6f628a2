package peers

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
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

// Kea's numbers for the states of a lease that are of interest.
const (
	keaBound    = 0
	keaDeclined = 1
)

// subnetID is what Kea calls the link of the pool number i.
func subnetID(i int) int { return i + 1 }

func (k Kea) control() string { return filepath.Join(k.Dir, k.Name+".ctl") }

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
		"control-socket":     map[string]any{"socket-type": "unix", "socket-name": k.control()},
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

// command sends one order to the server's control socket. result, when it is
// not nil, takes the arguments of the answer.
func (k Kea) command(name string, arguments, result any) error {
	conn, err := net.DialTimeout("unix", k.control(), answerLimit)
	if err != nil {
		return fmt.Errorf("peers: Kea's control socket: %w", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(answerLimit)); err != nil {
		return fmt.Errorf("peers: Kea's control socket: %w", err)
	}
	order := map[string]any{"command": name}
	if arguments != nil {
		order["arguments"] = arguments
	}
	var answer struct {
		Result    int             `json:"result"`
		Text      string          `json:"text"`
		Arguments json.RawMessage `json:"arguments"`
	}
	if err := json.NewEncoder(conn).Encode(order); err != nil {
		return fmt.Errorf("peers: Kea: %s: %w", name, err)
	}
	if err := json.NewDecoder(conn).Decode(&answer); err != nil {
		return fmt.Errorf("peers: Kea: answer to %s: %w", name, err)
	}
	const ok, empty = 0, 3
	if answer.Result != ok && answer.Result != empty {
		return fmt.Errorf("peers: Kea: %s: result %d: %s", name, answer.Result, answer.Text)
	}
	if result == nil || len(answer.Arguments) == 0 {
		return nil
	}
	if err := json.Unmarshal(answer.Arguments, result); err != nil {
		return fmt.Errorf("peers: Kea: answer to %s: %w", name, err)
	}
	return nil
}

// answerLimit is how long the server may take for one order.
const answerLimit = 5 * time.Second

// keaLease is a lease as Kea tells of it.
type keaLease struct {
	Addr   netip.Addr `json:"ip-address"`
	Client string     `json:"client-id"`
	HW     string     `json:"hw-address"`
	Since  int64      `json:"cltt"`
	Valid  int64      `json:"valid-lft"`
	State  int        `json:"state"`
	Subnet int        `json:"subnet-id"`
}

// Leases are the addresses that are not free now. Kea does not remember what
// it has only offered.
func (k Kea) Leases() ([]dhcpd.Lease, error) {
	var all struct {
		Leases []keaLease `json:"leases"`
	}
	if err := k.command("lease4-get-all", nil, &all); err != nil {
		return nil, err
	}
	var leases []dhcpd.Lease
	for _, l := range all.Leases {
		out := dhcpd.Lease{Addr: l.Addr, Client: strings.ReplaceAll(l.Client, ":", "")}
		if l.Client == "" {
			out.Client = "hw " + strings.ReplaceAll(l.HW, ":", "")
		}
		if i := l.Subnet - 1; i >= 0 && i < len(k.Pools) {
			out.Network = k.Pools[i].Network
		}
		until := time.Unix(l.Since+l.Valid, 0)
		switch {
		case l.State == keaDeclined:
			out.State = dhcpd.Declined
		case l.State == keaBound && time.Now().Before(until):
			out.State, out.Expires = dhcpd.Bound, until
		default: // expired
			continue
		}
		leases = append(leases, out)
	}
	return leases, nil
}

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
	taken := make(map[netip.Addr]bool)
	for _, l := range leases {
		taken[l.Addr] = true
	}
	for i, p := range k.Pools {
		if p.Network != network {
			continue
		}
		for a := p.Low; !p.High.Less(a); a = a.Next() {
			if taken[a] {
				continue
			}
			if err := k.command("lease4-add", map[string]any{
				"ip-address": a.String(), "subnet-id": subnetID(i), "hw-address": "02:00:00:00:00:00", "state": keaDeclined,
			}, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// Reset frees every declined address.
func (k Kea) Reset() error {
	leases, err := k.Leases()
	if err != nil {
		return err
	}
	for _, l := range leases {
		if l.State != dhcpd.Declined {
			continue
		}
		if err := k.command("lease4-del", map[string]any{"ip-address": l.Addr.String()}, nil); err != nil {
			return err
		}
	}
	return nil
}

// Close is nothing: the process is its owner's to end.
func (k Kea) Close() error { return nil }
