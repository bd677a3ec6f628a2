package osnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// gateTables is what the names of our tables begin with; the owner follows.
const gateTables = "openmpa_"

// gateSets are the sets of authorised addresses, by family.
var gateSets = [...]struct {
	name   string
	key    nftables.SetDatatype
	family byte
	source uint32 // offset of the source address in the header; the destination follows
	size   uint32 // octets of an address
}{
	{"authorised", nftables.TypeIPAddr, unix.NFPROTO_IPV4, 12, 4},
	{"authorised6", nftables.TypeIP6Addr, unix.NFPROTO_IPV6, 8, 16},
}

// gateFamily is the index of an address's family in gateSets.
func gateFamily(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// gateChunk is how many addresses go into one message: the length of an attribute of netlink
// has 16 bits.
const gateChunk = 500

// gateSend is the socket's buffer for one transaction, in octets: some 30 for each address.
const gateSend = 4 << 20

// maxGateLife bounds a timeout in nftables, which counts milliseconds.
const maxGateLife = 365 * 24 * time.Hour

// GateConfig says what an enforcement point lets pass.
type GateConfig struct {
	Owner string // whose it is; one gate an owner and namespace
	Dev   string // interface of the access link
	PANA  uint16 // UDP port of the PAA on this machine
	// DHCP is the server whose clients and relays on the link reach it through this machine; DHCP6 is that of IPv6. The zero
	// Addr: there is none.
	DHCP, DHCP6 netip.Addr
	// Open are destinations that anybody may reach.
	Open []netip.Prefix
	// Grace is how long those whom a gate of before let pass do so still.
	Grace time.Duration
}

// Gate is an enforcement point (RFC 5191 section 1.2, EP): of what comes in by the access link it
// lets pass what authorised addresses of either family send, PANA to this machine, DHCP to it and
// to the server, neighbour discovery, and what is open to all. It does not judge ARP, and what goes
// out by the link. Whoever can take another's address on the link can pass as that one: only the link
// layer can keep that from happening.
//
// It is a table of nftables, changed in transactions. An authorisation ends in the kernel by
// itself, also when nobody is there any more to end it. The table stays until [RemoveGate]:
// whoever stops a router does not open its link.
type Gate struct {
	mu    sync.Mutex // one conversation with the kernel at a time
	conn  *nftables.Conn
	table *nftables.Table
	sets  [len(gateSets)]*nftables.Set
}

// OpenGate puts a gate in place in the network namespace of the calling thread, instead of that
// of a process before, in one transaction. Needs CAP_NET_ADMIN.
func OpenGate(cfg GateConfig) (*Gate, error) {
	if len(cfg.Dev) == 0 || len(cfg.Dev) >= unix.IFNAMSIZ {
		return nil, fmt.Errorf("osnet: gate: interface %q: expected a name of 1 to %d octets", cfg.Dev, unix.IFNAMSIZ-1)
	}
	g, err := dialGate(cfg.Owner)
	if err != nil {
		return nil, err
	}
	if err := g.build(cfg); err != nil {
		return nil, errors.Join(fmt.Errorf("osnet: gate: %w", hint(err)), g.conn.CloseLasting())
	}
	return g, nil
}

// dialGate speaks with the kernel about an owner's gate, which need not be there.
func dialGate(owner string) (*Gate, error) {
	runtime.LockOSThread() // whose namespace the socket is of
	defer runtime.UnlockOSThread()
	conn, err := nftables.New(nftables.AsLasting(),
		nftables.WithSockOptions(func(c *netlink.Conn) error { return c.SetWriteBuffer(gateSend) }))
	if err != nil {
		return nil, fmt.Errorf("osnet: gate: %w", hint(err))
	}
	return &Gate{conn: conn, table: &nftables.Table{Family: nftables.TableFamilyINet, Name: gateTables + owner}}, nil
}

// build makes the table anew.
func (g *Gate) build(cfg GateConfig) error {
	kept, err := g.left(cfg.Grace)
	if err != nil {
		return err
	}
	c := g.conn
	c.AddTable(g.table) // so that there is one to delete
	c.DelTable(g.table)
	c.AddTable(g.table)
	for i, family := range gateSets {
		g.sets[i] = &nftables.Set{Table: g.table, Name: family.name, KeyType: family.key, HasTimeout: true}
		if err := errors.Join(c.AddSet(g.sets[i], nil), g.add(i, kept[i])); err != nil {
			return err
		}
	}
	hooks := map[string]*nftables.ChainHook{"input": nftables.ChainHookInput, "forward": nftables.ChainHookForward}
	for _, name := range []string{"input", "forward"} {
		chain := c.AddChain(&nftables.Chain{
			Name: name, Table: g.table, Type: nftables.ChainTypeFilter, Hooknum: hooks[name], Priority: nftables.ChainPriorityFilter,
		})
		for _, match := range g.accepted(cfg, name) {
			c.AddRule(&nftables.Rule{Table: g.table, Chain: chain, Exprs: append(match, &expr.Verdict{Kind: expr.VerdictAccept})})
		}
		c.AddRule(&nftables.Rule{Table: g.table, Chain: chain, Exprs: []expr.Any{&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop}}})
	}
	return c.Flush()
}

