package dhcp4

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"
)

// Lease is an address for a time. It holds no secret.
type Lease struct {
	Addr     netip.Prefix  // the address, with the subnet's prefix length
	Router   netip.Addr    // default router; zero if the server named none
	DNS      []netip.Addr  // at most maxDNS
	Domains  []string      // of the link: options 119 and 15, at most maxDomains
	PAA      netip.Addr    // PANA authentication agent of the link (RFC 5192), the first; zero if the server named none
	ServerID netip.Addr    // option 54
	ClientID []byte        // option 61 it was leased under, type octet first
	Start    time.Time     // when the request that got it was first sent (RFC 2131 section 4.4.1)
	Lifetime time.Duration // from Start
	T1       time.Duration // from Start: renew
	T2       time.Duration // from Start: rebind; T1 < T2 < Lifetime
}

// Expires returns when the address must not be used any more.
func (l Lease) Expires() time.Time { return l.Start.Add(l.Lifetime) }

// RenewAt returns when to begin renewing (T1).
func (l Lease) RenewAt() time.Time { return l.Start.Add(l.T1) }

// UntilRenewal is how long to wait before asking for more time: until T1 at
// first, after a failure half of what is left until T2, then until the end, but
// no less than a minute, or a sixteenth of a short lease (RFC 2131 §4.4.5).
func (l Lease) UntilRenewal(now time.Time, failed bool) time.Duration {
	t1, t2, end := l.RenewAt(), l.Start.Add(l.T2), l.Expires()
	switch {
	case now.Before(t1):
		return max(t1.Sub(now), time.Second)
	case !failed:
		return time.Second // the server gave less time than an exchange takes
	case now.Before(t2):
		end = t2
	}
	left := max(end.Sub(now), 0)
	return min(max(left/2, min(time.Minute, l.Lifetime/16)), left)
}

type leaseJSON struct {
	Addr     netip.Prefix `json:"addr"`
	Router   *netip.Addr  `json:"router,omitempty"`
	DNS      []netip.Addr `json:"dns,omitempty"`
	Domains  []string     `json:"domains,omitempty"`
	PAA      *netip.Addr  `json:"paa,omitempty"`
	ServerID netip.Addr   `json:"server_id"`
	ClientID string       `json:"client_id"`
	Start    time.Time    `json:"start"`
	Lifetime float64      `json:"lifetime_s"`
	T1       float64      `json:"t1_s"`
	T2       float64      `json:"t2_s"`
}

// MarshalJSON writes times as seconds and the client identifier as hexadecimal.
func (l Lease) MarshalJSON() ([]byte, error) {
	j := leaseJSON{
		l.Addr, nil, l.DNS, l.Domains, nil, l.ServerID, hex.EncodeToString(l.ClientID), l.Start,
		l.Lifetime.Seconds(), l.T1.Seconds(), l.T2.Seconds(),
	}
	if l.Router.IsValid() {
		j.Router = &l.Router
	}
	if l.PAA.IsValid() {
		j.PAA = &l.PAA
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (l *Lease) UnmarshalJSON(b []byte) error {
	var j leaseJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return fmt.Errorf("dhcp4: lease: %w", err)
	}
	id, err := hex.DecodeString(j.ClientID)
	if err != nil {
		return fmt.Errorf("dhcp4: lease: client_id: %w", err)
	}
	for _, s := range []float64{j.Lifetime, j.T1, j.T2} {
		if !(s >= 0 && s <= infinite.Seconds()) {
			return fmt.Errorf("dhcp4: lease: time of %v s: expected 0 to %v", s, infinite.Seconds())
		}
	}
	seconds := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
	*l = Lease{
		Addr: j.Addr, DNS: j.DNS, Domains: j.Domains, ServerID: j.ServerID, ClientID: id, Start: j.Start,
		Lifetime: seconds(j.Lifetime), T1: seconds(j.T1), T2: seconds(j.T2),
	}
	if j.Router != nil {
		l.Router = *j.Router
	}
	if j.PAA != nil {
		l.PAA = *j.PAA
	}
	return nil
}
