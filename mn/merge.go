package mn

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"openmpa/tunnel/flow"
	"openmpa/tunnel/ipip"
)

// Of what comes with numbers. Two copies of a packet, or one and its repetition, are
// apart by the difference of their ways: mergeWait is more than any two access
// networks of one place differ by, and less than what a receiver of speech waits. The
// window is what comes in that time at 10,000 packets a second.
const (
	mergeWindow = 1024
	mergeWait   = 100 * time.Millisecond
)

// merges make one flow of what comes by a tunnel with numbers: each packet once, in
// order within its class. Packets without a number, which come when no copies are made
// any more, pass behind those of their class.
//
//	tunnel.Numbered --> merge of its class --+--> deliver
//	tunnel.Receive  --> flushes that --------+
//
// What is behind a missing number waits for it while others may come by another way,
// or again; when the node has arrived and packets come natively, nothing waits.
type merges struct {
	deliver func(pkt []byte)
	wait    time.Duration // for what is missing; 0: mergeWait

	mu     sync.Mutex
	of     [flow.MaxClass + 1]*flow.Merge
	marked [64]*flow.Merge // by DSCP: the class that its packets belong to
	waits  bool
	timer  *time.Timer
	closed bool
	// again has the numberings of which a router has been told what came: the rest of
	// them it sends natively, and what is still under way by the tunnel with it.
	again [flow.MaxClass + 1]*uint16
	twice uint64 // packets that were under way so
}

// numbered takes what came with a number.
func (m *merges) numbered(s flow.Shim, pkt []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	one := m.of[s.Class] // at most MaxClass: ParseShim reads four bits
	if one == nil {
		one = flow.NewMerge(flow.MergeLimits{Window: mergeWindow, Wait: cmp.Or(m.wait, mergeWait), Late: true})
		m.of[s.Class] = one
	}
	m.marked[ipip.DSCP(pkt)] = one
	if epoch := m.again[s.Class]; epoch != nil && *epoch == s.Epoch {
		m.twice++
		return
	}
	now := time.Now()
	if one.Packet(now, s, pkt) {
		m.deliver(pkt)
	}
	if !m.waits || m.closed {
		one.Flush()
	}
	m.pass(one)
	m.schedule(now)
}

// plain takes what came without one.
func (m *merges) plain(pkt []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if one := m.marked[ipip.DSCP(pkt)]; one != nil {
		one.Flush()
		m.pass(one)
	}
	m.deliver(pkt)
}

// expect has packets wait for missing ones from now on, or no longer.
func (m *merges) expect(more bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.waits = more; !more {
		m.flush()
	}
}

// over lets everything pass: what has come is all of it.
func (m *merges) over() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.flush()
	m.schedule(time.Now())
}

// flush lets everything pass; the caller holds mu.
func (m *merges) flush() {
	for _, one := range m.of {
		if one != nil {
			one.Flush()
			m.pass(one)
		}
	}
}

// pass delivers what a merge has let go; the caller holds mu.
func (m *merges) pass(one *flow.Merge) {
	for pkt, ok := one.Next(); ok; pkt, ok = one.Next() {
		m.deliver(pkt)
		one.Recycle(pkt)
	}
}

// schedule sets the timer to the first deadline; the caller holds mu.
func (m *merges) schedule(now time.Time) {
	var first time.Time
	for _, one := range m.of {
		if one == nil {
			continue
		}
		if at, ok := one.Deadline(); ok && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	switch {
	case first.IsZero():
		if m.timer != nil {
			m.timer.Stop()
		}
	case m.timer == nil:
		m.timer = time.AfterFunc(first.Sub(now), m.onDeadline)
	default:
		m.timer.Reset(first.Sub(now))
	}
}

func (m *merges) onDeadline() {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	for _, one := range m.of {
		if one != nil {
			one.OnDeadline(now)
			m.pass(one)
		}
	}
	m.schedule(now)
}

// land ends the waiting, as packets come natively now, and says what has come until
// here. copied says that the router sends again what is not in that.
func (m *merges) land(copied bool) []flow.Receipt {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waits = false
	m.flush()
	list := m.report()
	for _, r := range list {
		if copied {
			m.again[r.Class] = &r.Report.Epoch
		}
	}
	return list
}

// receipts say what has come, by class.
func (m *merges) receipts() []flow.Receipt {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.report()
}

// report is receipts; the caller holds mu.
func (m *merges) report() (list []flow.Receipt) {
	for class, one := range m.of {
		if one != nil && len(list) < flow.MaxReceipts {
			list = append(list, flow.Receipt{Class: uint8(class), Report: one.Report()})
		}
	}
	return list
}

// doubled counts what came by the tunnel and is sent natively, too.
func (m *merges) doubled() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.twice
}

// stats are those of each class of which something came.
func (m *merges) stats() map[uint8]flow.MergeStats {
	m.mu.Lock()
	defer m.mu.Unlock()
	var s map[uint8]flow.MergeStats
	for class, one := range m.of {
		if one != nil {
			if s == nil {
				s = map[uint8]flow.MergeStats{}
			}
			s[uint8(class)] = one.Stats()
		}
	}
	return s
}

// comesAgain is the reason of a drop: see merges.again.
const comesAgain = "downlink: comes again natively"

// MergeStatus is what came through the tunnel of a network with numbers.
type MergeStatus struct {
	Network string `json:"network"`
	Class   uint8  `json:"class"` // as its router numbers them
	flow.MergeStats
}

// merged is the status of c's merges; c may be nil.
func (c *candidate) merged() (out []MergeStatus) {
	if c == nil || c.path == nil {
		return nil
	}
	stats := c.path.merges.stats()
	for _, class := range slices.Sorted(maps.Keys(stats)) {
		out = append(out, MergeStatus{c.net.Name, class, stats[class]})
	}
	return out
}

// close ends it: what still waits has come, and is delivered, and so is what a reader
// has in hand.
func (m *merges) close() {
	m.expect(false)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	m.schedule(time.Now())
}
