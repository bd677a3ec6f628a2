package dhcpd

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"sort"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"openmpa/internal/state"
)

// A Pool is one link the server serves.
type Pool struct {
	Network   string // name, for the lab's reports
	Interface string
	Server    netip.Addr // the server's address on the link
	Prefix    netip.Prefix
	Low, High netip.Addr // the addresses it leases, both included
	Router    netip.Addr
	DNS       netip.Addr
	Domain    string     // of the link; empty: none is named
	PAA       netip.Addr // PANA authentication agent (RFC 5192); the zero Addr: none is named
}

// State is the state of a lease.
type State string

// The states of a lease; a free address has none.
const (
	Offered  State = "offered"
	Bound    State = "bound"
	Declined State = "declined"
)

// A Lease is an address that is not free.
type Lease struct {
	Network string
	Addr    netip.Addr
	Client  string // hex of the client identifier, or of the hardware address
	State   State
	Expires time.Time // of a declined address: the zero time
}

// String is the lease on one line.
func (l Lease) String() string {
	return fmt.Sprintf("%s %v %s, client %s", l.Network, l.Addr, l.State, l.Client)
}

const offerTime = 10 * time.Second

// A Table is the server's memory and logic, without any socket. It is not
// safe for concurrent use.
type Table struct {
	pools    []Pool
	lifetime time.Duration
	store    state.Store
	leases   map[netip.Addr]*Lease // replaced, never changed
	empty    map[string]bool
	counts   map[string]uint64
}

// NewTable returns the table of a server that leases for lifetime, with the leases that
// are in store; it stores each before it grants it.
func NewTable(pools []Pool, lifetime time.Duration, store state.Store) (*Table, error) {
	for _, p := range pools {
		if !p.Prefix.Contains(p.Low) || !p.Prefix.Contains(p.High) || p.High.Less(p.Low) {
			return nil, fmt.Errorf("dhcpd: pool %s: %v to %v is not within %v", p.Network, p.Low, p.High, p.Prefix)
		}
	}
	if lifetime < time.Second {
		return nil, errors.New("dhcpd: leases last a second at least")
	}
	t := &Table{
		pools: pools, lifetime: lifetime, store: store,
		leases: make(map[netip.Addr]*Lease), empty: make(map[string]bool), counts: make(map[string]uint64),
	}
	return t, t.load()
}

// SetEmpty has a network without a free address from now on, or no longer.
// Leases that exist are renewed.
func (t *Table) SetEmpty(network string, empty bool) { t.empty[network] = empty }

// Reset frees every declined address and every offer.
func (t *Table) Reset() {
	for a, l := range t.leases {
		if l.State != Bound {
			t.free(a)
		}
	}
}

// Leases are all addresses that are not free at now, in order.
func (t *Table) Leases(now time.Time) []Lease {
	t.expire(now)
	all := make([]Lease, 0, len(t.leases))
	for _, l := range t.leases {
		all = append(all, *l)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Addr.Less(all[j].Addr) })
	return all
}

// Counts are the messages received by type, "malformed" and "foreign" (no
// link of ours) among them.
func (t *Table) Counts() map[string]uint64 {
	c := make(map[string]uint64, len(t.counts))
	for k, v := range t.counts {
		c[k] = v
	}
	return c
}

// Answer answers one datagram that came to UDP port 67 on ifname: what to send from
// there, and where to. False is silence.
func (t *Table) Answer(now time.Time, ifname string, datagram []byte) (reply []byte, to netip.AddrPort, ok bool) {
	m, err := dhcpv4.FromBytes(datagram)
	if err != nil {
		t.counts["malformed"]++
		return nil, to, false
	}
	r := t.Handle(now, ifname, m)
	if r == nil {
		return nil, to, false
	}
	return r.ToBytes(), destination(m, r), true
}

