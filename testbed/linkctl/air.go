package linkctl

import (
	"time"

	"openmpa/testbed/field"
)

// An Air is what a node hears, and what becomes of a link that is hardly heard.
type Air struct {
	Field field.Field
	// Cut is the signal in dBm below which a point carries nothing: the link goes when it sinks below, and a move to
	// there is refused. 0: the signal has no influence on the link.
	Cut float64
	// Rejoin is how long after that the link comes up at the loudest point that is heard above Cut, as a radio's
	// does that looks for a network by itself; 0: never.
	Rejoin time.Duration
	// Sweep is the time between two sightings of a point that is not the present one: their ages grow until then.
	// 0: they have none.
	Sweep time.Duration
}

// airLook is how often the link is looked at.
const airLook = 20 * time.Millisecond

// SetAir has the controller tell what of a field is heard, from now on, its beginning; nil: it does not know.
func (c *Controller) SetAir(a *Air) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.air != nil {
		close(c.air.stop)
	}
	if c.air = nil; a == nil {
		return
	}
	c.air = &airborne{Air: *a, begun: time.Now(), stop: make(chan struct{})}
	if a.Cut < 0 {
		c.watching.Go(c.air.watch(c))
	}
}

// airborne is an Air since some time.
type airborne struct {
	Air
	begun time.Time
	stop  chan struct{}
	lost  time.Time // guarded by Controller.mu: when the link was cut; zero: it was not
}

// Heard is what the node hears, and for how long that is the case: ok when there is an Air.
func (c *Controller) Heard() (heard []field.Signal, at time.Duration, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.air == nil {
		return nil, 0, false
	}
	heard, at = c.air.heard()
	return heard, at, true
}

// heard is what is heard now. The caller has the lock.
func (a *airborne) heard() ([]field.Signal, time.Duration) {
	at := time.Since(a.begun)
	return a.Field.At(at), at
}

// carries says whether a point is heard well enough. The caller has the lock.
func (a *airborne) carries(point string) bool {
	if a == nil || a.Cut == 0 {
		return true
	}
	heard, _ := a.heard()
	dBm, ok := field.Of(heard, point)
	return ok && dBm >= a.Cut
}

// watch cuts the link.
func (a *airborne) watch(c *Controller) func() {
	return func() {
		tick := time.NewTicker(airLook)
		defer tick.Stop()
		for {
			select {
			case <-a.stop:
				return
			case <-tick.C:
				a.look(c)
			}
		}
	}
}

// look cuts the link when it is hardly heard, and has it come up elsewhere.
func (a *airborne) look(c *Controller) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.air != a:
	case c.point != "" && !a.carries(c.point):
		a.lost = time.Now()
		m := Move{From: c.point, Lost: a.lost, Failure: Faded}
		c.tell(m)
		if err := c.detach(); err == nil {
			c.moves = append(c.moves, m)
			c.tell(m)
		}
	case c.point != "":
		a.lost = time.Time{}
	case a.Rejoin > 0 && !a.lost.IsZero() && time.Since(a.lost) >= a.Rejoin:
		a.lost = time.Now() // another try after as long
		if heard, _ := a.heard(); len(heard) > 0 && a.carries(heard[0].Point) {
			_, _ = c.attach(heard[0].Point) // the moves tell
		}
	}
}
