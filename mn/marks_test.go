package mn

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"openmpa/par"
)

const (
	expedited = 46 << 2 // a code point of DSCP
	ect0, ce  = 2, 3    // fields of ECN
)

// congested marks the outer packets that b's router forwards, of both directions, as a
// queue with ECN does that is full of what is expedited.
func (b *bed) congested() {
	b.t.Helper()
	if _, err := exec.LookPath("nft"); err != nil && os.Getenv("OPENMPA_TEST_ALL") == "" {
		b.t.Skip("needs nft: apt install nftables")
	}
	b.inside["b"](func() {
		const rules = `table ip full { chain forward { type filter hook forward priority 0;
			udp sport 4500 ip dscp ef ip ecn set ce
			udp dport 4500 ip dscp ef ip ecn set ce
			ip protocol 4 ip dscp ef ip ecn set ce
		}; }`
		if out, err := exec.Command("nft", rules).CombinedOutput(); err != nil {
			b.t.Fatalf("nft: %v: %s", err, out)
		}
	})
}

// tos makes a socket send with this TOS.
func tos(t *testing.T, c *net.UDPConn, v int) {
	t.Helper()
	option(t, c, unix.IP_TOS, v)
}

func option(t *testing.T, c *net.UDPConn, opt, v int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var set error
	if err := raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.SOL_IP, opt, v) }); err != nil || set != nil {
		t.Fatal(err, set)
	}
}

// next reads one numbered packet and its TOS.
func next(t *testing.T, c *net.UDPConn) (number uint32, tos uint8) {
	t.Helper()
	buf, oob := make([]byte, 100), make([]byte, 100)
	_ = c.SetReadDeadline(time.Now().Add(patience))
	_, n, _, _, err := c.ReadMsgUDPAddrPort(buf, oob)
	if err != nil {
		t.Fatal(err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 || messages[0].Header.Type != unix.IP_TOS {
		t.Fatalf("%v, %v", messages, err)
	}
	return binary.BigEndian.Uint32(buf), messages[0].Data[0]
}

// TestMarks: the code point of a packet is seen outside of IP-in-IP and ESP, and comes
// through as it was; a congestion mark that the outer packet got comes through where the
// transport knows ECN, and is a loss where it does not (RFC 6040 section 4.2, RFC 2983).
func TestMarks(t *testing.T) {
	for name, plain := range map[string]bool{"IP-in-IP in ESP": false, "IP-in-IP in IP-in-IP": true} {
		t.Run(name, func(t *testing.T) { marks(t, name, plain) })
	}
}

func marks(t *testing.T, name string, plain bool) {
	b := start(t, func(n *Config) { n.Plain = plain }, func(r *par.Config) { r.Plain = plain })
	b.congested()
	mn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: homeAddress.AsSlice(), Port: 7000})
	if err != nil {
		t.Fatal(err)
	}
	defer mn.Close()
	for _, c := range []*net.UDPConn{mn, b.cn} {
		option(t, c, unix.IP_RECVTOS, 1)
	}
	number := uint32(0)
	through := func(where string) {
		t.Helper()
		for _, way := range []struct {
			name     string
			from, to *net.UDPConn
			dst      netip.Addr
		}{{"up", mn, b.cn, agentAddr}, {"down", b.cn, mn, homeAddress}} {
			for _, c := range []struct {
				what      string
				sent, got uint8
				lost      bool
			}{
				{"no congestion, no ECN", 8 << 2, 8 << 2, false},
				{"no congestion", 8<<2 | ect0, 8<<2 | ect0, false},
				{"congestion", expedited | ect0, expedited | ce, false},
				{"congestion, no ECN", expedited, 0, true},
				{"after it", 0, 0, false},
			} {
				number++
				tos(t, way.from, int(c.sent))
				if _, err := way.from.WriteToUDPAddrPort(binary.BigEndian.AppendUint32(nil, number), netip.AddrPortFrom(way.dst, 7000)); err != nil {
					t.Fatal(err)
				}
				if c.lost {
					continue // what comes next is not it
				}
				if got, tos := next(t, way.to); got != number || tos != c.got {
					t.Fatalf("%s, %s, %s: packet %d with TOS %#x came, want %d with %#x", where, way.name, c.what, got, tos, number, c.got)
				}
			}
		}
	}
	through("IP-in-IP on the link")
	tun := b.prepared().tunnel.Load()
	through(name)
	if n := tun.Stats().Plain; (n > 0) != plain {
		t.Errorf("%d packets went by IP-in-IP", n)
	}
}
