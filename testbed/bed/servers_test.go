package bed

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"

	"openmpa/testbed/dhcpd"
	"openmpa/testbed/peers"
	"openmpa/testbed/topo"
)

// installed skips the test where somebody else's server is missing; where
// everything is to be tested that is a failure.
func installed(t *testing.T, find func() (string, error)) {
	t.Helper()
	_, err := find()
	switch {
	case err == nil:
	case !errors.Is(err, peers.ErrMissing) || os.Getenv("CI") != "" || os.Getenv("OPENMPA_TEST_ALL") != "":
		t.Fatal(err)
	default:
		t.Skip(err)
	}
}

// client is one DHCP client on the mobile node's link.
type client struct {
	t  *testing.T
	b  *Bed
	hw net.HardwareAddr
}

func (c client) do(f func(*nclient4.Client) error) error {
	return c.b.Top.Space(topo.MN).Do(func() error {
		n, err := nclient4.New(topo.MNIf, nclient4.WithHWAddr(c.hw), nclient4.WithTimeout(300*time.Millisecond), nclient4.WithRetry(3))
		if err != nil {
			return err
		}
		return errors.Join(f(n), n.Close())
	})
}

func (c client) lease() (lease *nclient4.Lease, err error) {
	err = c.do(func(n *nclient4.Client) error {
		lease, err = n.Request(context.Background(), dhcpv4.WithRequestedOptions(dhcpv4.OptionRouter, dhcpv4.OptionPANAAuthenticationAgent))
		return err
	})
	return lease, err
}

// decline says that the leased address is somebody else's.
func (c client) decline(l *nclient4.Lease) {
	c.t.Helper()
	m, err := dhcpv4.New(
		dhcpv4.WithHwAddr(c.hw), dhcpv4.WithMessageType(dhcpv4.MessageTypeDecline),
		dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(l.ACK.YourIPAddr)),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(l.ACK.ServerIdentifier())),
	)
	if err != nil {
		c.t.Fatal(err)
	}
	err = c.do(func(n *nclient4.Client) error {
		_, err := n.SendAndRead(context.Background(), n.RemoteAddr(), m, nil)
		if errors.Is(err, nclient4.ErrNoResponse) {
			return nil // nobody answers that
		}
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

// leaseStates are the networks and states of all leases that are not only offered.
func leaseStates(t *testing.T, b *Bed) (words []string) {
	t.Helper()
	all, err := b.DHCP.Leases()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range all {
		if l.State != dhcpd.Offered {
			words = append(words, l.Network+" "+string(l.State))
		}
	}
	return words
}

// TestDHCPServersAreAlike holds every DHCP server of a lab to what the
// scenarios rely on.
func TestDHCPServersAreAlike(t *testing.T) {
	for _, name := range []string{DHCPEmbedded, DHCPKea} {
		t.Run(name, func(t *testing.T) {
			needRoot(t)
			if name == DHCPKea {
				installed(t, peers.Kea{}.Program)
			}
			b, err := StartNetwork(context.Background(), Options{Bin: t.TempDir(), DHCP: name, Agent: AgentDHCP})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := b.Close(); err != nil {
					t.Error(err)
				}
				if _, err := os.Stat(b.Run.Path); !os.IsNotExist(err) {
					t.Errorf("the run directory is still there: %v", err)
				}
			}()
			states := func() []string { return leaseStates(t, b) }
			one := client{t, b, net.HardwareAddr{2, 0, 0, 0, 1, 1}}
			two := client{t, b, net.HardwareAddr{2, 0, 0, 0, 1, 2}}
			first, err := one.lease()
			if err != nil {
				t.Fatal(err)
			}
			bound, err := b.Bound("b")
			if err != nil || len(bound) != 1 || bound[0].Addr.String() != first.ACK.YourIPAddr.String() || time.Until(bound[0].Expires) < leaseTime/2 {
				t.Errorf("bound %v, %v; leased %v", bound, err, first.ACK.YourIPAddr)
			}
			if r := first.ACK.Router(); len(r) != 1 || r[0].String() != "10.1.0.1" || first.ACK.ServerIdentifier().String() != "10.1.0.3" {
				t.Errorf("router %v, server %v", r, first.ACK.ServerIdentifier())
			}
			if a := dhcpv4.GetIPs(dhcpv4.OptionPANAAuthenticationAgent, first.ACK.Options); len(a) != 1 || a[0].String() != "10.1.0.1" {
				t.Errorf("PAA %v (RFC 5192)", a)
			}
			if err := b.DHCP.SetEmpty("b", true); err != nil {
				t.Fatal(err)
			}
			if l, err := two.lease(); err == nil {
				t.Errorf("%v leased from an empty pool", l.ACK.YourIPAddr)
			}
			if err := errors.Join(b.DHCP.SetEmpty("b", false), b.DHCP.Reset()); err != nil {
				t.Fatal(err)
			}
			second, err := two.lease()
			if err != nil || second.ACK.YourIPAddr.Equal(first.ACK.YourIPAddr) {
				t.Fatalf("%v leased, as to the other client %v; %v", second, first.ACK.YourIPAddr, err)
			}
			two.decline(second)
			if got := states(); !slices.Contains(got, "b declined") || len(got) != 2 {
				t.Errorf("after a decline: %q", got)
			}
			if err := b.DHCP.Reset(); err != nil {
				t.Fatal(err)
			}
			if got := states(); !slices.Equal(got, []string{"b bound"}) {
				t.Errorf("after a reset: %q", got)
			}
		})
	}
}

// TestForeignServerThatDoesNotComeUp says why, by the end of its log.
func TestForeignServerThatDoesNotComeUp(t *testing.T) {
	needRoot(t)
	installed(t, peers.FreeRADIUS{}.Program)
	b, err := StartNetwork(context.Background(), Options{Bin: t.TempDir(), AAA: AAAFreeRADIUS})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.discard(); err != nil {
			t.Error(err)
		}
	}()
	if err := b.writeSecrets(); err != nil {
		t.Fatal(err)
	}
	if err := b.startFreeRADIUS(t.Context(), homeServer, AAAGood); err != nil {
		t.Fatal(err)
	}
	if names := b.Daemons(); len(names) != 0 {
		t.Errorf("%q are taken for daemons with a control socket", names)
	}
	b.opt.TLS = "9.9"
	err = b.startFreeRADIUS(t.Context(), ownServer, AAAGood)
	if err == nil || !strings.Contains(err.Error(), "ended by itself") || !strings.Contains(err.Error(), "tls_max_version") {
		t.Errorf("%v", err)
	}
}
