package par

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"openmpa/internal/osnet/osnettest"
	"openmpa/paa/notify"
	"openmpa/tunnel/esp"
	"openmpa/tunnel/flow"
	"openmpa/tunnel/ipip"
)

// TestDefaultMTU: what fills the TUN is no fragment outside, numbered or not, and there
// is no room for four octets more.
func TestDefaultMTU(t *testing.T) {
	if n := esp.UDPOverhead + esp.SealedLen(flow.ShimLen+DefaultMTU); n > 1500 || n+4 <= 1500 {
		t.Errorf("packets of %d octets become %d", DefaultMTU, n)
	}
	if n := esp.UDPOverhead + 20 + esp.SealedLen(flow.ShimLen+DefaultMTU6); n > 1500 || n+4 <= 1500 {
		t.Errorf("packets of %d octets become %d over IPv6", DefaultMTU6, n)
	}
	const homePacket = 1400 // of a node's default TUN
	if homePacket+ipip.HeaderLen > DefaultMTU {
		t.Errorf("IP-in-IP of a full packet does not fit %d octets", DefaultMTU)
	}
}

// prober sends packets with DF whatever it has heard of the path, and hears what
// routers say.
type prober struct {
	b      *bed
	fd     int
	most   int // octets of a packet that fills the TUN
	header int // of IP and UDP
}

func (b *bed) prober() *prober {
	b.t.Helper()
	raw, err := b.cn.SyscallConn()
	if err != nil {
		b.t.Fatal(err)
	}
	p := &prober{b: b, header: 28}
	level, options := unix.SOL_IP, map[int]int{unix.IP_MTU_DISCOVER: unix.IP_PMTUDISC_PROBE, unix.IP_RECVERR: 1}
	if b.six {
		p.header = 48
		level, options = unix.SOL_IPV6, map[int]int{unix.IPV6_MTU_DISCOVER: unix.IPV6_PMTUDISC_PROBE, unix.IPV6_RECVERR: 1}
	}
	var errs []error
	if err := raw.Control(func(fd uintptr) {
		p.fd = int(fd)
		for opt, v := range options {
			errs = append(errs, unix.SetsockoptInt(p.fd, level, opt, v))
		}
	}); err != nil || errors.Join(errs...) != nil {
		b.t.Fatal(err, errs)
	}
	return p
}

// send sends a packet of so many octets, headers included.
func (p *prober) send(a netip.Addr, number uint32, size int) {
	p.b.t.Helper()
	payload := binary.BigEndian.AppendUint32(nil, number)
	payload = append(payload, make([]byte, size-p.header-len(payload))...)
	if _, err := p.b.cn.WriteToUDPAddrPort(payload, netip.AddrPortFrom(a, 9000)); err != nil {
		p.b.t.Fatal(err)
	}
}

// told returns the MTU that a router has told in an ICMP message; zero: none has.
func (p *prober) told(within time.Duration) uint32 {
	p.b.t.Helper()
	buf, oob := make([]byte, 2000), make([]byte, 512)
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(time.Millisecond) {
		_, n, _, _, err := unix.Recvmsg(p.fd, buf, oob, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		if err != nil {
			continue
		}
		messages, err := unix.ParseSocketControlMessage(oob[:n])
		if err != nil {
			p.b.t.Fatal(err)
		}
		for _, m := range messages {
			four := m.Header.Level == unix.SOL_IP && m.Header.Type == unix.IP_RECVERR
			six := m.Header.Level == unix.SOL_IPV6 && m.Header.Type == unix.IPV6_RECVERR
			if !four && !six || len(m.Data) < 16 {
				continue
			}
			if by := m.Data[4]; unix.Errno(binary.NativeEndian.Uint32(m.Data)) == unix.EMSGSIZE && (by == unix.SO_EE_ORIGIN_ICMP || by == unix.SO_EE_ORIGIN_ICMP6) {
				_, _ = unix.GetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_ERROR) // what the next packet would be blamed for
				return binary.NativeEndian.Uint32(m.Data[8:])
			}
		}
	}
	return 0
}

// TestTooBigIsSaid: a packet with DF that fills the TUN passes, in every mode; of one
// that is an octet longer the correspondent is told how long it may be. On the link
// what fits the link passes.
func TestTooBigIsSaid(t *testing.T) {
	families(t, tooBigIsSaid)
	mixed(t, tooBigIsSaid)
}

func tooBigIsSaid(t *testing.T, start func(*testing.T, func(*Config)) *bed) {
	most := 0
	b := start(t, func(c *Config) {
		if c.MTU = DefaultMTU; c.IPv6 != nil {
			c.MTU = DefaultMTU6
		}
		most = c.MTU
	})
	n := b.prepare(1, b.mac)
	p := b.prober()
	p.most = most
	number := uint32(0)
	exact := func() uint32 {
		number++
		p.send(n.inner, number, p.most)
		return number
	}
	tooBig := func(mode string) {
		t.Helper()
		p.send(n.inner, 1<<20, p.most+1)
		if mtu := p.told(patience); mtu != uint32(p.most) {
			t.Errorf("%s: the correspondent was told an MTU of %d, want %d", mode, mtu, p.most)
		}
	}
	want := exact()
	if got := n.next(); got != want {
		t.Errorf("tunnel: packet %d came, want %d", got, want)
	}
	tooBig("tunnel")
	n.depart()
	held := []uint32{exact(), exact()}
	tooBig("hold")
	var link *net.UDPConn
	b.in(func() {
		osnettest.IP(t, "address del "+netip.PrefixFrom(b.outer, map[bool]int{true: 24, false: 64}[b.outer.Is4()]).String()+" dev old1")
	})
	link = b.onLink(n.inner)
	b.r.SessionMessage(1, &notify.Arrival{Header: header})
	for _, want := range held {
		if got := b.number(link); got != want {
			t.Errorf("drain: packet %d came, want %d", got, want)
		}
	}
	b.await("direct delivery", func() bool { s := b.status(1); return s != nil && s.Mode == flow.Direct.String() })
	p.send(n.inner, 77, 1500)
	if got := b.number(link); got != 77 {
		t.Errorf("on the link packet %d came, want 77", got)
	}
	if mtu := p.told(50 * time.Millisecond); mtu != 0 {
		t.Errorf("on the link: the correspondent was told an MTU of %d", mtu)
	}
}
