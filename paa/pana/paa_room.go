package pana

import (
	"hash/maphash"
	"net/netip"
	"time"
)

// What a PAA has for those that nobody has authenticated yet: so many PAR[S] a second, and
// so many sessions. The first is shared by source addresses, which may be spoofed; the
// second by those that were proven by a PAN[S], and of which one gives way to another's when
// all is taken: whoever begins sessions and does no more keeps nobody out.

// pciHosts is how many limits there are, which the source addresses share that fall into one. So many
// that a flood of spoofed addresses at the PAA's whole rate leaves all but few of them open.
const pciHosts = 1 << 14

// sourceLimits is a token bucket for each of pciHosts parts of the source addresses: when the
// tokens that were taken will have come.
type sourceLimits struct {
	seed  maphash.Seed // spreads addresses unpredictably
	every int64        // ns
	burst int64        // ns
	since time.Time    // of the first, so that a clock that is set changes nothing
	full  []int64      // ns from then
}

func newSourceLimits(rate float64) sourceLimits {
	every := float64(time.Second) / rate
	return sourceLimits{
		seed: maphash.MakeSeed(), every: int64(every), burst: int64(every * 2 * max(1, rate)), full: make([]int64, pciHosts),
	}
}

// take takes a token of an address if there is one.
func (l *sourceLimits) take(now time.Time, from netip.Addr) bool {
	if l.since.IsZero() {
		l.since = now
	}
	at, full := int64(now.Sub(l.since)), &l.full[maphash.Comparable(l.seed, from)%pciHosts]
	next := max(*full, at) + l.every
	if next-at > l.burst {
		return false
	}
	*full = next
	return true
}

// affordable keeps the rate limit on what is answered without a session.
func (p *PAA) affordable(now time.Time, from netip.AddrPort) bool {
	all := &p.pciAll
	if p.hosts[from.Addr()] > 0 { // a flood of strangers does not keep those out who are known
		all = &p.pciKnown
	}
	return p.pciHosts.take(now, from.Addr()) && all.take(now)
}

// crowded reports whether another session takes the place of one.
func (p *PAA) crowded() bool {
	return p.live >= p.cfg.MaxSessions || p.pending >= p.cfg.MaxPending
}

// full reports whether there is no place for another session with a PaC at from. Who has
// proven to receive there gets one of a source that has more, and one that has none gets one
// of anybody's.
func (p *PAA) full(from netip.Addr, proven bool) bool {
	own := p.sources[source(from)]
	switch {
	case own >= p.cfg.MaxPendingSource:
		return true
	case !p.crowded():
		return false
	case !proven || p.pending == 0:
		return true
	}
	return own > 0 && p.most() <= own+1
}

// most is how many sessions in their first authentication the source has that has most.
func (p *PAA) most() (n int) {
	for _, k := range p.sources {
		n = max(n, k)
	}
	return n
}

// makeRoom ends a session in its first authentication: of a source that has most of them,
// rather one whose PaC has not said anything since its PAN[S], and the oldest of those.
func (p *PAA) makeRoom(now time.Time) {
	most := p.most()
	var last *session
	for from, list := range p.byAddr {
		if p.sources[source(from.Addr())] < most {
			continue
		}
		for _, s := range list {
			if last == nil || s.sawNonce != last.sawNonce && !s.sawNonce || s.sawNonce == last.sawNonce && s.authFrom.Before(last.authFrom) {
				last = s
			}
		}
	}
	if last != nil {
		last.close(now, ErrCrowded)
		p.schedule(last)
	}
}

// source is what limits bind that are of one address: of IPv6 a link's prefix, of which anybody
// there can have all addresses.
func source(a netip.Addr) netip.Addr {
	if a.Is4() {
		return a
	}
	prefix, err := a.WithZone("").Prefix(64)
	if err != nil {
		return a
	}
	return prefix.Addr()
}
