package nd

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"openmpa/internal/acd"
)

// IID is an interface identifier, the low 64 bits of an address.
type IID [8]byte

// EUI64 returns the identifier made from a hardware address (RFC 4291 appendix A, RFC 2464 section 4).
func EUI64(mac acd.MAC) IID {
	return IID{mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]}
}

// Form joins a prefix of 64 bits and an identifier.
func Form(prefix netip.Prefix, id IID) (netip.Addr, error) {
	if err := checkPrefix(prefix); err != nil {
		return netip.Addr{}, err
	}
	if id.Reserved() {
		return netip.Addr{}, fmt.Errorf("nd: identifier %x is reserved (RFC 5453): choose another one", id[:])
	}
	b := prefix.Addr().As16()
	copy(b[8:], id[:])
	return netip.AddrFrom16(b), nil
}

func checkPrefix(prefix netip.Prefix) error {
	if !prefix.IsValid() || !prefix.Addr().Is6() || prefix.Addr().Is4In6() || prefix.Bits() != 64 || prefix.Addr().IsMulticast() {
		return fmt.Errorf("nd: prefix %v: expected an IPv6 prefix of 64 bits, the length of identifiers on Ethernet", prefix)
	}
	return nil
}

// Reserved reports whether no node may have the identifier (RFC 5453 and IANA's registry).
func (id IID) Reserved() bool {
	v := binary.BigEndian.Uint64(id[:])
	return v == 0 || // the subnet routers' anycast address
		v >= 0x02005efffe000000 && v <= 0x02005efffeffffff || // IANA's own block
		v >= 0xfdffffffffffff80 && v <= 0xfdffffffffffffff // anycast
}

// Stable holds what the stable identifiers of one interface are made of (RFC 7217 section 5).
type Stable struct {
	Secret  []byte // secret_key, at least 16 octets
	Iface   string // Net_Iface: a name that stays
	Network string // Network_ID, the SSID for instance; may be empty
}

const minSecret = 16 // 128 bits, RFC 7217 section 5

// String leaves the secret out.
func (s Stable) String() string {
	return fmt.Sprintf("stable identifiers of %q in %q, secret redacted", s.Iface, s.Network)
}

// GoString is String.
func (s Stable) GoString() string { return s.String() }

// ErrIdentifiers says that no identifier that may be used was found.
var ErrIdentifiers = errors.New("nd: every identifier is reserved")

// Addr forms the address for a prefix. conflicts is the DAD_Counter: how many addresses were found in use before, for this prefix on
// this network; a node gives up after IDGEN_RETRIES, 3.
func (s Stable) Addr(prefix netip.Prefix, conflicts uint8) (netip.Addr, error) {
	if err := checkPrefix(prefix); err != nil {
		return netip.Addr{}, err
	}
	if len(s.Secret) < minSecret {
		return netip.Addr{}, fmt.Errorf("nd: secret of %d octets: expected at least %d", len(s.Secret), minSecret)
	}
	// The random function is HMAC-SHA-256: keyed by the secret, over the other parameters, each with its length so that no two
	// sets of parameters are the same octets. A reserved result is passed over with a further counter.
	for skipped := range uint8(8) {
		var in bytes.Buffer
		high := prefix.Addr().As16()
		in.Write(high[:8])
		for _, part := range []string{s.Iface, s.Network} {
			in.Write(binary.BigEndian.AppendUint32(nil, uint32(len(part))))
			in.WriteString(part)
		}
		in.Write([]byte{conflicts, skipped})
		mac := hmac.New(sha256.New, s.Secret)
		mac.Write(in.Bytes())
		id := IID(mac.Sum(nil)[sha256.Size-8:]) // the least significant bits
		if !id.Reserved() {
			return Form(prefix, id)
		}
	}
	return netip.Addr{}, ErrIdentifiers
}

// LinkLocal returns the link-local address made from a hardware address (RFC 4291 section 2.5.6).
func LinkLocal(mac acd.MAC) netip.Addr {
	b := [16]byte{0: 0xfe, 1: 0x80}
	id := EUI64(mac)
	copy(b[8:], id[:])
	return netip.AddrFrom16(b)
}

// Autonomous returns the prefixes that addresses are formed from (RFC 4862 section 5.5.3 a to d).
func (ra RouterAdvert) Autonomous() []netip.Prefix {
	var out []netip.Prefix
	for _, p := range ra.Prefixes {
		if p.Autonomous && checkPrefix(p.Prefix) == nil && !p.Prefix.Addr().IsLinkLocalUnicast() &&
			p.Valid > 0 && p.Preferred <= p.Valid {
			out = append(out, p.Prefix)
		}
	}
	return out
}

// Holds reports whether an address prepared before fits the link of this advertisement: one of its valid prefixes contains
// it, so that nothing is acquired again (RFC 6252 section 7.3.4).
func (ra RouterAdvert) Holds(addr netip.Addr) bool {
	for _, p := range ra.Prefixes {
		if (p.OnLink || p.Autonomous) && p.Valid > 0 && p.Prefix.Contains(addr) {
			return true
		}
	}
	return false
}
