package mn

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/osnet"
	"openmpa/paa/pana"
	"openmpa/par"
	"openmpa/testbed/dhcpd"
)

// unnamed takes the PAA of a network out of the configuration.
func unnamed(name string) func(*Config) {
	return func(c *Config) {
		for i, net := range c.Networks {
			if net.Name == name {
				c.Networks[i].PAA = netip.AddrPortFrom(netip.Addr{}, net.PAA.Port())
			}
		}
	}
}

// TestAgentByDHCP: where the configuration names no PAA, the one is taken that DHCP names (RFC
// 5192), to attach there, and to come back prepared.
func TestAgentByDHCP(t *testing.T) {
	b := start(t, unnamed("b"))
	if s := b.node.Status(); s.State != "attached" || s.Network != "b" || s.Session == 0 {
		t.Fatalf("status %+v", s)
	}
	for _, to := range []string{"a", "b"} {
		if o, err := b.handover(to); o != event.Completed {
			t.Errorf("to %s: %s, %v", to, o, err)
		}
	}
}

// TestAgentUnknown: nobody can be asked for the PAA of a network where the node has never been.
func TestAgentUnknown(t *testing.T) {
	b := start(t, unnamed("a"))
	b.eventually("a tunnel that stands by", func(s Status) bool { return s.Standby }) // it comes behind the attachment
	if o, err := b.handover("a"); o != event.Failed || err == nil || !strings.Contains(err.Error(), "is not known before the node has been there") {
		t.Errorf("%s, %v", o, err)
	}
	b.onlyServing()
	if s := b.node.Status(); s.State != "attached" || s.Network != "b" || s.Session == 0 {
		t.Errorf("status %+v", s)
	}
}

// startUnnamed is start where neither the configuration nor DHCP names the PAA of a network.
func startUnnamed(t *testing.T, name string, routers ...func(*par.Config)) *bed {
	t.Helper()
	return startOn(t, nil, func(b *bed) {
		for i := range b.pools {
			if b.pools[i].Network == name {
				b.pools[i].PAA = netip.Addr{}
			}
		}
		_ = b.dhcp.Close() // the one that names it
		var err error
		if b.dhcp, err = dhcpd.Serve(b.far, b.pools, time.Minute); err != nil {
			t.Fatal(err)
		}
	}, func(c *Config) { unnamed(name)(c); c.Await = true }, routers...)
}

// TestInvited: where nobody names a PAA, the router that lets nobody through without a session
// invites the node to one (RFC 5191 section 4.1). What it opened passes, and the node knows
// whom to ask when it comes back prepared.
func TestInvited(t *testing.T) {
	b := startUnnamed(t, "b", func(c *par.Config) {
		g, err := osnet.OpenGate(osnet.GateConfig{Owner: osnet.OwnerAccessRouter, Dev: c.Access, PANA: pana.Port, DHCP: c.DHCPServer, Grace: time.Minute})
		if err != nil {
			t.Error(err)
			return
		}
		c.Gate = g
		t.Cleanup(func() { _ = g.Close(0) }) // with its namespace
	})
	if s := b.node.Status(); s.State != "attached" || s.Network != "b" || s.Session == 0 {
		t.Fatalf("status %+v", s)
	}
	for _, to := range []string{"a", "b"} {
		if o, err := b.handover(to); o != event.Completed {
			t.Errorf("to %s: %s, %v", to, o, err)
		}
	}
}

// TestNotInvited: a router that enforces nothing begins no session, and the node says what
// would help.
func TestNotInvited(t *testing.T) {
	b := start(t, nil)
	c := b.serving()
	if err := c.port.ip.announce(c.address.addr()); err != nil { // who enforces would invite now
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := b.node.openSession(ctx, event.HandoverID{}, c.net, c.address.addr(), false, true, nil)
	if err == nil || !strings.Contains(err.Error(), "10.1.0.1 has begun no session") {
		t.Error(err)
	}
}
