package mn

import (
	"net/netip"
	"strings"
	"testing"

	"openmpa/internal/event"
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
