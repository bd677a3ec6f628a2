package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"openmpa/internal/osnet"
)

const (
	overhead  = 60       // octets that ESP in UDP adds to an inner packet, with padding
	spaceWarn = 16 << 20 // octets that should be free where state is kept
)

func (p *patient) tunDevice() {
	f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	switch {
	case err == nil:
		f.Close()
		p.ok("tun", "/dev/net/tun opens")
	case errors.Is(err, fs.ErrPermission):
		p.fail("tun", fmt.Sprint(err), "run this as root; a container must be given the device and CAP_NET_ADMIN")
	default:
		p.fail("tun", fmt.Sprint(err), "run: modprobe tun; in a container: give it /dev/net/tun")
	}
}

// link examines an interface; key is where the configuration names it.
func (p *patient) link(key, name string) {
	l, err := p.net.LinkByName(name)
	switch {
	case err != nil:
		p.fail("interface", strings.TrimPrefix(err.Error(), "osnet: "), "correct "+key+": in the configuration, or plug the interface in")
		return
	case !l.Up:
		p.fail("interface", name+" is down", "run: ip link set "+name+" up")
	case !l.Carrier:
		p.warn("interface", name+" has no carrier", "look at the cable, or at the radio's association")
	default:
		p.ok("interface", name+" is up")
	}
	if need := p.c.Tunnel.MTU + overhead; l.MTU < need {
		p.warn("mtu", fmt.Sprintf("%s carries packets of %d octets; tunnelled ones have up to %d and would be cut in pieces", name, l.MTU, need),
			fmt.Sprintf("set tunnel: mtu: to %d at most, or run: ip link set %s mtu %d", l.MTU-overhead, name, need))
	}
}

// routing asks for what the daemon asks at its start.
func (p *patient) routing(lan string) {
	tun := p.c.Tunnel.Device
	if _, err := p.net.LinkByName(tun); err != nil {
		tun = "" // made by the daemon, which runs not
	}
	if _, err := p.net.LinkByName(lan); err != nil {
		lan = "" // said already
	}
	err := p.net.CheckRouter(lan, tun)
	if err == nil {
		p.ok("routing", "this machine forwards, and no strict reverse path filter is in the way")
		return
	}
	list := []error{err}
	if j, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // the joined list itself is wanted
		list = j.Unwrap()
	}
	for _, e := range list {
		text, remedy, found := strings.Cut(strings.TrimPrefix(e.Error(), "osnet: "), ": run: ")
		if !found {
			p.fail("routing", text, "see docs/operating.md, Access router")
			continue
		}
		p.fail("routing", text, "run: "+remedy+"   and put the same into /etc/sysctl.d/90-openmpa.conf to keep it")
	}
}

// address looks for an address on an interface; "" is any.
func (p *patient) address(key string, want netip.Addr, dev string) {
	if want.IsUnspecified() {
		return
	}
	ifaces, err := net.Interfaces()
	if err != nil {
		p.fail("address", fmt.Sprint(err), "run this as root")
		return
	}
	for _, i := range ifaces {
		for _, a := range addresses(i) {
			if a.Addr() != want {
				continue
			}
			if dev == "" || i.Name == dev {
				p.ok("address", fmt.Sprintf("%v is on %s", want, i.Name))
			} else {
				p.fail("address", fmt.Sprintf("%v is on %s, not on %s", want, i.Name, dev), fmt.Sprintf("move it, or correct %s: in the configuration", key))
			}
			return
		}
	}
	where := dev
	if where == "" {
		where = "an interface of this machine"
	}
	p.fail("address", fmt.Sprintf("%v is on no interface", want), fmt.Sprintf("give it to %s, in what configures the network here, or correct %s: in the configuration", where, key))
}

func addresses(i net.Interface) (out []netip.Prefix) {
	list, err := i.Addrs()
	if err != nil {
		return nil // gone meanwhile
	}
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok {
			if addr, ok := netip.AddrFromSlice(n.IP); ok {
				ones, _ := n.Mask.Size()
				out = append(out, netip.PrefixFrom(addr.Unmap(), ones))
			}
		}
	}
	return out
}

// fence looks for others with the addresses of the daemon's TUN.
func (p *patient) fence() {
	ifaces, err := net.Interfaces()
	if err != nil {
		return // said by address
	}
	for _, i := range ifaces {
		for _, a := range addresses(i) {
			if i.Name != p.c.Tunnel.Device && a.Bits() > 0 && a.Overlaps(p.c.Tunnel.Address) {
				p.fail("fence", fmt.Sprintf("%v on %s overlaps %v, which the daemon's TUN takes", a, i.Name, p.c.Tunnel.Address),
					"choose two other addresses by tunnel: address:, such as 169.254.77.4/31")
				return
			}
		}
	}
}

// port tries to take a UDP port, and says who has it.
func (p *patient) port(at netip.AddrPort) {
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
	switch {
	case err == nil:
		c.Close()
		p.ok("port", fmt.Sprintf("UDP %v is free: %s does not run", at, p.program))
	case errors.Is(err, syscall.EADDRINUSE):
		holder, pid := udpHolder(at.Port())
		switch {
		case holder == p.program:
			p.ok("port", fmt.Sprintf("UDP %v is %s's, which runs", at, p.program))
		case holder == "":
			p.fail("port", fmt.Sprintf("UDP %v is taken, by a process that cannot be seen from here", at), fmt.Sprintf("run: ss -lunp 'sport = %d'", at.Port()))
		default:
			p.fail("port", fmt.Sprintf("UDP %v is taken by %s (process %d)", at, holder, pid), portRemedy(holder, at.Port()))
		}
	case errors.Is(err, syscall.EADDRNOTAVAIL): // said by address
	default:
		p.fail("port", fmt.Sprintf("UDP %v: %v", at, err), "run this as root")
	}
}

