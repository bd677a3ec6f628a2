package mn

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/host"
	"openmpa/internal/osnet/osnettest"
	"openmpa/internal/state"
	"openmpa/mn/link"
)

// startTwo is start with a second interface, eth1, whose link is at network a.
func startTwo(t *testing.T, atMove bool, edit func(*Config)) (b *bed, second *adapter) {
	t.Helper()
	return startTwoOf(t, nil, atMove, edit)
}

// startTwoOf is startTwo for a node of IPv6, if six is there.
func startTwoOf(t *testing.T, six *bed6, atMove bool, edit func(*Config)) (b *bed, second *adapter) {
	t.Helper()
	second = &adapter{dev: "eth1", far: "mn1", point: "poa-a", fails: map[string]error{}, dead: map[string]bool{}}
	lay := func(b *bed) {
		second.bed = b
		osnettest.VethTo(t, "eth1", "mn1", b.air)
		t.Cleanup(func() { osnettest.IP(t, "link del eth1") })
		b.air(func() {
			osnettest.IP(t, "link set mn1 master poa-a")
			osnettest.IP(t, "link add nowhere type bridge")
			osnettest.IP(t, "link set nowhere up")
		})
		osnettest.IP(t, "link set eth1 down")
		t.Cleanup(func() { // behind that of the bed, which closes the node
			for _, dev := range []string{"eth0", "eth1"} {
				if mode, err := os.ReadFile("/proc/sys/net/ipv4/conf/" + dev + "/arp_ignore"); strings.TrimSpace(string(mode)) != "0" {
					t.Errorf("arp_ignore of %s is %s, %v", dev, mode, err)
				}
			}
			if isUp(t, "eth1") {
				t.Error("eth1, which was down, is left up")
			}
		})
	}
	b = startOf(t, six, nil, lay, func(c *Config) {
		c.Interfaces[0].Points = []string{"poa-b"}
		c.Interfaces = append(c.Interfaces, Interface{
			Name: "eth1", Points: []string{"poa-a"}, AtMove: atMove,
			Link: func(n host.Host) (link.Adapter, error) { second.net = n; return second, nil },
		})
		if edit != nil {
			edit(c)
		}
	})
	return b, second
}

func isUp(t *testing.T, dev string) bool {
	t.Helper()
	return strings.Contains(osnettest.IP(t, "-o link show dev "+dev), ",UP")
}

// cut takes the link away, or gives it back, where the node is told nothing.
func (a *adapter) cut(cut bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.air(func() {
		if cut {
			osnettest.IP(a.t, "link set "+a.far+" down")
		} else {
			osnettest.IP(a.t, "link set "+a.far+" up")
		}
	})
}

// TestTwoInterfaces: moves to and fro between two interfaces lose, double and reorder
// nothing, and leave nothing where the node is not.
func TestTwoInterfaces(t *testing.T) {
	for name, c := range map[string]struct {
		atMove bool
		six    *bed6
	}{
		"both up": {}, "set up at the move": {atMove: true},
		"both up, IPv6": {six: &bed6{}}, "set up at the move, IPv6": {true, &bed6{local: netip.MustParseAddr("fe80::1")}},
	} {
		t.Run(name, func(t *testing.T) {
			osnettest.Enter(t)
			atMove := c.atMove
			b, _ := startTwoOf(t, c.six, atMove, nil)
			idle := osnettest.Snapshot(t)
			if isUp(t, "eth1") == atMove {
				t.Errorf("eth1 up %v", !atMove)
			}
			stop := b.flow()
			steps := []struct{ to, dev, bound string }{
				{"a", "eth1", "10.2.0.100"}, {"b", "eth0", ""}, {"a", "eth1", ""}, {"b", "eth0", ""},
			}
			if c.six != nil {
				steps = steps[:2]
			}
			for _, step := range steps {
				time.Sleep(50 * time.Millisecond)
				if o, err := b.handover(step.to); o != event.Completed || err != nil {
					t.Fatalf("%s, %v", o, err)
				}
				s := b.node.Status()
				if s.Network != step.to || s.Interface != step.dev || s.State != "attached" || step.bound != "" && s.Bound != step.bound && c.six == nil {
					t.Errorf("status %+v, expected %+v", s, step)
				}
				if !isUp(t, "eth0") || isUp(t, "eth1") != (!atMove || step.dev == "eth1") {
					t.Errorf("at %s eth0 is up %v, eth1 is up %v", step.to, isUp(t, "eth0"), isUp(t, "eth1"))
				}
			}
			stop()
			if now := stripAddress(osnettest.Snapshot(t)); now != stripAddress(idle) {
				t.Errorf("left in the kernel: before\n%s\nafter\n%s", idle, now)
			}
		})
	}
}

