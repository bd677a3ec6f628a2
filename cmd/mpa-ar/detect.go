package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"openmpa/internal/config"
	"openmpa/internal/dhcp4"
	"openmpa/internal/enroll"
	"openmpa/internal/host"
	"openmpa/internal/osnet"
)

const (
	probeFirst = 300 * time.Millisecond // until a DHCPDISCOVER is repeated
	probeWait  = 3 * time.Second        // for an offer
)

// detect fills in what no flag says: from what is here, and from who is asked.
func (i *initialise) detect(ctx context.Context) error {
	if i.name == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("--name: %w", err)
		}
		i.name, _, _ = strings.Cut(strings.ToLower(host), ".")
		i.name = i.ask.text("Name of this router and its network", i.name)
	}
	if err := i.detectAccess(); err != nil {
		return err
	}
	var err error
	if i.radios, err = findRadios(ctx, i); err != nil {
		return err
	}
	if err := i.detectDHCP(ctx); err != nil {
		return err
	}
	config.Default(&i.points, i.name+"-1")
	if !i.siteAddress.IsValid() && i.join == "" {
		if i.siteAddress.Addr = i.address.Addr; sourceTo("192.0.2.1").IsValid() {
			i.siteAddress.Addr = sourceTo("192.0.2.1")
		}
	}
	return nil
}

// detectAccess finds the interface of the access network, and the router's address there.
func (i *initialise) detectAccess() error {
	if i.access == "" {
		found, err := candidates()
		if err != nil {
			return err
		}
		if len(found) == 1 {
			i.access = found[0]
		} else if i.ask != nil && len(found) > 0 {
			i.access = i.ask.text("Interface of the access network, one of "+strings.Join(found, ", "), found[0])
		} else {
			return fmt.Errorf("which interface is that of the access network? Say --access, one of: %s", strings.Join(found, ", "))
		}
	}
	if i.address.IsValid() {
		return nil
	}
	iface, err := net.InterfaceByName(i.access)
	if err != nil {
		return fmt.Errorf("--access %s: %w", i.access, err)
	}
	if i.address.Addr = ipv4(*iface); !i.address.IsValid() {
		return fmt.Errorf("%s has no IPv4 address: give it the router's, or say --address", i.access)
	}
	return nil
}

// detectDHCP finds the DHCP server of the access network, or makes it this machine.
func (i *initialise) detectDHCP(ctx context.Context) error {
	if i.dhcp.IsValid() && i.serveDHCP {
		return errors.New("--dhcp and --serve-dhcp: expected one of them: the server is another machine, or this one")
	}
	if i.dhcp.IsValid() {
		return nil
	}
	if !i.serveDHCP {
		proposal := "this machine"
		if found := i.probeDHCP(ctx); found.IsValid() {
			proposal = found.String()
		} else if i.ask == nil {
			return errors.New("which is the DHCP server of the access network? None answers there: say --dhcp ADDRESS; it must take requests of a relay agent, and not listen on this router's own address. Or --serve-dhcp, to have one on this machine")
		}
		answer := i.ask.text("DHCP server of that network", proposal)
		if i.serveDHCP = answer == "this machine"; !i.serveDHCP {
			return i.dhcp.Set(answer)
		}
	}
	if _, err := os.Stat(filepath.Join(i.root, "sys/class/net", i.access, "bridge")); err != nil {
		return fmt.Errorf("--serve-dhcp: expected a bridge as access interface, to connect the server to: put %s into one, and the router's address on that", i.access)
	}
	iface, err := net.InterfaceByName(i.access)
	if err != nil {
		return fmt.Errorf("--access %s: %w", i.access, err)
	}
	if i.subnet = subnetOf(*iface, i.address.Addr); i.subnet.Bits() > 28 || i.subnet.Bits() < 8 {
		return fmt.Errorf("--serve-dhcp: expected %v on %s with a prefix of 8 to 28 bits", i.address.Addr, i.access)
	}
	i.dhcp.Addr = i.subnet.Masked().Addr().Next()
	for i.dhcp.Addr == i.address.Addr {
		i.dhcp.Addr = i.dhcp.Next()
	}
	return nil
}

