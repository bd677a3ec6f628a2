package flow

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// pairOfRouters is a node, its previous and its next router. Each way is in order and
// loses only what is on it when it is cut.
type pairOfRouters struct {
	t            *testing.T
	now          time.Time
	prev, next   *Delivery
	sent         uint64
	toPrev       bool // where the sender's packets go
	atPrev       bool // where the node is
	link         bool // it has a link
	lost         int  // on the air when the link was cut
	got          []uint64
	fromPrevious []Out // the tunnel from the previous router to the next place
	ended        bool
}

func (p *pairOfRouters) apply(d *Delivery, events ...Event) {
	p.t.Helper()
	for _, e := range events {
		if err := d.Apply(p.now, e); err != nil {
			p.t.Fatal(err)
		}
	}
}

func (p *pairOfRouters) node(pkt []byte, at bool) {
	if !p.link || p.atPrev != at {
		p.lost++
		return
	}
	n, ok := number(pkt)
	if !ok {
		p.t.Fatalf("packet %d is damaged", n)
	}
	p.got = append(p.got, n)
}

// send carries out what the previous router says.
func (p *pairOfRouters) fromPrev(o Out, pkt []byte) {
	switch o.Dest {
	case ToLink:
		p.node(pkt, true)
	case ToTunnel:
		o.Pkt = slices.Clone(pkt)
		p.fromPrevious = append(p.fromPrevious, o)
	}
}

func (p *pairOfRouters) packet() {
	p.sent++
	pkt := numbered(p.sent, 60)
	if p.toPrev {
		p.fromPrev(p.prev.Take(p.now, pkt), pkt)
		return
	}
	if o := p.next.Take(p.now, pkt); o.Dest == ToLink {
		p.node(pkt, false)
	}
}

// steps lets queues and the way between the routers go on a little.
func (p *pairOfRouters) steps(n int) {
	for range n {
		if o, ok := p.prev.Fetch(p.now); ok {
			p.fromPrev(o, o.Pkt)
			p.prev.Recycle(o.Pkt)
		}
		if len(p.fromPrevious) > 0 {
			o := p.fromPrevious[0]
			p.fromPrevious = p.fromPrevious[1:]
			if o.Pkt == nil {
				p.ended = true
				p.apply(p.next, Ended)
			} else if q := p.next.Previous(p.now, o.Pkt); q.Dest == ToLink {
				p.node(o.Pkt, false)
			}
		}
		if o, ok := p.next.Fetch(p.now); ok {
			p.node(o.Pkt, false)
			p.next.Recycle(o.Pkt)
		}
	}
}

// RFC 6252 section 7.6.1: the previous router holds what still comes to the old address,
// the next one what comes to the new one; the node gets all, once and in order.
func TestHoldAtBothRouters(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 5))
		some := func(p *pairOfRouters) {
			for range rnd.IntN(8) {
				p.packet()
				p.steps(rnd.IntN(2))
			}
		}
		p := &pairOfRouters{
			t: t, now: epoch, toPrev: true, atPrev: true, link: true,
			prev: New(Options{Limits: Limits{Packets: 100}}), next: New(Options{Limits: Limits{Packets: 100}, Wait: time.Minute}),
		}
		p.apply(p.prev, Serve)
		p.apply(p.next, Create)
		some(p)
		p.apply(p.prev, Disable) // the node's signal, or a disassociation
		p.apply(p.next, Disable)
		p.link = false
		some(p)
		p.toPrev = false // the binding changes while it is away
		some(p)
		p.link, p.atPrev = true, false
		some(p)
		p.apply(p.next, Behind) // the node arrives, and asks the previous router
		some(p)
		p.apply(p.prev, Create)
		if !p.prev.Mark(p.now, 1) {
			t.Fatal("no mark")
		}
		for !p.ended {
			some(p)
			p.steps(1)
		}
		some(p)
		p.steps(200)
		p.apply(p.next, Flip)
		some(p)
		p.apply(p.prev, Release)
		if uint64(len(p.got)) != p.sent || !slices.IsSorted(p.got) || p.lost != 0 {
			t.Fatalf("seed %d: %d sent, %d lost, got %v", seed, p.sent, p.lost, p.got)
		}
		for _, d := range []*Delivery{p.prev, p.next} {
			if s := d.Stats(); s.In != s.Tunneled+s.Linked || s.WaitedOut != 0 {
				t.Fatalf("seed %d: %+v", seed, s)
			}
		}
	}
}

