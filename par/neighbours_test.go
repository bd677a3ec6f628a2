package par

import (
	"context"
	"net"
	"testing"
	"time"

	"openmpa/internal/neighbourhood"
	"openmpa/paa/notify"
	"openmpa/par/info"
)

// A node asks in its session and is told what the router is, how busy, and what is around; and again when that has changed.
func TestNeighbours(t *testing.T) {
	s, err := info.Open(info.Config{
		Own: neighbourhood.Network{Name: "a", Points: []neighbourhood.Point{{Name: "poa-a"}}}, Sessions: 2, Every: time.Second, Lifetime: 20 * time.Second,
		Neighbours: []info.Neighbour{{Network: neighbourhood.Network{Name: "b"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	b := start(t, func(c *Config) { c.Information = s })
	b.open(1, b.mac)
	b.await("the load is told", func() bool { load := s.Status().Networks[0].Points[0].Load; return load != nil && *load == 0.5 })
	ask := func() []neighbourhood.Network {
		t.Helper()
		var g notify.Gathering
		b.r.SessionMessage(1, g.Next(header.Handover))
		if whole, err := g.Add(got[*notify.NeighboursReply](b, 1)); !whole || err != nil {
			t.Fatalf("whole %v, %v", whole, err)
		}
		return g.Networks()
	}
	list := ask()
	if len(list) != 2 || list[0].Name != "a" || list[1].Name != "b" || list[1].Hops != 1 || list[0].Lifetime != 20*time.Second {
		t.Fatalf("%+v", list)
	}
	if own := list[0]; len(own.Prefixes) != 1 || own.Prefixes[0] != b.r.Prefixes()[0] || *own.Points[0].Load != 0.5 {
		t.Errorf("%+v, load %v", own, *own.Points[0].Load)
	}
	b.open(2, net.HardwareAddr{2, 0, 0, 0, 0, 0x42})
	got[*notify.NeighboursChanged](b, 1)
	if load := *ask()[0].Points[0].Load; load != 1 {
		t.Errorf("load %v with two visitors of two", load)
	}
	b.r.SessionClosed(1, context.Canceled)
	b.await("the session is forgotten", func() bool { return s.Status().Nodes == 0 })
}

// A router that is to tell nothing says so.
func TestNoNeighbours(t *testing.T) {
	b := start(t, nil)
	b.open(1, b.mac)
	b.r.SessionMessage(1, &notify.NeighboursRequest{Header: header})
	if m := got[*notify.NeighboursReply](b, 1); m.Reason == "" || m.Handover != header.Handover {
		t.Errorf("%+v", m)
	}
}
