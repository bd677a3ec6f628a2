package mn

import (
	"net/netip"
	"time"

	"openmpa/internal/acd/nd"
	"openmpa/internal/dhcp4"
	"openmpa/internal/dhcp6"
)

// lease is a care-of address for a time, of one family: one of the two is there.
type lease struct {
	Four *dhcp4.Lease `json:"lease,omitempty"`
	Six  *lease6      `json:"lease6,omitempty"`
}

// lease6 is an IPv6 address that a DHCPv6 server has leased, or, without ServerID, that was
// formed from a prefix which the router of its link advertises (RFC 4862).
type lease6 struct {
	dhcp6.Lease
	OnLink netip.Prefix `json:"on_link"` // that holds the address; invalid: packets for neighbours go by the router
	Router netip.Addr   `json:"router"`  // link-local
}

func lease4(l dhcp4.Lease) lease { return lease{Four: &l} }

// formed says whether no server has leased the address.
func (l lease) formed() bool { return l.Six != nil && len(l.Six.ServerID) == 0 }

// prefix is the address, with the length of the prefix that is on its link.
func (l lease) prefix() netip.Prefix {
	switch {
	case l.Four != nil:
		return l.Four.Addr
	case l.Six != nil && l.Six.OnLink.IsValid():
		return netip.PrefixFrom(l.Six.Addr, l.Six.OnLink.Bits())
	case l.Six != nil:
		return single(l.Six.Addr)
	}
	return netip.Prefix{} // of a record that is of no use
}

func (l lease) addr() netip.Addr { return l.prefix().Addr() }

func (l lease) router() netip.Addr {
	if l.Six != nil {
		return l.Six.Router
	}
	return l.Four.Router
}

// term is when it begins, how long after that it is to be renewed by whom it is from (T1)
// and by anybody (T2), and how long it is.
func (l lease) term() (start time.Time, t1, t2, lifetime time.Duration) {
	switch {
	case l.Four != nil:
		return l.Four.Start, l.Four.T1, l.Four.T2, l.Four.Lifetime
	case l.Six != nil:
		return l.Six.Start, l.Six.T1, l.Six.T2, l.Six.Valid
	}
	return
}

func (l lease) expires() time.Time {
	start, _, _, lifetime := l.term()
	return start.Add(lifetime)
}

// untilRenewal is how long to wait before asking for more time. Both versions of DHCP have
// the same rule.
func (l lease) untilRenewal(now time.Time, failed bool) time.Duration {
	start, t1, t2, lifetime := l.term()
	return dhcp4.Lease{Start: start, Lifetime: lifetime, T1: t1, T2: t2}.UntilRenewal(now, failed)
}

// paa is the PANA authentication agent that its server has named, invalid if none was.
func (l lease) paa() netip.Addr {
	switch {
	case l.Four != nil:
		return l.Four.PAA
	case l.Six != nil:
		return l.Six.PAA
	}
	return netip.Addr{}
}

// names are the name servers of its link, and the domains there, as its server has named them.
func (l lease) names() (servers []netip.Addr, domains []string) {
	switch {
	case l.Four != nil:
		return l.Four.DNS, l.Four.Domains
	case l.Six != nil:
		return l.Six.DNS, l.Six.Domains
	}
	return nil, nil
}

// untrusted bounds what a router of the link, whom nobody has authenticated, can shorten a
// lifetime to (RFC 4862 section 5.5.3 e).
const untrusted = 2 * time.Hour

// refreshed is l after an advertisement that came at now; authentic says that it was
// protected. It is l itself where nothing in it is about the prefix of the address.
func (l lease6) refreshed(ra nd.RouterAdvert, now time.Time, authentic bool) lease6 {
	for _, p := range ra.Prefixes {
		if !p.Autonomous || !p.Prefix.Contains(l.Addr) || p.Preferred > p.Valid {
			continue
		}
		left := l.Expires().Sub(now)
		switch {
		case authentic, p.Valid > untrusted, p.Valid > left:
			left = p.Valid
		case left > untrusted:
			left = untrusted
		}
		return l.lasting(now, min(p.Preferred, left), left)
	}
	return l
}

// lasting is l with the lifetimes of an address that is formed: it is looked after at half
// of them.
func (l lease6) lasting(start time.Time, preferred, valid time.Duration) lease6 {
	l.Start, l.Preferred, l.Valid = start, preferred, valid
	l.T1, l.T2 = valid/2, valid/8*7
	return l
}

// onLink is the prefix of ra that holds a and is on the link; invalid if none is.
func onLink(ra nd.RouterAdvert, a netip.Addr) netip.Prefix {
	for _, p := range ra.Prefixes {
		if p.OnLink && p.Valid > 0 && p.Prefix.Contains(a) {
			return p.Prefix
		}
	}
	return netip.Prefix{}
}
