package neighbourhood

import (
	"cmp"
	"reflect"
	"slices"
	"time"
)

// Table keeps what each source has said last, and puts it together. What comes out does not depend on the order in which sources
// spoke, but for those that come when there are MaxSources already. It has no clock and no lock. The zero Table is empty.
type Table struct {
	sources map[Source]*statement
	counts  Counts

	merged  *merged
	validTo time.Time // until then merged is right, if nothing is said; zero: for good
}

// statement is what one source has said last.
type statement struct {
	networks []said
}

type said struct {
	Network
	until time.Time // zero: never
}

// Counts of a Table.
type Counts struct {
	Networks       int    `json:"networks"`
	Points         int    `json:"points"`
	Sources        int    `json:"sources"`
	Contradictions int    `json:"contradictions"`     // at the moment, those beyond MaxContradictions too
	Invalid        uint64 `json:"invalid,omitempty"`  // networks that were no statements, or given twice by one source
	TooMany        uint64 `json:"too_many,omitempty"` // networks beyond MaxNetworks of one source, and sources beyond MaxSources
	Crowded        int    `json:"crowded,omitempty"`  // networks and points that there is no room for at the moment
}

// Learn takes what a source says now, in the place of all that it has said before; it holds for lifetime, or forever where that
// is 0, and each network no longer than its own. It reports whether this differs from what the source said before and still
// holds: lifetimes apart. Work and memory are bounded, whatever it says. The Table keeps no memory of list.
func (t *Table) Learn(now time.Time, by Source, list []Network, lifetime time.Duration) (changed bool) {
	by.Name = by.Name[:min(len(by.Name), MaxText)]
	before := t.sources[by]
	if before == nil && len(t.sources) >= MaxSources {
		t.counts.TooMany++
		return false
	}
	if lifetime < 0 {
		return t.Forget(by)
	}
	if len(list) > MaxNetworks {
		t.counts.TooMany += uint64(len(list) - MaxNetworks)
		list = list[:MaxNetworks]
	}
	s := &statement{}
	names := map[string]bool{}
	for i := range list {
		n := &list[i]
		if names[n.Name] || n.Check() != nil {
			t.counts.Invalid++
			continue
		}
		names[n.Name] = true
		one := said{Network: n.clone()}
		life := lifetime
		if n.Lifetime > 0 && (life == 0 || n.Lifetime < life) {
			life = n.Lifetime
		}
		if life > 0 {
			one.until = now.Add(life)
		}
		one.Lifetime = 0
		s.networks = append(s.networks, one)
	}
	if before != nil {
		before.expire(now)
		changed = !before.says(s)
	} else {
		changed = len(s.networks) > 0
	}
	t.merged = nil
	if len(s.networks) == 0 {
		delete(t.sources, by)
		return changed
	}
	if t.sources == nil {
		t.sources = map[Source]*statement{}
	}
	t.sources[by] = s
	return changed
}

// Forget drops what a source has said, and reports whether that was anything.
func (t *Table) Forget(by Source) (changed bool) {
	by.Name = by.Name[:min(len(by.Name), MaxText)]
	if t.sources[by] == nil {
		return false
	}
	delete(t.sources, by)
	t.merged = nil
	return true
}

// says reports whether two statements are the same, lifetimes apart.
func (s *statement) says(o *statement) bool {
	return slices.EqualFunc(s.networks, o.networks, func(a, b said) bool { return reflect.DeepEqual(a.Network, b.Network) })
}

// expire drops what does not hold any more, and returns when the next ends; zero: nothing does.
func (s *statement) expire(now time.Time) (next time.Time) {
	s.networks = slices.DeleteFunc(s.networks, func(o said) bool { return !o.until.IsZero() && !now.Before(o.until) })
	for _, o := range s.networks {
		next = sooner(next, o.until)
	}
	return next
}

// sooner is the earlier of two times, of which the zero one is never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// bring makes merged that of now.
func (t *Table) bring(now time.Time) *merged {
	if t.merged != nil && (t.validTo.IsZero() || now.Before(t.validTo)) {
		return t.merged
	}
	t.validTo = time.Time{}
	for by, s := range t.sources {
		next := s.expire(now)
		if len(s.networks) == 0 {
			delete(t.sources, by)
			continue
		}
		t.validTo = sooner(t.validTo, next)
	}
	t.merged = merge(t.sources)
	return t.merged
}

// Networks are those that are known now, by their names. What they point to is not to be changed.
func (t *Table) Networks(now time.Time) []Known { return slices.Clone(t.bring(now).networks) }

// Next is when something that is known ends; zero: nothing does.
func (t *Table) Next(now time.Time) time.Time {
	t.bring(now)
	return t.validTo
}

// Contradictions are the statements of now that are not believed, MaxContradictions at most.
func (t *Table) Contradictions(now time.Time) []Contradiction {
	return slices.Clone(t.bring(now).contradictions)
}

// Sources are those that have said something that holds now, the most trusted first.
func (t *Table) Sources(now time.Time) []Source {
	t.bring(now)
	list := make([]Source, 0, len(t.sources))
	for by := range t.sources {
		list = append(list, by)
	}
	slices.SortFunc(list, Source.compare)
	return list
}

// Counts says how much there is now, and how much was refused since the Table was made.
func (t *Table) Counts(now time.Time) Counts {
	m := t.bring(now)
	c := t.counts
	c.Networks, c.Sources, c.Contradictions, c.Crowded = len(m.networks), len(t.sources), m.disbelieved, m.crowded
	for i := range m.networks {
		c.Points += len(m.networks[i].Points)
	}
	return c
}

// compare orders sources by trust, and those of one kind by name.
func (s Source) compare(o Source) int {
	return cmp.Or(cmp.Compare(s.Kind, o.Kind), cmp.Compare(s.Name, o.Name))
}
