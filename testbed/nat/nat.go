package nat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"openmpa/testbed/space"
)

// A Config says what is translated: UDP that leaves by an interface, from a
// network to some ports of an address.
type Config struct {
	Out    string       // interface
	Inside netip.Prefix // IPv4
	To     netip.Addr   // IPv4
	Ports  []uint16     // at To
	Outer  netip.Addr   // the interface's address, which replaces the source
}

// A Range is of ports, both included.
type Range struct{ Low, High uint16 }

// Has reports whether the port is one of the range.
func (r Range) Has(port uint16) bool { return port >= r.Low && port <= r.High }

// String is LOW-HIGH.
func (r Range) String() string { return fmt.Sprintf("%d-%d", r.Low, r.High) }

// The ports: each range is rangeLen long, and the next one follows behind.
const (
	firstPort = 20000
	rangeLen  = 100
	ranges    = 100
)

// A Mapping is one flow through the translator.
type Mapping struct {
	Inside netip.AddrPort
	Outer  netip.AddrPort
	To     netip.AddrPort
	// Packets from the inside, and back.
	Sent, Returned uint64
}

// A Translator is one router's. It is not safe for concurrent use.
type Translator struct {
	cfg   Config
	name  string
	nft   *nftables.Conn
	ct    *netlink.Handle
	round int // of the ranges
}

const tableName = "lab-nat"

// Start makes the router of a namespace translate.
func Start(s *space.Space, cfg Config) (*Translator, error) {
	t := &Translator{cfg: cfg, name: s.Name()}
	err := s.Sysctl("net/netfilter/nf_conntrack_acct", "1")
	if err == nil {
		t.nft, err = nftables.New(nftables.WithNetNSFd(s.FD()), nftables.AsLasting())
	}
	if err == nil {
		t.ct, err = netlink.NewHandleAt(netns.NsHandle(s.FD()), unix.NETLINK_NETFILTER)
	}
	if err == nil {
		err = t.install()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("nat: %s: %w", s.Name(), err), t.Close())
	}
	return t, nil
}

// Close gives back what it takes to change the translator, which goes on.
func (t *Translator) Close() error {
	if t.ct != nil {
		t.ct.Close()
	}
	if t.nft == nil {
		return nil
	}
	return t.nft.CloseLasting()
}

// Outer is the address that senders get.
func (t *Translator) Outer() netip.Addr { return t.cfg.Outer }

// Ports are those that new mappings get.
func (t *Translator) Ports() Range {
	low := uint16(firstPort + t.round%ranges*rangeLen) //nolint:gosec // below 30000
	return Range{low, low + rangeLen - 1}
}

// Rebind forgets every mapping and takes other ports into use.
func (t *Translator) Rebind() error {
	t.round++
	err := t.install()
	if err == nil {
		err = t.ct.ConntrackTableFlush(netlink.ConntrackTable)
	}
	if err != nil {
		return fmt.Errorf("nat: %s: rebind: %w", t.name, err)
	}
	return nil
}

// install replaces all rules in one transaction.
func (t *Translator) install() error {
	table := t.nft.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: tableName})
	t.nft.DelTable(table)
	table = t.nft.AddTable(table)
	post := t.nft.AddChain(&nftables.Chain{
		Name: "translate", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	for _, port := range t.cfg.Ports {
		t.nft.AddRule(&nftables.Rule{Table: table, Chain: post, Exprs: t.translate(port)})
	}
	input := t.nft.AddChain(&nftables.Chain{
		Name: "forgotten", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter,
	})
	t.nft.AddRule(&nftables.Rule{Table: table, Chain: input, Exprs: t.forgotten()})
	return t.nft.Flush()
}

// translate matches what is to be translated.
func (t *Translator) translate(port uint16) []expr.Any {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, t.cfg.Out)
	mask := make([]byte, 4)
	binary.BigEndian.PutUint32(mask, ^uint32(0)<<(32-t.cfg.Inside.Bits()))
	r := t.Ports()
	return append([]expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		equals(name),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4}, // source
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		equals(t.cfg.Inside.Masked().Addr().AsSlice()),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4}, // destination
		equals(t.cfg.To.AsSlice()),
	}, append(udpPort(),
		equals(binaryutil.BigEndian.PutUint16(port)),
		&expr.Immediate{Register: 1, Data: t.cfg.Outer.AsSlice()},
		&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(r.Low)},
		&expr.Immediate{Register: 3, Data: binaryutil.BigEndian.PutUint16(r.High)},
		// Not masquerade: it ignores a range of ports unless flags are given,
		// too, which the library cannot.
		&expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2, RegProtoMax: 3, Specified: true},
	)...)
}

// forgotten matches what comes for a mapping that is no more. With a mapping, it
// would not be for this host.
func (t *Translator) forgotten() []expr.Any {
	return append(udpPort(),
		&expr.Range{
			Op: expr.CmpOpEq, Register: 1,
			FromData: binaryutil.BigEndian.PutUint16(firstPort), ToData: binaryutil.BigEndian.PutUint16(firstPort + ranges*rangeLen - 1),
		},
		&expr.Counter{},
		&expr.Verdict{Kind: expr.VerdictDrop},
	)
}

// udpPort loads the destination port of UDP into register 1.
func udpPort() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		equals([]byte{unix.IPPROTO_UDP}),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
	}
}

func equals(data []byte) *expr.Cmp { return &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data} }

// Mappings are the flows that are translated now.
func (t *Translator) Mappings() ([]Mapping, error) {
	flows, err := t.ct.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
	if err != nil {
		return nil, fmt.Errorf("nat: %s: mappings: %w", t.name, err)
	}
	var list []Mapping
	for _, f := range flows {
		m := Mapping{
			Inside: addrPort(f.Forward.SrcIP, f.Forward.SrcPort),
			Outer:  addrPort(f.Reverse.DstIP, f.Reverse.DstPort),
			To:     addrPort(f.Forward.DstIP, f.Forward.DstPort),
			Sent:   f.Forward.Packets, Returned: f.Reverse.Packets,
		}
		if f.Forward.Protocol == unix.IPPROTO_UDP && m.Inside != m.Outer {
			list = append(list, m)
		}
	}
	return list, nil
}

func addrPort(ip []byte, port uint16) netip.AddrPort {
	a, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(a.Unmap(), port)
}
