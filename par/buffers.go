package par

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"openmpa/tunnel/flow"
)

// Buffer bounds what a router holds for nodes that are away. The zero Buffer holds nothing.
type Buffer struct {
	Each       flow.Limits   // of one visitor's class at most; MaxAge: of classes that say nothing
	All        flow.Limits   // of all visitors together; MaxAge is not used
	Guaranteed flow.Limits   // to each visitor, whatever the others have; MaxAge is not used
	Gap        time.Duration // how long a node is away, until such a move was measured
	Spare      float64       // part on top of what is expected: 0.25 is a quarter more
}

// DefaultBuffer is for a router with some ten nodes that move at a time. A packet that
// is held takes 2 KiB, whatever its size.
func DefaultBuffer() Buffer {
	return Buffer{
		Each:       flow.Limits{Packets: 32768, Bytes: 64 << 20, MaxAge: 10 * time.Second},
		All:        flow.Limits{Packets: 32768, Bytes: 64 << 20},
		Guaranteed: flow.Limits{Packets: 16, Bytes: 24 << 10},
		Gap:        500 * time.Millisecond,
		Spare:      0.25,
	}
}

// Check says what of it cannot be, if so.
func (b Buffer) Check() error {
	switch {
	case b.Guaranteed.Packets > b.All.Packets || b.Guaranteed.Bytes > b.All.Bytes:
		return fmt.Errorf("%d packets and %d octets guaranteed to each visitor, but only %d and %d for all together: guarantee less",
			b.Guaranteed.Packets, b.Guaranteed.Bytes, b.All.Packets, b.All.Bytes)
	case !(b.Spare >= 0 && b.Spare <= 100): // written so that NaN does not pass
		return fmt.Errorf("a spare part of %g on top of what is expected: expected 0 to 100", b.Spare)
	case b.Gap < 0:
		return fmt.Errorf("a gap of %v: expected 0 or more", b.Gap)
	}
	return nil
}

const (
	// gapsKept bounds the memory of moves: some 300 octets each.
	gapsKept = 4096
	// gapLife is how long a move is remembered that nobody makes any more.
	gapLife = 7 * 24 * time.Hour
	// placeBits are those of an address by which two nodes are in the same network, as
	// far as a router elsewhere can tell.
	placeBits4 = 24
	placeBits6 = 64
)

// buffers is what all visitors share: memory, and what is known of moves.
type buffers struct {
	cfg     Buffer        // fixed
	classes *flow.Classes // fixed
	bank    *flow.Bank    // has its own lock

	mu   sync.Mutex // a leaf
	gaps *flow.Gaps
}

func newBuffers(cfg Buffer, classes *flow.Classes) *buffers {
	return &buffers{
		cfg: cfg, classes: classes, bank: flow.NewBank(cfg.All.Packets, cfg.All.Bytes),
		gaps: flow.NewGaps(gapsKept, gapLife),
	}
}

// gap is what is known of a move.
func (b *buffers) gap(now time.Time, m flow.Move) flow.Gap {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.gaps.Of(now, m)
}

func (b *buffers) learn(now time.Time, m flow.Move, took time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gaps.Add(now, m, took)
}

func (b *buffers) status() BufferStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	return BufferStatus{BankStats: b.bank.Stats(), MostPackets: b.cfg.All.Packets, MostBytes: b.cfg.All.Bytes, Moves: b.gaps.Len()}
}

// here is the name of the router's own access link in a flow.Move.
const here = "here"

// place names the network that an address is in, as far as anybody else can tell; ""
// for no address.
func place(a netip.Addr) string {
	a = a.Unmap()
	if !a.IsValid() {
		return ""
	}
	bits := placeBits4
	if a.Is6() {
		bits = placeBits6
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return ""
	}
	return p.String()
}

