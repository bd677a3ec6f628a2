package mn

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"openmpa/internal/event"
	"openmpa/mn/mobility/mip6"
)

// eachFamily runs fn for a node of IPv4 and for one of IPv6.
func eachFamily(t *testing.T, fn func(t *testing.T, b *bed)) {
	for _, c := range []struct {
		name string
		six  *bed6
	}{{"IPv4", nil}, {"IPv6", &bed6{}}} {
		t.Run(c.name, func(t *testing.T) { fn(t, &bed{six: c.six}) })
	}
}

// several has the node bound to several care-of addresses while it moves; it starts b.
func (b *bed) several(t *testing.T, beside ...string) {
	t.Helper()
	b.start(t, nil, func(*bed) {}, func(c *Config) { c.Several, c.Beside = true, beside })
}

// copies are how many packets the home agent has sent, and how many copies, and the care-of
// addresses of the node beside the first.
func (b *bed) copies() (sent, copies uint64, also []netip.Addr) {
	if b.six != nil {
		s := b.six.home.Status()
		return s.Counters["down_sent"], s.Counters["down_copies"], s.Bindings[0].Also
	}
	s := b.home.Status()
	return s.Counters["down_sent"], s.Counters["down_copies"], s.Bindings[0].Also
}

// TestSeveral: while the node moves the home agent sends to both care-of addresses; each packet
// goes on once, in order, and the copies end with the arrival.
func TestSeveral(t *testing.T) {
	eachFamily(t, func(t *testing.T, b *bed) {
		b.several(t)
		stop := b.flow()
		for _, name := range []string{"a", "b", "a"} {
			if o, err := b.handover(name); o != event.Completed || err != nil {
				t.Fatalf("to %s: %s, %v", name, o, err)
			}
		}
		stop()
		sent, copies, also := b.copies()
		if copies == 0 || len(also) != 0 {
			t.Errorf("%d copies; %v", copies, also)
		}
		t.Logf("%d packets, %d copies", sent, copies)
	})
}

// TestSeveralRefused: with a home agent that binds one address it moves all the same.
func TestSeveralRefused(t *testing.T) {
	eachFamily(t, func(t *testing.T, b *bed) {
		b.most, b.third = 1, true
		b.several(t, "c")
		stop := b.flow()
		if o, err := b.handover("a"); o != event.Completed || err != nil {
			t.Fatalf("%s, %v", o, err)
		}
		stop()
		if sent, copies, also := b.copies(); copies != 0 || len(also) != 0 {
			t.Errorf("%d packets, %d copies; %v", sent, copies, also)
		}
		b.alone("a")
		if b.six == nil {
			return // one that replaces the binding does not deny the request
		}
		if s := b.six.home.Status(); s.Updates.Denied[fmt.Sprintf("%d %v", mip6.StatusSeveralProhibited, mip6.StatusSeveralProhibited)] != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// alone checks that nothing is left of what was prepared beside the serving network, here and at
// the home agent.
func (b *bed) alone(to string) {
	b.t.Helper()
	b.eventually("a tunnel that stands by", func(s Status) bool { return s.Standby })
	b.onlyServing1()
	if _, _, also := b.copies(); len(also) != 0 {
		b.t.Errorf("to %s: %v", to, also)
	}
}

// TestThree: bound to three care-of addresses, it moves to one.
func TestThree(t *testing.T) {
	eachFamily(t, func(t *testing.T, b *bed) {
		b.third = true
		b.several(t, "a", "b", "c")
		stop := b.flow()
		for _, name := range []string{"c", "a", "b"} {
			_, before, _ := b.copies()
			if o, err := b.handover(name); o != event.Completed || err != nil {
				t.Fatalf("to %s: %s, %v", name, o, err)
			}
			if _, after, _ := b.copies(); after == before {
				t.Errorf("to %s: no copies", name)
			}
			b.alone(name)
		}
		stop()
		sent, copies, _ := b.copies()
		t.Logf("%d packets, %d copies", sent, copies)
		// One when it attached, and of each move one ahead, one behind, and one for the third network.
		if b.six == nil && b.home.Status().Bindings[0].Registrations <= 1+2*3 {
			t.Errorf("never bound to a third address: %+v", b.home.Status().Bindings[0])
		}
	})
}

// TestThreeSwitchBack: where the link does not come up it goes on where it was, and nothing is left.
func TestThreeSwitchBack(t *testing.T) {
	eachFamily(t, func(t *testing.T, b *bed) {
		b.third = true
		b.several(t, "a", "b", "c")
		stop := b.flow()
		b.link.fails["poa-c"] = errors.New("no such access point")
		if o, err := b.handover("c"); o != event.SwitchedBack || err == nil {
			t.Errorf("%s, %v", o, err)
		}
		b.alone("c, and back")
		delete(b.link.fails, "poa-c")
		b.stopRouter("a") // one that is only beside
		if o, err := b.handover("c"); o != event.Completed || err != nil {
			t.Errorf("%s, %v", o, err)
		}
		b.alone("c")
		stop()
	})
}
