package apctl

import (
	"sync"
	"time"

	"openmpa/internal/wpactrl"
)

// maxRoster bounds a roster; hostapd's own limit is 2,007 stations.
const maxRoster = 4096

// roster knows since when stations are at an access point, by what hostapd says.
type roster struct {
	mu    sync.Mutex
	from  time.Time // nothing before is known
	since map[wpactrl.MAC]time.Time
}

// reset says that some of what hostapd said was not heard, until at.
func (r *roster) reset(at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.from, r.since = at, make(map[wpactrl.MAC]time.Time)
}

func (r *roster) came(station wpactrl.MAC, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.since) >= maxRoster {
		r.from, r.since = at, make(map[wpactrl.MAC]time.Time)
	}
	r.since[station] = at
}

func (r *roster) went(station wpactrl.MAC) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.since, station)
}

// mayBeAfter says whether the station has come here after t, as far as is known.
func (r *roster) mayBeAfter(station wpactrl.MAC, t time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	at, ok := r.since[station]
	if !ok {
		at = r.from
	}
	return at.After(t)
}
