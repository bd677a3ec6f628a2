package osnet

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// TakeRouted says that this process takes what comes with a type 2 routing header to home (RFC 6275 section 6.4) from a
// raw socket: a kernel without Mobile IPv6, which does not know the header, then answers nobody that it does not. It is a
// table of nftables, which Close removes; one that a process before has left is replaced.
func (n *Net) TakeRouted(home netip.Addr) error {
	if !home.Is6() || home.Is4In6() {
		return fmt.Errorf("osnet: routing headers to %v: expected an IPv6 address", home)
	}
	if err := n.begin(); err != nil {
		return err
	}
	defer n.mu.Unlock()
	table := &nftables.Table{Family: nftables.TableFamilyIPv6, Name: gateTables + n.owner + "_routed"}
	err := n.nftables(func(c *nftables.Conn) { routedTable(c, table, home) })
	if err != nil {
		return fmt.Errorf("osnet: routing headers to %v: %w", home, hint(err))
	}
	n.record("nftables "+table.Name, func() error {
		err := n.nftables(func(c *nftables.Conn) { c.DelTable(table) })
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("osnet: table %s: %w", table.Name, hint(err))
		}
		return nil
	})
	return nil
}

// nftables makes one transaction in the Net's namespace.
func (n *Net) nftables(change func(*nftables.Conn)) error {
	return n.Do(func() error {
		c, err := nftables.New()
		if err == nil {
			change(c)
			err = c.Flush()
		}
		return err
	})
}

// routedTable puts in place the table that drops what the kernel says about routing headers to home.
func routedTable(c *nftables.Conn, table *nftables.Table, home netip.Addr) {
	c.AddTable(table) // so that there is one to delete
	c.DelTable(table)
	c.AddTable(table)
	chain := c.AddChain(&nftables.Chain{
		Name: "output", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityFilter,
	})
	const quoted = 8 // octets of ICMPv6 in front of the packet it is about
	var match []expr.Any
	for _, m := range []struct {
		offset uint32
		data   []byte
	}{
		{0, []byte{4, 0}},                                 // parameter problem: erroneous header field encountered (RFC 4443 section 3.4)
		{quoted + 6, []byte{unix.IPPROTO_ROUTING}},        // behind the IPv6 header
		{quoted + ipv6Header + 2, []byte{2}},              // type
		{quoted + ipv6Header + 8, home.Unmap().AsSlice()}, // where it leads to
	} {
		match = append(match,
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: m.offset, Len: uint32(len(m.data))},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: m.data})
	}
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append([]expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_ICMPV6}},
	}, append(match, &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop})...)})
}
