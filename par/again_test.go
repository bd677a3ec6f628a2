package par

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"openmpa/paa/pana"
)

// TestAttachAfterCrash: a node that crashed on its way here attaches with the
// address for which a tunnel still stands. PANA reaches it on the link, and its
// new session ends the old one without giving the address back.
func TestAttachAfterCrash(t *testing.T) { families(t, attachAfterCrash) }

func attachAfterCrash(t *testing.T, start func(*testing.T, func(*Config)) *bed) {
	b := start(t, nil)
	idle := b.idle()
	n := b.prepare(1, b.mac)
	conn := b.onLink(b.leased)
	paa, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(b.router, pana.Port)))
	if err != nil {
		t.Fatal(err)
	}
	defer paa.Close()
	if _, err := paa.WriteToUDPAddrPort(binary.BigEndian.AppendUint32(nil, 7), netip.AddrPortFrom(b.leased, 9000)); err != nil {
		t.Fatal(err)
	}
	if k := b.number(conn); k != 7 {
		t.Errorf("packet %d", k)
	}
	b.send(b.leased, 8)
	if k := n.next(); k != 8 { // everything else goes through the tunnel
		t.Errorf("packet %d", k)
	}

	b.r.SessionOpened(2, "mn@home.example", netip.AddrPortFrom(b.leased, 1000), false, sessionKeys(2), time.Hour)
	b.await("the end of the old session", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.term[1]
	})
	b.r.SessionClosed(1, pana.ErrTerminated)
	b.send(b.leased, 9)
	if k := b.number(conn); k != 9 {
		t.Errorf("packet %d", k)
	}
	if l := b.dhcp.Leases(); !b.six && (len(l) != 1 || l[0].Addr != b.leased) {
		t.Errorf("leases %v", l)
	}
	b.r.SessionClosed(2, pana.ErrTerminated)
	if now := b.idle(); now != idle {
		t.Errorf("the kernel has\n%s\nbefore\n%s", now, idle)
	}
	if b.term[2] {
		t.Error("the new session was ended")
	}
}

// TestPANAElsewhere: the rule that takes PANA to the access link changes nothing for
// a node that pre-authenticates from anywhere else, through a translator or not.
func TestPANAElsewhere(t *testing.T) {
	b := start(t, nil)
	b.prepare(1, elsewhere)
	paa, err := net.ListenUDP("udp4", &net.UDPAddr{IP: b.r.cfg.Address.AsSlice(), Port: pana.Port})
	if err != nil {
		t.Fatal(err)
	}
	defer paa.Close()
	var node *net.UDPConn
	b.in(func() { node, err = net.ListenUDP("udp4", &net.UDPAddr{IP: outer.AsSlice(), Port: 40716}) })
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	for k, to := range map[uint32]*net.UDPConn{1: node, 2: b.cn} { // a visited network, and one beyond
		if _, err := paa.WriteToUDPAddrPort(binary.BigEndian.AppendUint32(nil, k), to.LocalAddr().(*net.UDPAddr).AddrPort()); err != nil {
			t.Fatal(err)
		}
		if got := b.number(to); got != k {
			t.Errorf("packet %d, expected %d", got, k)
		}
	}
}
