package osnet

import (
	"errors"
	"fmt"
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

// gateSet is the set of authorised addresses.
const gateSet = "authorised"

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
	// DHCP is the server whose clients and relays on the link reach it through this machine.
	DHCP netip.Addr
	// Open are destinations that anybody may reach.
	Open []netip.Prefix
	// Grace is how long those whom a gate of before let pass do so still.
	Grace time.Duration
}

// Gate is an enforcement point (RFC 5191 section 1.2, EP): of what comes in by the access link it
// lets pass what authorised addresses send, PANA to this machine, DHCP to it and to the server,
// neighbour discovery, and what is open to all. It does not judge ARP, and what goes out by the
// link. IPv6 is never authorised. Whoever can take another's address on the link can pass as that one: only the link
// layer can keep that from happening.
//
// It is a table of nftables, changed in transactions. An authorisation ends in the kernel by
// itself, also when nobody is there any more to end it. The table stays until [RemoveGate]:
// whoever stops a router does not open its link.
type Gate struct {
	mu    sync.Mutex // one conversation with the kernel at a time
	conn  *nftables.Conn
	table *nftables.Table
	set   *nftables.Set
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
	g.set = &nftables.Set{Table: g.table, Name: gateSet, KeyType: nftables.TypeIPAddr, HasTimeout: true}
	if err := errors.Join(c.AddSet(g.set, nil), g.add(kept)); err != nil {
		return err
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

// add has the transaction under way let pass the addresses in list.
func (g *Gate) add(list []nftables.SetElement) error {
	for chunk := range slices.Chunk(list, gateChunk) {
		if err := g.conn.SetAddElements(g.set, chunk); err != nil {
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

// left returns whom the gate in the kernel lets pass, each for grace at most.
func (g *Gate) left(grace time.Duration) ([]nftables.SetElement, error) {
	set, err := g.conn.GetSetByName(g.table, gateSet)
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
		append(gateIPv4(12), &expr.Lookup{SourceRegister: 1, SetName: gateSet, SetID: g.set.ID}),
	}
	dhcp := gateUDP(67)
	if server := cfg.DHCP.Unmap(); chain == "forward" && server.Is4() { // a renewal, or of a relay on the link
		list = append(list, slices.Concat(gateIPv4(16), []expr.Any{&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: server.AsSlice()}}, dhcp))
	}
	if chain == "input" {
		list = append(list, append(gateIPv4(16), dhcp...)) // to the relay here
		list = append(list, gateUDP(cfg.PANA), []expr.Any{ // 133 to 137: router and neighbour discovery, RFC 4861
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_ICMPV6}},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
			&expr.Range{Op: expr.CmpOpEq, Register: 1, FromData: []byte{133}, ToData: []byte{137}},
		})
	}
	for _, p := range cfg.Open {
		if p = p.Masked(); p.Addr().Is4() {
			mask := binaryutil.BigEndian.PutUint32(uint32(uint64(0xffffffff) << (32 - p.Bits())))
			list = append(list, append(gateIPv4(16),
				&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: make([]byte, 4)},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Addr().AsSlice()}))
		}
	}
	return list
}

// gateIPv4 loads an address of an IPv4 header.
func gateIPv4(offset uint32) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.NFPROTO_IPV4}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
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
	if addr = addr.Unmap(); !addr.Is4() {
		return fmt.Errorf("osnet: gate: %v: expected an IPv4 address", addr)
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
	key := []nftables.SetElement{{Key: addr.AsSlice()}}
	err := g.conn.SetAddElements(g.set, []nftables.SetElement{{Key: addr.AsSlice(), Timeout: time.Second}})
	err = errors.Join(err, g.conn.SetDeleteElements(g.set, key))
	if life > 0 {
		err = errors.Join(err, g.conn.SetAddElements(g.set, []nftables.SetElement{{Key: addr.AsSlice(), Timeout: life}}))
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
	list, err := g.addresses(g.set)
	if err != nil {
		return nil, fmt.Errorf("osnet: gate: %w", hint(err))
	}
	return list, nil
}

// addresses reads the set, in order.
func (g *Gate) addresses(set *nftables.Set) (list []netip.Addr, err error) {
	elements, err := g.elements(set)
	for _, e := range elements {
		if a, ok := netip.AddrFromSlice(e.Key); ok {
			list = append(list, a)
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
	set, err := g.conn.GetSetByName(g.table, gateSet)
	switch there = err == nil; {
	case errors.Is(err, unix.ENOENT):
		err = nil
	case there:
		list, err = g.addresses(set)
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
		g.conn.FlushSet(g.set)
		err = errors.Join(g.add(kept), g.conn.Flush())
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
