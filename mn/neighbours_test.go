package mn

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/neighbourhood"
	"openmpa/paa/notify"
	"openmpa/par"
	"openmpa/par/info"
)

// telling has the router of network b tell nodes of a network b, as own says it, and of those around.
func telling(t *testing.T, own neighbourhood.Network, around ...neighbourhood.Network) func(*par.Config) {
	cfg := info.Config{Own: own}
	for _, n := range around {
		cfg.Neighbours = append(cfg.Neighbours, info.Neighbour{Network: n})
	}
	s, err := info.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return func(c *par.Config) {
		if c.Address == netip.MustParseAddr("10.1.0.1") {
			c.Information = s
		}
	}
}

// only keeps networks of the configuration, and asks the serving router for more.
func only(names ...string) func(*Config) {
	return func(c *Config) {
		c.Networks = slices.DeleteFunc(c.Networks, func(n Network) bool { return !slices.Contains(names, n.Name) })
		c.Discovery.Router = true
		c.Interfaces[0].Points = []string{"poa-b", "poa-a", "poa-c"}
	}
}

// net is a network as a router tells of it.
func told(name, paa, ar string, points ...string) neighbourhood.Network {
	n := neighbourhood.Network{Name: name, Agents: []neighbourhood.Agent{
		{Role: neighbourhood.PAA, Addr: netip.MustParseAddrPort(paa)}, {Role: neighbourhood.AR, Identity: ar},
	}}
	for _, p := range points {
		n.Points = append(n.Points, neighbourhood.Point{Name: p})
	}
	return n
}

// TestLearned: a node that knows one network learns of another one from the router there, moves to it prepared, and knows the
// first one still.
func TestLearned(t *testing.T) {
	b := start(t, only("b"), telling(t, told("b", "10.1.0.1:716", "ar.b", "poa-b"), told("a", "10.2.0.1:716", "ar.a", "poa-a")))
	b.eventually("the router's word of a", func(Status) bool {
		n, err := b.node.network("a")
		return err == nil && n.PAA == netip.MustParseAddrPort("10.2.0.1:716") && slices.Equal(n.Points, []string{"poa-a"})
	})
	if o, err := b.handover("a"); o != event.Completed {
		t.Fatalf("to a: %s, %v", o, err)
	}
	b.eventually("an attachment at a", func(s Status) bool { return s.Network == "a" && s.State == "attached" && s.Session != 0 })
	b.eventually("that a follows b", func(Status) bool { return b.node.discovery.Follows("poa-b")["poa-a"] == 1 })
	if o, err := b.handover("b"); o != event.Completed {
		t.Errorf("back to b: %s, %v", o, err)
	}
	for _, k := range b.node.discovery.Known() {
		if k.Name == "a" && !slices.ContainsFunc(k.From, func(s neighbourhood.Source) bool { return s.Kind == neighbourhood.History }) {
			t.Errorf("a is known from %v, expected that the node has been there, too", k.From)
		}
	}
}

// liar tells nodes whatever it likes, and says all the time that there is more.
type liar struct {
	lies  func(asked int32) []neighbourhood.Network
	asked atomic.Int32 // parts
	send  atomic.Pointer[func(sid uint32, m notify.Message)]
}

func (l *liar) Begin(send func(sid uint32, m notify.Message), _ func() int, _ []netip.Prefix) {
	l.send.Store(&send)
}

func (l *liar) Ended(uint32) {}

func (l *liar) Answer(sid uint32, m *notify.NeighboursRequest) *notify.NeighboursReply {
	a, fit, err := notify.NewNeighbours(l.lies(l.asked.Add(1)))
	if err != nil {
		return &notify.NeighboursReply{Header: m.Header, Reason: err.Error()}
	}
	for range 20 {
		go (*l.send.Load())(sid, &notify.NeighboursChanged{Revision: notify.Revision{1}})
	}
	return a.Reply(m, slices.Repeat([]time.Duration{time.Minute}, fit))
}

// TestLyingRouter: a router that tells of another PAA for a network of the configuration, and of as many as it can that are
// not there, and says all the time that there are others, costs bounded work, and neither the present connection
// nor moves to where the configuration has been right.
func TestLyingRouter(t *testing.T) {
	l := &liar{lies: func(int32) []neighbourhood.Network {
		lies := []neighbourhood.Network{
			told("b", "10.66.0.1:716", "ar.evil", "poa-b", "poa-a"),
			told("a", "10.66.0.1:716", "ar.evil", "poa-a"), // not the PAA of a
		}
		for i := range neighbourhood.MaxNetworks {
			lies = append(lies, told(fmt.Sprintf("n%d", i), "10.66.0.1:716", "ar.evil", fmt.Sprintf("p%d", i), fmt.Sprintf("q%d", i)))
		}
		return lies
	}}
	b := start(t, func(c *Config) {
		only("a", "b")(c)
		c.Timers.Auth = time.Second
	}, func(c *par.Config) {
		if c.Address == netip.MustParseAddr("10.1.0.1") {
			c.Information = l
		}
	})
	b.eventually("the router's lies", func(s Status) bool {
		_, err := b.node.network("n3") // what is known is made places to go to behind that
		return s.Around.Contradictions > 2 && err == nil
	})
	s := b.node.Status()
	if s.Around.Networks > neighbourhood.MaxNetworks || s.State != "attached" || s.Session == 0 {
		t.Errorf("status %+v", s)
	}
	for network, paa := range map[string]string{"a": "10.2.0.1:716", "b": "10.1.0.1:716"} {
		if n, err := b.node.network(network); err != nil || n.PAA != netip.MustParseAddrPort(paa) || !slices.Equal(n.Points, []string{"poa-" + network}) {
			t.Errorf("%s is %+v, %v, expected as the configuration has it", network, n, err)
		}
	}
	session := s.Session
	b.fails("n3", "10.66.0.1", session)
	if o, err := b.handover("a"); o != event.Completed {
		t.Errorf("to a: %s, %v", o, err)
	}
	t.Logf("asked for %d parts", l.asked.Load())
}

// fails tries to move to a network that is not what was told of it: for that reason, and nothing else becomes of it.
func (b *bed) fails(to, why string, session uint32) {
	b.t.Helper()
	if o, err := b.handover(to); o != event.Failed || err == nil || !strings.Contains(err.Error(), why) {
		b.t.Errorf("to %s: %s, %v, expected %s", to, o, err, why)
	}
	if s := b.node.Status(); s.Network != "b" || s.State != "attached" || s.Session != session {
		b.t.Errorf("after the failure of %s: %+v", to, s)
	}
	b.onlyServing()
}

// TestAnotherRouter: a network whose router calls itself otherwise than was told is none to go to.
func TestAnotherRouter(t *testing.T) {
	b := start(t, only("b"), telling(t, told("b", "10.1.0.1:716", "ar.b", "poa-b"), told("c", "10.2.0.1:716", "ar.c", "poa-a")))
	b.eventually("the router's word of c", func(Status) bool { _, err := b.node.network("c"); return err == nil })
	b.fails("c", `calls itself "ar.a", expected "ar.c"`, b.node.Status().Session)
}
