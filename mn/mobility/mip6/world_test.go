package mip6

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// world is a mobile node, its home agent and a correspondent under a clock of their own,
// with paths that lose, copy and reorder.
type world struct {
	testing.TB
	rand   *rand.Rand
	now    time.Time
	events events
	order  int

	client *Client
	route  *Route
	agent  *Agent
	peer   *Correspondent

	attached  []netip.Addr // care-of addresses the mobile node can be reached at
	lost      float64
	copied    float64
	late      time.Duration // longest delay
	delivered int
	said      [][]byte // all packets, lost ones, too

	notices []Output // of the mobile node
	changes int
}

type event struct {
	at    time.Time
	order int
	do    func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at.Before(e[j].at) || e[i].at.Equal(e[j].at) && e[i].order < e[j].order
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

func newWorld(t testing.TB, seed uint64, sequence bool) *world {
	sa := testSecurity()
	sa.Sequence = sequence
	w := &world{
		TB: t, rand: rand.New(rand.NewPCG(seed, 7)), now: epoch,
		client: newTestClient(t, func(c *ClientConfig) { c.Security, c.Lifetime, c.Rand = sa, 120*time.Second, newRandom(seed) }),
		route:  newTestRoute(t, func(c *RouteConfig) { c.Lifetime, c.Rand = 100*time.Second, newRandom(seed+1) }),
		agent:  newTestAgent(t, func(c *AgentConfig) { c.Nodes[0].Security = sa }),
		peer:   newTestCorrespondent(t, func(c *CorrespondentConfig) { c.Rand = newRandom(seed + 2) }),
	}
	return w
}

func (w *world) after(d time.Duration, do func()) {
	w.order++
	heap.Push(&w.events, event{w.now.Add(d), w.order, do})
}

// carry takes a packet over a path: perhaps not at all, perhaps twice, some time later.
func (w *world) carry(do func()) {
	n := 1
	switch x := w.rand.Float64(); {
	case x < w.lost:
		n = 0
	case x < w.lost+w.copied:
		n = 2
	}
	for range n {
		w.after(5*time.Millisecond+time.Duration(w.rand.Int64N(int64(w.late))), func() { w.delivered++; do() })
	}
}

// settle takes the outputs of all and does them.
func (w *world) settle() {
	for _, o := range append(drain(w.client), drain(w.route)...) {
		s, ok := o.(Send)
		if !ok {
			w.notices = append(w.notices, o)
			if r, ok := o.(Registered); ok {
				w.route.HomeUntil(r.Expires)
			}
			continue
		}
		w.said = append(w.said, s.Packet)
		p, _ := ParsePacket(s.Packet)
		if s.Tunnel {
			careOf := w.attached[len(w.attached)-1]
			w.carry(func() {
				if slices.ContainsFunc(w.agent.Bindings(home), func(b Binding) bool { return b.Addr == careOf }) {
					w.carry(func() { w.toPeer(s.Packet) })
				}
			})
			continue
		}
		if p.Src != home && !slices.Contains(w.attached, p.Src) {
			continue // not there any more
		}
		if p.Dst == agent {
			w.carry(func() { _ = w.agent.HandlePacket(w.now, s.Packet); w.settle() })
		} else {
			w.carry(func() { w.toPeer(s.Packet) })
		}
	}
	for _, o := range drain(w.agent) {
		switch o := o.(type) {
		case Send:
			w.said = append(w.said, o.Packet)
			w.carry(func() { w.toNode(o.Packet, false) })
		case DAD:
			w.after(time.Second, func() { w.agent.DADDone(w.now, o.Home, true); w.settle() })
		case Changed:
			w.changes++
		}
	}
	for _, o := range drain(w.peer) {
		send, ok := o.(Send)
		if !ok {
			continue
		}
		pkt := send.Packet
		w.said = append(w.said, pkt)
		if p, _ := ParsePacket(pkt); p.Dst != home {
			w.carry(func() { w.toNode(pkt, false) })
			continue
		}
		w.carry(func() { // by way of the home agent
			for _, b := range w.agent.Bindings(home) {
				w.carry(func() {
					if slices.Contains(w.attached, b.Addr) {
						_ = w.route.HandlePacket(w.now, pkt, true)
						w.settle()
					}
				})
			}
		})
	}
}

func (w *world) toPeer(pkt []byte) { _ = w.peer.HandlePacket(w.now, pkt); w.settle() }

func (w *world) toNode(pkt []byte, tunnelled bool) {
	p, _ := ParsePacket(pkt)
	if !slices.Contains(w.attached, p.Dst) {
		return
	}
	if p.Source() == agent {
		_ = w.client.HandlePacket(w.now, pkt)
	} else {
		_ = w.route.HandlePacket(w.now, pkt, tunnelled)
	}
	w.settle()
}

// run lets the clock go on.
func (w *world) run(d time.Duration) {
	w.Helper()
	end := w.now.Add(d)
	for range 1_000_000 {
		w.settle()
		at, ok := end, false
		for _, m := range []ticker{w.client, w.route, w.agent, w.peer} {
			if t, due := m.Deadline(); due && t.Before(at) {
				at, ok = t, true
			}
		}
		if len(w.events) > 0 && !w.events[0].at.After(at) {
			e := heap.Pop(&w.events).(event)
			w.now = e.at
			e.do()
			continue
		}
		if !ok {
			w.now = end
			return
		}
		if at.After(w.now) {
			w.now = at
		}
		for _, m := range []ticker{w.client, w.route, w.agent, w.peer} {
			m.OnDeadline(w.now)
		}
	}
	w.Fatal("time does not pass")
}

// check: what the mobile node was told is true at the home agent and the correspondent.
func (w *world) check(name string) {
	w.Helper()
	mine, until := w.client.CareOf()
	if mine != nil && w.now.Before(until) && !w.client.Busy() {
		var theirs []CareOf
		for _, b := range w.agent.Bindings(home) {
			theirs = append(theirs, b.CareOf)
			if b.Expires.Before(until) {
				w.Errorf("%s: the home agent ends the binding %v before the mobile node does", name, until.Sub(b.Expires))
			}
		}
		if !slices.Equal(mine, theirs) {
			w.Errorf("%s: mobile node bound to %v, the home agent has %v", name, mine, theirs)
		}
	}
	if careOf, until := w.route.CareOf(); careOf.IsValid() && w.now.Before(until) && !w.route.Busy() {
		if theirs, _ := w.peer.CareOf(home); theirs != careOf {
			w.Errorf("%s: mobile node's route from %v, the correspondent has %v", name, careOf, theirs)
		}
	}
}

// TestWorld: moves under loss, copies and reordering; at any quiet moment nobody believes
// what is not so, and when the mobile node stays all agree in the end.
func TestWorld(t *testing.T) {
	for seed := range uint64(200) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t, seed, seed%2 == 1)
			w.lost, w.copied, w.late = 0.3*w.rand.Float64(), 0.3*w.rand.Float64(), time.Duration(1+w.rand.Int64N(400))*time.Millisecond
			places := []netip.Addr{careA, careB, careC}
			stays := netip.Addr{}
			for move := range 12 {
				careOf := places[w.rand.IntN(len(places))]
				list := []CareOf{{Addr: careOf}}
				w.attached = []netip.Addr{careOf}
				if several := w.rand.IntN(3) == 0 && move < 11; several { // to all, the next move is one of them
					list, w.attached = nil, nil
					for i, a := range places {
						list = append(list, CareOf{a, uint16(i + 1)})
						w.attached = append(w.attached, a)
					}
				}
				if err := w.client.Register(w.now, careOf, list...); err != nil {
					t.Fatal(err)
				}
				_, until := w.client.CareOf()
				w.route.Start(w.now, careOf, until)
				w.run(time.Duration(w.rand.Int64N(int64(20 * time.Second))))
				w.check(fmt.Sprintf("move %d", move))
				stays = careOf
			}
			// The last registration may have been given up under so much loss: a mobile
			// node asks again. Then time enough for what is repeated every 32 s.
			for round := range 24 {
				if round == 20 {
					w.lost, w.copied = 0, 0
				}
				w.run(60 * time.Second)
				w.check("at rest")
				if mine, _ := w.client.CareOf(); !slices.Equal(mine, []CareOf{{Addr: stays}}) && !w.client.Busy() {
					if err := w.client.Register(w.now, stays, CareOf{Addr: stays}); err != nil {
						t.Fatal(err)
					}
				}
				if careOf, _ := w.route.CareOf(); careOf != stays && !w.route.Busy() {
					_, until := w.client.CareOf()
					w.route.Start(w.now, stays, until)
				}
			}
			mine, _ := w.client.CareOf()
			direct, _ := w.route.CareOf()
			if !slices.Equal(mine, []CareOf{{Addr: stays}}) || direct != stays {
				t.Errorf("in the end bound to %v, route from %v, expected %v; %+v", mine, direct, stays, w.notices[max(0, len(w.notices)-5):])
			}
			if w.delivered < 50 || w.changes == 0 {
				t.Errorf("%d packets, %d changes: nothing was tried", w.delivered, w.changes)
			}
		})
	}
}

