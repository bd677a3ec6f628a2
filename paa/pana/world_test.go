package pana

import (
	"bytes"
	"container/heap"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"openmpa/paa/keys"
)

// world is one PAA, its EAP server, and any number of PaCs under a made-up
// clock, joined by a network that loses, duplicates and delays under a seed.
type world struct {
	t      *testing.T
	now    time.Time
	rnd    *rand.Rand
	events eventHeap
	order  int

	loss, dup float64
	delay     time.Duration // base; plus up to jitter
	jitter    time.Duration
	aaa       time.Duration // what EAP takes at the PAA

	paa     *PAA
	paaAddr netip.AddrPort
	outs    []Output // of the PAA, without Send and EAP
	eap     map[uint32]*fakeServer
	newEAP  func() *fakeServer
	edit    func(*EAPReply) // changes what EAP says
	nodes   map[netip.AddrPort]*node
	tap     func(from, to netip.AddrPort, b []byte) bool // false: drop
	wire    []string                                     // names of all messages sent
}

// node is a PaC at an address.
type node struct {
	w    *world
	pac  *PaC
	addr netip.AddrPort
	peer *fakePeer
	outs []Output
	off  bool // no link
}

type event struct {
	at    time.Time
	order int
	f     func()
}

type eventHeap []event

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	return h[i].at.Before(h[j].at) || h[i].at.Equal(h[j].at) && h[i].order < h[j].order
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)   { *h = append(*h, x.(event)) }
func (h *eventHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	*h = old[:len(old)-1]
	return e
}

var (
	addrOld   = netip.MustParseAddrPort("10.1.0.100:716")
	addrNew   = netip.MustParseAddrPort("10.2.0.100:716")
	addrOther = netip.MustParseAddrPort("10.1.0.66:4711")
)

func newWorld(t *testing.T, seed uint64, cfg PAAConfig) *world {
	t.Helper()
	w := &world{
		t: t, now: time.Unix(1_700_000_000, 0), rnd: rand.New(rand.NewPCG(seed, 1)), delay: time.Millisecond, aaa: 2 * time.Millisecond,
		paaAddr: netip.MustParseAddrPort("10.2.0.1:716"), eap: map[uint32]*fakeServer{}, nodes: map[netip.AddrPort]*node{},
		newEAP: func() *fakeServer { return &fakeServer{rounds: 3} },
	}
	if cfg.Rand == nil {
		cfg.Rand = newSeeded(seed + 1000)
	}
	var err error
	if w.paa, err = NewPAA(cfg); err != nil {
		t.Fatal(err)
	}
	return w
}

// node adds a PaC.
func (w *world) node(addr netip.AddrPort, cfg PaCConfig) *node {
	w.t.Helper()
	n := &node{w: w, addr: addr}
	if cfg.NewEAP == nil {
		cfg.NewEAP = func() (EAPPeer, error) {
			n.peer = &fakePeer{}
			return n.peer, nil
		}
	}
	if cfg.Rand == nil {
		cfg.Rand = newSeeded(w.rnd.Uint64())
	}
	cfg.PAA = w.paaAddr
	var err error
	if n.pac, err = NewPaC(cfg); err != nil {
		w.t.Fatal(err)
	}
	w.nodes[addr] = n
	return n
}

// move changes the node's address.
func (n *node) move(to netip.AddrPort) {
	delete(n.w.nodes, n.addr)
	n.addr = to
	n.w.nodes[to] = n
	n.pac.PathChanged(n.w.now)
	n.flush()
}

func (n *node) do(f func(now time.Time, p *PaC)) {
	f(n.w.now, n.pac)
	n.flush()
}

func (w *world) after(d time.Duration, f func()) {
	w.order++
	heap.Push(&w.events, event{w.now.Add(d), w.order, f})
}

func (w *world) carry(from, to netip.AddrPort, b []byte) {
	if m, err := ParseMessage(b); err == nil {
		w.wire = append(w.wire, m.Name())
	} else {
		w.t.Errorf("malformed message sent: %v", err)
	}
	if w.tap != nil && !w.tap(from, to, b) {
		return
	}
	copies := 1
	if w.rnd.Float64() < w.loss {
		copies = 0
	} else if w.rnd.Float64() < w.dup {
		copies = 2
	}
	for range copies {
		d := w.delay
		if w.jitter > 0 {
			d += time.Duration(w.rnd.Int64N(int64(w.jitter)))
		}
		w.after(d, func() { w.arrive(from, to, bytes.Clone(b)) })
	}
}

