package par

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"openmpa/internal/acd"
	"openmpa/internal/event"
	"openmpa/internal/host"
	"openmpa/internal/state"
	"openmpa/paa/notify"
	"openmpa/paa/pana"
	"openmpa/testbed/dhcpd"
)

// pooled makes a bed whose router has a store and keeps addresses ready; its duplicate
// address detection takes most of a second.
func pooled(t *testing.T, lease time.Duration, ahead Ahead) (*bed, state.Store) {
	t.Helper()
	s := state.NewMemory()
	b := startFor(t, lease, func(c *Config) {
		c.State, c.Ahead, c.DHCPTimeout = s, ahead, min(c.DHCPTimeout, lease/2)
		c.DAD.AnnounceWait = 800 * time.Millisecond
	})
	return b, s
}

func (b *bed) ahead() *AheadStatus { return b.r.Status().Ahead }

func (b *bed) awaitReady(n int) {
	b.t.Helper()
	b.await("addresses that are ready", func() bool { a := b.ahead(); return a.Ready == n && a.Making == 0 })
}

// openAs is open for a node of that identity.
func (b *bed) openAs(sid uint32, identity string, mac net.HardwareAddr) *notify.ConfigReply {
	b.t.Helper()
	b.r.SessionOpened(sid, identity, netip.AddrPortFrom(outer, 1000), true, sessionKeys(sid), time.Hour)
	b.r.SessionMessage(sid, &notify.ConfigRequest{Header: header, ClientID: append([]byte{1}, mac...), MAC: mac})
	return got[*notify.ConfigReply](b, sid)
}

// probed says whether somebody on the link finds a free.
func (b *bed) probed(a netip.Addr) (free bool) {
	b.t.Helper()
	b.arp(func(c host.ARP) error {
		err := acd.Probe(b.t.Context(), c, a, b.mac, config().DAD, config().Rand)
		if free = err == nil; errors.As(err, new(*acd.ConflictError)) {
			return nil
		}
		return err
	})
	return free
}

// TestAhead: a node that asks is given what is ready, without DHCP and duplicate address
// detection, under the router's client identifier; the link finds it in use the whole
// time; it arrives with it, and it is given back with its session.
func TestAhead(t *testing.T) {
	b, s := pooled(t, time.Minute, Ahead{Least: 1, Most: 3})
	idle := b.idle()
	b.awaitReady(1)
	all := stored(t, s)
	if len(all) != 1 || all[0].Lease.Addr.Addr() != leased || all[0].Stage != stageAhead || all[0].MAC != b.r.mac.String() || all[0].Identity != "" {
		t.Fatalf("stored %+v", all)
	}
	if b.probed(leased) {
		t.Error("somebody else found the address free that is ready")
	}
	c := b.openAs(1, "mn@home.example", b.mac)
	if c.Reason != "" || c.Addr.Addr() != leased || c.DAD != 0 || c.DHCP != 0 || c.Lifetime != time.Minute ||
		string(c.ClientID) != string(all[0].Lease.ClientID) || c.ServerID.String() != "10.2.0.3" || c.Router != routerAddr {
		t.Fatalf("%+v", c)
	}
	for _, e := range b.r.cfg.Recorder.Events(header.Handover) {
		if e.Kind == event.KindEnd && e.Phase == event.PhaseDAD && e.Duration > 200*time.Millisecond {
			t.Errorf("the node waited %v for it", e.Duration)
		}
	}
	if a := b.ahead(); a.Given != 1 || a.Missed != 0 {
		t.Errorf("%+v", a)
	}
	b.await("what is written down", func() bool {
		return slices.ContainsFunc(stored(t, s), func(r record) bool {
			return r.Lease.Addr.Addr() == leased && r.Stage == stageLeased && r.Identity == "mn@home.example" && r.MAC == b.mac.String()
		})
	})
	b.awaitReady(1) // another one
	if n := len(b.bound()); n != 2 {
		t.Errorf("leases %v", b.dhcp.Leases())
	}
	n := b.join(1, leased)
	b.arrive(n)
	b.native(2, "mn@home.example", leased)
	b.await("the lease to be claimed", func() bool { return b.status(2).Address == "10.2.0.100/24" })
	b.r.SessionClosed(1, &pana.ErrPeerTerminated{})
	b.r.SessionClosed(2, &pana.ErrPeerTerminated{})
	b.await("the lease to be given back", func() bool { return !slices.Contains(b.bound(), leased) && len(stored(t, s)) == 1 })
	if now := b.idle(); now != idle {
		t.Errorf("the kernel has\n%s\nbefore\n%s", now, idle)
	}
	b.r.Close()
	if len(b.bound()) != 0 || len(stored(t, s)) != 0 {
		t.Errorf("after the end: leases %v, stored %v", b.dhcp.Leases(), stored(t, s))
	}
}

