package simnet

import (
	"encoding/binary"
	"net/netip"
	"time"

	"openmpa/internal/acd"
	"openmpa/internal/osnet"
	"openmpa/tunnel/ipip"
)

const (
	protoUDP = 17
	udpLen   = 8
	ttl      = 64
)

// Machine is a host or a router of the network.
type Machine struct {
	w       *World
	name    string
	forward bool
	strict  bool // answers ARP for the addresses of the asked interface only

	interfaces []*Interface
	addresses  []address
	routes     []route
	rules      []rule
	udp        []*udpSocket
	ipip       []*ipipSocket
	hosts      []*machineHost // open
	nextPort   uint16
	ident      uint16
}

// Machine makes one without interfaces. forward makes it a router.
func (w *World) Machine(name string, forward bool) *Machine {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := &Machine{w: w, name: name, forward: forward, nextPort: 32768}
	w.machines = append(w.machines, m)
	return m
}

// Name is the machine's.
func (m *Machine) Name() string { return m.name }

// AnswerStrictly has the machine answer ARP on each interface for the addresses of
// that interface only (arp_ignore=1): for one server on several links.
func (m *Machine) AnswerStrictly() { m.strict = true }

// Interface is a network interface of a machine: for a cable, or a TUN.
type Interface struct {
	m     *Machine
	dev   string
	index int
	mac   acd.MAC
	mtu   int

	end        *end // nil: no cable
	tun        *tunDevice
	isUp       bool // carrier, as last told
	down       bool // set down by an administrator
	strict     bool // answers ARP for its own addresses only
	counters   osnet.Counters
	neighbours map[netip.Addr]*neighbour
	raised     int // users of a longer queue for each
	raw        []*rawSocket
	watchers   []*watcher
}

// Interface adds one, with the addresses given, and their connected routes.
func (m *Machine) Interface(dev string, addrs ...netip.Prefix) *Interface {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	i := m.addInterface(dev)
	m.w.nextMAC++
	n := m.w.nextMAC
	i.mac = acd.MAC{0x02, 's', 'i', byte(n >> 16), byte(n >> 8), byte(n)}
	for _, p := range addrs {
		m.addAddress(address{dev: dev, prefix: p})
	}
	return i
}

func (m *Machine) addInterface(dev string) *Interface {
	i := &Interface{m: m, dev: dev, index: len(m.interfaces) + 2, mtu: 1500, neighbours: map[netip.Addr]*neighbour{}}
	m.interfaces = append(m.interfaces, i)
	return i
}

// Route adds a static one, nobody's.
func (m *Machine) Route(dst netip.Prefix, via netip.Addr, dev string) {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	m.routes = append(m.routes, route{Route: osnet.Route{Dst: dst, Via: via, Dev: dev, Table: tableMain}})
}

// SetDown sets the interface down, as an administrator does.
func (i *Interface) SetDown() {
	i.m.w.mu.Lock()
	defer i.m.w.mu.Unlock()
	i.down = true
	i.carrier(nil)
}

// IsDown says whether it is.
func (i *Interface) IsDown() bool {
	i.m.w.mu.Lock()
	defer i.m.w.mu.Unlock()
	return i.down
}

// MAC is the interface's link-layer address.
func (i *Interface) MAC() acd.MAC { return i.mac }

func (m *Machine) find(dev string) *Interface {
	for _, i := range m.interfaces {
		if i.dev == dev {
			return i
		}
	}
	return nil
}

func (i *Interface) name() string { return i.m.name + "/" + i.dev }

func (i *Interface) attach(e *end) { i.end = e }

func (i *Interface) detach(*end) {
	i.end = nil
	i.carrier(nil)
}

// carrier is called when the cable may have come up or gone.
func (i *Interface) carrier(*end) {
	up := i.end != nil && i.end.cable.up() && !i.down
	if up == i.isUp {
		return
	}
	i.isUp = up
	if !up {
		i.forget()
	}
	for _, w := range i.watchers {
		w.tell(osnet.LinkState{Up: up, At: time.Now()})
	}
}