// destination is RFC 2131, section 4.1: the relay, the client when it has an
// address, or everybody. A client without one is not sent to by its hardware
// address: it gets a broadcast, as the section allows.
func destination(m, r *dhcpv4.DHCPv4) netip.AddrPort {
	if g := addr(m.GatewayIPAddr); g.IsValid() && !g.IsUnspecified() {
		return netip.AddrPortFrom(g, dhcpv4.ServerPort)
	}
	if c := addr(m.ClientIPAddr); c.IsValid() && !c.IsUnspecified() && r.MessageType() != dhcpv4.MessageTypeNak {
		return netip.AddrPortFrom(c, dhcpv4.ClientPort)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), dhcpv4.ClientPort)
}

// Handle answers one request that came in on ifname. A nil answer is
// silence.
func (t *Table) Handle(now time.Time, ifname string, m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
	if m.OpCode != dhcpv4.OpcodeBootRequest || len(m.ClientHWAddr) == 0 {
		t.counts["malformed"]++
		return nil
	}
	p, ok := t.pool(ifname, m)
	if !ok {
		t.counts["foreign"]++
		return nil
	}
	t.expire(now)
	t.counts[m.MessageType().String()]++
	client := clientOf(m)
	switch m.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		l := t.choose(p, client, addr(m.RequestedIPAddress()))
		if l == nil {
			return nil // no free address: RFC 2131, section 4.3.1
		}
		if l.State != Bound {
			l.State, l.Expires = Offered, now.Add(offerTime)
			t.keep(*l)
		}
		return t.reply(p, m, dhcpv4.MessageTypeOffer, l.Addr)
	case dhcpv4.MessageTypeRequest:
		return t.request(now, p, m, client)
	case dhcpv4.MessageTypeDecline:
		a := addr(m.RequestedIPAddress())
		if l := t.leases[a]; l != nil && l.Client == client && forUs(p, m) {
			t.keep(Lease{Network: l.Network, Addr: a, Client: client, State: Declined})
		}
	case dhcpv4.MessageTypeRelease:
		a := addr(m.ClientIPAddr)
		if l := t.leases[a]; l != nil && l.Client == client && l.State == Bound {
			t.free(a)
		}
	case dhcpv4.MessageTypeInform:
		return t.reply(p, m, dhcpv4.MessageTypeAck, netip.Addr{})
	default:
		// A server has no use for the other types (RFC 2131, section 4.3).
	}
	return nil
}

// request is RFC 2131, section 4.3.2.
func (t *Table) request(now time.Time, p Pool, m *dhcpv4.DHCPv4, client string) *dhcpv4.DHCPv4 {
	selecting := m.ServerIdentifier() != nil && !m.ServerIdentifier().IsUnspecified()
	want := addr(m.RequestedIPAddress()) // SELECTING, INIT-REBOOT
	if !want.IsValid() || want.IsUnspecified() {
		want = addr(m.ClientIPAddr) // RENEWING, REBINDING
	}
	if selecting && !forUs(p, m) {
		// The client took another server's offer; ours is free again.
		for a, l := range t.leases {
			if l.Client == client && l.State == Offered {
				t.free(a)
			}
		}
		return nil
	}
	l := t.leases[want]
	if l != nil && l.Client == client && l.State != Declined && p.Prefix.Contains(want) {
		if !t.keep(Lease{Network: l.Network, Addr: want, Client: client, State: Bound, Expires: now.Add(t.lifetime)}) {
			return nil
		}
		return t.reply(p, m, dhcpv4.MessageTypeAck, want)
	}
	if !selecting && l == nil && p.Prefix.Contains(want) {
		return nil // INIT-REBOOT or REBINDING of a client without a record: silence
	}
	return t.reply(p, m, dhcpv4.MessageTypeNak, netip.Addr{})
}

// choose finds the client's address, then the one it asks for, then the
// lowest that is free (RFC 2131, section 4.3.1). The lease is the caller's, to change and
// to keep.
func (t *Table) choose(p Pool, client string, want netip.Addr) *Lease {
	for _, l := range t.leases {
		if l.Network == p.Network && l.Client == client && l.State != Declined {
			found := *l
			return &found
		}
	}
	if t.empty[p.Network] {
		return nil
	}
	free := func(a netip.Addr) bool {
		return a.IsValid() && !a.Less(p.Low) && !p.High.Less(a) && t.leases[a] == nil
	}
	pick := want
	for a := p.Low; !free(pick); a = a.Next() {
		if p.High.Less(a) {
			return nil
		}
		pick = a
	}
	return &Lease{Network: p.Network, Addr: pick, Client: client}
}

