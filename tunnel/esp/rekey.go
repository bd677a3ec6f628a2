package esp

import (
	"errors"
	"fmt"
	"time"
)

// DefaultMargin is how many sequence numbers before the last one a successor is
// wanted: 268 s at a million packets a second.
const DefaultMargin = 1 << 28

// ErrRekeying: a successor stands ready already, or none does.
var ErrRekeying = errors.New("esp: rekeying out of turn")

// Pair is both halves of a security association.
type Pair struct {
	In  *Inbound
	Out *Outbound
}

// RekeyLimits says when a pair is to be replaced, and how. A zero field sets no bound.
type RekeyLimits struct {
	Age     time.Duration // from then on a successor is wanted; below the hard lifetime by the time a rekeying takes
	Packets uint64        // of either direction, as Age
	Octets  uint64        // of either direction, as Age
	Margin  uint32        // sequence numbers that must be left; zero means DefaultMargin
	// Linger is how long what was sealed before the change is accepted: longer than any
	// packet is on its way.
	Linger time.Duration
	// Patience is how long a successor that the peer does not use is kept: longer than
	// the peer that asked waits for the answer.
	Patience time.Duration
}

// sayAgain is how often each end says that it seals by a new pair while what that replaced
// lingers: a dummy packet may be lost, and nothing else be sent.
const sayAgain = time.Second

// hardAfter is for how long at least a successor may be asked for in vain.
const hardAfter = 5 * time.Minute

// Hard is the age at which a pair that was not replaced in time is of no use any more
// (RFC 4301 section 4.4.2.1); zero: none.
func (l RekeyLimits) Hard() time.Duration {
	if l.Age == 0 {
		return 0
	}
	return l.Age + max(l.Age, hardAfter)
}

// Rotation replaces the pair of a tunnel, make before break. Of two peers one asks:
//
//	asks                                      answers
//	Due
//	request: SPI, nonce ------------------->  Offer(next): accepts by old and new, seals by old
//	             <------------------- answer: SPI, nonce
//	Offer(next), Confirm: accepts by old
//	and new, seals by new                ---> Arrived: seals by new as well
//	             <--------------------------
//	drops old Linger after that               drops old Linger after that
//	             <-- while one of them has old, it says every second that it seals by new -->
//
// At every moment each accepts what the other seals by, so nothing is lost however
// long the answer takes. It is pure, and has no lock. Both may find a successor due;
// which of them asks is for the signalling to settle, since there is room for one.
type Rotation struct {
	limits RekeyLimits // fixed after NewRotation

	current Pair
	born    time.Time // of current
	next    *Pair
	offered time.Time // when next was
	old     *Inbound
	dropAt  time.Time // of old; zero: the peer was not seen to seal by the current one yet
	said    time.Time // that current seals
}

// NewRotation begins with a pair.
func NewRotation(now time.Time, p Pair, l RekeyLimits) *Rotation {
	if l.Margin == 0 {
		l.Margin = DefaultMargin
	}
	return &Rotation{limits: l, current: p, born: now}
}

// Current is the pair that seals.
func (r *Rotation) Current() Pair { return r.current }

// Inbounds returns every half by which packets are accepted now, the current one first.
func (r *Rotation) Inbounds() []*Inbound {
	in := []*Inbound{r.current.In}
	if r.next != nil {
		in = append(in, r.next.In)
	}
	if r.old != nil {
		in = append(in, r.old)
	}
	return in
}

// Due says whether a successor is wanted, and one may be offered: not while one stands
// ready, or what the last one replaced lingers.
func (r *Rotation) Due(now time.Time) bool {
	if r.next != nil || r.old != nil {
		return false
	}
	in, out := r.current.In.Stats(), r.current.Out.Stats()
	l := &r.limits
	return l.Age > 0 && now.Sub(r.born) >= l.Age ||
		l.Packets > 0 && max(in.Packets, out.Packets) >= l.Packets ||
		l.Octets > 0 && max(in.Octets, out.Octets) >= l.Octets ||
		max(in.Sequence, out.Sequence) >= MaxSequence-l.Margin
}

