package osnet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Rule is one policy rule: packets that match all of it (zero values match every packet) look in Table.
type Rule struct {
	Priority int          // lower is asked first; 1 to 32765
	From     netip.Prefix // source
	To       netip.Prefix // destination
	IIF      string       // interface the packet came in by; need not exist yet
	OIF      string       // interface that the sending socket is bound to; need not exist yet
	UDPFrom  uint16       // source port of UDP
	Table    int          // routing table
}

// String writes the rule as ip(8) would take it.
func (r Rule) String() string {
	s := fmt.Sprintf("priority %d", r.Priority)
	if r.From.IsValid() {
		s += " from " + r.From.String()
	}
	if r.To.IsValid() {
		s += " to " + r.To.String()
	}
	if r.IIF != "" {
		s += " iif " + r.IIF
	}
	if r.OIF != "" {
		s += " oif " + r.OIF
	}
	if r.UDPFrom != 0 {
		s += fmt.Sprintf(" ipproto udp sport %d", r.UDPFrom)
	}
	return s + fmt.Sprintf(" table %d", r.Table)
}

func (r Rule) check() (Rule, error) {
	if r.Priority < 1 || r.Priority > 32765 {
		return r, fmt.Errorf("osnet: rule %s: priority must be 1 to 32765", r)
	}
	if r.Table < 1 {
		return r, fmt.Errorf("osnet: rule %s: no table given", r)
	}
	if r.From.IsValid() && r.To.IsValid() && r.From.Addr().Is4() != r.To.Addr().Is4() {
		return r, fmt.Errorf("osnet: rule %s: families of from and to differ", r)
	}
	if len(r.IIF) >= unix.IFNAMSIZ || len(r.OIF) >= unix.IFNAMSIZ {
		return r, fmt.Errorf("osnet: rule %s: interface name too long", r)
	}
	if r.From.IsValid() {
		r.From = r.From.Masked()
	}
	if r.To.IsValid() {
		r.To = r.To.Masked()
	}
	return r, nil
}

func (n *Net) ruleMessage(r Rule) message {
	m := make(message, sizeofRtMsg, 96) // struct fib_rule_hdr
	m[0] = unix.AF_INET
	for _, p := range []netip.Prefix{r.From, r.To} {
		if p.IsValid() {
			m[0] = family(p.Addr())
		}
	}
	if r.Table < 256 {
		m[4] = uint8(r.Table)
	}
	m[7] = unix.FR_ACT_TO_TBL
	if r.To.IsValid() {
		m[1] = uint8(r.To.Bits())
		m = m.addr(nl.FRA_DST, r.To.Addr())
	}
	if r.From.IsValid() {
		m[2] = uint8(r.From.Bits())
		m = m.addr(nl.FRA_SRC, r.From.Addr())
	}
	if r.IIF != "" {
		m = m.text(nl.FRA_IIFNAME, r.IIF)
	}
	if r.OIF != "" {
		m = m.text(nl.FRA_OIFNAME, r.OIF)
	}
	if r.UDPFrom != 0 {
		ports := binary.NativeEndian.AppendUint16(nil, r.UDPFrom) // struct fib_rule_port_range
		m = m.u8(nl.FRA_IP_PROTO, unix.IPPROTO_UDP).attr(nl.FRA_SPORT_RANGE, binary.NativeEndian.AppendUint16(ports, r.UDPFrom))
	}
	return m.u32(nl.FRA_PRIORITY, uint32(r.Priority)).u32(nl.FRA_TABLE, uint32(r.Table)).u8(nl.FRA_PROTOCOL, n.proto)
}

// AddRule makes the rule: one request. An equal rule of a stranger is enough, and stays at Close.
func (n *Net) AddRule(r Rule) error {
	r, err := r.check()
	if err != nil {
		return err
	}
	if err := n.begin(); err != nil {
		return err
	}
	defer n.mu.Unlock()
	if n.owns("rule " + r.String()) {
		return nil
	}
	err = n.change.do(unix.RTM_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, n.ruleMessage(r))
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("osnet: add rule %s: %w", r, hint(err))
	}
	// An equal rule may be ours from before a crash: the deletion names our protocol, so a stranger's is safe.
	n.record("rule "+r.String(), func() error { return n.deleteRule(r) })
	return nil
}

// DelRule removes a rule this Net made: one request, nothing for a rule it did not make.
func (n *Net) DelRule(r Rule) error {
	r, err := r.check()
	if err != nil {
		return err
	}
	if err := n.begin(); err != nil {
		return err
	}
	defer n.mu.Unlock()
	_, err = n.remove("rule " + r.String())
	return err
}

func (n *Net) deleteRule(r Rule) error {
	if err := n.change.do(unix.RTM_DELRULE, 0, n.ruleMessage(r)); err != nil && !gone(err) {
		return fmt.Errorf("osnet: delete rule %s: %w", r, hint(err))
	}
	return nil
}
