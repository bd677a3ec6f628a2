package apctl

import (
	"fmt"
	"time"

	"openmpa/internal/wpactrl"
	"openmpa/paa/keys"
)

// maxKeys is how many stations' keys one access point gets: hostapd holds 1,024, and some of its own.
const maxKeys = 1000

// book is what an access point should have. It has no lock.
type book map[wpactrl.MAC]entry

type entry struct {
	pmk *keys.Secret // the book's own
	end time.Time
}

// put remembers a key in place of the station's key before.
func (b book) put(k Key, now time.Time) error {
	if _, ok := b[k.Station]; !ok && len(b) >= maxKeys {
		return fmt.Errorf("%w: %d have keys", ErrFull, len(b))
	}
	b.drop(k.Station)
	b[k.Station] = entry{pmk: k.PMK.Clone(), end: now.Add(k.Lifetime)}
	return nil
}

// drop forgets a station's key and says whether there was one.
func (b book) drop(station wpactrl.MAC) bool {
	e, ok := b[station]
	e.pmk.Clear()
	delete(b, station)
	return ok
}

// clear forgets all.
func (b book) clear() {
	for station := range b {
		b.drop(station)
	}
}

// expire forgets what has less than the least lifetime left, and returns whose.
func (b book) expire(now time.Time) (stations []wpactrl.MAC) {
	for station, e := range b {
		if e.end.Sub(now) < MinLifetime {
			b.drop(station)
			stations = append(stations, station)
		}
	}
	return stations
}

// next is when expire has something to do, the zero time if never.
func (b book) next() (at time.Time) {
	for _, e := range b {
		if t := e.end.Add(-MinLifetime); at.IsZero() || t.Before(at) {
			at = t
		}
	}
	return at
}

// all returns copies of the keys, which the caller clears, with what is left of their lives.
func (b book) all(now time.Time) []Key {
	out := make([]Key, 0, len(b))
	for station, e := range b {
		if left := e.end.Sub(now); left >= MinLifetime {
			out = append(out, Key{Station: station, PMK: e.pmk.Clone(), Lifetime: left})
		}
	}
	return out
}
