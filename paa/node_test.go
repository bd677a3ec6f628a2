package paa

import (
	"errors"
	"testing"
	"time"

	"openmpa/aaa/aaatest"
	"openmpa/paa/pana"
)

// TestPerNode: a node that opens more sessions than it may have loses the oldest, not the
// newest, and re-authentication opens none.
func TestPerNode(t *testing.T) {
	s, h, addr := serve(t, &aaatest.Backend{}, func(c *Config) { c.PerNode = 2 })
	var nodes []*node
	var sids []uint32
	attach := func() {
		n := dial(t, addr, pana.PaCConfig{Preauth: true})
		n.derive(want[pana.Opened](n))
		nodes, sids = append(nodes, n), append(sids, next[opened](t, h).sid)
	}
	attach()
	attach()
	nodes[0].do(func(now time.Time, p *pana.PaC) { p.Reauthenticate(now) })
	want[pana.Opened](nodes[0])
	if o := next[opened](t, h); o.sid != sids[0] {
		t.Errorf("session %08x opened, expected %08x again", o.sid, sids[0])
	}
	quiet(t, s, h)
	for i := range 2 {
		attach()
		var gone *pana.ErrPeerTerminated
		if c := want[pana.Closed](nodes[i]); !errors.As(c.Reason, &gone) {
			t.Errorf("node %d's session ended with %v", i, c.Reason)
		}
		if c := next[closed](t, h); c.sid != sids[i] {
			t.Errorf("session %08x ended, expected the oldest, %08x", c.sid, sids[i])
		}
	}
	quiet(t, s, h)
}

func TestPersonal(t *testing.T) {
	for identity, want := range map[string]bool{
		"mn@home.example": true, "mn": true, "@home.example": false, "anonymous@home.example": false, "Anonymous": false, "": false,
	} {
		if personal(identity) != want {
			t.Errorf("%q names one node: %v", identity, !want)
		}
	}
}
