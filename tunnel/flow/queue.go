package flow

import "time"

// Limits bounds what is held.
type Limits struct {
	Packets int           // packets held at most; 0: none are held
	Bytes   int           // octets held at most; 0: bounded by Packets alone
	MaxAge  time.Duration // a packet held longer is dropped; 0: never. A Gate has its own deadline instead
}

// Reason says why a packet was dropped.
type Reason string

// The reasons.
const (
	ReasonPackets  Reason = "buffer packets" // Limits.Packets were held
	ReasonBytes    Reason = "buffer bytes"   // Limits.Bytes would have been exceeded
	ReasonAge      Reason = "age"            // held longer than Limits.MaxAge
	ReasonReleased Reason = "released"       // came, or was held, when delivery ended
	ReasonLimit    Reason = "limit"          // held when the router ended delivery to save itself
	ReasonSend     Reason = "send failed"    // given out, but the owner could not send it
	ReasonPolicy   Reason = "policy"         // of a class that is not held (Options.Pass)
	ReasonShare    Reason = "shared bound"   // the visitor had its share of the router's memory
	ReasonNumber   Reason = "duplicate"      // the other copy was first (Merge)
	ReasonLate     Reason = "late"           // after its place in the order was given up (Merge)
	ReasonEpoch    Reason = "epoch"          // of a numbering that is over (Merge)
)

var reasons = [...]Reason{
	ReasonReleased, ReasonPackets, ReasonBytes, ReasonAge, ReasonLimit, ReasonSend, ReasonPolicy, ReasonShare,
	ReasonNumber, ReasonLate, ReasonEpoch,
}

// drops counts by reason without a map on the data path; the index is the reason's
// place in reasons.
type drops [len(reasons)]uint64

// add counts under a reason; what is none counts as released.
func (d *drops) add(r Reason, n uint64) {
	for i := range reasons {
		if reasons[i] == r {
			d[i] += n
			return
		}
	}
	d[0] += n
}

// report returns the reasons that occurred.
func (d *drops) report() map[Reason]uint64 {
	out := make(map[Reason]uint64)
	for i, n := range d {
		if n > 0 {
			out[reasons[i]] = n
		}
	}
	return out
}

// bufferSize is the capacity of a pooled buffer; larger packets get their own.
const bufferSize = 2048

// pool keeps buffers between packets.
type pool struct {
	free [][]byte
	most int // buffers kept
}

// copyOf returns a copy of pkt in a buffer of the pool.
func (p *pool) copyOf(pkt []byte) []byte {
	var buf []byte
	if n := len(p.free); n > 0 && len(pkt) <= bufferSize {
		buf = p.free[n-1]
		p.free[n-1] = nil
		p.free = p.free[:n-1]
	} else {
		buf = make([]byte, 0, max(len(pkt), bufferSize))
	}
	return append(buf[:0], pkt...)
}

// put takes a buffer back. Those of unusual size go to the garbage collector, so
// that a burst of large packets leaves nothing behind.
func (p *pool) put(buf []byte) {
	if cap(buf) == bufferSize && len(p.free) < p.most {
		p.free = append(p.free, buf[:0])
	}
}

// entry is a packet held.
type entry struct {
	buf    []byte
	at     time.Time // when it came
	number uint32    // of the common numbering, if numbered
	tagged bool      // it has a number
	unsent bool      // a copy, of what did not leave
}

// fifo is a ring of packets that grows as needed and keeps its memory.
type fifo struct {
	ring  []entry
	head  int
	n     int
	bytes int
}

func (f *fifo) push(e entry) {
	if f.n == len(f.ring) {
		f.grow()
	}
	f.ring[(f.head+f.n)%len(f.ring)] = e
	f.n++
	f.bytes += len(e.buf)
}

func (f *fifo) grow() {
	grown := make([]entry, max(16, 2*len(f.ring)))
	for i := range f.n {
		grown[i] = *f.get(i)
	}
	f.ring, f.head = grown, 0
}

// get returns the i-th oldest packet; there must be one.
func (f *fifo) get(i int) *entry { return &f.ring[(f.head+i)%len(f.ring)] }

// pushFront puts a packet before all others.
func (f *fifo) pushFront(e entry) {
	if f.n == len(f.ring) {
		f.grow()
	}
	f.head = (f.head + len(f.ring) - 1) % len(f.ring)
	f.ring[f.head] = e
	f.n++
	f.bytes += len(e.buf)
}

// takeLast removes and returns the newest packet; there must be one.
func (f *fifo) takeLast() entry {
	f.n--
	last := f.get(f.n)
	e := *last
	*last = entry{}
	f.bytes -= len(e.buf)
	return e
}

// first returns the oldest packet; there must be one.
func (f *fifo) first() *entry { return &f.ring[f.head] }

// pop removes and returns the oldest packet; there must be one.
func (f *fifo) pop() []byte { return f.take().buf }

// take is pop for all that is known of the packet.
func (f *fifo) take() entry {
	e := f.ring[f.head]
	f.ring[f.head] = entry{}
	f.head = (f.head + 1) % len(f.ring)
	f.n--
	f.bytes -= len(e.buf)
	return e
}
