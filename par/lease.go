package par

import (
	"encoding/json"
	"net/netip"
	"time"

	"openmpa/internal/dhcp4"
	"openmpa/internal/dhcp6"
)

// lease is an address for a time: of a DHCP server of either family, or formed by its node.
type lease struct {
	Addr       netip.Prefix  // with the prefix length of the link; nowhere: the server may have granted one that is not known
	DNS        []netip.Addr  //
	ServerID   netip.Addr    // IPv4: who granted it
	ServerDUID []byte        // IPv6: who granted it; none: its node has formed it
	ClientID   []byte        // it was leased under; IPv6: a DUID
	IAID       [4]byte       // IPv6
	Start      time.Time     // when the request that got it was first sent
	Lifetime   time.Duration // from Start
	Preferred  time.Duration // IPv6, from Start: for new connections
	T1, T2     time.Duration // from Start: renew, rebind
}

// nowhere stands for an address that is not known.
var nowhere = netip.PrefixFrom(netip.IPv6Unspecified(), 128)

// Expires returns when the address must not be used any more.
func (l lease) Expires() time.Time { return l.Start.Add(l.Lifetime) }

// UntilRenewal is how long to wait before asking for more time. IPv4's rule suits IPv6, too: what it waits after a failure is
// between the first and the longest pause of RFC 8415 sections 18.2.4 and 18.2.5.
func (l lease) UntilRenewal(now time.Time, failed bool) time.Duration {
	return l.to4().UntilRenewal(now, failed)
}

// key is the client's, in the ledger.
func (l lease) key() clientKey {
	if l.Addr.Addr().Is6() {
		return clientKey{six: true, id: string(append(l.IAID[:], l.ClientID...))}
	}
	return clientKey{id: string(l.ClientID)}
}

func from4(l dhcp4.Lease) lease {
	return lease{
		Addr: l.Addr, DNS: l.DNS, ServerID: l.ServerID, ClientID: l.ClientID, Start: l.Start, Lifetime: l.Lifetime, T1: l.T1, T2: l.T2,
	}
}

func (l lease) to4() dhcp4.Lease {
	return dhcp4.Lease{
		Addr: l.Addr, DNS: l.DNS, ServerID: l.ServerID, ClientID: l.ClientID, Start: l.Start, Lifetime: l.Lifetime, T1: l.T1, T2: l.T2,
	}
}

func from6(l dhcp6.Lease, bits int) lease {
	return lease{
		Addr: netip.PrefixFrom(l.Addr, bits), DNS: l.DNS, ServerDUID: l.ServerID, ClientID: l.ClientID, IAID: l.IAID,
		Start: l.Start, Lifetime: l.Valid, Preferred: l.Preferred, T1: l.T1, T2: l.T2,
	}
}

func (l lease) to6() dhcp6.Lease {
	return dhcp6.Lease{
		Addr: l.Addr.Addr(), DNS: l.DNS, ServerID: l.ServerDUID, ClientID: l.ClientID, IAID: l.IAID,
		Start: l.Start, Valid: l.Lifetime, Preferred: l.Preferred, T1: l.T1, T2: l.T2,
	}
}

// leaseJSON6 is what is kept of a lease of IPv6.
type leaseJSON6 struct {
	dhcp6.Lease
	Bits int `json:"prefix_length"`
}

// MarshalJSON writes what the package of its family does.
func (l lease) MarshalJSON() ([]byte, error) {
	if l.Addr.Addr().Is6() {
		return json.Marshal(leaseJSON6{l.to6(), l.Addr.Bits()})
	}
	return json.Marshal(l.to4())
}

// UnmarshalJSON reads what MarshalJSON writes.
func (l *lease) UnmarshalJSON(b []byte) error {
	var six leaseJSON6
	var family struct {
		Bits *int `json:"prefix_length"`
	}
	if err := json.Unmarshal(b, &family); err != nil {
		return err
	}
	if family.Bits != nil {
		err := json.Unmarshal(b, &six)
		*l = from6(six.Lease, six.Bits)
		return err
	}
	var four dhcp4.Lease
	err := json.Unmarshal(b, &four)
	*l = from4(four)
	return err
}
