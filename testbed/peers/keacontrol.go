package peers

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"openmpa/testbed/dhcpd"
)

// Kea's numbers for the states of a lease that are of interest.
const (
	keaBound    = 0
	keaDeclined = 1
)

// keaControl is the path of a server's control socket.
type keaControl string

// command sends one order to the server's control socket. result, when it is
// not nil, takes the arguments of the answer.
func (c keaControl) command(name string, arguments, result any) error {
	conn, err := net.DialTimeout("unix", string(c), answerLimit)
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
	DUID   string     `json:"duid"` // of DHCPv6, with the next one
	IAID   uint32     `json:"iaid"`
	Since  int64      `json:"cltt"`
	Valid  int64      `json:"valid-lft"`
	State  int        `json:"state"`
	Subnet int        `json:"subnet-id"`
}

// client is who the lease is for, as the lab's own server writes it.
func (l keaLease) client() string {
	switch {
	case l.DUID != "":
		return fmt.Sprintf("%s/%08x", strings.ReplaceAll(l.DUID, ":", ""), l.IAID)
	case l.Client == "":
		return "hw " + strings.ReplaceAll(l.HW, ":", "")
	}
	return strings.ReplaceAll(l.Client, ":", "")
}

// leases are the addresses that are not free now.
func (c keaControl) leases(getAll string, pools []dhcpd.Pool) ([]dhcpd.Lease, error) {
	var all struct {
		Leases []keaLease `json:"leases"`
	}
	if err := c.command(getAll, nil, &all); err != nil {
		return nil, err
	}
	var leases []dhcpd.Lease
	for _, l := range all.Leases {
		out := dhcpd.Lease{Addr: l.Addr, Client: l.client()}
		if i := l.Subnet - 1; i >= 0 && i < len(pools) {
			out.Network = pools[i].Network
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

// fill has all addresses of a network declined that are free; whose says by whom the first, the second and so on.
func (c keaControl) fill(add, network string, pools []dhcpd.Pool, leases []dhcpd.Lease, whose func(n int) map[string]any) error {
	taken := make(map[netip.Addr]bool)
	for _, l := range leases {
		taken[l.Addr] = true
	}
	for i, p := range pools {
		if p.Network != network {
			continue
		}
		n := 0
		for a := p.Low; !p.High.Less(a); a = a.Next() {
			if taken[a] {
				continue
			}
			n++
			lease := whose(n)
			lease["ip-address"], lease["subnet-id"], lease["state"] = a.String(), subnetID(i), keaDeclined
			if err := c.command(add, lease, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// reset frees every declined address.
func (c keaControl) reset(del string, leases []dhcpd.Lease) error {
	for _, l := range leases {
		if l.State != dhcpd.Declined {
			continue
		}
		if err := c.command(del, map[string]any{"ip-address": l.Addr.String()}, nil); err != nil {
			return err
		}
	}
	return nil
}
