package par

import (
	"slices"
	"time"

	"openmpa/tunnel"
)

// A node whose link was cut arrives while packets that it had sent before are still under
// way to us, by a longer way. So a tunnel that it needs no more, or that it has put another
// in the place of, lingers as long as the node has the address.
const (
	latest   = time.Second // a packet may come behind the end of its tunnel
	mostLate = 2           // tunnels of one visitor that linger
)

// late is a tunnel that lingers.
type late struct {
	tunnel *tunnel.Tunnel
	until  time.Time
}

// retire ends the tunnel but for what the node has sent by it. The caller holds mu.
func (v *visitor) retire() {
	t := v.tunnel
	if v.tunnel = nil; t == nil {
		return
	}
	t.Linger()
	v.late = append(v.late, late{t, time.Now().Add(latest)})
	v.lateGone(time.Now(), mostLate)
}

// lateGone closes what has lingered long enough, and the oldest of more than most. The
// caller holds mu.
func (v *visitor) lateGone(now time.Time, most int) {
	excess := len(v.late) - most
	v.late = slices.DeleteFunc(v.late, func(l late) bool {
		if excess--; excess < 0 && now.Before(l.until) {
			return false
		}
		l.tunnel.Close()
		return true
	})
}
