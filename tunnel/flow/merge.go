package flow

import "time"

const (
	// seenNumbers is how far back of the highest number copies are known: all that a router
	// has kept copies of may follow a packet that came before them.
	seenNumbers = 1 << 16
	// maxWindow bounds MergeLimits.Window.
	maxWindow = 2048
	// oldEpochs is how many numberings that are over are remembered.
	oldEpochs = 4
	// firstNumber stands for number 0 of an epoch: numbers are counted in 64 bits, so
	// that they do not wrap.
	firstNumber = 1 << 32
)

// MergeLimits bounds what a Merge holds back to restore order.
type MergeLimits struct {
	Window int           // numbers from the first one missing to the last one held; at most 2048
	Bytes  int           // octets held at most; 0: bounded by Window alone
	Wait   time.Duration // how long what is behind a missing number waits for it
	// Late lets through what comes after its place was given up: out of order, but once.
	// Without it, it is dropped as "late". What copies were kept of needs it.
	Late bool
}

// MergeStats counts packets. In == Delivered + Queued + the sum of Dropped.
type MergeStats struct {
	In         uint64            `json:"in"`
	Delivered  uint64            `json:"delivered"` // let through at once, or given out by Next
	Queued     uint64            `json:"queued"`    // held now
	Dropped    map[Reason]uint64 `json:"dropped"`
	Held       uint64            `json:"held"`        // were ever held
	HighWater  int               `json:"high_water"`  // most held at a time
	Missing    uint64            `json:"missing"`     // numbers given up
	Late       uint64            `json:"late"`        // of those, delivered after all
	ByDeadline uint64            `json:"by_deadline"` // times a wait ended without the number
	ByLimit    uint64            `json:"by_limit"`    // times numbers were given up for want of room
	Epochs     uint64            `json:"epochs"`      // numberings begun
}

// Merge makes one flow of the copies of one class that come by several ways: each
// number once, and in order, within a window. It has no lock.
type Merge struct {
	limits MergeLimits // fixed after NewMerge

	// owner
	begun  bool
	epoch  uint16
	old    [oldEpochs]uint16
	oldN   int
	base   uint64 // this and before are not of this numbering, or not waited for
	next   uint64 // the number that may go on
	top    uint64 // highest number received
	seen   [seenNumbers / 64]uint64
	slots  []entry // held, by number; the number is next to next+Window-1
	held   int
	bytes  int
	ready  fifo // may go on
	pool   pool
	expiry time.Time // of the wait for next; zero: nothing waits

	in, delivered, everHeld, missing, late uint64
	byDeadline, byLimit, epochs            uint64
	highWater                              int
	drops                                  drops
}

// NewMerge makes a merge. A Window below 1 is 1: nothing is held. One above the most is the most.
func NewMerge(l MergeLimits) *Merge {
	l.Window = min(max(l.Window, 1), maxWindow)
	return &Merge{limits: l, slots: make([]entry, l.Window), pool: pool{most: l.Window}}
}

// Packet takes a packet that came. True: the caller delivers it now, and then what
// Next gives. False: it was copied and waits, or was dropped.
func (m *Merge) Packet(now time.Time, s Shim, pkt []byte) (deliver bool) {
	m.in++
	if !m.begun || s.Epoch != m.epoch {
		if m.wasOver(s.Epoch) {
			m.drops.add(ReasonEpoch, 1)
			return false
		}
		m.begin(s)
	}
	n := uint64(int64(m.top) + int64(int32(s.Number-uint32(m.top))))
	if reason, ok := m.isNew(n); !ok {
		m.drops.add(reason, 1)
		return false
	}
	m.note(n)
	switch {
	case n < m.next:
		if !m.limits.Late {
			m.drops.add(ReasonLate, 1)
			return false
		}
		m.late++
		return m.pass(now, pkt)
	case n-m.next >= uint64(m.limits.Window):
		m.byLimit++
		m.advance(now, n-uint64(m.limits.Window)+1)
	}
	if n == m.next {
		deliver = m.pass(now, pkt)
		m.next++
		m.run(now)
		return deliver
	}
	m.slots[n%uint64(len(m.slots))] = entry{buf: m.pool.copyOf(pkt), at: now, tagged: true}
	m.held++
	m.bytes += len(pkt)
	m.everHeld++
	m.highWater = max(m.highWater, m.held)
	if m.expiry.IsZero() {
		m.expiry = now.Add(m.limits.Wait)
	}
	for m.limits.Bytes > 0 && m.bytes > m.limits.Bytes {
		m.byLimit++
		m.advance(now, m.lowest())
	}
	return false
}

// wasOver says whether an epoch is one that ended.
func (m *Merge) wasOver(epoch uint16) bool {
	for _, e := range m.old[:min(m.oldN, oldEpochs)] {
		if e == epoch {
			return true
		}
	}
	return false
}

// begin takes up another numbering; what is held of the one before goes on.
func (m *Merge) begin(s Shim) {
	if m.begun {
		m.Flush()
		m.old[m.oldN%oldEpochs] = m.epoch
		m.oldN++
		if m.oldN == 2*oldEpochs {
			m.oldN = oldEpochs // full either way
		}
	}
	m.begun, m.epoch = true, s.Epoch
	m.epochs++
	m.base = firstNumber
	if s.Number == 0 || s.Number > uint32(m.limits.Window) {
		m.base = firstNumber + uint64(s.Number) - 1 // in the middle of it: nothing before is waited for
	}
	m.top, m.next = m.base, m.base+1
	m.expiry = time.Time{}
	clear(m.seen[:])
}