// The node never asks the previous router: the next one goes on by itself, and what the
// previous one held is counted when it gives up.
func TestPreviousRouterIsNotAsked(t *testing.T) {
	p := &pairOfRouters{
		t: t, now: epoch, toPrev: true, atPrev: true, link: true,
		prev: New(Options{Limits: Limits{Packets: 100, MaxAge: time.Second}}), next: New(Options{Limits: Limits{Packets: 100}, Wait: 200 * time.Millisecond}),
	}
	p.apply(p.prev, Serve)
	p.apply(p.next, Create)
	p.apply(p.prev, Gone)
	p.apply(p.next, Gone)
	p.link = false
	p.packet()
	p.packet()
	p.toPrev = false
	p.packet()
	p.link, p.atPrev = true, false
	p.apply(p.next, Behind)
	p.packet()
	p.now = p.now.Add(200 * time.Millisecond)
	p.steps(5)
	p.now = p.now.Add(time.Second)
	p.prev.OnDeadline(p.now)
	if s := p.prev.Stats(); !slices.Equal(p.got, []uint64{3, 4}) || s.Dropped[ReasonAge] != 2 {
		t.Errorf("got %v, %+v", p.got, s)
	}
}

// Both ways at once, RFC 6252 sections 7.6.1 and 7.6.2: whichever copies are lost, delayed
// or first, each packet of which one copy came arrives once and in order.
func TestBicastIsMerged(t *testing.T) {
	for seed := range uint64(100) {
		rnd := rand.New(rand.NewPCG(seed, 6))
		m := newMerger(t, MergeLimits{Window: 128, Wait: 50 * time.Millisecond})
		d := New(Options{Limits: Limits{Packets: 10}, Epoch: uint16(rnd.Uint32())})
		for _, e := range []Event{Create, Both} {
			if err := d.Apply(m.now, e); err != nil {
				t.Fatal(err)
			}
		}
		type copied struct {
			at   time.Time
			shim Shim
			n    uint64
		}
		var air []copied
		var want []uint64
		last := [2]time.Time{epoch, epoch} // each way is in order
		const packets = 300
		for n := uint64(1); n <= packets; n++ {
			o := d.Take(m.now, numbered(n, 60))
			came := false
			for way := range 2 {
				if gone := n/50%2 == uint64(way); gone && n%50 < 20 || rnd.IntN(40) == 0 {
					continue // this way is cut, or loses one
				}
				came = true
				at := m.now.Add(time.Duration(rnd.IntN(10)) * time.Millisecond)
				if way == 1 {
					at = at.Add(20 * time.Millisecond) // the longer way
				}
				if at.Before(last[way]) {
					at = last[way]
				}
				last[way] = at
				air = append(air, copied{at, Shim{Epoch: o.Epoch, Number: o.Number}, n})
			}
			if came {
				want = append(want, n)
			}
			m.now = m.now.Add(time.Millisecond)
		}
		slices.SortStableFunc(air, func(a, b copied) int { return a.at.Compare(b.at) })
		m.now = epoch
		for _, c := range air {
			if at, ok := m.m.Deadline(); ok && !c.at.Before(at) {
				m.now = at
				m.pass(0)
			}
			m.now = c.at
			pkt := numbered(c.n, 60)
			if m.m.Packet(m.now, c.shim, pkt) {
				m.take(pkt)
			}
			m.fetch()
		}
		m.pass(time.Minute)
		if s := m.m.Stats(); !slices.Equal(m.out, want) || s.Dropped[ReasonNumber] == 0 || total(s.Dropped) != s.Dropped[ReasonNumber] {
			t.Fatalf("seed %d: %d sent, %d came, %d out, %+v", seed, packets, len(want), len(m.out), s)
		}
	}
}
