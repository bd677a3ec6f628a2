package peers

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"

	"openmpa/testbed/dhcpd"
)

// A Kea6 is a DHCPv6 server of several links, on an interface each: it hears the nodes' own multicasts there, and what relays send
// to its addresses.
type Kea6 struct {
	Dir      string // the run directory
	Name     string // of its files there
	Pools    []dhcpd.Pool
	Rapid    bool // it does rapid commit
	Lifetime time.Duration
}

func (k Kea6) control() keaControl { return keaControl(filepath.Join(k.Dir, k.Name+".ctl")) }

// Program finds the server's program, or says what to install.
func (Kea6) Program() (string, error) { return Program("kea-dhcp6", "kea-dhcp6-server") }

// Command is that of Kea.
func (k Kea6) Command() ([]string, error) {
	path, err := k.Program()
	if err != nil {
		return nil, err
	}
	hook, err := leaseCommands()
	if err != nil {
		return nil, err
	}
	return keaCommand(path, filepath.Join(k.Dir, k.Name+".conf"), map[string]any{"Dhcp6": k.settings(hook)})
}

// Environment is that of Kea.
func (k Kea6) Environment() []string { return Kea{Dir: k.Dir}.Environment() }

func (k Kea6) settings(hook string) map[string]any {
	type list = []map[string]any
	output := list{{"output": "stdout", "flush": true}}
	var interfaces []string
	var subnets list
	for i, p := range k.Pools {
		// The address: a socket of its own for what relays send to it. The interface: for the link's multicasts.
		interfaces = append(interfaces, p.Interface, p.Interface+"/"+p.Server.String())
		subnets = append(subnets, map[string]any{
			"id": subnetID(i), "subnet": p.Prefix.Masked().String(), "interface": p.Interface, "rapid-commit": k.Rapid,
			"pools":       list{{"pool": p.Low.String() + " - " + p.High.String()}},
			"option-data": list{{"name": "dns-servers", "data": p.DNS.String()}},
		})
	}
	return map[string]any{
		"interfaces-config":  map[string]any{"interfaces": interfaces, "service-sockets-require-all": true},
		"control-socket":     map[string]any{"socket-type": "unix", "socket-name": string(k.control())},
		"hooks-libraries":    list{{"library": hook}},
		"server-id":          map[string]any{"type": "LLT", "persist": false},
		"lease-database":     map[string]any{"type": "memfile", "name": filepath.Join(k.Dir, k.Name+".csv"), "lfc-interval": 0},
		"preferred-lifetime": int(k.Lifetime / 2 / time.Second),
		"valid-lifetime":     int(k.Lifetime / time.Second),
		"renew-timer":        int(k.Lifetime / 4 / time.Second),
		"rebind-timer":       int(k.Lifetime * 2 / 5 / time.Second),
		"multi-threading":    map[string]any{"enable-multi-threading": false},
		"dhcp-queue-control": map[string]any{"enable-queue": false},
		"subnet6":            subnets,
		"loggers": list{
			{"name": "kea-dhcp6", "severity": "INFO", "output_options": output},
			{"name": "kea-dhcp6.commands", "severity": "WARN", "output_options": output}, // the lab asks all the time
		},
	}
}

// Leases are the addresses that are not free now.
func (k Kea6) Leases() ([]dhcpd.Lease, error) { return k.control().leases("lease6-get-all", k.Pools) }

// SetEmpty has a network without a free address, or no longer, as [Kea.SetEmpty].
func (k Kea6) SetEmpty(network string, empty bool) error {
	if !empty {
		return k.Reset()
	}
	leases, err := k.Leases()
	if err != nil {
		return err
	}
	return k.control().fill("lease6-add", network, k.Pools, leases, func(n int) map[string]any {
		return map[string]any{"duid": fmt.Sprintf("00:03:00:01:02:00:00:00:%02x:%02x", n>>8, n&0xff), "iaid": 1}
	})
}

// Reset frees every declined address.
func (k Kea6) Reset() error {
	leases, err := k.Leases()
	if err != nil {
		return err
	}
	return k.control().reset("lease6-del", leases)
}

// Answers asks for the parameters of the pool's link (RFC 8415, section 18.2.6) as its relay would, until they come or ctx ends.
// listen opens a UDP socket at the relay's address.
func (k Kea6) Answers(ctx context.Context, p dhcpd.Pool, listen func(*net.UDPAddr) (*net.UDPConn, error)) error {
	m, err := dhcpv6.NewMessage(dhcpv6.WithClientID(&dhcpv6.DUIDLL{HWType: 1, LinkLayerAddr: net.HardwareAddr{2, 0, 0, 0, 0, 0xee}}))
	if err != nil {
		return fmt.Errorf("peers: %w", err)
	}
	m.MessageType = dhcpv6.MessageTypeInformationRequest
	m.AddOption(dhcpv6.OptRequestedOption(dhcpv6.OptionDNSRecursiveNameServer))
	d, err := dhcpv6.EncapsulateRelay(m, dhcpv6.MessageTypeRelayForward, p.Router.AsSlice(), net.ParseIP("fe80::ee"))
	if err != nil {
		return fmt.Errorf("peers: %w", err)
	}
	return exchange(ctx, p, dhcpv6.DefaultServerPort, listen, d.ToBytes(), func(b []byte) bool {
		r, err := dhcpv6.FromBytes(b)
		if err != nil || !r.IsRelay() {
			return false
		}
		inner, err := r.GetInnerMessage()
		return err == nil && inner.TransactionID == m.TransactionID && inner.MessageType == dhcpv6.MessageTypeReply
	})
}

// Close is nothing: the process is its owner's to end.
func (k Kea6) Close() error { return nil }
