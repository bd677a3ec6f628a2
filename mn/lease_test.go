package mn

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"openmpa/internal/acd/nd"
	"openmpa/internal/dhcp4"
	"openmpa/internal/dhcp6"
)

// TestRefreshed: nobody who is not authenticated shortens an address's life to less than two
// hours (RFC 4862 section 5.5.3 e).
func TestRefreshed(t *testing.T) {
	now := time.Unix(100000, 0)
	l := lease6{Lease: dhcp6.Lease{Addr: netip.MustParseAddr("2001:db8:1::5")}}
	for _, c := range []struct {
		left, valid time.Duration
		authentic   bool
		want        time.Duration
	}{
		{24 * time.Hour, 3 * time.Hour, false, 3 * time.Hour},
		{24 * time.Hour, time.Hour, false, 2 * time.Hour},
		{24 * time.Hour, 0, false, 2 * time.Hour},
		{time.Hour, time.Minute, false, time.Hour}, // it is left alone
		{time.Minute, time.Hour, false, time.Hour},
		{24 * time.Hour, time.Hour, true, time.Hour},
		{24 * time.Hour, 0, true, 0},
	} {
		ra := nd.RouterAdvert{Prefixes: []nd.PrefixInfo{
			{Prefix: netip.MustParsePrefix("2001:db8:2::/64"), Autonomous: true, Valid: 99 * time.Hour},
			{Prefix: prefix6, Autonomous: true, Valid: c.valid, Preferred: c.valid},
		}}
		got := l.lasting(now.Add(-time.Hour), c.left, c.left+time.Hour).refreshed(ra, now, c.authentic)
		if left := got.Expires().Sub(now); left != c.want || got.Preferred > got.Valid || got.T1 > got.T2 || got.T2 > got.Valid {
			t.Errorf("%v left, %v advertised, authentic %v: %v, expected %v; %+v", c.left, c.valid, c.authentic, left, c.want, got)
		}
	}
	before := l.lasting(now, time.Hour, time.Hour)
	if got := before.refreshed(nd.RouterAdvert{}, now.Add(time.Minute), false); got.Expires() != before.Expires() || got.Start != before.Start {
		t.Errorf("an advertisement without its prefix: %+v", got)
	}
}

// TestRecords: what is kept of an address is read again, also what was written when there was
// IPv4 only.
func TestRecords(t *testing.T) {
	four := lease4(dhcp4.Lease{
		Addr: netip.MustParsePrefix("10.1.0.100/24"), Router: netip.MustParseAddr("10.1.0.1"), ServerID: netip.MustParseAddr("10.1.0.3"),
		Start: time.Unix(100, 0).UTC(), Lifetime: time.Hour, T1: time.Minute, T2: 2 * time.Minute,
	})
	six := lease{Six: &lease6{
		Lease:  dhcp6.Lease{Addr: netip.MustParseAddr("2001:db8:1::5"), ServerID: []byte{0, 3, 0, 1}, ClientID: []byte{0, 4, 1}, IAID: [4]byte{1, 2, 3, 4}, Start: time.Unix(100, 0).UTC(), Valid: time.Hour},
		OnLink: prefix6, Router: netip.MustParseAddr("fe80::1"),
	}}
	for _, l := range []lease{four, six} {
		b, err := json.Marshal(remembered{Network: "b", lease: l, ByRouter: true})
		if err != nil {
			t.Fatal(err)
		}
		var r remembered
		if err := json.Unmarshal(b, &r); err != nil || r.Network != "b" || !r.ByRouter || r.prefix() != l.prefix() || r.router() != l.router() || !r.expires().Equal(l.expires()) || r.formed() != l.formed() {
			t.Errorf("%s became %+v, %v", b, r, err)
		}
	}
	before := `{"network":"b","lease":{"addr":"10.1.0.100/24","router":"10.1.0.1","server_id":"10.1.0.3","client_id":"01","start":"1970-01-01T00:01:40Z","lifetime_s":3600,"t1_s":60,"t2_s":120}}`
	var r remembered
	if err := json.Unmarshal([]byte(before), &r); err != nil || r.prefix() != four.prefix() || !r.expires().Equal(four.expires()) {
		t.Errorf("%+v, %v", r, err)
	}
	if (lease{}).addr().IsValid() {
		t.Error("a record of no lease has an address")
	}
}
