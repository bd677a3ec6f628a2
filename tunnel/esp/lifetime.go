package esp

import "sync/atomic"

// Lifetime bounds how much one SA may protect (RFC 4301 section 4.4.2.1). A
// zero field sets no bound. Reaching a soft bound calls the hook given to
// SetLifetime, so that a successor can be made; at a hard bound the SA refuses
// work with ErrExpired. Octets are those of inner packets.
type Lifetime struct {
	SoftPackets, HardPackets uint64
	SoftOctets, HardOctets   uint64
}

// life counts the use of one SA. All its methods may run concurrently, except
// set, which comes before first use.
type life struct {
	limit Lifetime // fixed after set
	soft  func()   // fixed after set

	packets, octets atomic.Uint64
	warned, expired atomic.Bool
}

func (l *life) set(limit Lifetime, soft func()) {
	l.limit, l.soft = limit, soft
}

// over tells whether the hard lifetime has ended.
func (l *life) over() bool {
	return l.expired.Load() ||
		l.limit.HardPackets != 0 && l.packets.Load() >= l.limit.HardPackets ||
		l.limit.HardOctets != 0 && l.octets.Load() >= l.limit.HardOctets
}

// use counts one inner packet of n octets and calls the hook at the soft bound.
func (l *life) use(n int) {
	p, o := l.packets.Add(1), l.octets.Add(uint64(n))
	if l.soft == nil {
		return
	}
	if l.limit.SoftPackets != 0 && p >= l.limit.SoftPackets ||
		l.limit.SoftOctets != 0 && o >= l.limit.SoftOctets {
		if l.warned.CompareAndSwap(false, true) {
			l.soft()
		}
	}
}
