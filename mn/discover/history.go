package discover

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math"
	"net/netip"
	"slices"
	"sync"
	"time"

	"openmpa/internal/neighbourhood"
	"openmpa/internal/state"
)

// The bounds of what is kept of earlier moves, and how it ages.
const (
	maxFrom  = 256 // points that were left
	maxAfter = 16  // points after one
	maxMarks = 8   // places of moves from one to the other
	maxSeen  = neighbourhood.MaxNetworks

	halfLife   = 14 * 24 * time.Hour
	keptFor    = 90 * 24 * time.Hour // after the last move from there
	provenFor  = 30 * 24 * time.Hour // after the last authentication there
	around     = 50.0                // metres: from how far away a move still says something of moves from here
	elsewhere  = 0.25                // what it counts when it was far away
	unplaced   = 0.5                 // and when nobody knows where it was
	negligible = 1e-3                // a weight
)

// The records in the store. Their names end with the point's and the network's.
const (
	keyAfter  = "discover/after/"
	keyProven = "discover/network/"
)

// after is what is kept of moves from one point to another.
type after struct {
	To     string                   `json:"to"`
	Weight float64                  `json:"weight"` // of all moves there, at At
	At     time.Time                `json:"at"`     // of the last one
	Marks  []neighbourhood.Location `json:"marks,omitempty"`
}

// weight is that of a at a time.
func (a after) weight(now time.Time) float64 {
	age := max(now.Sub(a.At), 0)
	return a.Weight * math.Exp2(-float64(age)/float64(halfLife))
}

// near is how much of a's weight counts for a move from a place.
func (a after) near(where *neighbourhood.Location) float64 {
	if where == nil {
		return 1
	}
	best, some := math.Inf(1), false
	for _, m := range a.Marks {
		if x, y, ok := m.Metres(*where); ok {
			best, some = min(best, math.Hypot(x, y)), true
		}
	}
	if !some {
		return unplaced
	}
	return elsewhere + (1-elsewhere)*math.Exp(-best/around)
}

// left is what is kept of one point.
type left struct {
	From  string    `json:"from"`
	After []after   `json:"after"`
	At    time.Time `json:"at"` // of the last move away
}

// proven is what the node has seen of a network in whose router's session it was.
type proven struct {
	Name   string         `json:"name"`
	PAA    netip.AddrPort `json:"paa"`
	Points []seenPoint    `json:"points,omitempty"`
	At     time.Time      `json:"at"`
}

type seenPoint struct {
	Name string `json:"name"`
	SSID string `json:"ssid,omitempty"`
	Freq int    `json:"freq,omitempty"`
}

// history keeps which point followed which.
type history struct {
	store state.Store
	log   *slog.Logger
	wake  chan struct{}

	mu    sync.Mutex
	from  map[string]*left
	seen  map[string]*proven
	dirty map[string]bool // keys of records that are not in the store as they are here
}

// openHistory reads what there is. Records that cannot be read, or say what none of ours does, are dropped.
func openHistory(store state.Store, log *slog.Logger) *history {
	h := &history{store: store, log: log, wake: make(chan struct{}, 1), from: map[string]*left{}, seen: map[string]*proven{}, dirty: map[string]bool{}}
	lefts, err := state.ListJSON[left](store, keyAfter)
	if err != nil {
		log.Warn("of earlier moves some cannot be read: they are forgotten", "err", err)
	}
	for _, i := range lefts {
		if l := i.Value; keyAfter+l.From == i.Record.Key && l.valid() && len(h.from) < maxFrom {
			h.from[l.From] = &l
		}
	}
	nets, err := state.ListJSON[proven](store, keyProven)
	if err != nil {
		log.Warn("of earlier networks some cannot be read: they are forgotten", "err", err)
	}
	for _, i := range nets {
		if p := i.Value; keyProven+p.Name == i.Record.Key && p.valid() && len(h.seen) < maxSeen {
			h.seen[p.Name] = &p
		}
	}
	return h
}

func (l left) valid() bool {
	return l.From != "" && len(l.After) <= maxAfter && !slices.ContainsFunc(l.After, func(a after) bool {
		return a.To == "" || len(a.To) > neighbourhood.MaxText || !(a.Weight >= 0 && a.Weight < 1e9) || len(a.Marks) > maxMarks ||
			slices.ContainsFunc(a.Marks, func(m neighbourhood.Location) bool { return !m.Valid() })
	})
}

func (p proven) valid() bool {
	return p.Name != "" && len(p.Name) <= neighbourhood.MaxText && len(p.Points) <= neighbourhood.MaxPoints
}

