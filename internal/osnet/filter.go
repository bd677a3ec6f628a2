package osnet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// FilterHook is where in the kernel a packet is judged.
type FilterHook uint32

// The hooks a packet for this host, or through it, passes.
const (
	HookInput   FilterHook = unix.NF_INET_LOCAL_IN
	HookForward FilterHook = unix.NF_INET_FORWARD
)

// Flow is the first packet of a flow, as a packet filter sees it.
type Flow struct {
	Hook     FilterHook
	In, Out  string // interfaces; Out is empty at HookInput
	From, To netip.AddrPort
	Protocol uint8 // of IP; ports count with UDP only
}

// FilterVerdict says what the filter does.
type FilterVerdict struct {
	Drop  bool
	Where string // table and chain that drop
	Guess bool   // a rule before that was not understood and was taken as one that does not match
}

const maxJumps = 16 // the kernel's own limit

// FilterCheck works out what the nftables rules of the calling thread's network namespace, also those that iptables-nft and
// firewalld made, do with a flow. Rules of the old iptables, and those of a Gate, which are as they should be, are not
// seen. Needs CAP_NET_ADMIN.
func FilterCheck(f Flow) (FilterVerdict, error) {
	c, err := nftables.New()
	if err != nil {
		return FilterVerdict{}, fmt.Errorf("osnet: packet filter: %w", err)
	}
	chains, err := c.ListChains()
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT) { // a kernel without nftables
		return FilterVerdict{}, nil
	}
	if err != nil {
		return FilterVerdict{}, fmt.Errorf("osnet: packet filter: %w", hint(err))
	}
	j := judge{conn: c, flow: f, chains: chains, ip: f.ipHeader(), udp: f.udpHeader()}
	var base []*nftables.Chain
	for _, ch := range chains {
		if !isGate(ch.Table) && ch.Hooknum != nil && uint32(*ch.Hooknum) == uint32(f.Hook) && ch.Type == nftables.ChainTypeFilter &&
			(ch.Table.Family == nftables.TableFamilyIPv4 || ch.Table.Family == nftables.TableFamilyINet) {
			base = append(base, ch)
		}
	}
	slices.SortStableFunc(base, func(a, b *nftables.Chain) int { return int(*a.Priority) - int(*b.Priority) })
	for _, ch := range base {
		v, err := j.chain(ch, 0)
		if err != nil {
			return FilterVerdict{}, fmt.Errorf("osnet: packet filter: %w", err)
		}
		if v == expr.VerdictContinue && ch.Policy != nil && *ch.Policy == nftables.ChainPolicyDrop {
			j.where, v = ch.Table.Name+" "+ch.Name+" (policy)", expr.VerdictDrop
		}
		if v == expr.VerdictDrop {
			return FilterVerdict{Drop: true, Where: j.where, Guess: j.guess}, nil
		}
	}
	return FilterVerdict{Guess: j.guess}, nil
}

func (f Flow) ipHeader() []byte {
	b := make([]byte, 20)
	b[0], b[8], b[9] = 0x45, 64, f.Protocol
	binary.BigEndian.PutUint16(b[2:], 128)
	src, dst := f.From.Addr().As4(), f.To.Addr().As4()
	copy(b[12:], src[:])
	copy(b[16:], dst[:])
	return b
}

func (f Flow) udpHeader() []byte {
	if f.Protocol != unix.IPPROTO_UDP {
		return nil
	}
	b := binary.BigEndian.AppendUint16(nil, f.From.Port())
	b = binary.BigEndian.AppendUint16(b, f.To.Port())
	return append(b, 0, 108, 0, 0)
}

// judge runs rules over one flow.
type judge struct {
	conn    *nftables.Conn
	flow    Flow
	chains  []*nftables.Chain
	ip, udp []byte
	where   string
	guess   bool
}

