package dhcp6

import (
	"net/netip"
	"time"
)

// Lease is an address for a time. It holds no secret.
type Lease struct {
	Addr      netip.Addr    `json:"addr"`
	DNS       []netip.Addr  `json:"dns,omitempty"`     // at most maxDNS
	Domains   []string      `json:"domains,omitempty"` // of the link, at most maxDomains
	PAA       netip.Addr    `json:"paa,omitzero"`      // PANA authentication agent of the link (RFC 5192), the first
	ServerID  []byte        `json:"server_id"`         // DUID of the server
	ClientID  []byte        `json:"client_id"`         // DUID it was leased under
	IAID      [4]byte       `json:"iaid"`              //
	Start     time.Time     `json:"start"`             // when the message that got it was first sent
	Preferred time.Duration `json:"preferred"`         // from Start: for new connections; nd.Infinite: for ever
	Valid     time.Duration `json:"valid"`             // from Start; at least Preferred
	T1        time.Duration `json:"t1"`                // from Start: renew
	T2        time.Duration `json:"t2"`                // from Start: rebind; at least T1
}

// Expires returns when the address must not be used any more.
func (l Lease) Expires() time.Time { return l.Start.Add(l.Valid) }

// RenewAt returns when to begin renewing (T1).
func (l Lease) RenewAt() time.Time { return l.Start.Add(l.T1) }