// arrive delivers a datagram; the receiver must not keep the buffer.
func (w *world) arrive(from, to netip.AddrPort, b []byte) {
	if to == w.paaAddr {
		w.paa.HandlePacket(w.now, from, b)
		w.flush()
	} else if n := w.nodes[to]; n != nil && !n.off {
		n.pac.HandlePacket(w.now, b)
		n.flush()
	}
	for i := range b {
		b[i] = 0xdb
	}
}

func (n *node) flush() {
	for o, ok := n.pac.Poll(); ok; o, ok = n.pac.Poll() {
		if s, ok := o.(Send); ok {
			if !n.off {
				n.w.carry(n.addr, n.w.paaAddr, s.Data)
			}
			continue
		}
		n.outs = append(n.outs, o)
	}
}

func (w *world) flush() {
	for o, ok := w.paa.Poll(); ok; o, ok = w.paa.Poll() {
		switch o := o.(type) {
		case Send:
			w.carry(w.paaAddr, o.To, o.Data)
		case EAPStart:
			w.eap[o.SID] = w.newEAP()
			w.eap[o.SID].salt = byte(w.rnd.Uint32())
			w.reply(o.SID, w.eap[o.SID].start())
		case EAPResponse:
			w.reply(o.SID, w.eap[o.SID].next(o.Packet))
		default:
			w.outs = append(w.outs, o)
		}
	}
}

func (w *world) reply(sid uint32, r EAPReply) {
	w.after(w.aaa, func() {
		if w.edit != nil {
			w.edit(&r)
		}
		_ = w.paa.EAPReply(w.now, sid, r) // the session may have ended meanwhile
		w.flush()
	})
}

// run lets time pass until done says so, at most limit; it reports whether
// done did.
func (w *world) run(limit time.Duration, done func() bool) bool {
	w.t.Helper()
	end := w.now.Add(limit)
	idle := 0
	for !done() {
		var next time.Time
		pick := func(t time.Time, ok bool) {
			if ok && (next.IsZero() || t.Before(next)) {
				next = t
			}
		}
		if len(w.events) > 0 {
			pick(w.events[0].at, true)
		}
		pick(w.paa.Deadline())
		for _, n := range w.nodes {
			pick(n.pac.Deadline())
		}
		if next.IsZero() || next.After(end) {
			w.now = end
			return done()
		}
		if next.After(w.now) {
			w.now, idle = next, 0
		} else if idle++; idle > 10_000 {
			w.t.Fatal("the clock stands still: a deadline is not served")
		}
		for len(w.events) > 0 && !w.events[0].at.After(w.now) {
			heap.Pop(&w.events).(event).f()
		}
		w.paa.OnDeadline(w.now)
		w.flush()
		for _, n := range w.nodes {
			n.pac.OnDeadline(w.now)
			n.flush()
		}
	}
	return true
}

// pass lets time pass.
func (w *world) pass(d time.Duration) { w.run(d, func() bool { return false }) }

// last returns the newest output of type T.
func last[T Output](outs []Output) (T, bool) {
	for i := len(outs) - 1; i >= 0; i-- {
		if o, ok := outs[i].(T); ok {
			return o, true
		}
	}
	var none T
	return none, false
}

func count[T Output](outs []Output) (n int) {
	for _, o := range outs {
		if _, ok := o.(T); ok {
			n++
		}
	}
	return n
}

// kinds names the outputs in order, for comparison.
func kinds(outs []Output) (names []string) {
	for _, o := range outs {
		names = append(names, fmt.Sprintf("%T", o)[len("pana."):])
	}
	return names
}

func (n *node) closed() error {
	if c, ok := last[Closed](n.outs); ok {
		return c.Reason
	}
	return nil
}

// open runs the node's session until both sides are open.
func (w *world) open(n *node) {
	w.t.Helper()
	n.do(func(now time.Time, p *PaC) { p.Start(now) })
	if !w.run(time.Minute, func() bool {
		return n.pac.State() == PaCOpen && count[Opened](w.outs) > 0 && w.paa.sessions[n.pac.sid].state == paaOpen
	}) {
		w.t.Fatalf("no session: PaC %v, outputs %v, counters %v and %v", n.pac.State(), kinds(n.outs), n.pac.Counters(), w.paa.Counters())
	}
}

func vendorAVP(text string) []AVP {
	return []AVP{{Code: 1, Vendor: VendorID, Data: []byte(text)}}
}

func sameSecret(a, b *keys.Secret) bool { return a.Len() == 64 && a.Equal(b) }