// Offer has a successor stand ready: from here on it accepts. It fails with
// ErrRekeying when another one does, when what the last one replaced lingers, or when
// the SPI is in use already.
func (r *Rotation) Offer(now time.Time, next Pair) error {
	if next.In == nil || next.Out == nil {
		return errors.New("esp: both halves of the successor are needed")
	}
	if r.next != nil {
		return fmt.Errorf("%w: successor %#08x stands ready, confirm or abandon it first", ErrRekeying, r.next.In.SPI())
	}
	if r.old != nil {
		return fmt.Errorf("%w: %#08x lingers since the change before, try again later", ErrRekeying, r.old.SPI())
	}
	for _, in := range r.Inbounds() {
		if in.SPI() == next.In.SPI() {
			return fmt.Errorf("%w: SPI %#08x is in use", ErrRekeying, next.In.SPI())
		}
	}
	r.next, r.offered = &next, now
	return nil
}

// Confirm makes the successor the current pair: the peer is known to accept by it.
// What it replaces accepts until the peer was seen to seal by the successor and Linger
// is over. Whoever changes sends something at once, so that the other sees it.
func (r *Rotation) Confirm(now time.Time) error {
	if r.next == nil {
		return fmt.Errorf("%w: no successor stands ready", ErrRekeying)
	}
	r.old, r.dropAt = r.current.In, time.Time{}
	r.current, r.born, r.said, r.next = *r.next, now, now, nil
	return nil
}

// Arrived is told by which SPI a packet was accepted. True: the peer seals by the
// successor, hence accepts by it, and it has become the current pair.
func (r *Rotation) Arrived(now time.Time, spi uint32) (changed bool) {
	if r.next != nil && r.next.In.SPI() == spi {
		changed = r.Confirm(now) == nil
	}
	if r.old != nil && r.dropAt.IsZero() && r.current.In.SPI() == spi {
		r.dropAt = now.Add(r.limits.Linger)
	}
	return changed
}

// Abandon gives a successor up, and says whether there was one: the request had no answer.
func (r *Rotation) Abandon() bool {
	if r.next == nil {
		return false
	}
	r.next = nil
	return true
}

// Deadline returns when OnDeadline is to be called, if at all: for Due by age, for a
// successor nobody uses, for what lingers, or for the peer to be told again.
func (r *Rotation) Deadline() (at time.Time, ok bool) {
	sooner := func(t time.Time) {
		if !ok || t.Before(at) {
			at, ok = t, true
		}
	}
	if r.old != nil && !r.dropAt.IsZero() {
		sooner(r.dropAt)
	}
	if again := r.said.Add(sayAgain); r.says(again) {
		sooner(again)
	}
	switch {
	case r.next != nil && r.limits.Patience > 0:
		sooner(r.offered.Add(r.limits.Patience))
	case r.next == nil && r.old == nil && r.limits.Age > 0:
		sooner(r.born.Add(r.limits.Age))
	}
	return at, ok
}

// says reports whether the peer is to be told at that time what seals: as long as what that
// replaced lingers, and the peer may have the successor still.
func (r *Rotation) says(at time.Time) bool {
	return r.old != nil && at.Sub(r.born) <= r.limits.Patience+r.limits.Linger
}

// OnDeadline drops what has lingered, and a successor that was not used. True: something
// is to be sent to the peer, so that it sees what seals. Whether a successor
// is wanted is Due's to say: it stays so until Offer.
func (r *Rotation) OnDeadline(now time.Time) (say bool) {
	if r.old != nil && !r.dropAt.IsZero() && !now.Before(r.dropAt) {
		r.old = nil
	}
	if r.next != nil && r.limits.Patience > 0 && now.Sub(r.offered) >= r.limits.Patience {
		r.Abandon()
	}
	if say = now.Sub(r.said) >= sayAgain && r.says(now); say {
		r.said = now
	}
	return say
}
