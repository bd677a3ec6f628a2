package dhcp6

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"

	"openmpa/testbed/dhcpd"
	"openmpa/testbed/peers"
)

// TestKea: the whole life of a lease with Kea, relayed and on the link.
func TestKea(t *testing.T) {
	k := peers.Kea6{
		Dir: t.TempDir(), Name: "dhcp6", Rapid: true, Lifetime: time.Hour, Pools: []dhcpd.Pool{{
			Network: "a", Interface: "v1", Server: serverA, Prefix: subnet, Low: firstAddr, High: netip.MustParseAddr("2001:db8:2::1ff"), DNS: dns,
		}},
	}
	if _, err := k.Program(); err != nil {
		if os.Getenv("CI") != "" || os.Getenv("OPENMPA_TEST_ALL") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	n, far := bed(t)
	args, err := k.Command()
	if err != nil {
		t.Fatal(err)
	}
	said, err := os.Create(k.Dir + "/said")
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), k.Environment()...), said, said
	far(func() {
		if err := cmd.Start(); err != nil {
			t.Error(err)
		}
	})
	if cmd.Process == nil {
		t.FailNow()
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if b, err := os.ReadFile(said.Name()); t.Failed() {
			t.Logf("Kea says (%v):\n%s", err, b)
		}
	}()
	patient := Timing{First: 100 * time.Millisecond, Max: 500 * time.Millisecond, Tries: 60} // Kea starts
	r := relay(t, n)
	for name, c := range map[string]*Client{
		"relayed": {Relay: r, MAC: macA, Subnet: subnet, Timing: patient},
		"on link": {Sockets: n, Local: local, MAC: net.HardwareAddr{2, 0, 0, 0, 0, 0xb}, Subnet: subnet, Timing: patient},
	} {
		l := acquire(t, c)
		if !subnet.Contains(l.Addr) || l.Valid != time.Hour || l.Preferred != 30*time.Minute || l.T1 != 15*time.Minute || !slices.Equal(l.DNS, []netip.Addr{dns}) {
			t.Errorf("%s: %+v", name, l)
		}
		for what, extend := range map[string]func(context.Context, Lease) (Lease, error){"renew": c.Renew, "rebind": c.Rebind} {
			if again, err := extend(t.Context(), l); err != nil || again.Addr != l.Addr {
				t.Errorf("%s: %s: %+v, %v", name, what, again, err)
			}
		}
		if err := c.Decline(t.Context(), l); err != nil {
			t.Errorf("%s: decline: %v", name, err)
		}
		c.Rapid = true
		c.Offered = func(Lease) error { return fmt.Errorf("%s: Kea does rapid commit, and was to be requested", name) }
		other := acquire(t, c)
		if other.Addr == l.Addr {
			t.Errorf("%s: %s was declined and came again", name, l.Addr)
		}
		if err := c.Release(t.Context(), other); err != nil {
			t.Errorf("%s: release: %v", name, err)
		}
		log, err := os.ReadFile(said.Name())
		if want := "binding for address " + other.Addr.String(); err != nil || !regexp.MustCompile(want+".* was released properly").Match(log) {
			t.Errorf("%s: Kea does not say %q, released (%v)", name, want, err)
		}
	}
}

// FuzzAnswer gives whatever to what reads a relay's datagrams and a client's answers.
func FuzzAnswer(f *testing.F) {
	s := &server{leases: make(map[string]netip.Addr), bad: make(map[netip.Addr]bool)}
	id := &identity{xid: dhcpv6.TransactionID{1, 2, 3}, clientID: []byte{0, 3, 0, 1, 2, 0, 0, 0, 0, 0xa}, iaid: [4]byte{1}, subnet: subnet}
	for _, typ := range []dhcpv6.MessageType{dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeSolicit, dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRelease} {
		m, err := dhcpv6.MessageFromBytes(id.message(typ, nil, firstAddr).ToBytes())
		if err != nil {
			f.Fatal(err)
		}
		out, err := dhcpv6.EncapsulateRelay(s.answer(m), dhcpv6.MessageTypeRelayForward, linkAddr.AsSlice(), net.ParseIP("fe80::5"))
		if err != nil {
			f.Fatal(err)
		}
		out.MessageType = dhcpv6.MessageTypeRelayReply
		f.Add(out.ToBytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > maxMessageSize {
			return
		}
		m, _, ok := unwrap(b, linkAddr)
		if !ok {
			return
		}
		for _, is := range []accept{id.granted(firstAddr, nil), id.heard([]byte{1, 2, 3})} {
			if _, ok, err := is(m, time.Unix(1, 0)); ok && err != nil {
				t.Errorf("taken and refused: %v", err)
			}
		}
		server, ok, err := id.parse(m)
		if !ok || err != nil {
			return
		}
		l, err := id.lease(m, server, time.Unix(1, 0))
		if err != nil {
			return
		}
		if !subnet.Contains(l.Addr) || l.Preferred > l.Valid || l.T1 > l.T2 || len(l.DNS) > maxDNS || len(l.ServerID) < minDUID {
			t.Errorf("believed %+v", l)
		}
	})
}