// add has the transaction under way let pass the addresses of a family in list.
func (g *Gate) add(family int, list []nftables.SetElement) error {
	for chunk := range slices.Chunk(list, gateChunk) {
		if err := g.conn.SetAddElements(g.sets[family], chunk); err != nil {
			return err
		}
	}
	return nil
}

// gateReads bounds how often the set is read until two readings agree.
const gateReads = 16

// elements reads the set. While the kernel makes its table larger or smaller, which it does in
// the background, a reading shows some elements twice and others not at all: it is repeated
// until one says nothing new.
func (g *Gate) elements(set *nftables.Set) ([]nftables.SetElement, error) {
	var list []nftables.SetElement
	seen := map[string]bool{}
	for range gateReads {
		before := len(list)
		read, err := g.conn.GetSetElements(set)
		if err != nil {
			return nil, err
		}
		for _, e := range read {
			if key := string(e.Key); !seen[key] {
				seen[key] = true
				list = append(list, e)
			}
		}
		if len(list) == before {
			break
		}
	}
	return list, nil
}

// left returns whom the gate in the kernel lets pass, by family, each for grace at most.
func (g *Gate) left(grace time.Duration) (kept [len(gateSets)][]nftables.SetElement, err error) {
	for i, family := range gateSets {
		if kept[i], err = g.leftIn(family.name, grace); err != nil {
			return kept, err
		}
	}
	return kept, nil
}

func (g *Gate) leftIn(name string, grace time.Duration) ([]nftables.SetElement, error) {
	set, err := g.conn.GetSetByName(g.table, name)
	if errors.Is(err, unix.ENOENT) || grace <= 0 && err == nil {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("table %s: %w", g.table.Name, err)
	}
	old, err := g.elements(set)
	if err != nil {
		return nil, fmt.Errorf("table %s: %w", g.table.Name, err)
	}
	var kept []nftables.SetElement
	for _, e := range old {
		life := grace
		if e.Expires > 0 {
			life = min(life, e.Expires)
		}
		kept = append(kept, nftables.SetElement{Key: e.Key, Timeout: max(life, time.Millisecond)})
	}
	return kept, nil
}

// accepted lists what matches that a chain lets pass.
func (g *Gate) accepted(cfg GateConfig, chain string) [][]expr.Any {
	name := append([]byte(cfg.Dev), make([]byte, unix.IFNAMSIZ-len(cfg.Dev))...)
	list := [][]expr.Any{
		{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, &expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: name}},
	}
	for i, s := range g.sets {
		list = append(list, append(gateSource(i), &expr.Lookup{SourceRegister: 1, SetName: s.Name, SetID: s.ID}))
	}
	for i, dhcp := range []struct {
		server netip.Addr
		port   uint16
	}{{cfg.DHCP.Unmap(), 67}, {cfg.DHCP6, 547}} {
		to := gateDestination(i)
		switch {
		case !dhcp.server.IsValid() || gateFamily(dhcp.server) != i:
			continue
		case chain == "forward": // a renewal, or of a relay on the link
			to = append(to, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: dhcp.server.AsSlice()})
		} // else to the relay here
		list = append(list, append(to, gateUDP(dhcp.port)...))
	}
	if chain == "input" {
		list = append(list, gateUDP(cfg.PANA), []expr.Any{ // 133 to 137: router and neighbour discovery, RFC 4861
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_ICMPV6}},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
			&expr.Range{Op: expr.CmpOpEq, Register: 1, FromData: []byte{133}, ToData: []byte{137}},
		})
	}
	for _, p := range cfg.Open {
		p = p.Masked()
		size := p.Addr().BitLen() / 8
		list = append(list, append(gateDestination(gateFamily(p.Addr())),
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: uint32(size), Mask: net.CIDRMask(p.Bits(), 8*size), Xor: make([]byte, size)},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Addr().AsSlice()}))
	}
	return list
}

// gateSource loads the source address of a packet of a family, gateDestination the other one.
func gateSource(family int) []expr.Any { return gateAddress(family, gateSets[family].source) }

func gateDestination(family int) []expr.Any {
	return gateAddress(family, gateSets[family].source+gateSets[family].size)
}

func gateAddress(family int, offset uint32) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{gateSets[family].family}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: gateSets[family].size},
	}
}

