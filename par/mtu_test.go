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
	const homePacket = 1400 // of a node's default TUN
	if homePacket+ipip.HeaderLen > DefaultMTU {
		t.Errorf("IP-in-IP of a full packet does not fit %d octets", DefaultMTU)
	}
}

// prober sends packets with DF whatever it has heard of the path, and hears what
// routers say.
type prober struct {
	b  *bed
	fd int
}

func (b *bed) prober() *prober {
	b.t.Helper()
	raw, err := b.cn.SyscallConn()
	if err != nil {
		b.t.Fatal(err)
	}
	p := &prober{b: b}
	var errs []error
	if err := raw.Control(func(fd uintptr) {
		p.fd = int(fd)
		for opt, v := range map[int]int{unix.IP_MTU_DISCOVER: unix.IP_PMTUDISC_PROBE, unix.IP_RECVERR: 1} {
			errs = append(errs, unix.SetsockoptInt(p.fd, unix.SOL_IP, opt, v))
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
	payload = append(payload, make([]byte, size-28-len(payload))...)
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
			if m.Header.Level != unix.SOL_IP || m.Header.Type != unix.IP_RECVERR || len(m.Data) < 16 {
				continue
			}
			if unix.Errno(binary.NativeEndian.Uint32(m.Data)) == unix.EMSGSIZE && m.Data[4] == unix.SO_EE_ORIGIN_ICMP {
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
	b := start(t, func(c *Config) { c.MTU = DefaultMTU })
	n := b.prepare(1, b.mac)
	p := b.prober()
	number := uint32(0)
	exact := func() uint32 {
		number++
		p.send(n.inner, number, DefaultMTU)
		return number
	}
	tooBig := func(mode string) {
		t.Helper()
		p.send(n.inner, 1<<20, DefaultMTU+1)
		if mtu := p.told(patience); mtu != DefaultMTU {
			t.Errorf("%s: the correspondent was told an MTU of %d, want %d", mode, mtu, DefaultMTU)
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
	b.in(func() { osnettest.IP(t, "address del 10.1.0.100/24 dev old1") })
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
