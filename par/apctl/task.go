package apctl

import (
	"time"

	"openmpa/internal/wpactrl"
)

// task is what is to do about one station at an access point.
type task struct {
	station wpactrl.MAC
	at      time.Time    // not before; zero: at once
	change  bool         // it gets the key that it should have, or has none
	ended   bool         // its key's life is over
	left    time.Time    // it was seen at another access point then; zero: it was not
	waiting []chan error // who wants to know how the change went; each has room for it
}

func (t *task) tell(err error) {
	for _, w := range t.waiting {
		w <- err
	}
	t.waiting = nil
}

// tasks are in the order of their first cause, one a station. They have no lock.
type tasks []*task

// of finds or makes the station's task.
func (l *tasks) of(station wpactrl.MAC) *task {
	for _, t := range *l {
		if t.station == station {
			return t
		}
	}
	t := &task{station: station}
	*l = append(*l, t)
	return t
}

// take removes the first one that is due, nil if none is.
func (l *tasks) take(now time.Time) *task {
	for i, t := range *l {
		if !t.at.After(now) {
			*l = append((*l)[:i], (*l)[i+1:]...)
			return t
		}
	}
	return nil
}

// changes takes the changes out of all, and returns them.
func (l *tasks) changes() (out []*task) {
	var rest tasks
	for _, t := range *l {
		if t.change {
			out = append(out, &task{station: t.station, waiting: t.waiting})
			t.change, t.waiting = false, nil
		}
		if t.ended || !t.left.IsZero() {
			rest = append(rest, t)
		}
	}
	*l = rest
	return out
}

// fail ends all with err.
func (l *tasks) fail(err error) {
	for _, t := range *l {
		t.tell(err)
	}
	*l = nil
}