// arrive takes a frame off the cable.
func (i *Interface) arrive(_ *end, f frame) {
	if i.down {
		i.m.w.dropped(i.name(), ReasonCarrier, f)
		return
	}
	if f.dst != i.mac && f.dst != broadcastMAC {
		i.m.w.dropped(i.name(), ReasonForeign, f)
		return
	}
	i.counters.Received++
	for _, s := range i.raw {
		s.offer(f)
	}
	switch f.typ {
	case typeARP:
		i.m.w.note(i.name(), "in", f.data)
		if p, err := acd.ParseARP(f.data); err == nil {
			i.arp(p)
		}
	case typeIPv4:
		i.m.receive(i, f.data)
	}
}

func (i *Interface) send(dst acd.MAC, typ etherType, data []byte) {
	i.counters.Sent++
	i.counters.Octets += uint64(len(data))
	f := frame{dst: dst, src: i.mac, typ: typ, data: data}
	if i.end == nil || i.down {
		i.m.w.dropped(i.name(), ReasonCarrier, f)
		return
	}
	i.m.w.note(i.name(), "out", data)
	i.end.send(f)
}

// receive takes a packet that came in by an interface: off the link, or from
// the daemon behind a TUN.
func (m *Machine) receive(in *Interface, pkt []byte) {
	src, dst, proto, body, total, err := ipip.ParseIPv4(pkt)
	if err != nil {
		m.w.lost(m.name, ReasonMalformed, pkt)
		return
	}
	pkt = pkt[:total]
	if m.isLocal(dst) || m.isBroadcast(in, dst) {
		m.deliver(pkt, src, dst, proto, body)
		return
	}
	if !m.forward {
		m.w.lost(m.name, ReasonNoForward, pkt)
		return
	}
	if pkt[8] <= 1 {
		m.w.lost(m.name, ReasonTTL, pkt)
		return
	}
	dev, via, _, ok := m.lookup(flow{src: src, dst: dst, iif: in.dev, sport: sourcePort(pkt, proto, body)})
	if !ok {
		m.w.lost(m.name, ReasonNoRoute, pkt)
		return
	}
	next := append([]byte(nil), pkt...) // who sent it may have kept it
	next[8]--
	checksum(next[:body])
	m.transmit(dev, via, next)
}

// output sends a packet of the machine's own, and tells before so. It reports false,
// and has done nothing, if there is no route: whoever sends owns the packet still.
func (m *Machine) output(pkt []byte, oif string, before func()) bool {
	src, dst, proto, body, _, err := ipip.ParseIPv4(pkt)
	if err != nil {
		return false
	}
	if m.isLocal(dst) {
		before()
		m.deliver(pkt, src, dst, proto, body)
		return true
	}
	dev, via, _, ok := m.lookup(flow{src: src, dst: dst, sport: sourcePort(pkt, proto, body), oif: oif})
	if !ok {
		m.w.note(m.name, "no route for", pkt)
		return false
	}
	before()
	m.transmit(dev, via, pkt)
	return true
}

// transmit sends a packet to its next hop.
func (m *Machine) transmit(i *Interface, via netip.Addr, pkt []byte) {
	if i.tun != nil {
		i.tun.offer(pkt)
		return
	}
	i.resolve(via, pkt)
}

func sourcePort(pkt []byte, proto uint8, body int) uint16 {
	if proto != protoUDP || len(pkt) < body+udpLen {
		return 0
	}
	return binary.BigEndian.Uint16(pkt[body:])
}

// deliver gives a packet to the sockets it is for.
func (m *Machine) deliver(pkt []byte, src, dst netip.Addr, proto uint8, body int) {
	switch proto {
	case protoUDP:
		if len(pkt) < body+udpLen {
			m.w.lost(m.name, ReasonMalformed, pkt)
			return
		}
		from := netip.AddrPortFrom(src, binary.BigEndian.Uint16(pkt[body:]))
		to := netip.AddrPortFrom(dst, binary.BigEndian.Uint16(pkt[body+2:]))
		if s := m.socketFor(from, to); s != nil {
			s.offer(pkt)
			return
		}
	case ipip.Protocol:
		taken := false
		for _, s := range m.ipip {
			if s.local == dst {
				s.offer(pkt)
				taken = true
			}
		}
		if taken {
			return
		}
	}
	m.w.lost(m.name, ReasonNoSocket, pkt)
}

// checksum fills in the checksum of an IPv4 header.
func checksum(h []byte) {
	h[10], h[11] = 0, 0
	var sum uint32
	for k := 0; k < len(h); k += 2 {
		sum += uint32(binary.BigEndian.Uint16(h[k:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(h[10:], ^uint16(sum))
}

func addr4(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b)) }
