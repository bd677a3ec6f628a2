package bed

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"openmpa/internal/dhcp6"
	"openmpa/internal/host"
	"openmpa/internal/osnet"
	"openmpa/testbed/peers"
	"openmpa/testbed/topo"
	"openmpa/testbed/wireshark"
)

// relayed runs fn with a DHCPv6 client behind a relay on a network's access router.
func relayed(t *testing.T, b *Bed, network string, mac net.HardwareAddr, fn func(*dhcp6.Client) error) error {
	t.Helper()
	n, _ := topo.NetworkByName(network)
	return b.Top.Space(n.Router).Do(func() error {
		h, err := host.Linux(nil, osnet.OwnerLab)
		if err != nil {
			return err
		}
		r, err := dhcp6.OpenRelay(dhcp6.RelayConfig{Sockets: h, Link: topo.Six(n.Address), Server: topo.Six(n.DHCP)})
		if err != nil {
			return errors.Join(err, h.Close())
		}
		c := &dhcp6.Client{
			Relay: r, MAC: mac, Subnet: topo.SixPrefix(n.Prefix),
			Timing: dhcp6.Timing{First: 100 * time.Millisecond, Max: 500 * time.Millisecond, Tries: 8},
		}
		return errors.Join(fn(c), r.Close(), h.Close())
	})
}

// TestDHCPv6ServersAreAlike holds both DHCPv6 servers of a lab to what the scenarios rely on.
func TestDHCPv6ServersAreAlike(t *testing.T) {
	for _, name := range []string{DHCPEmbedded, DHCPKea} {
		t.Run(name, func(t *testing.T) {
			needRoot(t)
			installed(t, peers.Radvd{}.Program)
			if name == DHCPKea {
				installed(t, peers.Kea6{}.Program)
			}
			b, err := StartNetwork(context.Background(), Options{Bin: t.TempDir(), DHCP: name, IP: 6, Addresses: AddressesDHCP})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := b.Close(); err != nil {
					t.Error(err)
				}
			}()
			states := func() []string { return leaseStates(t, b) }
			lease := func(network string, mac byte) (l dhcp6.Lease, err error) {
				err = relayed(t, b, network, net.HardwareAddr{2, 0, 0, 0, 1, mac}, func(c *dhcp6.Client) (err error) {
					l, err = c.Acquire(t.Context())
					return err
				})
				return l, err
			}
			first, err := lease("a", 1)
			if err != nil {
				t.Fatal(err)
			}
			bound, err := b.Bound("a")
			if err != nil || len(bound) != 1 || bound[0].Addr != first.Addr || time.Until(bound[0].Expires) < leaseTime/2 {
				t.Errorf("bound %v, %v; leased %v", bound, err, first.Addr)
			}
			if err := b.DHCP.SetEmpty("b", true); err != nil {
				t.Fatal(err)
			}
			if l, err := lease("b", 2); err == nil {
				t.Errorf("%v leased from an empty pool", l.Addr)
			}
			if err := errors.Join(b.DHCP.SetEmpty("b", false), b.DHCP.Reset()); err != nil {
				t.Fatal(err)
			}
			second, err := lease("b", 2)
			if err != nil {
				t.Fatal(err)
			}
			give := func(network string, mac byte, what func(*dhcp6.Client) error) {
				t.Helper()
				if err := relayed(t, b, network, net.HardwareAddr{2, 0, 0, 0, 1, mac}, what); err != nil {
					t.Error(err)
				}
			}
			give("b", 2, func(c *dhcp6.Client) error { return c.Decline(t.Context(), second) })
			if got := states(); !slices.Equal(got, []string{"b declined", "a bound"}) && !slices.Equal(got, []string{"a bound", "b declined"}) {
				t.Errorf("after a decline: %q", got)
			}
			if err := b.DHCP.Reset(); err != nil {
				t.Fatal(err)
			}
			give("a", 1, func(c *dhcp6.Client) error { return c.Release(t.Context(), first) })
			if got := states(); len(got) != 0 {
				t.Errorf("after a reset and a release: %q", got)
			}
		})
	}
}

// TestAdvertised: without any daemon of ours the node's kernel forms an address in the network that it is attached to, by the
// router's advertisement, and reaches the correspondent; what was said for it is captured, and Wireshark finds nothing wrong.
func TestAdvertised(t *testing.T) {
	needRoot(t)
	installed(t, peers.Radvd{}.Program)
	installed(t, func() (string, error) { return peers.Program("tshark", "tshark") })
	file := filepath.Join(t.TempDir(), "said.pcap")
	b, err := StartNetwork(context.Background(), Options{Bin: t.TempDir(), IP: 6, Capture: file})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		const advertised, solicited, duplicate = "icmpv6.type == 134", "icmpv6.type == 133", "icmpv6.type == 135 && ipv6.src == ::"
		p, err := wireshark.Look(context.Background(), file, advertised, solicited, duplicate)
		if err != nil || p.Matching[advertised] == 0 || p.Matching[solicited] == 0 || p.Matching[duplicate] == 0 || len(p.Wrong) > 0 {
			t.Errorf("captured %+v, %v", p, err)
		}
	}()
	nl := b.Top.Space(topo.MN).Netlink()
	link, err := nl.LinkByName(topo.MNIf)
	if err != nil {
		t.Fatal(err)
	}
	there, _ := topo.NetworkByName("b")
	prefix := topo.SixPrefix(there.Prefix)
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		addrs, err := nl.AddrList(link, netlink.FAMILY_V6)
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(addrs, func(a netlink.Addr) bool {
			ip, _ := netip.AddrFromSlice(a.IP)
			return prefix.Contains(ip)
		}) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("no address in %v: %v", prefix, addrs)
		}
	}
	err = b.Top.Space(topo.MN).Do(func() error {
		_, err := net.Dial("udp", netip.AddrPortFrom(topo.Six(topo.Correspondent), 9).String())
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
