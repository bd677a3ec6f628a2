package par

import (
	"bytes"
	"net/netip"
	"testing"

	"openmpa/paa/notify"
)

// TestPlainIsForUntranslated: packets go by IP-in-IP only with a node that is where it
// says it is.
func TestPlainIsForUntranslated(t *testing.T) {
	b := start(t, func(c *Config) { c.Plain = true })
	for sid, c := range map[uint32]struct {
		says netip.Addr
		want bool
	}{1: {outer, true}, 2: {netip.MustParseAddr("192.168.1.7"), false}, 3: {netip.Addr{}, false}} {
		conf := b.open(sid, append(bytes.Clone(b.mac[:5]), byte(sid)))
		if conf.Reason != "" {
			t.Fatal(conf.Reason)
		}
		b.r.SessionMessage(sid, &notify.TunnelRequest{
			Header: header, Inner: conf.Addr.Addr(), SPI: 0x1000 + sid, Nonce: bytes.Repeat([]byte{5}, 32), Plain: c.says,
		})
		if r := got[*notify.TunnelReply](b, sid); r.Reason != "" || r.Plain != c.want {
			t.Errorf("a node at %v that says %v: IP-in-IP %v, %q", outer, c.says, r.Plain, r.Reason)
		}
	}
}