// gateUDP matches UDP to a port.
func gateUDP(port uint16) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_UDP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(port)},
	}
}

// Permit lets pass what addr sends, for life from now on.
func (g *Gate) Permit(addr netip.Addr, life time.Duration) error {
	if addr = addr.Unmap(); !addr.IsValid() || addr.Zone() != "" {
		return fmt.Errorf("osnet: gate: %v: expected an address that routers forward", addr)
	}
	if life <= 0 {
		return g.Forbid(addr)
	}
	life = min(max(life, time.Millisecond), maxGateLife)
	return g.change("permit", addr, life)
}

// Forbid ends what Permit began. Who is not permitted is no error.
func (g *Gate) Forbid(addr netip.Addr) error { return g.change("forbid", addr.Unmap(), 0) }

// change is one transaction: that the element is there, then that it is not, then, with a life,
// that it is there with this one. The kernel does not change a timeout, and refuses to delete
// what is not there.
func (g *Gate) change(what string, addr netip.Addr, life time.Duration) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	key, set := []nftables.SetElement{{Key: addr.AsSlice()}}, g.sets[gateFamily(addr)]
	err := g.conn.SetAddElements(set, []nftables.SetElement{{Key: addr.AsSlice(), Timeout: time.Second}})
	err = errors.Join(err, g.conn.SetDeleteElements(set, key))
	if life > 0 {
		err = errors.Join(err, g.conn.SetAddElements(set, []nftables.SetElement{{Key: addr.AsSlice(), Timeout: life}}))
	}
	if err = errors.Join(err, g.conn.Flush()); err != nil {
		return fmt.Errorf("osnet: gate: %s %v: %w", what, addr, hint(err))
	}
	return nil
}

// Permitted lists who may pass at the moment.
func (g *Gate) Permitted() ([]netip.Addr, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	list, err := g.addresses(g.sets[:]...)
	if err != nil {
		return nil, fmt.Errorf("osnet: gate: %w", hint(err))
	}
	return list, nil
}

// addresses reads the sets, in order.
func (g *Gate) addresses(sets ...*nftables.Set) (list []netip.Addr, err error) {
	for _, set := range sets {
		elements, e := g.elements(set)
		err = errors.Join(err, e)
		for _, e := range elements {
			if a, ok := netip.AddrFromSlice(e.Key); ok {
				list = append(list, a)
			}
		}
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return list, err
}

// GateLeft lists whom the gate of owner in the network namespace of the calling thread lets pass,
// whether or not its process is still there; there says that there is one.
func GateLeft(owner string) (list []netip.Addr, there bool, err error) {
	g, err := dialGate(owner)
	if err != nil {
		return nil, false, err
	}
	for _, family := range gateSets {
		set, e := g.conn.GetSetByName(g.table, family.name)
		switch {
		case errors.Is(e, unix.ENOENT):
			continue
		case e == nil:
			there = true
			var some []netip.Addr
			some, e = g.addresses(set)
			list = append(list, some...)
		}
		err = errors.Join(err, e)
	}
	if err = errors.Join(err, g.conn.CloseLasting()); err != nil {
		return nil, there, fmt.Errorf("osnet: gate: %w", hint(err))
	}
	return list, there, nil
}

// Close lets go of the gate, which stays: whom it lets pass it does so for grace more at most,
// to be found by the gate after it.
func (g *Gate) Close(grace time.Duration) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	kept, err := g.left(grace)
	if err == nil {
		for i, set := range g.sets {
			g.conn.FlushSet(set)
			err = errors.Join(err, g.add(i, kept[i]))
		}
		err = errors.Join(err, g.conn.Flush())
	}
	if err = errors.Join(err, g.conn.CloseLasting()); err != nil {
		return fmt.Errorf("osnet: gate: %w", hint(err))
	}
	return nil
}

// RemoveGate removes what gates of owner have left in the network namespace of the calling
// thread: everything passes. That there is none is no error.
func RemoveGate(owner string) error {
	without := func(err error) bool { // a kernel without nftables
		return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT)
	}
	g, err := dialGate(owner)
	switch {
	case without(err):
		return nil
	case err != nil:
		return err
	}
	tables, err := g.conn.ListTablesOfFamily(g.table.Family)
	if without(err) {
		err = nil
	}
	if slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == g.table.Name }) {
		g.conn.DelTable(g.table)
		err = g.conn.Flush()
	}
	if err = errors.Join(err, g.conn.CloseLasting()); err != nil {
		return fmt.Errorf("osnet: gate: %w", hint(err))
	}
	return nil
}

// isGate tells our own tables from others'.
func isGate(t *nftables.Table) bool { return strings.HasPrefix(t.Name, gateTables) }