func portRemedy(holder string, port uint16) string {
	if holder == "charon" || holder == "pluto" || holder == "starter" {
		return "an IPsec daemon has the port: stop it (systemctl disable --now strongswan), or give openmpa another port on every router and node by tunnel: port:"
	}
	return fmt.Sprintf("stop %s, or have it listen on another port than %d", holder, port)
}

// udpHolder finds the process in whose hands a UDP port is, in this network namespace.
func udpHolder(port uint16) (name string, pid int) {
	inodes := map[string]bool{}
	for _, name := range []string{"udp", "udp6"} { // an IPv6 socket may have the port of IPv4, too
		table, err := os.ReadFile("/proc/thread-self/net/" + name)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(table)) {
			f := strings.Fields(line)
			if len(f) > 9 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) {
				inodes["socket:["+f[9]+"]"] = true
			}
		}
	}
	eachProcess(func(proc process) bool {
		fds, err := os.ReadDir(proc.dir + "/fd")
		if err != nil {
			return true
		}
		for _, fd := range fds {
			if target, err := os.Readlink(filepath.Join(proc.dir, "fd", fd.Name())); err == nil && inodes[target] {
				name, pid = proc.name, proc.pid
				return false
			}
		}
		return true
	})
	return name, pid
}

// filterIn asks the packet filter of this machine about a service of ours.
func (p *patient) filterIn(from netip.Addr, to netip.AddrPort) {
	if !to.Addr().Is4() || !from.Is4() {
		return
	}
	in := p.c.Access.Interface
	p.filter(osnet.Flow{Hook: osnet.HookInput, In: in, Protocol: unix.IPPROTO_UDP, From: netip.AddrPortFrom(from, 40000), To: to},
		fmt.Sprintf("packets to UDP port %d", to.Port()), allowPort(p.firewall(), to.Port()))
}

// filterThrough asks about what visitors send and get.
func (p *patient) filterThrough() {
	for _, dir := range [][2]string{{p.c.Access.Interface, p.c.Tunnel.Device}, {p.c.Tunnel.Device, p.c.Access.Interface}} {
		p.filter(osnet.Flow{
			Hook: osnet.HookForward, In: dir[0], Out: dir[1], Protocol: unix.IPPROTO_UDP,
			From: netip.AddrPortFrom(anySource, 40000), To: netip.AddrPortFrom(anySource.Next(), 40000),
		}, fmt.Sprintf("forwarded packets from %s to %s", dir[0], dir[1]), allowForward(p.firewall(), dir[0], dir[1]))
	}
}

func (p *patient) filter(f osnet.Flow, what, remedy string) {
	v, err := osnet.FilterCheck(f)
	switch {
	case err != nil:
		p.warn("filter", fmt.Sprint(err), "run this as root")
	case v.Drop && v.Guess:
		p.warn("filter", fmt.Sprintf("as far as the rules can be judged, this machine drops %s (%s)", what, v.Where), remedy)
	case v.Drop:
		p.fail("filter", fmt.Sprintf("this machine drops %s (%s)", what, v.Where), remedy)
	default:
		p.ok("filter", "no nftables rule here drops "+what)
	}
}

func (p *patient) firewall() string {
	for _, name := range []string{"firewalld", "ufw"} {
		if p.runs(name) {
			return name
		}
	}
	return ""
}

func allowPort(manager string, port uint16) string {
	switch manager {
	case "firewalld":
		return fmt.Sprintf("run: firewall-cmd --permanent --add-port=%d/udp && firewall-cmd --reload", port)
	case "ufw":
		return fmt.Sprintf("run: ufw allow %d/udp", port)
	}
	return fmt.Sprintf("accept it before the rule that drops, in nftables: udp dport %d accept", port)
}

func allowForward(manager, in, out string) string {
	switch manager {
	case "firewalld":
		return fmt.Sprintf("run: firewall-cmd --permanent --zone=trusted --add-interface=%s --add-interface=%s && firewall-cmd --reload", in, out)
	case "ufw":
		return fmt.Sprintf("run: ufw route allow in on %s out on %s", in, out)
	}
	return fmt.Sprintf("accept it in the forward chain, in nftables: iifname %q oifname %q accept", in, out)
}

// space looks at the disk that state is kept on.
func (p *patient) space() {
	dir := p.c.State.String()
	if dir == "" {
		dir = "/var/lib/openmpa"
	}
	for {
		var st unix.Statfs_t
		err := unix.Statfs(dir, &st)
		if errors.Is(err, fs.ErrNotExist) && dir != "/" {
			dir = filepath.Dir(dir)
			continue
		}
		if free := st.Bavail * uint64(st.Bsize); err == nil && free < spaceWarn { //nolint:gosec // a block's size is positive
			p.warn("space", fmt.Sprintf("%d KiB are free at %s; registrations and leases are refused when it is full", free>>10, dir), "make room there, or put state: elsewhere")
		}
		return
	}
}