// moved notes a move.
func (h *history) moved(now time.Time, from, to string, where *neighbourhood.Location) {
	if from == "" || to == "" || from == to || len(from) > neighbourhood.MaxText || len(to) > neighbourhood.MaxText {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.from[from]
	if l == nil {
		if len(h.from) >= maxFrom {
			h.dropOldest()
		}
		l = &left{From: from}
		h.from[from] = l
	}
	l.At = now
	i := slices.IndexFunc(l.After, func(a after) bool { return a.To == to })
	if i < 0 {
		if len(l.After) >= maxAfter { // the lightest makes room
			lightest := slices.MinFunc(l.After, func(a, b after) int { return cmp.Compare(a.weight(now), b.weight(now)) })
			l.After = slices.DeleteFunc(l.After, func(a after) bool { return a.To == lightest.To })
		}
		l.After = append(l.After, after{To: to})
		i = len(l.After) - 1
	}
	a := &l.After[i]
	a.Weight, a.At = a.weight(now)+1, now
	if where != nil {
		a.Marks = append(slices.Clone(a.Marks[max(0, len(a.Marks)+1-maxMarks):]), *where) // the old one may be being written
	}
	h.touch(keyAfter + from)
}

// dropOldest forgets the point that was left longest ago. The caller has mu.
func (h *history) dropOldest() {
	var oldest *left
	for _, l := range h.from {
		if oldest == nil || l.At.Before(oldest.At) || l.At.Equal(oldest.At) && l.From < oldest.From {
			oldest = l
		}
	}
	if oldest != nil {
		delete(h.from, oldest.From)
		h.touch(keyAfter + oldest.From)
	}
}

// follows is see Service.Follows.
func (h *history) follows(now time.Time, point string, where *neighbourhood.Location) map[string]float64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.from[point]
	if l == nil {
		return nil
	}
	out, sum := map[string]float64{}, 0.0
	for _, a := range l.After {
		if w := a.weight(now) * a.near(where); w > negligible {
			out[a.To] = w
			sum += w
		}
	}
	if sum == 0 {
		return nil
	}
	for to := range out {
		out[to] /= sum
	}
	return out
}

// proven notes what was seen of a network.
func (h *history) proven(now time.Time, n neighbourhood.Network) {
	p := proven{Name: n.Name, At: now}
	for _, a := range n.Agents {
		if a.Role == neighbourhood.PAA {
			p.PAA = a.Addr
			break
		}
	}
	for _, point := range n.Points {
		if len(p.Points) < neighbourhood.MaxPoints {
			p.Points = append(p.Points, seenPoint{point.Name, point.SSID, point.Freq})
		}
	}
	if !p.valid() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if old := h.seen[n.Name]; old == nil && len(h.seen) >= maxSeen {
		oldest := p
		for _, o := range h.seen {
			if o.At.Before(oldest.At) || o.At.Equal(oldest.At) && o.Name < oldest.Name {
				oldest = *o
			}
		}
		delete(h.seen, oldest.Name)
		h.touch(keyProven + oldest.Name)
	} else if old != nil && len(p.Points) == 0 {
		p.Points = old.Points
	}
	h.seen[n.Name] = &p
	h.touch(keyProven + n.Name)
}

// statement is what earlier moves say of networks.
func (h *history) statement(now time.Time) Statement {
	st := Statement{From: neighbourhood.Source{Kind: neighbourhood.History, Name: "earlier moves"}, Lifetime: provenFor}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range h.seen {
		if now.Sub(p.At) >= provenFor {
			continue
		}
		n := neighbourhood.Network{Name: p.Name}
		if p.PAA.IsValid() {
			n.Agents = []neighbourhood.Agent{{Role: neighbourhood.PAA, Addr: p.PAA}}
		}
		for _, s := range p.Points {
			n.Points = append(n.Points, neighbourhood.Point{Name: s.Name, SSID: s.SSID, Freq: s.Freq})
		}
		st.Networks = append(st.Networks, n)
	}
	slices.SortFunc(st.Networks, func(a, b neighbourhood.Network) int { return cmp.Compare(a.Name, b.Name) })
	return st
}

// touch has a record written. The caller has mu.
func (h *history) touch(key string) {
	h.dirty[key] = true
	poke(h.wake)
}

// run writes what has changed, until ctx ends.
func (h *history) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			h.flush()
			return
		case <-h.wake:
			h.flush()
		}
	}
}

// flush writes what has changed.
func (h *history) flush() {
	h.mu.Lock()
	dirty := h.dirty
	h.dirty = map[string]bool{}
	lefts, nets := map[string]left{}, map[string]proven{}
	for key := range dirty {
		if l := h.from[trimmed(key, keyAfter)]; l != nil {
			c := *l
			c.After = slices.Clone(l.After)
			lefts[key] = c
		} else if p := h.seen[trimmed(key, keyProven)]; p != nil {
			nets[key] = *p
		}
	}
	h.mu.Unlock()
	for key := range dirty {
		var err error
		if l, ok := lefts[key]; ok {
			_, err = state.PutJSON(h.store, key, l, l.At.Add(keptFor))
		} else if p, ok := nets[key]; ok {
			_, err = state.PutJSON(h.store, key, p, p.At.Add(provenFor))
		} else if err = h.store.Delete(key); errors.Is(err, state.ErrNotFound) {
			err = nil
		}
		if err != nil && !errors.Is(err, state.ErrClosed) {
			h.log.Warn("earlier moves not kept", "record", key, "err", err)
		}
	}
}

// trimmed is what follows prefix in key, "" where it does not begin so.
func trimmed(key, prefix string) string {
	if len(key) > len(prefix) && key[:len(prefix)] == prefix {
		return key[len(prefix):]
	}
	return ""
}
