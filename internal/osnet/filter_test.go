package osnet

import (
	"net/netip"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"openmpa/internal/osnet/osnettest"
)

func udpFlow(port uint16) Flow {
	return Flow{
		Hook: HookInput, In: "lan0", Protocol: unix.IPPROTO_UDP,
		From: netip.MustParseAddrPort("10.1.0.5:40000"), To: netip.AddrPortFrom(netip.MustParseAddr("10.1.0.1"), port),
	}
}

// udpPort matches a destination port.
func udpPort(port uint16) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_UDP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(port)},
	}
}

func TestFilterCheck(t *testing.T) {
	osnettest.Enter(t)
	check := func(what string, f Flow, drop bool, where string) {
		t.Helper()
		v, err := FilterCheck(f)
		if err != nil || v.Drop != drop || v.Where != where || v.Guess {
			t.Errorf("%s: %+v, %v; expected drop %v by %q", what, v, err, drop, where)
		}
	}
	check("no rules", udpFlow(716), false, "")

	c, err := nftables.New()
	must(t, err)
	drop := nftables.ChainPolicyDrop
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "wall"})
	input := c.AddChain(&nftables.Chain{
		Name: "input", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput,
		Priority: nftables.ChainPriorityFilter, Policy: &drop,
	})
	c.AddChain(&nftables.Chain{
		Name: "through", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
	})
	inner := c.AddChain(&nftables.Chain{Name: "inner", Table: table})
	rule := func(ch *nftables.Chain, exprs ...expr.Any) {
		c.AddRule(&nftables.Rule{Table: table, Chain: ch, Exprs: exprs})
	}
	// What is established is let in, which is no help to a first packet.
	rule(input, &expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)}, &expr.Verdict{Kind: expr.VerdictAccept})
	rule(input, append(udpPort(716), &expr.Verdict{Kind: expr.VerdictAccept})...)
	rule(input, &expr.Verdict{Kind: expr.VerdictJump, Chain: "inner"})
	rule(inner, append(udpPort(434), &expr.Counter{}, &expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH})...)
	set := &nftables.Set{Table: table, Anonymous: true, Constant: true, Interval: true, KeyType: nftables.TypeInetService}
	must(t, c.AddSet(set, []nftables.SetElement{
		{Key: []byte{0, 0}, IntervalEnd: true}, {Key: binaryutil.BigEndian.PutUint16(4000)}, {Key: binaryutil.BigEndian.PutUint16(4501), IntervalEnd: true},
	}))
	rule(inner, &expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte("lan")},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID}, &expr.Verdict{Kind: expr.VerdictAccept})
	must(t, c.Flush())

	check("a port that is accepted", udpFlow(716), false, "")
	check("a port in a set of intervals", udpFlow(4500), false, "")
	check("a port behind the interval", udpFlow(4501), true, "wall input (policy)")
	check("a port that is rejected in a chain jumped to", udpFlow(434), true, "wall inner")
	other := udpFlow(4500)
	other.In = "wan0"
	check("another interface", other, true, "wall input (policy)")
	through := udpFlow(4500)
	through.Hook, through.Out = HookForward, "wan0"
	check("forwarded", through, false, "")

	rule(inner, &expr.Limit{Type: expr.LimitTypePkts, Rate: 1, Unit: expr.LimitTimeSecond}, &expr.Verdict{Kind: expr.VerdictAccept})
	must(t, c.Flush())
	if v, err := FilterCheck(udpFlow(5)); err != nil || !v.Drop || !v.Guess {
		t.Errorf("a rule with a rate is no guess: %+v, %v", v, err)
	}
}