// stripAddress leaves out which address of its pool the node has.
func stripAddress(s string) string {
	for _, a := range []string{"101", "102", "103"} {
		s = strings.ReplaceAll(s, "10.1.0."+a, "10.1.0.100")
	}
	return s
}

// TestTwoInterfacesOneRouter: both interfaces are in one network, of which each has its
// own address, with a strict reverse path filter.
func TestTwoInterfacesOneRouter(t *testing.T) {
	osnettest.Enter(t)
	b, second := startTwo(t, false, func(c *Config) {
		c.Networks[1] = Network{Name: "dock", PAA: c.Networks[0].PAA, Points: []string{"desk"}}
		c.Interfaces[1].Points = []string{"desk"}
	})
	second.mu.Lock()
	second.point = "desk"
	second.mu.Unlock()
	second.air(func() { osnettest.IP(t, "link set mn1 master poa-b") })
	osnettest.Sysctl(t, "ipv4/conf/all/rp_filter", "1")
	stop := b.flow()
	for _, to := range []string{"dock", "b", "dock"} {
		time.Sleep(50 * time.Millisecond)
		if o, err := b.handover(to); o != event.Completed || err != nil {
			t.Errorf("%s: %s, %v", to, o, err)
		}
	}
	stop()
	if s := b.node.Status(); s.Interface != "eth1" || !strings.HasPrefix(s.Bound, "10.1.0.") {
		t.Errorf("status %+v", s)
	}
}

// TestTwoInterfacesHoldPrevious: the old router holds, and forwards to the other
// interface.
func TestTwoInterfacesHoldPrevious(t *testing.T) {
	b, _ := startTwo(t, true, func(c *Config) { c.Hold, c.Guard = HoldPrevious, GuardAlways })
	stop := b.flow()
	for _, to := range []string{"a", "b", "a"} {
		b.eventually("a tunnel that stands by", func(s Status) bool { return s.Standby })
		if o, err := b.handover(to); o != event.Completed || err != nil {
			t.Errorf("%s, %v", o, err)
		}
	}
	stop()
}

// TestTwoInterfacesUnprepared: with nothing prepared the second interface attaches
// beside the first, and nothing is lost either.
func TestTwoInterfacesUnprepared(t *testing.T) {
	b, _ := startTwo(t, true, func(c *Config) { c.Prepare = false })
	stop := b.flow()
	time.Sleep(20 * time.Millisecond)
	for _, to := range []string{"a", "b"} {
		if o, err := b.handover(to); o != event.Completed || err != nil {
			t.Fatalf("%s, %v", o, err)
		}
	}
	time.Sleep(50 * time.Millisecond)
	stop()
}

// TestCut: the link that serves is cut. The node goes on by the other interface: at once
// with what is prepared there, else a little later, and back again when that one is cut.
func TestCut(t *testing.T) {
	for name, prepared := range map[string]bool{"prepared": true, "not prepared": false} {
		t.Run(name, func(t *testing.T) {
			osnettest.Enter(t)
			b, second := startTwo(t, true, nil)
			if prepared {
				b.prepare("a")
			}
			began := time.Now()
			b.link.cut(true)
			b.eventually("the other interface", func(s Status) bool {
				return s.State == "attached" && s.Interface == "eth1" && strings.HasPrefix(s.Bound, "10.2.0.") && len(b.node.turn) == 0
			})
			if took := time.Since(began); !prepared && took < lostFor {
				t.Errorf("given up after %v, expected to wait %v for its return", took, lostFor)
			}
			b.works()
			b.link.cut(false)
			time.Sleep(50 * time.Millisecond)
			if s := b.node.Status(); s.Interface != "eth1" || s.State != "attached" {
				t.Errorf("its return moves the node: %+v", s)
			}
			second.cut(true)
			b.eventually("the first interface", func(s Status) bool {
				return s.State == "attached" && s.Interface == "eth0" && strings.HasPrefix(s.Bound, "10.1.0.") && len(b.node.turn) == 0
			})
			b.works()
			if isUp(t, "eth1") {
				t.Error("eth1 is up where it does not serve")
			}
			second.cut(false)
		})
	}
}

