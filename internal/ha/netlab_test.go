package ha

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/ha/hatest"
	"openmpa/internal/ha/path"
	"openmpa/internal/osnet/osnettest"
	"openmpa/mn/mobility/mip4"
	"openmpa/tunnel/bind"
	"openmpa/tunnel/flow"
	"openmpa/tunnel/ipip"
)

// The network of these tests: the home agent's namespace between that of a mobile node
// with two care-of addresses, and that of a host on the home link.
//
//	mn: m0 10.0.3.100, .101 ---- core0 10.0.3.1 [home agent] home0 10.9.0.1 ---- h0 10.9.0.9 :host
var (
	coa1   = netip.MustParseAddr("10.0.3.100")
	coa2   = netip.MustParseAddr("10.0.3.101")
	atHome = netip.MustParseAddr("10.9.0.9")
)

// lab is a home agent in a namespace of its own, with peers.
type lab struct {
	*testing.T
	inMN, inHost func(func())
	before       string // the kernel's state
	agent        *Agent
	rec          *event.Recorder
	end          func() // stops the home agent, and checks that nothing is left

	client  *mip4.Client
	signal  map[netip.Addr]*net.UDPConn // of the mobile node, by care-of address
	paths   map[netip.Addr]*bind.IPIP
	host    *hatest.Host
	request []byte       // that was sent last
	beside  []netip.Addr // that are bound with every other
	copies  int          // that came
}

func newLab(t *testing.T) *lab {
	t.Helper()
	osnettest.OneCPU(t)
	osnettest.Enter(t)
	// Addresses of IPv6 come and go by themselves, and the states are compared.
	for _, dev := range []string{"all", "default"} {
		osnettest.Sysctl(t, "ipv6/conf/"+dev+"/disable_ipv6", "1")
	}
	l := &lab{T: t, inMN: osnettest.Other(t), inHost: osnettest.Other(t), rec: event.NewRecorder("ha", nil, 0)}
	osnettest.VethTo(t, "core0", "m0", l.inMN)
	osnettest.VethTo(t, "home0", "h0", l.inHost)
	osnettest.IP(t, "address add 10.0.3.1/24 dev core0")
	osnettest.IP(t, "address add 10.9.0.1/24 dev home0")
	osnettest.Sysctl(t, "ipv4/ip_forward", "1")
	for _, dev := range []string{"all", "default", "core0", "home0"} {
		osnettest.Sysctl(t, "ipv4/conf/"+dev+"/rp_filter", "0")
	}
	l.inMN(func() {
		osnettest.IP(t, "address add 10.0.3.100/24 dev m0")
		osnettest.IP(t, "address add 10.0.3.101/24 dev m0")
	})
	l.inHost(func() { osnettest.IP(t, "address add 10.9.0.9/24 dev h0") })
	l.before = osnettest.Snapshot(t)
	return l
}

func (l *lab) config() Config { return labConfig(l.rec) }

func labConfig(rec *event.Recorder) Config {
	return Config{
		Node: "ha", HomeInterface: "home0", HomePrefix: netip.MustParsePrefix("10.9.0.0/24"), Device: "hatest0", Recorder: rec,
		Core: CoreConfig{Address: agent, Nodes: []Node{{HomeAddress: home, Security: sa}}, Limits: path.Limits{Hold: flow.Limits{Packets: 5000}}},
	}
}

// start runs the home agent, and opens the sockets of its peers the first time.
func (l *lab) start() {
	l.Helper()
	l.run()
	if l.client == nil {
		l.peers()
	}
}

func (l *lab) run() {
	l.Helper()
	var err error
	if l.agent, err = Open(l.config()); err != nil {
		l.Fatal(err)
	}
	l.end = hatest.Run(l, l.agent.Run, l.Clean)
}

// Clean implements hatest.Bench.
func (l *lab) Clean() {
	l.Helper()
	if after := osnettest.Snapshot(l); after != l.before {
		l.Errorf("left in the kernel:\n%s\nbefore:\n%s", after, l.before)
	}
}

func (l *lab) peers() {
	l.Helper()
	l.signal, l.paths = make(map[netip.Addr]*net.UDPConn), make(map[netip.Addr]*bind.IPIP)
	l.inMN(func() {
		for _, a := range []netip.Addr{coa1, coa2} {
			conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, mip4.Port)))
			if err != nil {
				l.Error(err)
				return
			}
			l.Cleanup(func() { conn.Close() })
			path, err := bind.OpenIPIP(a, bind.Options{})
			if err != nil {
				l.Error(err)
				return
			}
			l.Cleanup(func() { path.Close() })
			l.signal[a], l.paths[a] = conn, path
		}
	})
	l.inHost(func() { l.host = hatest.OpenHost(l, hostPort, mnPort, l.status) })
	var err error
	l.client, err = mip4.NewClient(mip4.ClientConfig{
		HomeAddress: home, HomeAgent: agent, SPI: sa.SPI, Key: sa.Key, Algorithm: sa.Algorithm, Rand: rand.Reader,
	})
	if err != nil || l.Failed() {
		l.Fatal("no peers: ", err)
	}
}