// TestAheadDefended: it is defended until its node has arrived or its session ends,
// tunnel or not, and never against that node.
func TestAheadDefended(t *testing.T) {
	b, _ := pooled(t, time.Minute, Ahead{Least: 1, Most: 1})
	b.awaitReady(1)
	b.openAs(1, "mn@home.example", elsewhere)
	if b.probed(leased) {
		t.Error("an address that was just given away was found free")
	}
	b.r.SessionClosed(1, errors.New("the end"))
	b.await("the lease to be given back", func() bool { return !slices.Contains(b.bound(), leased) })
	if !b.probed(leased) {
		t.Error("an address that nobody has any more is defended")
	}
	b.awaitReady(1)
	second := b.ahead().Addresses[0].Address
	c := b.openAs(2, "another@home.example", b.mac)
	if c.Addr != second {
		t.Fatalf("%+v, ready was %s", c, second)
	}
	if !b.probed(c.Addr.Addr()) {
		t.Error("the node finds its own address in use")
	}
	b.onLink(c.Addr.Addr())
	b.r.SessionMessage(2, &notify.Arrival{Header: header}) // without a tunnel
	b.await("the end of the defence", func() bool {
		v := b.r.visitor(2)
		v.mu.Lock()
		defer v.mu.Unlock()
		return v.here && !v.defended
	})
}

// TestAheadClaimed: who takes an address that is ready is left it; it is declined and
// replaced, and no node is given it.
func TestAheadClaimed(t *testing.T) {
	b, s := pooled(t, time.Minute, Ahead{Least: 1, Most: 1})
	b.awaitReady(1)
	b.speak(leased)
	b.await("the address to be declined", func() bool {
		return slices.ContainsFunc(b.dhcp.Leases(), func(l dhcpd.Lease) bool { return l.Addr == leased && l.State == dhcpd.Declined })
	})
	b.awaitReady(1)
	if a := b.ahead(); a.Conflicts != 1 || a.Addresses[0].Address.String() != "10.2.0.101/24" || len(stored(t, s)) != 1 {
		t.Errorf("%+v, stored %v", a, stored(t, s))
	}
	if c := b.openAs(1, "mn@home.example", elsewhere); c.Addr.Addr() != leased.Next() {
		t.Errorf("%+v", c)
	}
}

// TestAheadInUse: what is in use before it is ready is declined, and the next one tried.
func TestAheadInUse(t *testing.T) {
	b := startFor(t, time.Minute, nil)
	b.onLink(leased)
	cfg := b.r.cfg
	b.r.Close()
	cfg.Ahead = Ahead{Least: 1, Most: 1}
	b.begin(cfg)
	b.awaitReady(1)
	if a := b.ahead(); a.Conflicts != 1 || a.Failed != 1 || a.Addresses[0].Address.String() != "10.2.0.101/24" {
		t.Errorf("%+v", a)
	}
}

// TestAheadRestart: what a router had ready when it was killed is given back by the next
// one, which has others.
func TestAheadRestart(t *testing.T) {
	b, s := pooled(t, time.Minute, Ahead{Least: 2, Most: 2})
	b.awaitReady(2)
	before := stored(t, s)
	b.restart()
	b.awaitReady(2)
	b.await("those of before to be given back", func() bool { return len(b.bound()) == 2 && len(stored(t, s)) == 2 })
	for _, r := range stored(t, s) {
		if slices.ContainsFunc(before, func(was record) bool { return string(was.Lease.ClientID) == string(r.Lease.ClientID) }) {
			t.Errorf("stored %+v, before %+v", r, before)
		}
	}
	if len(b.guests()) != 0 {
		t.Errorf("invited: %v", b.guests())
	}
	// The same while one is being verified.
	b.openAs(1, "mn@home.example", elsewhere)
	b.await("another lease", func() bool { return len(b.bound()) == 3 })
	b.restart()
	b.awaitReady(2)
	b.await("those of before to be given back", func() bool { return len(b.bound()) == 2 && len(stored(t, s)) == 2 })
}

// TestAheadRenewed: it is renewed while it is ready, and the node hears how old it is.
func TestAheadRenewed(t *testing.T) {
	b, _ := pooled(t, 3*time.Second, Ahead{Least: 1, Most: 1})
	b.awaitReady(1)
	time.Sleep(3200 * time.Millisecond) // longer than the lease
	var a *AheadStatus
	b.await("a lease that is not about to end", func() bool { // it may be renewed at this very moment
		a = b.ahead()
		return len(a.Addresses) != 1 || a.Addresses[0].Expires >= 1
	})
	if len(a.Addresses) != 1 || a.Addresses[0].Address.String() != "10.2.0.100/24" || a.Addresses[0].Ready < 3.2 || a.Verified != 1 {
		t.Errorf("%+v", a)
	}
	// A server that is away for long gives it to somebody else: it is ready no more.
	b.dhcp.Mute(true)
	b.await("the end of what was not renewed", func() bool { return b.ahead().Ready == 0 })
	b.dhcp.Mute(false)
	b.awaitReady(1)
}

