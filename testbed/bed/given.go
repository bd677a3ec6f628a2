package bed

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"openmpa/testbed/impair"
	"openmpa/testbed/space"
	"openmpa/tunnel/ipip"
)

// given counts the datagrams of the measured flow that the mobile node's kernel has routed to a device. The device need
// not take them: when its carrier goes the kernel drops what it is given, and what waits for ARP, and tells nobody.
type given struct {
	nft       *nftables.Conn
	chain     *nftables.Chain
	headerLen int // of IP
}

// A header is where things are in an IP header, in octets.
type header struct {
	family                   nftables.TableFamily
	protocol, source, length uint32
	inside                   byte // the protocol number of the same inside it
}

func headerOf(a netip.Addr) header {
	if a.Is6() {
		return header{nftables.TableFamilyIPv6, 6, 8, ipip.HeaderLen6, ipip.Protocol6}
	}
	return header{nftables.TableFamilyIPv4, 9, 12, ipip.HeaderLen, ipip.Protocol}
}

// outgoing is how many datagrams of the flow left as they are, or in IP; and how many octets of ESP, with all that is in
// it: before a device takes them several packets of the tunnel are one.
type outgoing struct {
	native, octets int
}

const givenTable = "lab-given"

// udpHeaderLen is the length of a UDP header.
const udpHeaderLen = 8

// tunnelled marks the rules that count octets.
var tunnelled = []byte("in ESP")

// countGiven begins to count, by what the classifier would say of the frame.
func countGiven(s *space.Space, t impair.Traffic, interfaces ...string) (*given, error) {
	nft, err := nftables.New(nftables.WithNetNSFd(s.FD()), nftables.AsLasting())
	if err != nil {
		return nil, fmt.Errorf("bed: count packets in %s: %w", s.Name(), err)
	}
	ip := headerOf(t.Home)
	table := nft.AddTable(&nftables.Table{Family: ip.family, Name: givenTable})
	g := &given{nft: nft, headerLen: int(ip.length), chain: nft.AddChain(&nftables.Chain{
		Name: "out", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityLast,
	})}
	home := t.Home.AsSlice()
	flow := func(at uint32) []expr.Any { // whose IP header, without options or extensions, begins there
		return slices.Concat(holds(at+ip.protocol, unix.IPPROTO_UDP), holds(at+ip.source, home...), holds(at+ip.length+2, port(t.FlowPort)...))
	}
	for _, name := range interfaces {
		padded := make([]byte, unix.IFNAMSIZ)
		copy(padded, name)
		by := []expr.Any{&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: padded}}
		count := func(what []byte, shape ...[]expr.Any) {
			exprs := slices.Concat(by, slices.Concat(shape...), []expr.Any{&expr.Counter{}})
			nft.AddRule(&nftables.Rule{Table: table, Chain: g.chain, Exprs: exprs, UserData: what})
		}
		count(nil, flow(0))
		count(nil, holds(ip.protocol, ip.inside), flow(ip.length))
		count(tunnelled, holds(ip.protocol, unix.IPPROTO_UDP), holds(ip.length+2, port(t.TunnelPort)...))
	}
	if err := nft.Flush(); err != nil {
		return nil, errors.Join(fmt.Errorf("bed: count packets in %s: %w", s.Name(), err), nft.CloseLasting())
	}
	return g, nil
}

// so is what was counted so far.
func (g *given) so() (all outgoing, err error) {
	rules, err := g.nft.GetRules(g.chain.Table, g.chain)
	if err != nil {
		return all, fmt.Errorf("bed: packets given to the mobile node's devices: %w", err)
	}
	for _, r := range rules {
		c, ok := r.Exprs[len(r.Exprs)-1].(*expr.Counter)
		switch {
		case !ok:
			return all, fmt.Errorf("bed: packets given to the mobile node's devices: a rule ends with %T, expected a counter", r.Exprs[len(r.Exprs)-1])
		case bytes.Equal(r.UserData, tunnelled):
			all.octets += int(c.Bytes) - int(c.Packets)*(g.headerLen+udpHeaderLen) //nolint:gosec // of minutes
		default:
			all.native += int(c.Packets) //nolint:gosec // small
		}
	}
	return all, nil
}

func (g *given) close() error { return g.nft.CloseLasting() }

// holds matches octets of the packet, from that of its IP header on.
func holds(at uint32, octets ...byte) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: at, Len: uint32(len(octets))}, //nolint:gosec // small
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: octets},
	}
}

func port(p uint16) []byte { return binary.BigEndian.AppendUint16(nil, p) }