// exchange drives the client until it says something. Requests go out by the socket
// of their source.
func (l *lab) exchange() mip4.Output {
	l.Helper()
	deadline := time.Now().Add(hatest.Patience)
	var from netip.Addr
	buf := make([]byte, 2048)
	for time.Now().Before(deadline) {
		for {
			o, ok := l.client.Poll()
			if !ok {
				break
			}
			s, isSend := o.(mip4.Send)
			if !isSend {
				return o
			}
			from, l.request = s.From, s.Data
			if _, err := l.signal[from].WriteToUDPAddrPort(s.Data, s.To); err != nil {
				l.Fatal(err)
			}
		}
		at, _ := l.client.Deadline()
		_ = l.signal[from].SetReadDeadline(at)
		n, src, err := l.signal[from].ReadFromUDPAddrPort(buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			l.client.OnDeadline(time.Now())
		case err != nil:
			l.Fatal(err)
		case src.Addr() != agent:
			l.Errorf("a reply from %v", src)
		default:
			if err := l.client.HandleReply(time.Now(), buf[:n]); err != nil {
				l.Errorf("reply: %v", err)
			}
		}
	}
	l.Fatal("no end of the registration")
	return nil
}

func (l *lab) register(careOf netip.Addr) mip4.Registered {
	l.Helper()
	l.client.Register(time.Now(), careOf, l.beside...)
	o := l.exchange()
	r, ok := o.(mip4.Registered)
	if !ok {
		l.Fatalf("%+v", o)
	}
	for l.client.Busy() {
		if o, ok := l.exchange().(mip4.Added); !ok {
			l.Fatalf("%+v", o)
		}
	}
	return r
}

// datagram is an inner IPv4 and UDP packet with a number in it.
func datagram(src, dst netip.AddrPort, tos byte, number int) []byte {
	text := fmt.Sprintf("%06d", number)
	b := make([]byte, 28, 28+len(text))
	b[0], b[1], b[8], b[9] = 0x45, tos, 64, 17
	s, d := src.Addr().As4(), dst.Addr().As4()
	copy(b[12:], s[:])
	copy(b[16:], d[:])
	b = append(b, text...)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	binary.BigEndian.PutUint16(b[20:], src.Port())
	binary.BigEndian.PutUint16(b[22:], dst.Port())
	binary.BigEndian.PutUint16(b[24:], uint16(len(b)-20)) // UDP checksum 0: none
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(b[10:], ^uint16(sum))
	return b
}

var (
	mnPort   = netip.AddrPortFrom(home, 7000)
	hostPort = netip.AddrPortFrom(atHome, 5000)
)

// status is that of the home agent, if it runs in this process.
func (l *lab) status() string {
	if l.agent == nil {
		return ""
	}
	return fmt.Sprintf("%+v", l.agent.Status())
}

// up sends numbers from the mobile node by way of careOf.
func (l *lab) up(careOf netip.Addr, first, last int) {
	l.Helper()
	for i := first; i <= last; i++ {
		if err := l.paths[careOf].Send(agent, datagram(mnPort, hostPort, 0, i), 0); err != nil {
			l.Fatal(err)
		}
	}
}

func (l *lab) upMarker(careOf netip.Addr, id uint64) {
	l.Helper()
	pkt, err := mip4.AppendMarkerPacket(nil, mip4.Marker{HomeAddress: home, HomeAgent: agent, ID: id}, sa)
	if err != nil {
		l.Fatal(err)
	}
	if err := l.paths[careOf].Send(agent, pkt, 0); err != nil {
		l.Fatal(err)
	}
}

// at reads at the mobile node what comes to careOf: numbers, or "marker" with its path.
func (l *lab) at(careOf netip.Addr, count int) []string {
	l.Helper()
	var got []string
	buf := make([]byte, 2048)
	watch := time.AfterFunc(hatest.Patience, func() { l.paths[careOf].Close() })
	defer watch.Stop()
	for range count {
		inner, src, err := l.paths[careOf].Read(buf)
		if err != nil {
			l.Fatalf("after %d of %d: %v\n%s", len(got), count, err, l.status())
		}
		if src != agent {
			l.Errorf("outer source %v", src)
		}
		if b, ok := ipip.Unwrap(inner, agent, home); ok { // a copy
			if _, inner, err = flow.ParseShim(b); err != nil {
				l.Fatal(err)
			}
			l.copies++
		}
		if m, ok := mip4.ParseMarkerPacket(inner, sa); ok {
			got = append(got, fmt.Sprintf("marker %x", m.ID))
			continue
		}
		got = append(got, string(inner[28:]))
	}
	return got
}

// until waits for what happens in the home agent or the kernel by itself.
func (l *lab) until(what string, happened func() bool) {
	l.Helper()
	hatest.Until(l, what, happened, l.status)
}