// chain returns accept, drop, or continue when no rule decided.
func (j *judge) chain(ch *nftables.Chain, depth int) (expr.VerdictKind, error) {
	if depth > maxJumps {
		return 0, fmt.Errorf("chain %s: more than %d jumps", ch.Name, maxJumps)
	}
	rules, err := j.conn.GetRules(ch.Table, ch)
	if err != nil {
		return 0, fmt.Errorf("rules of %s %s: %w", ch.Table.Name, ch.Name, err)
	}
	for _, r := range rules {
		v, understood, err := j.rule(ch.Table, r)
		if err != nil {
			return 0, err
		}
		if !understood {
			j.guess = true
			continue
		}
		switch v.Kind {
		case expr.VerdictAccept:
			return expr.VerdictAccept, nil
		case expr.VerdictDrop:
			j.where = ch.Table.Name + " " + ch.Name
			return expr.VerdictDrop, nil
		case expr.VerdictReturn:
			return expr.VerdictContinue, nil
		case expr.VerdictJump, expr.VerdictGoto:
			i := slices.IndexFunc(j.chains, func(c *nftables.Chain) bool {
				return c.Name == v.Chain && c.Table.Name == ch.Table.Name && c.Table.Family == ch.Table.Family
			})
			if i < 0 {
				continue // removed meanwhile
			}
			inner, err := j.chain(j.chains[i], depth+1)
			if err != nil || inner != expr.VerdictContinue || v.Kind == expr.VerdictGoto {
				return inner, err
			}
		}
	}
	return expr.VerdictContinue, nil
}

// rule returns the verdict of a rule, continue when it does not match or has none.
func (j *judge) rule(t *nftables.Table, r *nftables.Rule) (v expr.Verdict, understood bool, err error) {
	none := expr.Verdict{Kind: expr.VerdictContinue}
	registers := map[uint32][]byte{}
	for _, e := range r.Exprs {
		matches := true
		switch e := e.(type) {
		case *expr.Meta:
			value, ok := j.meta(e.Key)
			if e.SourceRegister || !ok {
				return none, false, nil
			}
			registers[e.Register] = value
		case *expr.Payload:
			value, ok := j.payload(e)
			if !ok {
				return none, false, nil
			}
			registers[e.DestRegister] = value
		case *expr.Ct:
			if e.Key != expr.CtKeySTATE || e.SourceRegister {
				return none, false, nil
			}
			registers[e.Register] = binary.NativeEndian.AppendUint32(nil, expr.CtStateBitNEW)
		case *expr.Bitwise:
			registers[e.DestRegister] = bitwise(registers[e.SourceRegister], e.Mask, e.Xor)
		case *expr.Cmp:
			matches = compares(registers[e.Register], e.Op, e.Data)
		case *expr.Range:
			value := registers[e.Register]
			inside := bytes.Compare(value, e.FromData) >= 0 && bytes.Compare(value, e.ToData) <= 0
			matches = inside == (e.Op == expr.CmpOpEq)
		case *expr.Lookup:
			element, found, ok, err := j.lookup(t, e, registers[e.SourceRegister])
			switch {
			case err != nil || !ok:
				return none, false, err
			case e.IsDestRegSet && found && element.VerdictData != nil:
				return *element.VerdictData, true, nil
			case e.IsDestRegSet && found:
				return none, false, nil
			}
			matches = found != e.Invert
		case *expr.Match:
			udp, ok := e.Info.(*xt.Udp)
			if !ok || e.Name != "udp" {
				return none, false, nil
			}
			matches = j.flow.Protocol == unix.IPPROTO_UDP &&
				within(j.flow.From.Port(), udp.SrcPorts) != (udp.InvFlags&xt.UdpInvSrcPorts != 0) &&
				within(j.flow.To.Port(), udp.DstPorts) != (udp.InvFlags&xt.UdpInvDestPorts != 0)
		case *expr.Target:
			if e.Name != "REJECT" {
				return none, false, nil
			}
			return expr.Verdict{Kind: expr.VerdictDrop}, true, nil
		case *expr.Reject:
			return expr.Verdict{Kind: expr.VerdictDrop}, true, nil
		case *expr.Verdict:
			return *e, true, nil
		case *expr.Counter, *expr.Log, *expr.Notrack:
		default:
			return none, false, nil
		}
		if !matches {
			return none, true, nil
		}
	}
	return none, true, nil
}

