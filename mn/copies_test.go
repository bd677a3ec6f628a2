package mn

import (
	"errors"
	"fmt"
	"testing"

	"openmpa/internal/event"
	"openmpa/mn/mobility/mip6"
)

// TestSeveral: while the node moves the home agent sends to both care-of addresses; each packet
// goes on once, in order, and the copies end with the arrival.
func TestSeveral(t *testing.T) {
	b := start6(t, func(c *Config) { c.Several = true })
	stop := b.flow()
	for _, name := range []string{"a", "b", "a"} {
		if o, err := b.handover(name); o != event.Completed || err != nil {
			t.Fatalf("to %s: %s, %v", name, o, err)
		}
	}
	stop()
	s := b.six.home.Status()
	if s.Counters["down_copies"] == 0 || len(s.Bindings[0].Also) != 0 {
		t.Errorf("%d copies; %+v", s.Counters["down_copies"], s.Bindings[0])
	}
	t.Logf("%d packets, %d copies", s.Counters["down_sent"], s.Counters["down_copies"])
}

// TestSeveralRefused: with a home agent that binds one address it moves all the same.
func TestSeveralRefused(t *testing.T) {
	b := startOf(t, &bed6{most: 1}, nil, func(*bed) {}, func(c *Config) { c.Several = true })
	stop := b.flow()
	if o, err := b.handover("a"); o != event.Completed || err != nil {
		t.Fatalf("%s, %v", o, err)
	}
	stop()
	if s := b.six.home.Status(); s.Counters["down_copies"] != 0 || s.Updates.Denied[fmt.Sprintf("%d %v", mip6.StatusSeveralProhibited, mip6.StatusSeveralProhibited)] != 1 {
		t.Errorf("%+v", s)
	}
}

// startThree is a node that is bound to all networks while it moves.
func startThree(t *testing.T) *bed {
	t.Helper()
	return startOf(t, &bed6{third: true}, nil, func(*bed) {}, func(c *Config) { c.Several, c.Beside = true, []string{"a", "b", "c"} })
}

// alone checks that nothing is left of what was prepared beside the serving network, here and at
// the home agent.
func (b *bed) alone(to string) {
	b.t.Helper()
	b.eventually("a tunnel that stands by", func(s Status) bool { return s.Standby })
	n, used := b.node, 0
	for _, is := range n.used {
		if is {
			used++
		}
	}
	if used != 1 || n.endpoint.Tunnels() != 1 || len(n.endpoint.Sockets()) != 1 || len(*n.guests.Load()) != 0 {
		b.t.Errorf("to %s: %d slots, %d tunnels, %d sockets, guests %v", to, used, n.endpoint.Tunnels(), len(n.endpoint.Sockets()), *n.guests.Load())
	}
	if s := b.six.home.Status().Bindings[0]; len(s.Also) != 0 {
		b.t.Errorf("to %s: %+v", to, s)
	}
}

// TestThree: bound to three care-of addresses, it moves to one.
func TestThree(t *testing.T) {
	b := startThree(t)
	stop := b.flow()
	for _, name := range []string{"c", "a", "b"} {
		before := b.six.home.Status().Counters["down_copies"]
		if o, err := b.handover(name); o != event.Completed || err != nil {
			t.Fatalf("to %s: %s, %v", name, o, err)
		}
		if after := b.six.home.Status().Counters["down_copies"]; after == before {
			t.Errorf("to %s: no copies", name)
		}
		b.alone(name)
	}
	stop()
	s := b.six.home.Status()
	t.Logf("%d packets, %d copies", s.Counters["down_sent"], s.Counters["down_copies"])
}

// TestThreeSwitchBack: where the link does not come up it goes on where it was, and nothing is left.
func TestThreeSwitchBack(t *testing.T) {
	b := startThree(t)
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
}