// TestWorldWithoutLoss: every move is bound within round trips, and nothing is repeated.
func TestWorldWithoutLoss(t *testing.T) {
	w := newWorld(t, 1, false)
	w.late = time.Millisecond
	for i := range 70 { // far more than one renewal, and several nonces
		careOf := []netip.Addr{careA, careB}[i%2]
		w.attached = []netip.Addr{careOf}
		if err := w.client.Register(w.now, careOf, CareOf{Addr: careOf}); err != nil {
			t.Fatal(err)
		}
		w.run(2 * time.Second) // the first time with duplicate address detection
		_, until := w.client.CareOf()
		w.route.Start(w.now, careOf, until)
		w.run(10 * time.Second)
		w.check("quiet")
		if mine, _ := w.client.CareOf(); !slices.Equal(mine, []CareOf{{Addr: careOf}}) {
			t.Fatalf("bound to %v, expected %v", mine, careOf)
		}
		if got, _ := w.peer.CareOf(home); got != careOf {
			t.Fatalf("the correspondent sends to %v, expected %v", got, careOf)
		}
	}
	for _, o := range w.notices {
		switch o.(type) {
		case Registered, RouteUp:
		default:
			t.Errorf("%+v", o)
		}
	}
	if s := w.client.Stats(); s.Updates != 70 || s.Accepted != 70 || s.Resyncs != 0 {
		t.Errorf("%+v", s)
	}
}
