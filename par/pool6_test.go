package par

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"openmpa/internal/acd"
	"openmpa/internal/acd/nd"
	"openmpa/internal/state"
	"openmpa/paa/notify"
	"openmpa/paa/pana"
	"openmpa/testbed/dhcpd"
)

// formedAhead makes a bed of IPv6 whose nodes form their addresses.
func formedAhead(t *testing.T, ahead Ahead) *bed {
	t.Helper()
	return startIn(t, world6, time.Minute, func(c *Config) {
		c.State, c.Ahead = state.NewMemory(), ahead
		c.IPv6.DAD.Retrans = 800 * time.Millisecond
	})
}

func (b *bed) ahead6() *AheadStatus { return b.r.Status().Ahead6 }

// ask is a node's first request for an address of IPv6.
func (b *bed) ask(sid uint32, identity string, mac net.HardwareAddr) *notify.ConfigReply {
	b.t.Helper()
	b.r.SessionOpened(sid, identity, netip.AddrPortFrom(b.outer, 1000), true, sessionKeys(sid), time.Hour)
	b.r.SessionMessage(sid, &notify.ConfigRequest{Header: header, Family: 6, ClientID: duid(mac), IAID: sid, MAC: mac})
	return got[*notify.ConfigReply](b, sid)
}

func (b *bed) awaitReady6() AheadAddress {
	b.t.Helper()
	b.await("an address that is ready", func() bool { a := b.ahead6(); return a.Ready == 1 && a.Making == 0 })
	return b.ahead6().Addresses[0]
}

// TestAheadFormed: where nodes form their addresses the router forms some that are ready,
// and a node has one with the first answer; the link finds it in use until the node is there.
func TestAheadFormed(t *testing.T) {
	b := formedAhead(t, Ahead{Least: 1, Most: 3})
	idle := b.idle()
	first := b.awaitReady6().Address
	if !ra().Prefixes[0].Prefix.Contains(first.Addr()) || first.Bits() != 64 {
		t.Fatalf("%+v", b.ahead6())
	}
	c := b.ask(1, "mn@home.example", b.mac)
	if c.Reason != "" || c.Addr != first || c.DAD != 0 || len(c.RA) == 0 || c.ClientID != nil || c.ServerDUID != nil ||
		c.Lifetime != time.Hour || c.Preferred != 30*time.Minute || c.Router != routerLink {
		t.Fatalf("%+v, ready was %v", c, first)
	}
	second := b.awaitReady6().Address
	b.r.SessionOpened(2, "other@home.example", netip.AddrPortFrom(b.outer, 1000), true, sessionKeys(2), time.Hour)
	if d := b.want(2, elsewhere, second.Addr()); !strings.HasPrefix(d.Reason, notify.Conflict) {
		t.Errorf("a node took what is kept ready: %+v", d)
	}
	// The prefix is no longer the link's: what was formed of it is of no use.
	other := ra()
	other.Prefixes[0].Autonomous = false
	b.ra.say(t, &other)
	b.await("the end of what was formed", func() bool { return b.ahead6().Ready == 0 })
	again := ra()
	b.ra.say(t, &again)
	b.awaitReady6()
	b.arrive(b.join(1, first.Addr()))
	b.r.SessionClosed(1, &pana.ErrPeerTerminated{})
	b.r.SessionClosed(2, &pana.ErrPeerTerminated{})
	if now := b.idle(); now != idle {
		t.Errorf("the kernel has\n%s\nbefore\n%s", now, idle)
	}
}

// TestAheadFormedClaimed: who takes an address that is ready is left it, and another is made.
func TestAheadFormedClaimed(t *testing.T) {
	b := formedAhead(t, Ahead{Least: 1, Most: 1})
	first := b.awaitReady6().Address
	b.claim6(first.Addr())
	b.await("another one", func() bool {
		a := b.ahead6()
		return a.Ready == 1 && a.Conflicts == 1 && a.Addresses[0].Address != first
	})
}

// claim6 has somebody on the link advertise that a is there.
func (b *bed) claim6(a netip.Addr) {
	b.t.Helper()
	if err := b.ra.conn.WriteND(nd.Announce(a, a, acd.MAC{2, 0, 0, 0, 0, 9})); err != nil {
		b.t.Error(err)
	}
}

// TestAheadLeased6: where addresses are of DHCPv6 what is ready is leased under a DUID of the
// router's own, and renewed and given back like any lease, over a crash, too.
func TestAheadLeased6(t *testing.T) {
	s := state.NewMemory()
	b, dhcp := leasing(t, s)
	cfg := b.r.cfg
	b.r.Close()
	cfg.Ahead = Ahead{Least: 1, Most: 2}
	b.begin(cfg)
	bound := func() (n int) {
		for _, l := range dhcp.Leases() {
			if l.State == dhcpd.Bound {
				n++
			}
		}
		return n
	}
	ready := b.awaitReady6()
	all := slices.DeleteFunc(stored(t, s), func(r record) bool { return r.Lease.Addr.Addr().Is4() })
	if len(all) != 1 || all[0].Stage != stageAhead || all[0].Lease.Addr != ready.Address || all[0].Lease.IAID != iaid(1) || bound() != 1 {
		t.Fatalf("stored %+v, leases %v", all, dhcp.Leases())
	}
	c := b.ask(1, "mn@home.example", elsewhere)
	if c.Reason != "" || c.Addr != ready.Address || c.DAD != 0 || c.DHCP != 0 || len(c.RA) == 0 || len(c.ServerDUID) == 0 || string(c.ClientID) != string(all[0].Lease.ClientID) {
		t.Fatalf("%+v, ready was %v", c, ready)
	}
	b.awaitReady6()
	n := b.join(1, c.Addr.Addr())
	b.send(n.inner, 3)
	if k := n.next(); k != 3 {
		t.Errorf("packet %d", k)
	}
	b.r.SessionClosed(1, &pana.ErrPeerTerminated{})
	b.await("the lease to be given back", func() bool { return bound() == 1 })
	dhcp.Mute(true)
	b.r.Close()
	dhcp.Mute(false)
	if bound() != 1 {
		t.Fatalf("leases %v", dhcp.Leases())
	}
	b.begin(cfg)
	b.awaitReady6()
	b.await("the lease of before to be given back", func() bool { return bound() == 1 })
	b.r.Close()
	if bound() != 0 || len(stored(t, s)) != 0 {
		t.Errorf("after the end: leases %v, stored %v", dhcp.Leases(), stored(t, s))
	}
}