// isNew says whether number n was not received before, or why it cannot be told.
func (m *Merge) isNew(n uint64) (Reason, bool) {
	switch {
	case n > m.top:
		return "", true
	case n <= m.base || m.top-n >= seenNumbers:
		return ReasonLate, false
	case m.saw(n):
		return ReasonNumber, false
	}
	return "", true
}

func (m *Merge) saw(n uint64) bool {
	i := n % seenNumbers
	return m.seen[i/64]&(1<<(i%64)) != 0
}

// note remembers that number n was received.
func (m *Merge) note(n uint64) {
	if n > m.top {
		if n-m.top >= seenNumbers {
			clear(m.seen[:])
		} else {
			for k := m.top + 1; k < n; k++ {
				i := k % seenNumbers
				m.seen[i/64] &^= 1 << (i % 64)
			}
		}
		m.top = n
	}
	i := n % seenNumbers
	m.seen[i/64] |= 1 << (i % 64)
}

// pass lets a packet go on: at once, or behind what may go on already.
func (m *Merge) pass(now time.Time, pkt []byte) bool {
	if m.ready.n == 0 {
		m.delivered++
		return true
	}
	m.ready.push(entry{buf: m.pool.copyOf(pkt), at: now})
	return false
}

// slot returns the place of number n if a packet is in it.
func (m *Merge) slot(n uint64) *entry {
	if s := &m.slots[n%uint64(len(m.slots))]; s.tagged {
		return s
	}
	return nil
}

// release moves the packet in a slot to those that may go on.
func (m *Merge) release(s *entry) {
	m.ready.push(entry{buf: s.buf, at: s.at})
	m.held--
	m.bytes -= len(s.buf)
	*s = entry{}
}

// run releases what follows without a gap, and sees what is waited for then.
func (m *Merge) run(now time.Time) {
	for m.held > 0 {
		s := m.slot(m.next)
		if s == nil {
			break
		}
		m.release(s)
		m.next++
	}
	if m.held == 0 {
		m.expiry = time.Time{}
		return
	}
	at := now
	for n := m.next; n < m.next+uint64(len(m.slots)); n++ {
		if s := m.slot(n); s != nil && s.at.Before(at) {
			at = s.at
		}
	}
	m.expiry = at.Add(m.limits.Wait)
}

// advance gives up the numbers before to that are missing.
func (m *Merge) advance(now time.Time, to uint64) {
	for m.held > 0 && m.next < to {
		if s := m.slot(m.next); s != nil {
			m.release(s)
		} else {
			m.missing++
		}
		m.next++
	}
	if m.next < to {
		m.missing += to - m.next
		m.next = to
	}
	m.run(now)
}

// lowest is the lowest number held; there is one.
func (m *Merge) lowest() uint64 {
	n := m.next
	for m.slot(n) == nil {
		n++
	}
	return n
}

// Flush gives up every number that is missing: what is held may go on. It is for a
// receiver that is about to get packets natively, which nothing must wait behind. It
// makes its report after that.
func (m *Merge) Flush() {
	for n := m.next; m.held > 0; n++ {
		if s := m.slot(n); s != nil {
			m.release(s)
		} else {
			m.missing++
		}
		m.next = n + 1
	}
	m.expiry = time.Time{}
}

// Next gives the next packet that was held and may go on; the caller delivers it
// before anything else of this merge, and then gives the buffer back with Recycle.
func (m *Merge) Next() (pkt []byte, ok bool) {
	if m.ready.n == 0 {
		return nil, false
	}
	m.delivered++
	return m.ready.pop(), true
}

// Recycle takes back a packet that Next gave, once, when it has been delivered.
func (m *Merge) Recycle(pkt []byte) { m.pool.put(pkt) }

// Deadline returns when OnDeadline is to be called, if at all.
func (m *Merge) Deadline() (time.Time, bool) { return m.expiry, !m.expiry.IsZero() }

// OnDeadline gives up the numbers that were waited for long enough. The caller
// fetches with Next what that released.
func (m *Merge) OnDeadline(now time.Time) {
	for !m.expiry.IsZero() && !now.Before(m.expiry) {
		m.byDeadline++
		m.advance(now, m.lowest())
	}
}

// Report says what was received of the numbering that goes on now.
func (m *Merge) Report() Report {
	if !m.begun {
		return Report{}
	}
	r := Report{Epoch: m.epoch, Top: uint32(m.top), Words: ReportWords}
	for i := range uint64(ReportWords * 64) {
		if n := m.top - i; n <= m.base || m.saw(n) {
			r.Mask[i/64] |= 1 << (i % 64)
		}
	}
	return r
}

// Release drops everything held as "released": nobody is there to deliver to.
func (m *Merge) Release() {
	m.drops.add(ReasonReleased, uint64(m.held+m.ready.n))
	clear(m.slots)
	m.held, m.bytes, m.expiry = 0, 0, time.Time{}
	m.ready, m.pool.free = fifo{}, nil
}

// Stats returns the counters; it allocates.
func (m *Merge) Stats() MergeStats {
	return MergeStats{
		In: m.in, Delivered: m.delivered, Queued: uint64(m.held + m.ready.n), Dropped: m.drops.report(), Held: m.everHeld,
		HighWater: m.highWater, Missing: m.missing, Late: m.late, ByDeadline: m.byDeadline, ByLimit: m.byLimit, Epochs: m.epochs,
	}
}
