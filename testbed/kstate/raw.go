package kstate

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"openmpa/testbed/space"
)

// Message types and attributes of linux/netfilter/nf_tables.h.
const (
	nftGetTable  = unix.NFNL_SUBSYS_NFTABLES<<8 | 1 // NFT_MSG_GETTABLE
	nftGetRule   = unix.NFNL_SUBSYS_NFTABLES<<8 | 7 // NFT_MSG_GETRULE
	nftTableName = 1                                // NFTA_TABLE_NAME
	nftRuleTable = 1                                // NFTA_RULE_TABLE
	nftRuleChain = 2                                // NFTA_RULE_CHAIN
	genHeaderLen = 4                                // struct nfgenmsg
)

// genMessage is struct nfgenmsg.
type genMessage struct{}

func (genMessage) Len() int { return genHeaderLen }

func (genMessage) Serialize() []byte {
	return []byte{unix.NFPROTO_UNSPEC, unix.NFNETLINK_V0, 0, 0}
}

// filters names the nftables tables, and how many rules each chain has.
func filters(s *space.Space, _ Options, add func(string, ...any)) error {
	for _, what := range []struct {
		kind  int
		names []uint16
		word  string
	}{
		{nftGetTable, []uint16{nftTableName}, "nftables table"},
		{nftGetRule, []uint16{nftRuleTable, nftRuleChain}, "nftables rule in"},
	} {
		msgs, err := dumpFilters(s, what.kind)
		if err != nil {
			return fmt.Errorf("nftables: %w", err)
		}
		for _, m := range msgs {
			if len(m) < genHeaderLen {
				continue
			}
			attrs, err := nl.ParseRouteAttrAsMap(m[genHeaderLen:])
			if err != nil {
				return fmt.Errorf("nftables: %w", err)
			}
			line := fmt.Sprintf("%s family %d", what.word, m[0])
			for _, n := range what.names {
				line += " " + nl.BytesToString(attrs[n].Value)
			}
			add("%s", line)
		}
	}
	return nil
}

func dumpFilters(s *space.Space, kind int) (msgs [][]byte, err error) {
	err = s.Do(func() error {
		req := nl.NewNetlinkRequest(kind, unix.NLM_F_DUMP)
		req.AddData(genMessage{})
		msgs, err = retry(func() ([][]byte, error) { return req.Execute(unix.NETLINK_NETFILTER, 0) })
		if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
			return nil // the kernel has no nftables
		}
		return err
	})
	return msgs, err
}

// ipsec names the kernel's IPsec states and policies.
func ipsec(s *space.Space, _ Options, add func(string, ...any)) error {
	return s.Do(func() error {
		states, err := retry(func() ([]netlink.XfrmState, error) { return netlink.XfrmStateList(netlink.FAMILY_ALL) })
		if errors.Is(err, unix.EPROTONOSUPPORT) {
			return nil // the kernel has no IPsec
		}
		if err != nil {
			return fmt.Errorf("ipsec states: %w", err)
		}
		for _, x := range states {
			add("ipsec state %v to %v protocol %d spi %#x", x.Src, x.Dst, int(x.Proto), uint32(x.Spi))
		}
		policies, err := retry(func() ([]netlink.XfrmPolicy, error) { return netlink.XfrmPolicyList(netlink.FAMILY_ALL) })
		if err != nil {
			return fmt.Errorf("ipsec policies: %w", err)
		}
		for _, x := range policies {
			add("ipsec policy %v to %v direction %d", x.Src, x.Dst, int(x.Dir))
		}
		return nil
	})
}
