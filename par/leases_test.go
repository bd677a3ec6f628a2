package par

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"openmpa/internal/osnet/osnettest"
	"openmpa/internal/state"
	"openmpa/paa/notify"
	"openmpa/paa/pana"
	"openmpa/testbed/dhcpd"
)

// durable makes a bed whose router has a store.
func durable(t *testing.T) (*bed, state.Store) {
	t.Helper()
	s := state.NewMemory()
	return start(t, func(c *Config) { c.State = s }), s
}

func stored(t *testing.T, s state.Store) (all []record) {
	t.Helper()
	items, err := state.ListJSON[record](s, leasePrefix)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range items {
		all = append(all, i.Value)
	}
	return all
}

// released waits until neither the server nor the store has a lease.
func (b *bed) released(s state.Store) {
	b.t.Helper()
	b.await("the lease to be given back", func() bool { return len(b.bound()) == 0 && len(stored(b.t, s)) == 0 })
}

// bound are the addresses that the server has granted.
func (b *bed) bound() (a []netip.Addr) {
	for _, l := range b.dhcp.Leases() {
		if l.State == dhcpd.Bound {
			a = append(a, l.Addr)
		}
	}
	return a
}

// native opens a session from the node's own address, as when it re-authenticates.
func (b *bed) native(sid uint32, identity string, from netip.Addr) {
	b.r.SessionOpened(sid, identity, netip.AddrPortFrom(from, 1000), false, sessionKeys(sid), time.Hour)
}

// TestRestartBeforeArrival: a lease is in the store when the node hears of it, and a
// router that begins again gives it back, and says so to the node.
func TestRestartBeforeArrival(t *testing.T) {
	b, s := durable(t)
	c := b.open(1, elsewhere)
	all := stored(t, s)
	if len(all) != 1 || all[0].Lease.Addr.Addr() != leased || all[0].Stage != stageLeased || all[0].Identity != "mn@home.example" ||
		all[0].MAC != elsewhere.String() || all[0].Peer.Addr() != outer || all[0].Lease.Lifetime != time.Minute {
		t.Fatalf("stored %+v", all)
	}
	b.join(1, c.Addr.Addr())
	b.await("the tunnel in the store", func() bool { return stored(t, s)[0].Stage == stagePrepared })
	b.restart()
	b.released(s)
	b.await("an invitation", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return slices.Contains(b.invited, netip.AddrPortFrom(outer, 1000))
	})
}

// arrive takes the visitor of sid to the link.
func (b *bed) arrive(n *end) {
	b.t.Helper()
	n.depart()
	b.onLink(n.inner)
	b.r.SessionActivated(n.sid, netip.AddrPortFrom(n.inner, 716))
	b.r.SessionMessage(n.sid, &notify.Arrival{Header: header})
	b.await("the flip", func() bool { return b.status(n.sid).Mode == "direct" })
}

// TestRestartAfterArrival: the lease of a node that is on the link is kept, for a
// session of that node and of nobody else, and given back when that one ends.
func TestRestartAfterArrival(t *testing.T) {
	b, s := durable(t)
	b.arrive(b.prepare(1, b.mac))
	b.await("the arrival in the store", func() bool {
		all := stored(t, s)
		return len(all) == 1 && all[0].Stage == stageArrived && all[0].Peer == netip.AddrPortFrom(leased, 716)
	})
	b.restart()
	time.Sleep(2 * time.Second) // it is looked for more than once
	if len(b.bound()) != 1 || len(stored(t, s)) != 1 {
		t.Fatalf("leases %v, stored %v", b.bound(), stored(t, s))
	}
	if s := b.r.Status(); len(s.Unclaimed) != 1 || s.Unclaimed[0] != (UnclaimedLease{Address: "10.2.0.100/24", MAC: b.mac.String(), Stage: "arrived"}) {
		t.Errorf("status %+v", s)
	}
	b.native(2, "other@home.example", leased)
	b.r.SessionMessage(2, &notify.ConfigRequest{Header: header, ClientID: append([]byte{1}, b.mac...), MAC: b.mac})
	if c := got[*notify.ConfigReply](b, 2); !strings.Contains(c.Reason, "in use in the session of another node") {
		t.Errorf("%+v", c)
	}
	b.r.SessionClosed(2, &pana.ErrPeerTerminated{})
	b.native(3, "mn@home.example", leased)
	b.await("the lease to be claimed", func() bool { return b.status(3).Address == "10.2.0.100/24" })
	b.r.SessionClosed(3, &pana.ErrPeerTerminated{})
	b.released(s)
}

// TestGoneAfterRestart: a node that arrived and left while nobody looked.
func TestGoneAfterRestart(t *testing.T) {
	b, s := durable(t)
	n := b.prepare(1, b.mac)
	b.arrive(n)
	b.in(func() { osnettest.IP(t, "address del 10.2.0.100/24 dev eth0") })
	b.restart()
	b.released(s)
}