func (j *judge) meta(key expr.MetaKey) ([]byte, bool) {
	name := func(s string) []byte { return append([]byte(s), make([]byte, unix.IFNAMSIZ-len(s))...) }
	switch {
	case key == expr.MetaKeyL4PROTO:
		return []byte{j.flow.Protocol}, true
	case key == expr.MetaKeyNFPROTO:
		return []byte{unix.NFPROTO_IPV4}, true
	case key == expr.MetaKeyPROTOCOL:
		return binary.BigEndian.AppendUint16(nil, unix.ETH_P_IP), true
	case key == expr.MetaKeyIIFNAME && len(j.flow.In) < unix.IFNAMSIZ:
		return name(j.flow.In), true
	case key == expr.MetaKeyOIFNAME && len(j.flow.Out) < unix.IFNAMSIZ:
		return name(j.flow.Out), true
	}
	return nil, false
}

func (j *judge) payload(e *expr.Payload) ([]byte, bool) {
	var header []byte
	switch e.Base {
	case expr.PayloadBaseNetworkHeader:
		header = j.ip
	case expr.PayloadBaseTransportHeader:
		header = j.udp
	}
	end := uint64(e.Offset) + uint64(e.Len)
	if e.OperationType != expr.PayloadLoad || end > uint64(len(header)) {
		return nil, false
	}
	return header[e.Offset:end], true
}

// lookup finds a value in a set of single values or of intervals.
func (j *judge) lookup(t *nftables.Table, e *expr.Lookup, value []byte) (found nftables.SetElement, ok, understood bool, err error) {
	set, err := j.conn.GetSetByName(t, e.SetName)
	if err != nil {
		return found, false, false, fmt.Errorf("set %s: %w", e.SetName, err)
	}
	if set.Concatenation {
		return found, false, false, nil
	}
	elements, err := j.conn.GetSetElements(set)
	if err != nil {
		return found, false, false, fmt.Errorf("set %s: %w", e.SetName, err)
	}
	if !set.Interval {
		i := slices.IndexFunc(elements, func(s nftables.SetElement) bool { return bytes.Equal(s.Key, value) })
		if i < 0 {
			return found, false, true, nil
		}
		return elements[i], true, true, nil
	}
	// The last bound at or below the value decides; at the same key an end comes before a beginning.
	slices.SortStableFunc(elements, func(a, b nftables.SetElement) int {
		switch d := bytes.Compare(a.Key, b.Key); {
		case d != 0 || a.IntervalEnd == b.IntervalEnd:
			return d
		case a.IntervalEnd:
			return -1
		}
		return 1
	})
	for _, s := range elements {
		if bytes.Compare(s.Key, value) > 0 {
			break
		}
		found, ok = s, !s.IntervalEnd
	}
	return found, ok, true, nil
}

func bitwise(value, mask, xor []byte) []byte {
	out := make([]byte, min(len(value), len(mask), len(xor)))
	for i := range out {
		out[i] = value[i]&mask[i] ^ xor[i]
	}
	return out
}

// compares also handles a prefix of a name ("eth*"), which is shorter than the register.
func compares(value []byte, op expr.CmpOp, data []byte) bool {
	d := bytes.Compare(value[:min(len(value), len(data))], data)
	switch op {
	case expr.CmpOpEq:
		return d == 0
	case expr.CmpOpNeq:
		return d != 0
	case expr.CmpOpLt:
		return d < 0
	case expr.CmpOpLte:
		return d <= 0
	case expr.CmpOpGt:
		return d > 0
	case expr.CmpOpGte:
		return d >= 0
	}
	return false
}

func within(port uint16, r [2]uint16) bool { return r[0] <= port && port <= r[1] }
