package par

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"openmpa/paa/notify"
	"openmpa/tunnel"
	"openmpa/tunnel/bind"
	"openmpa/tunnel/ipip"
)

// TestPlainStandsBy: a node on the access link asks for IP-in-IP with its tunnel that
// stands by. What goes through that while the node is on the link does not come into the
// TUN again, where its host route leads.
func TestPlainStandsBy(t *testing.T) { families(t, plainStandsBy) }

func plainStandsBy(t *testing.T, start func(*testing.T, func(*Config)) *bed) {
	b := start(t, func(c *Config) { c.Plain = true })
	b.r.SessionOpened(1, "mn@home.example", netip.AddrPortFrom(b.leased, 1000), false, sessionKeys(1), time.Hour)
	g := b.guest(1, b.leased)
	g.settleIn()
	g.tunnel(g.addr, &notify.TunnelRequest{Serving: true, MAC: b.mac, Plain: g.addr})
	g.say(tunnel.Resume, tunnel.Forwarded, moved)
	b.send(g.addr, 0, 1, 2)
	g.exact(3)
	if s := b.status(1); s.Mode != "tunnel" || s.Packets != 3 || s.Tunneled != 3 {
		t.Errorf("%+v: expected 3 packets, each of them once", s)
	}
}

// TestPlainIsForUntranslated: packets go by IP-in-IP only with a node that is where it
// says it is, and whose own family that is.
func TestPlainIsForUntranslated(t *testing.T) { families(t, plainIsForUntranslated) }

func plainIsForUntranslated(t *testing.T, start func(*testing.T, func(*Config)) *bed) {
	b := start(t, func(c *Config) { c.Plain = true })
	for sid, c := range map[uint32]struct {
		says netip.Addr
		want bool
	}{1: {b.outer, true}, 2: {b.router.Next(), false}, 3: {netip.Addr{}, false}} {
		conf := b.open(sid, append(bytes.Clone(b.mac[:5]), byte(sid)))
		if conf.Reason != "" {
			t.Fatal(conf.Reason)
		}
		b.r.SessionMessage(sid, &notify.TunnelRequest{
			Header: header, Inner: conf.Addr.Addr(), SPI: 0x1000 + sid, Nonce: bytes.Repeat([]byte{5}, 32), Plain: c.says,
		})
		if r := got[*notify.TunnelReply](b, sid); r.Reason != "" || r.Plain != c.want {
			t.Errorf("a node at %v that says %v: IP-in-IP %v, %q", b.outer, c.says, r.Plain, r.Reason)
		}
	}
}

// TestPlainOfOneFamily: IP-in-IP carries the family of its own addresses only; the rest goes by ESP.
func TestPlainOfOneFamily(t *testing.T) {
	mixed(t, func(t *testing.T, start func(*testing.T, func(*Config)) *bed) {
		b := start(t, func(c *Config) { c.Plain = true })
		conf := b.open(1, b.mac)
		b.r.SessionMessage(1, &notify.TunnelRequest{Header: header, Inner: conf.Addr.Addr(), SPI: 0x1001, Nonce: bytes.Repeat([]byte{5}, 32), Plain: b.outer})
		if r := got[*notify.TunnelReply](b, 1); r.Reason != "" || r.Plain {
			t.Errorf("IP-in-IP %v, %q", r.Plain, r.Reason)
		}
	})
}

// TestForgedPlainIsNoUse: whoever sends from the node's outer address does not keep the
// tunnel that the node does not use.
func TestForgedPlainIsNoUse(t *testing.T) {
	b := start(t, func(c *Config) { c.Plain, c.Unused = true, 300*time.Millisecond })
	g := b.guest(1, b.open(1, b.mac).Addr.Addr())
	g.tunnel(outer, &notify.TunnelRequest{Plain: outer})
	var forger *bind.IPIP
	var err error
	b.in(func() { forger, err = bind.OpenIPIP(outer, bind.Options{}) })
	if err != nil {
		t.Fatal(err)
	}
	defer forger.Close()
	forged, err := ipip.AppendHeader(nil, ipip.Header{Src: g.addr, Dst: netip.MustParseAddr("10.3.0.2"), TTL: 64, Protocol: 17}, 0)
	if err != nil {
		t.Fatal(err)
	}
	taken := uint64(0)
	b.await("the tunnel to go", func() bool {
		v := b.r.visitor(1)
		v.mu.Lock()
		tun := v.tunnel
		v.mu.Unlock()
		if tun != nil {
			taken = max(taken, tun.Stats().PlainIn)
		}
		if err := forger.Send(routerAddr, forged, 0); err != nil {
			t.Fatal(err)
		}
		return tun == nil
	})
	if taken == 0 {
		t.Error("nothing of what was forged came")
	}
	b.await("what is forged to be nobody's", func() bool { return b.r.Status().Foreign > 0 })
}
