package dhcpd

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"openmpa/internal/state"
)

// killed is the table that a server begins with after kill -9: a copy of the file is all
// it has, taken while the one before still runs.
func killed(t *testing.T, path string) *Table {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	path += "-copy"
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return tableOf(t, path)
}

func tableOf(t *testing.T, path string) *Table {
	t.Helper()
	var log strings.Builder
	store, err := state.Open(path, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil || log.Len() > 0 {
		t.Fatal(err, log.String())
	}
	t.Cleanup(func() { _ = store.Close() })
	tab, err := NewTable(pools, time.Minute, store)
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

// What was granted or declined is in the file when the answer is there; offers are not,
// and what was given back is free.
func TestLeasesSurvive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dhcp.db")
	tab := tableOf(t, path)
	now := time.Now()
	lease := func(client, a string) {
		t.Helper()
		expect(t, tab.Handle(now, "lanb", message(t, dhcpv4.MessageTypeDiscover, client, ask(a))), dhcpv4.MessageTypeOffer, a)
		expect(t, tab.Handle(now, "lanb", message(t, dhcpv4.MessageTypeRequest, client, ask(a), server("10.1.0.3"))), dhcpv4.MessageTypeAck, a)
	}
	lease("declines", "10.1.0.100")
	lease("releases", "10.1.0.101")
	tab.Handle(now, "lanb", message(t, dhcpv4.MessageTypeDecline, "declines", ask("10.1.0.100"), server("10.1.0.3")))
	tab.Handle(now, "lanb", message(t, dhcpv4.MessageTypeRelease, "releases", dhcpv4.WithClientIP(netip.MustParseAddr("10.1.0.101").AsSlice())))
	lease("keeps", "10.1.0.102")
	expect(t, tab.Handle(now, "lanb", message(t, dhcpv4.MessageTypeDiscover, "asks", ask("10.1.0.101"))), dhcpv4.MessageTypeOffer, "10.1.0.101")

	next := killed(t, path)
	var got []string
	for _, l := range next.Leases(now) {
		got = append(got, fmt.Sprintf("%v %s", l.Addr, l.State))
	}
	if got := strings.Join(got, ", "); got != "10.1.0.100 declined, 10.1.0.102 bound" {
		t.Fatalf("leases: %s", got)
	}
	// The client renews where it was; another gets another address.
	r := next.Handle(now, "lanb", message(t, dhcpv4.MessageTypeRequest, "keeps", dhcpv4.WithClientIP(netip.MustParseAddr("10.1.0.102").AsSlice())))
	expect(t, r, dhcpv4.MessageTypeAck, "10.1.0.102")
	expect(t, next.Handle(now, "lanb", message(t, dhcpv4.MessageTypeDiscover, "other", ask("10.1.0.102"))), dhcpv4.MessageTypeOffer, "10.1.0.101")

	next.Reset()
	if l := next.Leases(now); len(l) != 1 || l[0].State != Bound {
		t.Errorf("after the reset: %v", l)
	}
}

// A lease that cannot be stored is not granted.
func TestNotStored(t *testing.T) {
	store := state.NewMemory()
	tab, err := NewTable(pools, time.Minute, store)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, tab.Handle(t0, "lanb", message(t, dhcpv4.MessageTypeDiscover, "mn")), dhcpv4.MessageTypeOffer, "10.1.0.100")
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if r := tab.Handle(t0, "lanb", message(t, dhcpv4.MessageTypeRequest, "mn", ask("10.1.0.100"), server("10.1.0.3"))); r != nil {
		t.Errorf("answered: %v", r)
	}
	if tab.Counts()["unstored"] != 1 {
		t.Errorf("counted: %v", tab.Counts())
	}
}

func TestForeignRecord(t *testing.T) {
	store := state.NewMemory()
	defer store.Close()
	if _, err := store.Put("lease/10.1.0.100", []byte(`{"Network":"b","Addr":"10.1.0.101","State":"bound"}`), time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := NewTable(pools, time.Minute, store); err == nil || !strings.Contains(err.Error(), "10.1.0.100") {
		t.Errorf("got %v", err)
	}
	if _, err := store.Put("lease/10.1.0.100", []byte(`{`), time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := NewTable(pools, time.Minute, store); err == nil || errors.Is(err, state.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

// Answer is Handle in octets, and says where the reply goes.
func TestAnswer(t *testing.T) {
	tab := newTable(t)
	relay := netip.MustParseAddr("10.2.0.1")
	for want, m := range map[string]*dhcpv4.DHCPv4{
		"255.255.255.255:68": message(t, dhcpv4.MessageTypeDiscover, "mn"),
		"10.2.0.1:67":        message(t, dhcpv4.MessageTypeDiscover, "mn", dhcpv4.WithGatewayIP(relay.AsSlice())),
		"10.1.0.9:68":        message(t, dhcpv4.MessageTypeInform, "mn", dhcpv4.WithClientIP(netip.MustParseAddr("10.1.0.9").AsSlice())),
	} {
		b, to, ok := tab.Answer(t0, "lanb", m.ToBytes())
		if !ok || to.String() != want {
			t.Errorf("to %v, %v, want %s", to, ok, want)
			continue
		}
		if r, err := dhcpv4.FromBytes(b); err != nil || r.TransactionID != m.TransactionID {
			t.Errorf("%v, %v", r, err)
		}
	}
	if b, _, ok := tab.Answer(t0, "lanb", []byte("no DHCP")); ok || tab.Counts()["malformed"] != 1 {
		t.Errorf("answered %x, counted %v", b, tab.Counts())
	}
}
