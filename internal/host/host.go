// Package host is what a daemon asks of the machine it runs on: the kernel's
// tables, sockets, the TUN. Everything that mn, par, paa and ha do outside their
// process goes through a Host, so that a whole handover, every party of it, runs
// on simulated machines under virtual time, too.
//
//	mn, par, paa, ha --> Host --> Linux: osnet, tunnel/bind, tunnel/tun, package net
//	                         \--> testbed/simnet
//
// What each method does, its errors included, is said where Linux takes it from:
// packages osnet, bind, tun and net.
package host

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"

	"openmpa/internal/acd"
	"openmpa/internal/acd/nd"
	"openmpa/internal/osnet"
	"openmpa/tunnel/bind"
	"openmpa/tunnel/tun"
)

// Opener opens the machine for a daemon, owner, of those in package osnet, and
// removes what an owner of that name before it has left.
type Opener func(log *slog.Logger, owner string) (Host, error)

// Host is one machine, or one network namespace.
type Host interface {
	Tables
	Sockets
	// Yield lets others run while a goroutine polls.
	Yield()
	// Settle returns when what the kernel was forwarding when it was called has left, or
	// waits: some milliseconds.
	Settle()
	// Close undoes every change of the kernel's tables that still stands. Sockets
	// are closed by whoever opened them.
	Close() error
}

// IPv6 is a Host with what only IPv6 asks for.
type IPv6 interface {
	Host
	CheckRouter6(devs ...string) error
	// Sysctl reads a key below net; WriteSysctl writes it, and nobody undoes that.
	Sysctl(key string) (string, error)
	WriteSysctl(key, value string) error
	// OpenND opens the neighbour discovery socket of an interface.
	OpenND(dev string) (ND, error)
	// OpenRouterAdverts opens a socket for the router advertisements of an interface.
	OpenRouterAdverts(dev string) (RouterAdverts, error)
	// OpenTooBig6 opens a raw socket for what ICMPv6 tells an address of paths that are narrow.
	OpenTooBig6(local netip.Addr, o bind.Options) (Proto6, error)
	// TakeRouted keeps the kernel from refusing routing headers to an address that is read.
	TakeRouted(home netip.Addr) error
	// OpenProto6 opens a raw socket for what comes to an address with one header.
	OpenProto6(local netip.Addr, proto uint8, o bind.Options) (Proto6, error)
	NotLocal(dev string, addr netip.Addr) error
}

// Tables are what the kernel keeps: see osnet.Net.
type Tables interface {
	LinkByName(name string) (osnet.Link, error)
	Counters(name string) (osnet.Counters, error)
	Prime(names ...string) error
	WatchLink(ctx context.Context, dev string) (<-chan osnet.LinkState, error)
	AddAddress(dev string, p netip.Prefix, opt osnet.AddrOptions) error
	DelAddress(dev string, p netip.Prefix) error
	SetRoute(r osnet.Route) error
	DelRoute(r osnet.Route) error
	AddRule(r osnet.Rule) error
	DelRule(r osnet.Rule) error
	SetNeighbour(dev string, addr netip.Addr, mac net.HardwareAddr, permanent bool) error
	HoldNeighbour(dev string, addr netip.Addr) error
	DelNeighbour(dev string, addr netip.Addr) error
	RaiseQueue(dev string, octets int) error
	LowerQueue(dev string) error
	Resolve(ctx context.Context, dev string, addr netip.Addr) (net.HardwareAddr, error)
	SetSysctl(key, value string) error
	CheckRouter(lan, tun string) error
	AcceptLocal(dev string) error
	SetUp(dev string, up bool) error
	ARPIgnore(dev string) (mode int, err error)
	SetARPIgnore(dev string, mode int) error
}

// Sockets are opened here and closed by their user.
type Sockets interface {
	// ListenUDP opens a socket on local; port 0 is one that is free.
	ListenUDP(local netip.AddrPort) (UDP, error)
	// DialUDP opens a socket from local to remote, through the interface dev only
	// unless dev is empty.
	DialUDP(dev string, local, remote netip.AddrPort) (net.Conn, error)
	// OpenESP opens a socket for ESP in UDP.
	OpenESP(local netip.AddrPort, o bind.Options) (ESP, error)
	// OpenIPIP opens a socket for IP in IP.
	OpenIPIP(local netip.Addr, o bind.Options) (IPIP, error)
	// OpenRaw opens a socket that sends whole packets.
	OpenRaw(local netip.Addr, o bind.Options) (Raw, error)
	OpenTUN(cfg tun.Config) (TUN, error)
	OpenARP(dev string) (ARP, error)
	// OpenUDPTap opens a tap for UDP packets to port on an interface that may have
	// no address yet.
	OpenUDPTap(dev string, port uint16) (UDPTap, error)
}

// UDP is a datagram socket, as *net.UDPConn is one.
type UDP interface {
	ReadFromUDPAddrPort(b []byte) (n int, from netip.AddrPort, err error)
	WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error)
	WriteMsgUDPAddrPort(b, control []byte, to netip.AddrPort) (n, controlN int, err error)
	LocalAddr() net.Addr
	Close() error
}

// ESP is a socket for ESP in UDP: see bind.UDP.
type ESP interface {
	LocalAddr() netip.AddrPort
	Send(to netip.AddrPort, pkt []byte, tos uint8) error
	SendBatch(to netip.AddrPort, pkts []byte, size int, tos uint8) (sent int, err error)
	ReadBatch(b *bind.Batch) ([]bind.Packet, error)
	Stats() bind.Stats
	Close() error
}

// IPIP is a socket for IP in IP: see bind.IPIP.
type IPIP interface {
	LocalAddr() netip.Addr
	Send(dst netip.Addr, inner []byte, tos uint8) error
	Read(buf []byte) (inner []byte, src netip.Addr, err error)
	ReadBatch(b *bind.Batch) ([]bind.Packet, error)
	Stats() bind.Stats
	Close() error
}

// Proto6 reads what comes behind one header of IPv6: see bind.Proto6.
type Proto6 interface {
	ReadBatch(b *bind.Batch) ([]bind.Packet, error)
	Stats() bind.Stats
	Close() error
}

// Raw sends whole packets: see bind.Raw.
type Raw interface {
	Send(pkt []byte) error
	Stats() bind.Stats
	Close() error
}

// TUN is a device whose packets the daemon reads and writes: see tun.Device.
type TUN interface {
	io.ReadWriteCloser
	ReadNow(p []byte) (int, error)
	Buffered() int
	Queue(p []byte) (int, error)
	Cork()
	Uncork() error
	Name() string
	MTU() int
	Stats() (tun.Stats, error)
}

// ARP is the ARP socket of one interface: see osnet.ARPConn.
type ARP interface {
	acd.Conn
	io.Closer
	MAC() net.HardwareAddr
	Device() string
	SendGratuitous(addr netip.Addr) error
}

// ND is the neighbour discovery socket of one interface: see osnet.NDConn.
type ND interface {
	nd.Conn
	io.Closer
	MAC() net.HardwareAddr
	Join(addr netip.Addr) error
	Leave(addr netip.Addr) error
}

// RouterAdverts reads what routers of one interface advertise: see osnet.RouterAdverts.
type RouterAdverts interface {
	io.Closer
	Next(ctx context.Context) (osnet.HeardAdvert, error)
	Solicit() error
}

// UDPTap reads and writes whole IPv4 packets of one interface: see osnet.UDPTap.
type UDPTap interface {
	io.Closer
	ReadPacket(ctx context.Context, b []byte) (int, error)
	WritePacket(dst net.HardwareAddr, ipv4 []byte) error
}
