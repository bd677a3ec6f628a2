package par

import (
	"sync"
	"sync/atomic"

	"openmpa/tunnel/flow"
)

// unsent are packets that a visitor's tunnel has taken and could not send in the end: it
// learns that when they leave with others, on whatever goroutine. They are told to the
// delivery in the mode in which it gave them out.
type unsent struct {
	any atomic.Bool

	mu   sync.Mutex // a leaf
	list []flow.Shim
}

// add takes one; those of unnumbered packets have a class only.
func (u *unsent) add(s flow.Shim) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.list = append(u.list, s)
	u.any.Store(true)
}

// tell gives them to the delivery.
func (u *unsent) tell(g *flow.Group) {
	if !u.any.Load() {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, s := range u.list {
		numbered := s.Epoch != 0 || s.Number != 0
		g.Class(int(s.Class)).FailedOut(flow.Out{Dest: flow.ToTunnel, Numbered: numbered, Epoch: s.Epoch, Number: s.Number})
	}
	u.list = u.list[:0]
	u.any.Store(false)
}

// queuedGone sends what the tunnel has queued: it belongs to the mode that is about to
// end. The caller holds mu.
func (v *visitor) queuedGone() {
	if v.tunnel != nil {
		v.tunnel.Flush()
	}
	v.unsent.tell(v.group)
}
