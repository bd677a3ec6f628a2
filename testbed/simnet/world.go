package simnet

import (
	"container/heap"
	"fmt"
	"sync"
	"time"
)

// World is one simulated network and its clock's hands.
type World struct {
	// fixed after New
	seed uint64
	wake chan struct{}
	done chan struct{}
	wg   sync.WaitGroup

	mu       sync.Mutex // guards everything below, and every machine, bridge and cable
	events   eventHeap
	order    uint64
	closed   bool
	machines []*Machine
	cables   []*Cable
	nextMAC  uint32
	trace    trace
	watch    Watcher
}

// A Watcher is told of every packet that the network loses or doubles, and of
// those that enter or leave a daemon. It is called with the network's lock held.
type Watcher interface {
	// Lost: pkt went no further, at a cable or machine, for a reason.
	Lost(where string, reason Reason, pkt []byte)
	// Doubled: a cable delivers pkt twice.
	Doubled(where string, pkt []byte)
	// Taken: pkt, from a TUN, an IP-in-IP or an ESP socket, is a daemon's now. Of IP
	// in IP it is the inner packet, of ESP the whole outer one.
	Taken(machine string, by Via, pkt []byte)
	// Given: a daemon gave pkt to the network, likewise.
	Given(machine string, by Via, pkt []byte)
}

// Via is what a daemon has a packet from, or gives it to.
type Via string

// The three ways.
const (
	ViaTUN  Via = "TUN"
	ViaIPIP Via = "IP in IP"
	ViaESP  Via = "ESP"
)

// Reason says why the network dropped a packet.
type Reason string

// The reasons.
const (
	ReasonLoss       Reason = "lost on the cable"
	ReasonUnplugged  Reason = "under way when the cable was unplugged"
	ReasonCarrier    Reason = "no carrier"
	ReasonForeign    Reason = "for another machine"
	ReasonNoForward  Reason = "not forwarded by this machine"
	ReasonNoRoute    Reason = "no route"
	ReasonNoSocket   Reason = "no socket"
	ReasonQueue      Reason = "queue full"
	ReasonTTL        Reason = "TTL"
	ReasonUnresolved Reason = "neighbour not resolved"
	ReasonMalformed  Reason = "malformed"
	ReasonClosed     Reason = "in a queue when it was closed"
)

// New makes a network without machines, inside a synctest bubble if virtual time
// is wanted. watch may be nil.
func New(seed uint64, watch Watcher) *World {
	w := &World{seed: seed, wake: make(chan struct{}, 1), done: make(chan struct{}), watch: watch}
	w.trace.start, w.trace.limit = time.Now(), traceLength
	w.wg.Go(w.run)
	return w
}

// Close stops the network: nothing is carried any more.
func (w *World) Close() {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.done)
	}
	w.mu.Unlock()
	w.wg.Wait()
}

// After runs fn, with nothing locked, in d from now, unless the network is closed
// before.
func (w *World) After(d time.Duration, fn func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at(time.Now().Add(d), func() {
		w.wg.Go(fn)
	})
}

// Note writes a line into the trace.
func (w *World) Note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note("", fmt.Sprintf(format, args...), nil)
}

// Trace are the last lines of what happened, oldest first.
func (w *World) Trace() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.trace.lines()
}

// event is what happens at a time; those of the same time in the order of at.
type event struct {
	at    time.Time
	order uint64
	do    func() // with mu held
}

type eventHeap []event

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	return h[i].at.Before(h[j].at) || h[i].at.Equal(h[j].at) && h[i].order < h[j].order
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)   { *h = append(*h, x.(event)) }
func (h *eventHeap) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = event{}
	*h = (*h)[:last]
	return e
}

// at has do run at t, with mu held. The caller holds mu.
func (w *World) at(t time.Time, do func()) {
	w.order++
	first := len(w.events) == 0 || t.Before(w.events[0].at)
	heap.Push(&w.events, event{t, w.order, do})
	if first {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

func (w *World) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		w.mu.Lock()
		wait := time.Hour
		for len(w.events) > 0 && !w.closed {
			if wait = time.Until(w.events[0].at); wait > 0 {
				break
			}
			heap.Pop(&w.events).(event).do()
			wait = time.Hour
		}
		w.mu.Unlock()
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-w.wake:
		case <-w.done:
			return
		}
	}
}

// mix makes one number of several: the same in every process.
func mix(parts ...uint64) uint64 {
	h := uint64(0x9e3779b97f4a7c15)
	for _, p := range parts { // splitmix64, chained
		h += p + 0x9e3779b97f4a7c15
		h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
		h = (h ^ h>>27) * 0x94d049bb133111eb
		h ^= h >> 31
	}
	return h
}

func (w *World) lost(where string, reason Reason, pkt []byte) {
	w.note(where, "DROP "+string(reason), pkt)
	if w.watch != nil {
		w.watch.Lost(where, reason, pkt)
	}
}

func (w *World) taken(m *Machine, by Via, pkt []byte) {
	w.note(m.name, "to the daemon by "+string(by), pkt)
	if w.watch != nil {
		w.watch.Taken(m.name, by, pkt)
	}
}

func (w *World) given(m *Machine, by Via, pkt []byte) {
	w.note(m.name, "from the daemon by "+string(by), pkt)
	if w.watch != nil {
		w.watch.Given(m.name, by, pkt)
	}
}
