package state

import (
	"cmp"
	"slices"
	"time"
)

// view is the table as it will be when the changes gathered so far are applied.
type view struct {
	t       *table
	now     time.Time
	changes []change
	over    map[string]*Record // of the keys that change; nil: removed
	count   int
	size    int
	seq     uint64
}

func (t *table) view(now time.Time) *view {
	return &view{t: t, now: now, over: make(map[string]*Record), count: len(t.records), size: t.size, seq: t.seq}
}

// get returns a record that has not expired.
func (v *view) get(key string) (Record, bool) {
	r, ok := v.stored(key)
	if !ok || expired(r, v.now) {
		return Record{}, false
	}
	return r, true
}

// stored returns a record, expired or not.
func (v *view) stored(key string) (Record, bool) {
	if r, ok := v.over[key]; ok {
		if r == nil {
			return Record{}, false
		}
		return *r, true
	}
	r, ok := v.t.records[key]
	return r, ok
}

func octets(r Record) int { return len(r.Key) + len(r.Value) }

// store puts r in, or says that there is no room.
func (v *view) store(r Record) error {
	was, ok := v.stored(r.Key)
	if !v.fits(r, was, ok) {
		v.removeExpired()
		if was, ok = v.stored(r.Key); !v.fits(r, was, ok) {
			if !ok && v.count >= MaxRecords {
				return &LimitError{What: "records", Got: v.count + 1, Most: MaxRecords}
			}
			return &LimitError{What: "octets of all records", Got: v.size + octets(r) - octets(was), Most: MaxTotal}
		}
	}
	if !ok {
		v.count++
	}
	v.size += octets(r) - octets(was)
	v.seq = r.Version
	v.over[r.Key] = &r
	v.changes = append(v.changes, change{Kind: Stored, Record: r})
	return nil
}

func (v *view) fits(r, was Record, replaces bool) bool {
	return (replaces || v.count < MaxRecords) && v.size+octets(r)-octets(was) <= MaxTotal
}

func (v *view) remove(was Record, why Kind) {
	v.count--
	v.size -= octets(was)
	v.over[was.Key] = nil
	v.changes = append(v.changes, change{Kind: why, Record: was})
}

// removeExpired removes what has expired and is not changed in this view, in the order of
// the ends.
func (v *view) removeExpired() {
	var gone []Record
	for key, r := range v.t.records {
		if _, changed := v.over[key]; !changed && expired(r, v.now) {
			gone = append(gone, r)
		}
	}
	slices.SortFunc(gone, func(a, b Record) int {
		return cmp.Or(a.Expires.Compare(b.Expires), cmp.Compare(a.Key, b.Key))
	})
	for _, r := range gone {
		v.remove(r, Expired)
	}
}