// dhcpFile is what mpa-dhcp@ reads.
func (i *initialise) dhcpFile() string { return "dhcp-" + i.access + ".env" }

// dhcpSettings is its text: of the upper half of the subnet, addresses for an hour.
func (i *initialise) dhcpSettings() []byte {
	low, high := i.subnet.Masked().Addr().As4(), i.subnet.Masked().Addr().As4()
	host := uint32(1)<<(32-i.subnet.Bits()) - 1 // all ones: broadcast
	binary.BigEndian.PutUint32(low[:], binary.BigEndian.Uint32(low[:])|(host+1)/2)
	binary.BigEndian.PutUint32(high[:], binary.BigEndian.Uint32(high[:])|host-1)
	return fmt.Appendf(nil, "ADDRESS=%v/%d\nROUTER=%v\nRANGE=%v,%v\nLEASE=1h\n", i.dhcp.Addr, i.subnet.Bits(), i.address.Addr, netip.AddrFrom4(low), netip.AddrFrom4(high))
}

// subnetOf is the prefix of an address on an interface.
func subnetOf(iface net.Interface, want netip.Addr) netip.Prefix {
	list, err := iface.Addrs()
	if err != nil {
		return netip.Prefix{}
	}
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr() == want {
			return p
		}
	}
	return netip.Prefix{}
}

// probeDHCP asks for an offer on the access network, and takes none. It returns who made the first, the zero address if nobody.
func (i *initialise) probeDHCP(ctx context.Context) (server netip.Addr) {
	n, err := osnet.OpenReader()
	if err != nil {
		return server
	}
	defer n.Close()
	ctx, cancel := context.WithTimeout(ctx, probeWait)
	defer cancel()
	client := dhcp4.Client{
		Sockets: host.Beside(n), Iface: i.access, MAC: net.HardwareAddr{0x02, 'm', 'p', 'a', 0, 2}, Rand: rand.Reader,
		Timing:  dhcp4.Timing{First: probeFirst, Max: time.Second},
		Offered: func(l dhcp4.Lease) error { server = l.ServerID; return errEnough },
	}
	if _, err := client.Acquire(ctx); !errors.Is(err, errEnough) || server == i.address.Addr {
		return netip.Addr{}
	}
	return server
}

var errEnough = errors.New("an offer came")

// tell says what was found.
func (i *initialise) tell(w io.Writer, n enroll.Network) {
	fmt.Fprintf(w, "Network %s: access by %s, router %v, DHCP server %v.\n", i.name, i.access, i.address.Addr, i.dhcp.Addr)
	for _, p := range n.Points {
		if p.BSSID.IsZero() {
			fmt.Fprintf(w, "Point %s: no access point of this machine.\n", p.Name)
			continue
		}
		fmt.Fprintf(w, "Point %s: access point %v, %q, %d MHz.\n", p.Name, p.BSSID, p.SSID, p.Freq)
	}
}

// candidates are the interfaces that may be those of an access network.
func candidates() (out []string, err error) {
	list, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	uplink := sourceTo("192.0.2.1")
	for _, iface := range list {
		if a := ipv4(iface); a.IsValid() && a != uplink && iface.Flags&net.FlagLoopback == 0 {
			out = append(out, iface.Name)
		}
	}
	slices.Sort(out)
	return out, nil
}

// sourceTo is the address that this machine takes towards another; it sends nothing.
func sourceTo(to string) netip.Addr {
	c, err := net.Dial("udp4", net.JoinHostPort(to, "9"))
	if err != nil {
		return netip.Addr{}
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
}

func ipv4(iface net.Interface) netip.Addr {
	list, err := iface.Addrs()
	if err != nil {
		return netip.Addr{}
	}
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok {
			if v, ok := netip.AddrFromSlice(n.IP.To4()); ok {
				return v
			}
		}
	}
	return netip.Addr{}
}