// TestSilentSession: a session that ended without a word does not take the address
// from a node that uses it; when the node goes the lease does.
func TestSilentSession(t *testing.T) {
	b, s := durable(t)
	b.arrive(b.prepare(1, b.mac))
	b.r.SessionClosed(1, &pana.ErrSilent{For: time.Minute})
	time.Sleep(1500 * time.Millisecond)
	if len(b.bound()) != 1 {
		t.Fatal("the lease was released under a node that uses it")
	}
	b.in(func() { osnettest.IP(t, "address del 10.2.0.100/24 dev eth0") })
	b.released(s)
}

// TestSilentCandidate: nor does one of a node of which nobody has heard that it has arrived.
func TestSilentCandidate(t *testing.T) {
	b, s := durable(t)
	c := b.open(1, b.mac)
	b.onLink(c.Addr.Addr())
	b.r.SessionClosed(1, &pana.ErrSilent{For: time.Minute})
	time.Sleep(1500 * time.Millisecond)
	if len(b.bound()) != 1 {
		t.Fatal("the lease was released under a node that uses it")
	}
	b.in(func() { osnettest.IP(t, "address del 10.2.0.100/24 dev eth0") })
	b.released(s)
}

// TestRestartWhileConfiguring: a lease that the server granted and nobody has heard
// of is given back, wherever the router died.
func TestRestartWhileConfiguring(t *testing.T) {
	s := state.NewMemory()
	b := start(t, func(c *Config) { c.State = s; c.DAD.AnnounceWait = 5 * time.Second })
	b.r.SessionOpened(1, "mn@home.example", netip.AddrPortFrom(outer, 1000), true, sessionKeys(1), time.Hour)
	b.r.SessionMessage(1, &notify.ConfigRequest{Header: header, ClientID: append([]byte{1}, elsewhere...), MAC: elsewhere})
	b.await("a lease", func() bool { return len(b.bound()) == 1 })
	if len(stored(t, s)) != 1 {
		t.Error("the server has granted what is not in the store")
	}
	b.restart()
	b.released(s)
}

// TestServerAway: a lease whose session ends while the server is away is given back
// when it is there again, by this router or the next one.
func TestServerAway(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		t.Run(fmt.Sprintf("restarted %v", restarted), func(t *testing.T) {
			b, s := durable(t)
			b.prepare(1, elsewhere)
			b.dhcp.Mute(true)
			b.r.SessionClosed(1, errors.New("the end"))
			time.Sleep(1500 * time.Millisecond)
			if restarted {
				b.r.Close()
				b.begin(b.r.cfg)
				time.Sleep(time.Second)
			}
			if len(b.bound()) != 1 {
				t.Fatal("released by a server that is away")
			}
			b.dhcp.Mute(false)
			b.released(s)
		})
	}
}

// TestServerForgot: what the server does not know needs no giving back.
func TestServerForgot(t *testing.T) {
	b, s := durable(t)
	b.prepare(1, elsewhere)
	if err := b.dhcp.Close(); err != nil {
		t.Fatal(err)
	}
	b.serve()
	b.r.SessionClosed(1, errors.New("the end"))
	b.released(s)
}

// TestClaimedWhileAway: the node is back before its old lease could be given back,
// and keeps it.
func TestClaimedWhileAway(t *testing.T) {
	b, s := durable(t)
	b.prepare(1, elsewhere)
	b.dhcp.Mute(true)
	b.r.SessionClosed(1, errors.New("the end"))
	time.Sleep(300 * time.Millisecond)
	b.r.SessionOpened(2, "mn@home.example", netip.AddrPortFrom(outer, 1000), true, sessionKeys(2), time.Hour)
	b.r.SessionMessage(2, &notify.ConfigRequest{Header: header, ClientID: append([]byte{1}, elsewhere...), MAC: elsewhere})
	time.Sleep(300 * time.Millisecond)
	b.dhcp.Mute(false)
	if c := got[*notify.ConfigReply](b, 2); c.Addr.Addr() != leased {
		t.Fatalf("%+v", c)
	}
	time.Sleep(1500 * time.Millisecond) // nothing is given back behind its back
	if len(b.bound()) != 1 || len(stored(t, s)) != 1 {
		t.Errorf("leases %v, stored %v", b.bound(), stored(t, s))
	}
}

// TestReleaseDoesNotCross: the old session's lease is given back before the new
// session asks, never after.
func TestReleaseDoesNotCross(t *testing.T) {
	b, s := durable(t)
	b.open(1, elsewhere)
	for sid := uint32(1); sid <= 40; sid++ {
		if sid%2 == 0 {
			go b.r.SessionClosed(sid, errors.New("the end"))
		} else {
			b.r.SessionClosed(sid, errors.New("the end"))
		}
		if c := b.open(sid+1, elsewhere); c.Reason != "" {
			t.Fatalf("no address: %s", c.Reason)
		}
		time.Sleep(3 * time.Millisecond)
		if len(b.bound()) != 1 {
			t.Fatalf("after %d sessions the server has %v", sid, b.dhcp.Leases())
		}
	}
	b.r.SessionClosed(41, errors.New("the end"))
	b.released(s)
}

