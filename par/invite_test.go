package par

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"openmpa/internal/acd"
	"openmpa/internal/host"
	"openmpa/internal/osnet"
	"openmpa/paa/pana"
)

func nobody(netip.Addr) bool { return false }

// TestInvitePauses: a node is invited as often as there are pauses, and not again before it has
// been left alone for a while, however much ARP it sends.
func TestInvitePauses(t *testing.T) {
	i, start := newInvitations(), time.Now()
	var at []time.Duration
	last := time.Minute
	for now := start; now.Before(start.Add(last)); now = now.Add(inviteTick) {
		i.heard(now, leased)
		due, more := i.due(now, nobody)
		if !more {
			i.heard(now, leased)
		}
		if slices.Contains(due, leased) {
			at = append(at, now.Sub(start))
		}
	}
	sum, want := time.Duration(0), []time.Duration{}
	for _, p := range invitePauses {
		sum += p
		want = append(want, sum)
	}
	for k, w := range want {
		if k >= len(at) || at[k] != w {
			t.Fatalf("invited at %v, expected first at %v", at, want)
		}
	}
	if next := at[len(want)] - at[len(want)-1]; next < inviteAgain {
		t.Errorf("invited again after %v, expected %v of quiet", next, inviteAgain)
	}
}

// TestInviteKnown: whoever has come in is invited no more.
func TestInviteKnown(t *testing.T) {
	i, now := newInvitations(), time.Now()
	i.heard(now, leased)
	if due, more := i.due(now.Add(invitePauses[0]-1), nobody); len(due) > 0 || !more {
		t.Errorf("invited before its time: %v, more %v", due, more)
	}
	if due, more := i.due(now.Add(invitePauses[0]), func(a netip.Addr) bool { return a == leased }); len(due) > 0 || more {
		t.Errorf("invited: %v, more %v", due, more)
	}
}

// TestInviteFlood: however many addresses speak, so many are remembered and so many invited.
func TestInviteFlood(t *testing.T) {
	i, now := newInvitations(), time.Now()
	a := netip.MustParseAddr("10.2.0.0")
	for range 5 * inviteMost {
		a = a.Next()
		i.heard(now, a)
	}
	if len(i.to) != inviteMost || i.to[a] == nil {
		t.Errorf("%d addresses, the last among them: %v", len(i.to), i.to[a] != nil)
	}
	for k := range 50 {
		if due, more := i.due(now.Add(time.Second+time.Duration(k)), nobody); len(due) != inviteBurst || !more {
			t.Errorf("%d invited at once, more %v", len(due), more)
		}
	}
}

// TestInvite: at an enforcement point who speaks on the link and may not pass is invited,
// and nobody else.
func TestInvite(t *testing.T) {
	b, gate := startGate(t)
	b.attach(1)
	b.opens(gate, leased, true, "the login")
	stranger := netip.MustParseAddr("10.2.0.77")
	for _, a := range []netip.Addr{leased, b.r.cfg.DHCPServer, netip.MustParseAddr("10.3.0.77"), netip.IPv4Unspecified(), stranger} {
		b.speak(a)
	}
	b.await("the invitation", func() bool { return slices.Contains(b.guests(), netip.AddrPortFrom(stranger, pana.Port)) })
	for _, to := range b.guests() {
		if to.Addr() != stranger {
			t.Errorf("%v was invited", to)
		}
	}
}

// arp runs f with the ARP socket of somebody on the link.
func (b *bed) arp(f func(host.ARP) error) {
	b.t.Helper()
	b.in(func() {
		n, err := host.Linux(config().Log, osnet.OwnerMobileNode)
		if err != nil {
			b.t.Error(err)
			return
		}
		defer n.Close()
		c, err := n.OpenARP(b.dev)
		if err != nil {
			b.t.Error(err)
			return
		}
		defer c.Close()
		if err := f(c); err != nil {
			b.t.Error(err)
		}
	})
}

// speak has somebody ask by ARP for the router, from that address.
func (b *bed) speak(from netip.Addr) {
	b.t.Helper()
	b.arp(func(c host.ARP) error {
		return c.WriteARP(acd.Broadcast(), acd.Packet{Op: acd.OpRequest, SenderMAC: acd.MAC{2, 0, 0, 0, 0, 9}, SenderIP: from, TargetIP: routerAddr})
	})
}

// guests are those who were invited.
func (b *bed) guests() []netip.AddrPort {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.invited)
}