// room is one visitor's part of the buffers. It is guarded by the visitor's mu.
type room struct {
	b       *buffers
	account *flow.Account
	sizer   *flow.Sizer
	move    flow.Move // that is under way
	since   time.Time // it is; zero: none is
	expect  time.Duration
}

// open gives a visitor its part. When no more can be guaranteed it has what others leave.
func (b *buffers) open() *room {
	account, err := b.bank.Open(b.cfg.Guaranteed.Packets, b.cfg.Guaranteed.Bytes)
	if err != nil {
		account, _ = b.bank.Open(0, 0) // which is never too much
	}
	return &room{b: b, account: account, sizer: flow.NewSizer(flow.Sizing{
		Least: b.cfg.Guaranteed, Most: b.cfg.Each, Gap: b.cfg.Gap, Spare: b.cfg.Spare,
	}, b.classes)}
}

// came counts a packet for the visitor, in whatever mode it comes.
func (r *room) came(now time.Time, class, size int) {
	if r.sizer.Came(now, class, size) {
		r.claim(r.sizer.Size())
	}
}

// away begins the hold for a visitor that moves.
func (r *room) away(now time.Time, m flow.Move) {
	if !r.since.IsZero() {
		return
	}
	r.move, r.since = m, now
	l := r.sizer.Away(now, r.b.gap(now, m))
	r.expect = r.sizer.Until().Sub(now)
	r.claim(l)
}

func (r *room) claim(l flow.Limits) { r.account.Claim(l.Packets, l.Bytes) }

// found says that the node that was away is on our link, or is not: if that is where it
// wanted to be, how long it took is remembered. ended follows.
func (r *room) found(now time.Time, isHere bool) {
	if !r.since.IsZero() && isHere == (r.move.To == here) {
		r.b.learn(now, r.move, now.Sub(r.since))
	}
}

// ended ends the hold, whatever became of the node. It returns what is to be told of the
// hold, nothing of a node that was not away. What is still queued keeps its room.
func (r *room) ended() []any {
	if r.since.IsZero() {
		return nil
	}
	r.since = time.Time{}
	r.sizer.Back()
	r.account.Unclaim()
	size := r.sizer.Size()
	return []any{"expected_ms", float64(r.expect) / 1e6, "sized_packets", size.Packets, "sized_bytes", size.Bytes}
}

// makeRoom begins the hold of a visitor that leaves us, or comes to us; the caller holds mu.
func (v *visitor) makeRoom() {
	m := flow.Move{Node: v.identity, From: here}
	if !v.here {
		m.From, m.To = place(v.tunnel.Peer().Addr()), here
	}
	v.room.away(time.Now(), m)
}

// ageEvery is how often the router looks for packets that are too old, though nothing
// comes for their visitors any more, for memory that nothing is in, which is for others, and
// for tunnels that have lingered long enough.
const ageEvery = 500 * time.Millisecond

// ageing drops what is held too long, and gives back what holds nothing.
func (r *Router) ageing() {
	ticker := time.NewTicker(ageEvery)
	defer ticker.Stop()
	for {
		select {
		case <-r.ctx.Done():
			return
		case now := <-ticker.C:
			for _, v := range r.visitors() {
				v.age(now)
			}
		}
	}
}

func (v *visitor) age(now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if at, ok := v.group.Deadline(); ok && !now.Before(at) {
		v.group.OnDeadline(now)
	}
	v.group.Forget(now.Add(-v.r.cfg.Unused))
	v.group.Rest()
	v.lateGone(now, mostLate)
}

// status is what the room knows by itself.
func (r *room) status(now time.Time) RoomStatus {
	size := r.sizer.Size()
	return RoomStatus{
		Sized: size.Packets, SizedFor: size.Bytes, GapMS: float64(r.expect) / 1e6, Arriving: 8 * r.sizer.Arriving(now),
		Overdue: !r.since.IsZero() && now.After(r.sizer.Until()),
	}
}

// close gives everything back.
func (r *room) close() { r.account.Close() }