// TestExpiredWhileDown: a lease that has ended is forgotten when nobody can be asked.
func TestExpiredWhileDown(t *testing.T) {
	b, s := durable(t)
	b.prepare(1, elsewhere)
	b.r.Close()
	rec := record{MAC: elsewhere.String(), Stage: stageLeased}
	rec.Lease.Addr, rec.Lease.ServerID = netip.PrefixFrom(leased, 24), netip.MustParseAddr("10.2.0.3")
	rec.Lease.ClientID, rec.Lease.Lifetime, rec.Lease.Start = []byte{1, 2}, time.Minute, time.Now().Add(-time.Hour)
	if _, err := state.PutJSON(s, storeKey(clientKey{id: "\x01\x02"}), rec, time.Time{}); err != nil {
		t.Fatal(err)
	}
	rec.Lease.Addr = netip.MustParsePrefix("10.99.0.1/24") // of another time
	if _, err := state.PutJSON(s, storeKey(clientKey{id: "y"}), rec, time.Time{}); err != nil {
		t.Fatal(err)
	}
	b.dhcp.Mute(true)
	b.begin(b.r.cfg)
	b.await("the records to be forgotten", func() bool { return len(stored(t, s)) == 0 })
}

// TestStoreFails: no lease is taken that could be lost.
func TestStoreFails(t *testing.T) {
	b, s := durable(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if c := b.open(1, elsewhere); !strings.Contains(c.Reason, "cannot write down the lease of 10.2.0.100") {
		t.Errorf("reason %q", c.Reason)
	}
	if len(b.bound()) != 0 {
		t.Errorf("leases %v", b.bound())
	}
}

// TestEndInArrival: a node whose arrival has come is on the link, also while it is still drained to.
func TestEndInArrival(t *testing.T) {
	s := state.NewMemory()
	b := start(t, func(cfg *Config) { cfg.State = s })
	n := b.prepare(1, b.mac)
	n.depart()
	b.onLink(n.inner)
	b.r.SessionActivated(n.sid, netip.AddrPortFrom(n.inner, 716))
	b.r.SessionMessage(n.sid, &notify.Arrival{Header: header})
	b.r.Close()
	if len(b.bound()) != 1 || len(stored(t, s)) != 1 {
		t.Errorf("leases %v, stored %v", b.bound(), stored(t, s))
	}
}

// TestOrderlyEnd: a router that ends gives back what it can, and leaves the lease of
// a node that is on the link to the next one if that will know of it.
func TestOrderlyEnd(t *testing.T) {
	for _, c := range []struct {
		name            string
		store, arrived  bool
		bound, remember int
	}{
		{"elsewhere", true, false, 0, 0},
		{"arrived", true, true, 1, 1},
		{"arrived, no store", false, true, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := state.NewMemory()
			b := start(t, func(cfg *Config) {
				if c.store {
					cfg.State = s
				}
			})
			if n := b.prepare(1, b.mac); c.arrived {
				b.arrive(n)
			}
			b.r.Close()
			if len(b.bound()) != c.bound || len(stored(t, s)) != c.remember {
				t.Errorf("leases %v, stored %v", b.bound(), stored(t, s))
			}
		})
	}
}

// TestTwoAtOnce: a node asks in two sessions at the same time; one of them serves it
// in the end, and there is one lease.
func TestTwoAtOnce(t *testing.T) {
	b, s := durable(t)
	for sid := uint32(1); sid <= 20; sid += 2 {
		for _, sid := range []uint32{sid, sid + 1} {
			b.r.SessionOpened(sid, "mn@home.example", netip.AddrPortFrom(outer, 1000), true, sessionKeys(sid), time.Hour)
		}
		for _, sid := range []uint32{sid, sid + 1} {
			b.r.SessionMessage(sid, &notify.ConfigRequest{Header: header, ClientID: append([]byte{1}, elsewhere...), MAC: elsewhere})
		}
		got[*notify.ConfigReply](b, sid)
		got[*notify.ConfigReply](b, sid+1)
		with := 0
		for _, v := range b.r.Status().Visitors {
			if v.Address != "" {
				with++
			}
		}
		if with != 1 || len(b.bound()) != 1 || len(stored(t, s)) != 1 {
			t.Fatalf("status %+v, leases %v", b.r.Status(), b.dhcp.Leases())
		}
		if sid%4 == 1 { // in either order
			b.r.SessionClosed(sid, errors.New("the end"))
			b.r.SessionClosed(sid+1, errors.New("the end"))
		} else {
			b.r.SessionClosed(sid+1, errors.New("the end"))
			b.r.SessionClosed(sid, errors.New("the end"))
		}
		b.released(s)
	}
	b.await("the last tenure to be forgotten", func() bool {
		b.r.leases.mu.Lock()
		defer b.r.leases.mu.Unlock()
		return len(b.r.leases.byClient) == 0
	})
}
