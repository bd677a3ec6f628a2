package mn

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	"openmpa/internal/acd"
	"openmpa/internal/event"
	"openmpa/internal/host"
	"openmpa/internal/osnet"
	"openmpa/testbed/dhcpd"
)

// claim has a stranger on a network's link say that a is there, and waits until the node
// has answered so often.
func (b *bed) claim(network string, a netip.Addr, answers int) {
	b.t.Helper()
	err := b.far.Do(func() error {
		n, err := host.Linux(discard, osnet.OwnerLab)
		if err != nil {
			return err
		}
		defer n.Close()
		c, err := n.OpenARP("lan" + network)
		if err != nil {
			return err
		}
		defer c.Close()
		stranger := acd.MAC{2, 0, 0, 0, 0, 9}
		if err := c.WriteARP(acd.Broadcast(), acd.AnnouncementPacket(a, stranger)); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(b.t.Context(), patience)
		defer cancel()
		for answers > 0 {
			p, err := c.ReadARP(ctx)
			if err != nil {
				return err
			}
			if p.SenderIP == a && p.TargetIP == a && p.SenderMAC != stranger {
				answers--
			}
		}
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bed) defended() (n int) {
	for _, e := range b.node.cfg.Recorder.Events(event.HandoverID{}) {
		if e.Name == "defended" {
			n++
		}
	}
	return n
}

// TestDefend: whoever claims the address of a node that has come prepared is told, and the
// address stays; who insists gets it (RFC 5227 section 2.4), and the node another one.
func TestDefend(t *testing.T) {
	b := start(t, func(c *Config) { c.DAD.DefendInterval = 10 * time.Second })
	if o, err := b.handover("a"); o != event.Completed {
		t.Fatalf("%v: %v", o, err)
	}
	a := netip.MustParseAddr("10.2.0.100")
	time.Sleep(50 * time.Millisecond) // the router and the node have said that it is there
	if n := b.defended(); n != 0 || b.node.Status().Bound != a.String() {
		t.Fatalf("after the move: %+v, defended %d times", b.node.Status(), n)
	}
	b.claim("a", a, 1)
	b.eventually("the defence", func(Status) bool { return b.defended() == 1 })
	b.works()
	if s := b.node.Status(); s.State != "attached" || s.Bound != a.String() {
		t.Fatalf("status %+v", s)
	}
	b.claim("a", a, 0)
	b.eventually("another address", func(s Status) bool { return s.State == "attached" && s.Network == "a" && s.Bound == "10.2.0.101" })
	b.works()
	if !slices.ContainsFunc(b.dhcp.Leases(), func(l dhcpd.Lease) bool { return l.Addr == a && l.State == dhcpd.Declined }) {
		t.Errorf("not declined: %v", b.dhcp.Leases())
	}
	if o, err := b.handover("b"); o != event.Completed {
		t.Errorf("%v: %v", o, err)
	}
}
