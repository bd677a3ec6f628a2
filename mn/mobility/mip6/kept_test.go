package mip6

import (
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"openmpa/internal/inet"
)

// keeper is what a store would hold, written and read again.
type keeper struct {
	testing.TB
	kept map[netip.Addr]Kept
	full error
}

func (k *keeper) commit(home netip.Addr, v Kept) error {
	if k.full != nil {
		return k.full
	}
	b, err := json.Marshal(v)
	if err != nil {
		k.Fatal(err)
	}
	var read Kept
	if err := json.Unmarshal(b, &read); err != nil {
		k.Fatal(err)
	}
	read.Until = v.Until
	k.kept[home] = read
	return nil
}

func newKeeper(t testing.TB) *keeper { return &keeper{TB: t, kept: make(map[netip.Addr]Kept)} }

// TestRestored: a home agent that was killed knows the binding, until when, and what it has
// seen of the mobile node; a recorded Update is no use.
func TestRestored(t *testing.T) {
	for _, sequence := range []bool{false, true} {
		k := newKeeper(t)
		config := func(c *AgentConfig) { c.Commit, c.Nodes[0].Security.Sequence = k.commit, sequence }
		b := newBench(t, config)
		first := b.packet(want{src: careB, lifetime: 100})
		b.now = b.now.Add(time.Second)
		b.status("first", b.ask(want{src: careA, lifetime: 100}), StatusAccepted)
		before := b.Bindings(home)

		after := &bench{TB: t, Agent: newTestAgent(t, config), now: b.now.Add(time.Second), seq: b.seq}
		if bound, err := after.Restore(after.now, home, k.kept[home]); err != nil || !bound {
			t.Fatalf("%v, %v", bound, err)
		}
		if c := pick[Changed](t, after.Agent); c.Home != home || !slices.EqualFunc(c.Bindings, before, func(a, b Binding) bool {
			return a.CareOf == b.CareOf && a.Expires.Equal(b.Expires) && a.Since.Equal(b.Since)
		}) {
			t.Errorf("%+v, before %+v", c, before)
		}
		after.status("a replay", after.deliver(first), map[bool]Status{false: StatusIdentification, true: StatusSequence}[sequence])
		after.status("the next", after.ask(want{src: careC, lifetime: 100}), StatusAccepted)
		after.bound(CareOf{Addr: careC})
		// Deregistered: what recognises replays is kept.
		after.status("deregistration", after.ask(want{src: careC}), StatusAccepted)
		left := k.kept[home]
		if len(left.Bindings) != 0 || left.HasSequence != true || left.HasStamp == sequence {
			t.Errorf("%+v", left)
		}
		if sequence != left.Until.IsZero() {
			t.Errorf("kept until %v", left.Until)
		}
		last := newTestAgent(t, config)
		if bound, err := last.Restore(after.now, home, left); bound || err != nil {
			t.Errorf("%v, %v", bound, err)
		}
	}
}

// TestNotKept: what cannot be made good is not promised, and a binding from before stands; a
// deregistration is accepted all the same.
func TestNotKept(t *testing.T) {
	k := newKeeper(t)
	b := newBench(t, func(c *AgentConfig) { c.Commit = k.commit })
	full := errors.New("disk full")
	k.full = full
	b.status("nothing bound", b.ask(want{lifetime: 100}), StatusResources)
	b.bound()
	k.full = nil
	b.status("room again", b.ask(want{lifetime: 100}), StatusAccepted)
	k.full = full
	b.status("a move", b.ask(want{src: careB, lifetime: 100}), StatusResources)
	b.bound(CareOf{Addr: careA})
	b.status("deregistration", b.ask(want{}), StatusAccepted)
	b.bound()
}

// TestRestoreRefuses: what is over, or cannot be, is no binding; a clock that was set back
// neither makes one longer nor locks the node out.
func TestRestoreRefuses(t *testing.T) {
	good := Kept{Bindings: []Binding{{CareOf: CareOf{Addr: careA}, Since: epoch, Expires: epoch.Add(time.Minute)}}}
	for name, c := range map[string]struct {
		now    time.Time
		home   netip.Addr
		change func(*Kept)
		bound  bool
		fails  bool
	}{
		"good":             {now: epoch, bound: true},
		"over":             {now: epoch.Add(time.Minute)},
		"not served":       {now: epoch, home: cn},
		"not an address":   {now: epoch, change: func(k *Kept) { k.Bindings[0].Addr = netip.Addr{} }, fails: true},
		"the home address": {now: epoch, change: func(k *Kept) { k.Bindings[0].Addr = home }, fails: true},
		"link-local":       {now: epoch, change: func(k *Kept) { k.Bindings[0].Addr = netip.MustParseAddr("fe80::1") }, fails: true},
		"clock set back":   {now: epoch.Add(-24 * time.Hour), bound: true, change: func(k *Kept) { k.Stamp, k.HasStamp = inet.NTP(epoch), true }},
	} {
		t.Run(name, func(t *testing.T) {
			k := good
			k.Bindings = slices.Clone(good.Bindings)
			if c.change != nil {
				c.change(&k)
			}
			setDefault(&c.home, home)
			b := &bench{TB: t, Agent: newTestAgent(t, nil), now: c.now, seq: 1}
			bound, err := b.Restore(c.now, c.home, k)
			if bound != c.bound || (err != nil) != c.fails {
				t.Fatalf("bound %v, %v", bound, err)
			}
			if !bound {
				if out := drain(b); len(out) != 0 {
					t.Errorf("%+v", out)
				}
				b.bound()
				return
			}
			if at, ok := b.Deadline(); !ok || at.After(c.now.Add(DefaultLifetime)) {
				t.Errorf("it ends at %v", at)
			}
			drain(b)
			b.status("the next", b.ask(want{src: careB, lifetime: 100}), StatusAccepted)
		})
	}
}