// TestCutFlaps: a link that is back soon costs no move.
func TestCutFlaps(t *testing.T) {
	b, _ := startTwo(t, false, nil)
	b.link.cut(true)
	b.eventually("the loss", func(s Status) bool { return s.Problem != "" })
	b.link.cut(false)
	b.eventually("the return", func(s Status) bool { return s.State == "attached" && s.Problem == "" })
	time.Sleep(lostFor)
	b.works()
	if s := b.node.Status(); s.Interface != "eth0" {
		t.Errorf("status %+v", s)
	}
}

// TestOtherInterfaceFails: the interface to move to has no link, or leads nowhere. What
// serves loses nothing.
func TestOtherInterfaceFails(t *testing.T) {
	for name, c := range map[string]struct {
		spoil, mend func(*adapter)
	}{
		"no link": {func(a *adapter) { a.cut(true) }, func(a *adapter) { a.cut(false) }},
		"refused": {
			func(a *adapter) { a.point, a.fails["poa-a"] = "", os.ErrPermission },
			func(a *adapter) { a.point = "poa-a"; delete(a.fails, "poa-a") },
		},
		"leads nowhere": {
			func(a *adapter) { a.air(func() { osnettest.IP(a.t, "link set mn1 master nowhere") }) },
			func(a *adapter) { a.air(func() { osnettest.IP(a.t, "link set mn1 master poa-a") }) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			osnettest.Enter(t)
			b, second := startTwo(t, false, nil)
			idle := osnettest.Snapshot(t)
			stop := b.flow()
			c.spoil(second)
			if o, err := b.handover("a"); o != event.Failed || err == nil {
				t.Errorf("%s, %v", o, err)
			}
			if s := b.node.Status(); s.Interface != "eth0" || s.State != "attached" || !strings.HasPrefix(s.Bound, "10.1.0.") {
				t.Errorf("status %+v", s)
			}
			time.Sleep(50 * time.Millisecond)
			stop()
			if now := osnettest.Snapshot(t); now != idle {
				t.Errorf("left in the kernel: before\n%s\nafter\n%s", idle, now)
			}
			c.mend(second)
			if o, err := b.handover("a"); o != event.Completed {
				t.Errorf("with a link: %s, %v", o, err)
			}
		})
	}
}

// TestCrossBack: the router falls silent between the markers and the arrival. The node
// goes on by the link it had, which was there all the time.
func TestCrossBack(t *testing.T) {
	b, second := startTwo(t, false, func(c *Config) { c.Timers.Arrive = 300 * time.Millisecond })
	b.prepare("a")
	c := b.complete().c
	if err := c.physical(); err != nil {
		t.Fatal(err)
	}
	second.cut(true)
	id, old := b.node.takeStand(t.Context(), "a").id, b.serving()
	w := b.node.way(t.Context(), old, c)
	b.node.depart(id, c, w)
	conn, err := b.node.udp(c.address.addr(), c.net.PAA.Addr())
	if err != nil {
		t.Fatal(err)
	}
	c.session.Load().client.Rebind(conn)
	if err := b.node.arrive(t.Context(), id, c, w, time.Now(), nil); err == nil {
		t.Error("arrived where nobody is")
	}
	if err := b.node.goBack(id, old, c, w); err != nil {
		t.Error(err)
	}
	b.works()
	if s := b.node.Status(); s.Interface != "eth0" || !strings.HasPrefix(s.Bound, "10.1.0.") {
		t.Errorf("status %+v", s)
	}
	second.cut(false)
	if o, err := b.handover("a"); o != event.Completed {
		t.Errorf("%s, %v", o, err)
	}
}

// TestCrashBetweenInterfaces: what was changed of interfaces is put back after a crash,
// and the node attaches by the one that is up all the time.
func TestCrashBetweenInterfaces(t *testing.T) {
	b, _ := startTwo(t, true, func(c *Config) { c.State = state.NewMemory() })
	if o, err := b.handover("a"); o != event.Completed || err != nil {
		t.Fatalf("%s, %v", o, err)
	}
	b.kill()
	if !isUp(t, "eth1") {
		t.Fatal("eth1 is down behind the crash: nothing to put back")
	}
	b.boot()
	if s := b.node.Status(); s.Interface != "eth0" || isUp(t, "eth1") {
		t.Errorf("eth1 up %v, status %+v", isUp(t, "eth1"), s)
	}
	b.works()
	if o, err := b.handover("a"); o != event.Completed || err != nil {
		t.Fatalf("%s, %v", o, err)
	}
}
