package impair

import "sync"

// A Thief takes the first marker of each kind in each handover, whichever link
// it is on. It may be shared by any number of links.
type Thief struct {
	mu    sync.Mutex
	armed [kinds]bool // guarded by mu
	taken []Kind      // guarded by mu: in this handover
	tell  func(Kind)  // guarded by mu
}

// Begin has the thief take markers, of these kinds, until End. tell, unless it is
// nil, is told of each on the goroutine of a link, which waits for it.
func (t *Thief) Begin(tell func(Kind), of ...Kind) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.armed, t.taken, t.tell = [kinds]bool{}, nil, tell
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
	tell := t.tell
	t.mu.Unlock()
	if take && tell != nil {
		tell(k)
	}
	return take
}