// TestAheadForgotten: what the server has forgotten and leases to somebody else is nobody's
// from the pool.
func TestAheadForgotten(t *testing.T) {
	b, s := pooled(t, 10*time.Second, Ahead{Least: 1, Most: 1})
	b.awaitReady(1)
	if err := b.dhcp.Close(); err != nil {
		t.Fatal(err)
	}
	b.serve()
	b.r.SessionOpened(1, "hasty", netip.AddrPortFrom(outer, 1000), true, sessionKeys(1), time.Hour)
	b.r.four.pool.demand.asked(time.Now(), "hasty") // it had one just before
	b.r.SessionMessage(1, &notify.ConfigRequest{Header: header, ClientID: append([]byte{1}, elsewhere...), MAC: elsewhere})
	if c := got[*notify.ConfigReply](b, 1); c.Addr.Addr() != leased || c.DAD == 0 || c.ClientID != nil {
		t.Fatalf("%+v", c)
	}
	b.await("another one", func() bool { a := b.ahead(); return a.Ready == 1 && a.Addresses[0].Address.String() == "10.2.0.101/24" })
	b.await("the lease that is none", func() bool { return len(stored(t, s)) == 2 })
}

// TestAheadByDemand: as many are kept as are asked for in the time that one takes, up to
// Most; who asks on gets theirs the long way; what is not needed is given back.
func TestAheadByDemand(t *testing.T) {
	b, s := pooled(t, time.Minute, Ahead{Most: 2, Idle: 4 * time.Second})
	time.Sleep(50 * time.Millisecond)
	if a := b.ahead(); a.Wanted != 0 || len(b.bound()) != 0 {
		t.Errorf("before anybody asks: %+v, leases %v", a, b.dhcp.Leases())
	}
	for sid, node := range []string{"", "one", "two", "three"} {
		if sid == 0 {
			continue
		}
		mac := net.HardwareAddr{2, 0, 0, 0, 1, byte(sid)}
		b.r.SessionOpened(uint32(sid), node, netip.AddrPortFrom(outer, 1000), true, sessionKeys(uint32(sid)), time.Hour)
		b.r.SessionMessage(uint32(sid), &notify.ConfigRequest{Header: header, ClientID: append([]byte{1}, mac...), MAC: mac})
	}
	for sid := uint32(1); sid <= 3; sid++ {
		if c := got[*notify.ConfigReply](b, sid); c.Reason != "" || c.DAD == 0 || c.ClientID != nil {
			t.Errorf("%+v", c)
		}
	}
	b.awaitReady(2)
	if a := b.ahead(); a.Missed != 3 || a.Given != 0 || a.Wanted != 2 {
		t.Errorf("%+v", a)
	}
	b.await("those not needed to be given back", func() bool { return b.ahead().Ready == 0 && len(b.bound()) == 3 && len(stored(t, s)) == 3 })
}

// TestAheadHostile: a node that asks again and again empties nothing for others.
func TestAheadHostile(t *testing.T) {
	b, _ := pooled(t, time.Minute, Ahead{Least: 2, Most: 4})
	b.awaitReady(2)
	for sid := uint32(1); sid <= 5; sid++ {
		mac := net.HardwareAddr{2, 0, 0, 0, 1, byte(sid)}
		b.r.SessionOpened(sid, "hostile", netip.AddrPortFrom(outer, 1000), true, sessionKeys(sid), time.Hour)
		b.r.SessionMessage(sid, &notify.ConfigRequest{Header: header, ClientID: append([]byte{1}, mac...), MAC: mac})
	}
	b.await("its requests to be counted", func() bool { a := b.ahead(); return a.Given+a.Refused == 5 })
	if a := b.ahead(); a.Given != 1 || a.Missed != 0 || a.Wanted != 2 {
		t.Errorf("%+v", a)
	}
	if c := b.openAs(6, "mn@home.example", elsewhere); c.DAD != 0 || c.ClientID == nil {
		t.Errorf("another node was not given what was ready: %+v", c)
	}
	for sid := uint32(1); sid <= 5; sid++ {
		got[*notify.ConfigReply](b, sid)
	}
}

// TestAheadBegunAgain: a node that has forgotten its session has one lease in the end,
// whichever way it gets the next.
func TestAheadBegunAgain(t *testing.T) {
	b, s := pooled(t, time.Minute, Ahead{Least: 1, Most: 1})
	b.awaitReady(1)
	first := b.openAs(1, "mn@home.example", elsewhere)
	second := b.openAs(2, "mn@home.example", elsewhere) // in a hurry: the long way; the server may have the first address back by then
	if first.ClientID == nil || second.ClientID != nil {
		t.Fatalf("%+v, then %+v", first, second)
	}
	ended := func(sid uint32) {
		t.Helper()
		b.await("the end of the session", func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.term[sid]
		})
		b.r.SessionClosed(sid, pana.ErrTerminated)
	}
	ended(1)
	b.awaitReady(1)
	b.await("the first lease to be given back", func() bool { return len(b.bound()) == 2 && len(stored(t, s)) == 2 })
	time.Sleep(b.r.cfg.DAD.Longest()) // longer than one takes
	third := b.openAs(3, "mn@home.example", elsewhere)
	if third.ClientID == nil {
		t.Fatalf("%+v", third)
	}
	ended(2)
	b.awaitReady(1)
	b.await("the second lease to be given back", func() bool { return len(b.bound()) == 2 && len(stored(t, s)) == 2 })
}