func (t *Table) pool(ifname string, m *dhcpv4.DHCPv4) (Pool, bool) {
	for _, by := range []netip.Addr{addr(m.GatewayIPAddr), addr(m.ClientIPAddr)} {
		if !by.IsValid() || by.IsUnspecified() {
			continue
		}
		for _, p := range t.pools {
			if p.Prefix.Contains(by) {
				return p, true
			}
		}
		return Pool{}, false
	}
	for _, p := range t.pools {
		if p.Interface == ifname && p.Prefix.Addr().Is4() {
			return p, true
		}
	}
	return Pool{}, false
}

func (t *Table) reply(p Pool, m *dhcpv4.DHCPv4, kind dhcpv4.MessageType, yours netip.Addr) *dhcpv4.DHCPv4 {
	mods := []dhcpv4.Modifier{
		dhcpv4.WithReply(m),
		dhcpv4.WithGatewayIP(m.GatewayIPAddr),
		dhcpv4.WithMessageType(kind),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(p.Server.AsSlice())),
		dhcpv4.WithOptionCopied(m, dhcpv4.OptionClientIdentifier),
		dhcpv4.WithOptionCopied(m, dhcpv4.OptionRelayAgentInformation),
	}
	if kind == dhcpv4.MessageTypeNak {
		mods = append(mods, dhcpv4.WithBroadcast(true), // section 4.3.2: also behind a relay
			dhcpv4.WithOption(dhcpv4.OptMessage("the address is not yours on this network")))
	} else {
		ones := p.Prefix.Bits()
		mods = append(mods,
			dhcpv4.WithClientIP(m.ClientIPAddr),
			dhcpv4.WithNetmask(mask(ones)),
			dhcpv4.WithOption(dhcpv4.OptRouter(p.Router.AsSlice())),
			dhcpv4.WithOption(dhcpv4.OptDNS(p.DNS.AsSlice())))
		if p.Domain != "" {
			mods = append(mods, dhcpv4.WithOption(dhcpv4.OptDomainName(p.Domain)))
		}
		if p.PAA.IsValid() {
			mods = append(mods, dhcpv4.WithGeneric(dhcpv4.OptionPANAAuthenticationAgent, p.PAA.AsSlice()))
		}
		if yours.IsValid() {
			mods = append(mods,
				dhcpv4.WithYourIP(yours.AsSlice()),
				dhcpv4.WithLeaseTime(uint32(t.lifetime/time.Second)),
				dhcpv4.WithOption(dhcpv4.OptRenewTimeValue(t.lifetime/2)),
				dhcpv4.WithOption(dhcpv4.OptRebindingTimeValue(t.lifetime*7/8)))
		}
	}
	r, err := dhcpv4.New(mods...)
	if err != nil { // no randomness for a transaction id, which WithReply replaces
		t.counts["unanswered"]++
		return nil
	}
	return r
}

// forUs reports whether the message names this server or none.
func forUs(p Pool, m *dhcpv4.DHCPv4) bool {
	id := addr(m.ServerIdentifier())
	return !id.IsValid() || id == p.Server
}

func clientOf(m *dhcpv4.DHCPv4) string {
	if id := m.Options.Get(dhcpv4.OptionClientIdentifier); len(id) > 0 {
		return hex.EncodeToString(id)
	}
	return "hw " + hex.EncodeToString(bytes.Clone(m.ClientHWAddr))
}

// addr is the IPv4 address in a slice of net.IP, invalid when there is none.
func addr(ip []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

func mask(ones int) []byte {
	m := make([]byte, 4)
	for i := range ones {
		m[i/8] |= 0x80 >> (i % 8)
	}
	return m
}
