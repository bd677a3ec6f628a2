package impair

import "sync"

// A Thief takes the first marker of each kind in each handover, whichever link
// it is on. It may be shared by any number of links.
type Thief struct {
	// OnTake, when set, is told of each marker on the goroutine of a link,
	// which waits for it. Fixed before the first link is made.
	OnTake func(Kind)

	mu    sync.Mutex
	armed [kinds]bool // guarded by mu
	taken []Kind      // guarded by mu: in this handover
}

// Begin has the thief take markers, of these kinds, until End.
func (t *Thief) Begin(of ...Kind) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.armed, t.taken = [kinds]bool{}, nil
	for _, k := range of {
		t.armed[k] = true
	}
}

// End returns what was taken since Begin.
func (t *Thief) End() []Kind {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.armed = [kinds]bool{}
	return append([]Kind(nil), t.taken...)
}

// take decides about one frame; a nil Thief takes none.
func (t *Thief) take(k Kind) bool {
	if t == nil {
		return false
	}
	t.mu.Lock()
	take := t.armed[k]
	if take {
		t.armed[k] = false
		t.taken = append(t.taken, k)
	}
	t.mu.Unlock()
	if take && t.OnTake != nil {
		t.OnTake(k)
	}
	return take
}
