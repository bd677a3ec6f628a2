package traffic

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"openmpa/testbed/space"
)

// An Endpoint is where a flow begins or ends.
type Endpoint struct {
	Space *space.Space
	Addr  netip.Addr
}

// A Spec describes one direction of a flow.
type Spec struct {
	Name     string
	ID       uint32 // flows that could meet have different ones
	From, To Endpoint
	Port     uint16 // at both ends
	Rate     Rate
	// OnArrival, when set, is told of each datagram on the receiver's
	// goroutine; it must not block.
	OnArrival func(Arrival)
}

// A Flow sends in one direction and records what arrives.
type Flow struct {
	// Fixed after start.
	spec   Spec
	out    int // descriptors
	in     int
	sender sync.WaitGroup
	reader sync.WaitGroup
	once   sync.Once

	// Atomic.
	stopSend atomic.Bool
	stopRead atomic.Bool
	nSent    atomic.Int64
	nSeen    atomic.Int64 // datagrams of the flow that arrived, duplicates too
	nOnce    atomic.Int64 // the same, each number once
	overrun  atomic.Uint32

	// Owned by the sender until it has ended.
	sent   []int64
	late   []time.Duration // after it was due, by number
	failed int
	stalls int
	err    error

	// Guarded by mu.
	mu       sync.Mutex
	arrivals []Arrival
}

// Open opens the sockets of a flow at both ends and starts to receive.
// Nothing is sent before Start; Close must follow.
func Open(spec Spec) (*Flow, error) {
	if spec.Rate.Payload < headerLen {
		return nil, fmt.Errorf("traffic: %s: a datagram needs %d octets", spec.Name, headerLen)
	}
	in, err := receiveSocket(spec.To, spec.Port)
	if err != nil {
		return nil, fmt.Errorf("traffic: %s: receive at %v: %w", spec.Name, spec.To.Addr, err)
	}
	out, err := sendSocket(spec.From, spec.Port)
	if err != nil {
		closeFD(in)
		return nil, fmt.Errorf("traffic: %s: send from %v: %w", spec.Name, spec.From.Addr, err)
	}
	f := &Flow{spec: spec, in: in, out: out}
	f.reader.Add(1)
	go f.receive()
	return f, nil
}

// Start begins to send; it does so once.
func (f *Flow) Start() {
	f.once.Do(func() {
		f.sender.Add(1)
		go f.send()
	})
}

// StopSending has the sender end with what it does just now, and does not
// wait for it: it may be called from OnArrival.
func (f *Flow) StopSending() { f.stopSend.Store(true) }

// Stop ends the sender, then waits until everything that was sent has
// arrived, or nothing has come for quiet.
func (f *Flow) Stop(quiet time.Duration) {
	f.once.Do(func() {}) // a later Start does nothing
	f.stopSend.Store(true)
	f.sender.Wait()
	seen := f.nOnce.Load()
	for last := time.Now(); seen < f.nSent.Load() && time.Since(last) < quiet; {
		time.Sleep(2 * time.Millisecond)
		if now := f.nOnce.Load(); now != seen {
			seen, last = now, time.Now()
		}
	}
}

// Close ends the flow and gives its sockets back.
func (f *Flow) Close() error {
	f.Stop(0)
	f.stopRead.Store(true)
	f.reader.Wait()
	return errors.Join(closeFD(f.in), closeFD(f.out))
}

// Sent is the number of datagrams sent so far, Seen of those that arrived.
func (f *Flow) Sent() int64 { return f.nSent.Load() }

// Seen is the number of datagrams that arrived so far, duplicates included.
func (f *Flow) Seen() int64 { return f.nSeen.Load() }

// Arrivals are the datagrams that came in so far, in order.
func (f *Flow) Arrivals() []Arrival {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Arrival(nil), f.arrivals...)
}

// SentTimes are the times of sending by number. Call it after Stop.
func (f *Flow) SentTimes() []int64 { return f.sent }

// Stats analyzes the flow. Call it after Stop. The error says that the lab
// itself could not keep up, so that the figures are worth nothing.
func (f *Flow) Stats() (Stats, error) {
	s := Analyze(f.sent, f.Arrivals())
	s.SendErrors = f.failed
	if len(f.late) > 0 {
		late := slices.Sorted(slices.Values(f.late))
		s.MedianLate, s.P99Late = nearestRank(late, 50), nearestRank(late, 99)
	}
	if f.err != nil {
		return s, fmt.Errorf("traffic: %s: %w", f.spec.Name, f.err)
	}
	if n := f.overrun.Load(); n > 0 {
		return s, fmt.Errorf("traffic: %s: the lab's own receiver was too slow for %d datagrams", f.spec.Name, n)
	}
	return s, nil
}

// Stalls counts how often the sender was held up too long to catch up.
func (f *Flow) Stalls() int { return f.stalls }
