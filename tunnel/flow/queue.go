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
)

// drops counts by reason without a map on the data path.
type drops struct {
	packets, bytes, age, released, limit, send uint64
}

func (d *drops) add(r Reason, n uint64) {
	switch r {
	case ReasonPackets:
		d.packets += n
	case ReasonBytes:
		d.bytes += n
	case ReasonAge:
		d.age += n
	case ReasonLimit:
		d.limit += n
	case ReasonSend:
		d.send += n
	default:
		d.released += n
	}
}

// report returns the reasons that occurred.
func (d *drops) report() map[Reason]uint64 {
	out := make(map[Reason]uint64)
	for _, c := range []struct {
		r Reason
		n uint64
	}{
		{ReasonPackets, d.packets},
		{ReasonBytes, d.bytes},
		{ReasonAge, d.age},
		{ReasonReleased, d.released},
		{ReasonLimit, d.limit},
		{ReasonSend, d.send},
	} {
		if c.n > 0 {
			out[c.r] = c.n
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
	buf []byte
	at  time.Time // when it came
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
		grown := make([]entry, max(16, 2*len(f.ring)))
		for i := range f.n {
			grown[i] = f.ring[(f.head+i)%len(f.ring)]
		}
		f.ring, f.head = grown, 0
	}
	f.ring[(f.head+f.n)%len(f.ring)] = e
	f.n++
	f.bytes += len(e.buf)
}

// first returns the oldest packet; there must be one.
func (f *fifo) first() *entry { return &f.ring[f.head] }

// pop removes and returns the oldest packet; there must be one.
func (f *fifo) pop() []byte {
	buf := f.ring[f.head].buf
	f.ring[f.head] = entry{}
	f.head = (f.head + 1) % len(f.ring)
	f.n--
	f.bytes -= len(buf)
	return buf
}
