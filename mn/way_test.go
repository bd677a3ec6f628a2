package mn

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"openmpa/internal/event"
	"openmpa/par"
)

// TestNobodyHolds: the previous router was to hold, and is gone when the node leaves, or
// when its link has been carried off: the binding is at the new address in the end.
func TestNobodyHolds(t *testing.T) {
	for name, move := range map[string]func(b *bed){
		"handover": func(b *bed) {
			if o, err := b.handover("a"); o != event.Completed || err != nil {
				b.t.Fatalf("%s, %v", o, err)
			}
		},
		"carried": func(b *bed) {
			if err := b.link.Attach(b.t.Context(), "poa-a"); err != nil {
				b.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, func(c *Config) { c.Hold, c.Ping = HoldPrevious, 300*time.Millisecond })
			b.eventually("a tunnel that stands by", func(s Status) bool { return s.Standby })
			b.prepare("a")
			if s := b.node.Status(); s.Bound != "10.1.0.100" {
				t.Fatalf("status %+v", s)
			}
			b.stopRouter("b")
			defer b.open["b"]()
			b.eventually("the end of the session", func(s Status) bool { return s.Session == 0 })
			move(b)
			b.eventually("the new network", func(s Status) bool {
				return s.State == "attached" && s.Network == "a" && s.Bound == "10.2.0.100" && len(b.node.turn) == 0
			})
			b.works()
		})
	}
}

// TestMovesOnMeanwhile: the link is carried off while the node waits for what the
// previous router held. It does not go on as if it were there.
func TestMovesOnMeanwhile(t *testing.T) {
	b := start(t, func(c *Config) { c.Hold = HoldPrevious })
	b.eventually("a tunnel that stands by", func(s Status) bool { return s.Standby })
	b.link.onLeave(func(point string) {
		if point == "poa-a" {
			b.stopRouter("b")
		}
	})
	h, err := b.node.Handover("a")
	if err != nil {
		t.Fatal(err)
	}
	b.eventually("the wait", func(Status) bool {
		for _, e := range b.node.cfg.Recorder.Events(h.ID) {
			if e.Phase == event.PhaseForward && e.Kind == event.KindBegin {
				return true
			}
		}
		return false
	})
	b.open["b"]()
	if err := b.link.Attach(t.Context(), "poa-b"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	asked := 0
	for _, e := range b.node.cfg.Recorder.Events(h.ID) {
		if e.Phase == event.PhaseBind && e.Kind == event.KindBegin {
			asked++
		}
	}
	if asked > 1 {
		t.Errorf("%d bindings were asked for from where the node is not", asked)
	}
	b.eventually("the old network", func(s Status) bool {
		return s.State == "attached" && s.Network == "b" && s.Bound != "" && len(b.node.turn) == 0
	})
	b.works()
}

// TestHeldRouterIsTold: a router that goes on for the node while it is elsewhere is told where that is,
// by PANA, too, at once (RFC 6252 appendix C.2, RFC 5191 section 5.6).
func TestHeldRouterIsTold(t *testing.T) {
	b := start(t, func(c *Config) { c.Ping = time.Hour })
	b.eventually("a tunnel that stands by", func(s Status) bool { return s.Standby })
	old := b.serving()
	visitor := func() par.VisitorStatus {
		v := b.routers["b"].Status().Visitors
		if len(v) != 1 {
			t.Fatalf("visitors %+v", v)
		}
		return v[0]
	}
	before := visitor().Peer
	if at, err := netip.ParseAddrPort(before); err != nil || at.Addr() != old.address.addr() {
		t.Fatalf("the router has the session at %q, expected %v", before, old.address.addr())
	}
	socket, err := old.outer(old.peer())
	if err != nil {
		t.Fatal(err)
	}
	b.node.turn <- struct{}{}
	defer func() { <-b.node.turn }()
	if err := old.goOn(event.HandoverID{1}, old, socket); err != nil { // another port, as it would be another address
		t.Fatal(err)
	}
	eventually(t, "the session at another place", func() bool { return visitor().Peer != before })
	b.node.comeBack(event.HandoverID{1}, old)
	b.node.proceed(old)
	eventually(t, "delivery on the link", func() bool { return visitor().Mode == "direct" }) // what is on its way to a port that is closed is lost
	b.works()
}

// TestResumeRepeated: the first words to the previous router from the new place are lost; it is asked
// again for what it holds.
func TestResumeRepeated(t *testing.T) {
	if _, err := exec.LookPath("nft"); err != nil && os.Getenv("OPENMPA_TEST_ALL") == "" {
		t.Skip("needs nft: apt install nftables")
	}
	b := start(t, func(c *Config) { c.Hold = HoldPrevious })
	b.eventually("a tunnel that stands by", func(s Status) bool { return s.Standby })
	b.inside["a"](func() {
		const rules = `table ip lossy { chain forward { type filter hook forward priority 0;
			ip daddr 10.1.0.1 udp dport 4500 quota until 300 bytes counter drop
		}; }`
		if out, err := exec.Command("nft", rules).CombinedOutput(); err != nil {
			t.Fatalf("nft: %v: %s", err, out)
		}
	})
	mn := b.socket(netip.AddrPortFrom(homeAddress, 7000))
	stop := b.streams(mn, &stream{what: "downlink", from: b.cn, to: mn, every: time.Millisecond, dst: func() netip.AddrPort {
		return netip.AddrPortFrom(homeAddress, 7000)
	}})
	h, err := b.node.Handover("a")
	if err != nil {
		t.Fatal(err)
	}
	if outcome, err := h.Wait(t.Context()); outcome != event.Completed {
		t.Errorf("%v: %v", outcome, err)
	}
	stop()
	for _, e := range b.node.cfg.Recorder.Events(h.ID) {
		if e.Phase == event.PhaseForward && e.Kind == event.KindEnd && e.Outcome == event.OK {
			if fmt.Sprint(e.Attrs["markers"]) == "1" {
				t.Error("asked once, and that was lost")
			}
			return
		}
	}
	t.Error("the previous router did not say that it has sent everything")
}
