package host

import (
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"openmpa/internal/osnet"
	"openmpa/tunnel/bind"
	"openmpa/tunnel/tun"
)

// linux is the machine we run on: the network namespace of the thread that
// opened it.
type linux struct{ *osnet.Net }

// Linux is the Opener for the network namespace of the calling thread.
func Linux(log *slog.Logger, owner string) (Host, error) {
	h, err := LinuxIPv6(log, owner)
	if err != nil {
		return nil, err // not an interface that holds nothing
	}
	return h, nil
}

// LinuxIPv6 is Linux for a daemon that needs IPv6, too.
func LinuxIPv6(log *slog.Logger, owner string) (IPv6, error) {
	n, err := osnet.OpenClean(log, owner)
	if err != nil {
		return nil, err
	}
	return linux{n}, nil
}

// Beside opens sockets through an adapter that is open already, such as one that only reads.
func Beside(n *osnet.Net) Sockets { return linux{n} }

func (linux) Yield() { runtime.Gosched() }

const (
	membarrierGlobal = 1 // MEMBARRIER_CMD_GLOBAL of linux/membarrier.h
	// settled is longer than any packet is being forwarded, where the kernel does not say.
	settled = 50 * time.Millisecond
)

// Settle waits for a grace period of RCU, under which the kernel forwards: see membarrier(2).
func (linux) Settle() {
	if _, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobal, 0, 0); errno != 0 {
		time.Sleep(settled)
	}
}

func (l linux) ListenUDP(local netip.AddrPort) (UDP, error) {
	return open(l, func() (UDP, error) { return net.ListenUDP(network(local.Addr()), net.UDPAddrFromAddrPort(local)) })
}

func (l linux) DialUDP(dev string, local, remote netip.AddrPort) (net.Conn, error) {
	d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(local)}
	if dev != "" {
		d.Control = func(_, _ string, c syscall.RawConn) error {
			var err error
			if e := c.Control(func(fd uintptr) {
				err = syscall.SetsockoptString(int(fd), syscall.SOL_SOCKET, syscall.SO_BINDTODEVICE, dev)
			}); e != nil {
				return e
			}
			return err
		}
	}
	return open(l, func() (net.Conn, error) { return d.Dial(network(remote.Addr()), remote.String()) })
}

func network(a netip.Addr) string {
	switch {
	case a.Is4():
		return "udp4"
	case a.Is6():
		return "udp6"
	default:
		return "udp"
	}
}

func (l linux) OpenESP(local netip.AddrPort, o bind.Options) (ESP, error) {
	return open(l, func() (ESP, error) { return bind.OpenUDP(local, o) })
}

func (l linux) OpenIPIP(local netip.Addr, o bind.Options) (IPIP, error) {
	return open(l, func() (IPIP, error) { return bind.OpenIPIP(local, o) })
}

func (l linux) OpenRaw(local netip.Addr, o bind.Options) (Raw, error) {
	return open(l, func() (Raw, error) { return bind.OpenRaw(local, o) })
}

func (l linux) OpenProto6(local netip.Addr, proto uint8, o bind.Options) (Proto6, error) {
	return open(l, func() (Proto6, error) { return bind.OpenProto6(local, proto, o) })
}

func (l linux) OpenTooBig6(local netip.Addr, o bind.Options) (Proto6, error) {
	return open(l, func() (Proto6, error) { return bind.OpenTooBig6(local, o) })
}

func (l linux) OpenTUN(cfg tun.Config) (TUN, error) {
	return open(l, func() (TUN, error) { return tun.Open(cfg) })
}

func (l linux) OpenARP(dev string) (ARP, error) {
	return open(l, func() (ARP, error) { return l.Net.OpenARP(dev) })
}

func (l linux) OpenND(dev string) (ND, error) {
	return open(l, func() (ND, error) { return l.Net.OpenND(dev) })
}

func (l linux) OpenRouterAdverts(dev string) (RouterAdverts, error) {
	return open(l, func() (RouterAdverts, error) { return l.Net.OpenRouterAdverts(dev) })
}

func (l linux) OpenUDPTap(dev string, port uint16) (UDPTap, error) {
	return open(l, func() (UDPTap, error) { return l.Net.OpenUDPTap(dev, port) })
}

// open opens something in the machine's network namespace.
func open[I any](l linux, fn func() (I, error)) (opened I, err error) {
	err = l.Do(func() (err error) {
		opened, err = fn()
		return err
	})
	if err != nil {
		var none I
		return none, err // opened may hold a nil pointer
	}
	return opened, nil
}
