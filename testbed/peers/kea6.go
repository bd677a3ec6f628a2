package peers

import (
	"net/netip"
	"path/filepath"
	"time"
)

// A Kea6 is a DHCPv6 server of one link, on one interface: it hears the nodes' own multicasts there, and what relays send to its
// addresses.
type Kea6 struct {
	Dir       string // the run directory
	Name      string // of its files there
	Interface string
	Server    netip.Addr   // its global address there, which relays send to
	Prefix    netip.Prefix // the link's
	Low, High netip.Addr   // addresses it gives
	DNS       netip.Addr
	Rapid     bool // it does rapid commit
	Lifetime  time.Duration
}

// Program finds the server's program, or says what to install.
func (Kea6) Program() (string, error) { return Program("kea-dhcp6", "kea-dhcp6-server") }

// Command is that of Kea.
func (k Kea6) Command() ([]string, error) {
	path, err := k.Program()
	if err != nil {
		return nil, err
	}
	return keaCommand(path, filepath.Join(k.Dir, k.Name+".conf"), map[string]any{"Dhcp6": k.settings()})
}

// Environment is that of Kea.
func (k Kea6) Environment() []string { return Kea{Dir: k.Dir}.Environment() }

func (k Kea6) settings() map[string]any {
	type list = []map[string]any
	output := list{{"output": "stdout", "flush": true}}
	return map[string]any{
		// The address: a socket of its own for what relays send to it. The interface: for the link's multicasts.
		"interfaces-config": map[string]any{
			"interfaces": []string{k.Interface, k.Interface + "/" + k.Server.String()}, "service-sockets-require-all": true,
		},
		"server-id":          map[string]any{"type": "LLT", "persist": false},
		"lease-database":     map[string]any{"type": "memfile", "persist": false},
		"preferred-lifetime": int(k.Lifetime / 2 / time.Second),
		"valid-lifetime":     int(k.Lifetime / time.Second),
		"renew-timer":        int(k.Lifetime / 4 / time.Second),
		"rebind-timer":       int(k.Lifetime * 2 / 5 / time.Second),
		"multi-threading":    map[string]any{"enable-multi-threading": false},
		"dhcp-queue-control": map[string]any{"enable-queue": false},
		"subnet6": list{{
			"id": 1, "subnet": k.Prefix.Masked().String(), "interface": k.Interface, "rapid-commit": k.Rapid,
			"pools":       list{{"pool": k.Low.String() + " - " + k.High.String()}},
			"option-data": list{{"name": "dns-servers", "data": k.DNS.String()}},
		}},
		"loggers": list{{"name": "kea-dhcp6", "severity": "INFO", "output_options": output}},
	}
}
