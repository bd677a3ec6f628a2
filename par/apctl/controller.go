package apctl

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"openmpa/internal/wpactrl"
	"openmpa/paa/keys"
)

// Controller is all access points of one access router.
type Controller struct {
	points []Point

	mu    sync.Mutex
	at    map[wpactrl.MAC]Point                // guarded by mu: where stations are that have keys
	watch func(station wpactrl.MAC, gone bool) // guarded by mu
}

// MaxPoints is how many access points one router may have.
const MaxPoints = 64

// NewController takes the points, which Close closes. Names and BSSIDs must differ.
func NewController(points ...Point) (*Controller, error) {
	if len(points) > MaxPoints {
		return nil, fmt.Errorf("apctl: %d access points: expected at most %d", len(points), MaxPoints)
	}
	names, bssids := make(map[string]bool), make(map[wpactrl.MAC]bool)
	for _, p := range points {
		i := p.Info()
		if names[i.Name] || bssids[i.BSSID] {
			return nil, fmt.Errorf("apctl: access point %s, BSSID %v: another one has the same name or BSSID", i.Name, i.BSSID)
		}
		names[i.Name], bssids[i.BSSID] = true, true
	}
	c := &Controller{points: points, at: make(map[wpactrl.MAC]Point)}
	for _, p := range points {
		p.Watch(func(s Seen) { c.saw(p, s) })
	}
	return c, nil
}

// Watch has f called when a station that has a key has come to one of the access points, and
// when it has gone from the one it came to last: one that is seen at another before has not
// gone. f must not wait.
func (c *Controller) Watch(f func(station wpactrl.MAC, gone bool)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watch = f
}

// saw keeps where stations are.
func (c *Controller) saw(p Point, s Seen) {
	c.mu.Lock()
	news := true
	switch {
	case !s.Gone:
		if len(c.at) >= maxRoster {
			clear(c.at)
		}
		c.at[s.Station] = p
	case c.at[s.Station] == nil || c.at[s.Station] == p: // nil: it came before we did
		delete(c.at, s.Station)
	default:
		news = false
	}
	if c.watch != nil && news {
		c.watch(s.Station, s.Gone) // in order, hence under the lock
	}
	c.mu.Unlock()
	if !s.Gone {
		c.came(p, s.Station, s.At)
	}
}

// came tells the other access points that a station has come to p: it is at one at a time. One that keeps a station that has
// gone asks it first when it returns, if frames are protected (SA query, IEEE 802.11-2020 section 11.13), for a second.
func (c *Controller) came(p Point, station wpactrl.MAC, at time.Time) {
	for _, other := range c.points {
		if other != p {
			other.Left(station, at)
		}
	}
}

// Derive makes the PMK of the session for one access point, as keys.DerivePMK does. The caller clears it.
type Derive func(Info) (*keys.Secret, error)

// Install gives every access point the key a station has with it: one authentication serves them all. It returns those that
// have it. An access point that fails does not keep the others from theirs; the errors are joined.
func (c *Controller) Install(ctx context.Context, station wpactrl.MAC, lifetime time.Duration, derive Derive) (have []Info, err error) {
	has := make([]bool, len(c.points))
	err = c.each(func(i int, p Point) error {
		pmk, err := derive(p.Info())
		if err != nil {
			return fmt.Errorf("apctl: %s: key of %v: %w", p.Info().Name, station, err)
		}
		defer pmk.Clear()
		err = p.Install(ctx, Key{Station: station, PMK: pmk, Lifetime: lifetime})
		has[i] = err == nil
		return err
	})
	for i, p := range c.points {
		if has[i] {
			have = append(have, p.Info())
		}
	}
	return have, err
}

// Remove takes the station's keys from all access points.
func (c *Controller) Remove(ctx context.Context, station wpactrl.MAC) error {
	return c.each(func(_ int, p Point) error { return p.Remove(ctx, station) })
}

// Status returns the state of all access points, in the configuration's order.
func (c *Controller) Status() []Status {
	out := make([]Status, len(c.points))
	for i, p := range c.points {
		out[i] = p.Status()
	}
	return out
}

// Close takes all keys from the access points and ends.
func (c *Controller) Close() error { return c.each(func(_ int, p Point) error { return p.Close() }) }

// each calls f for all points at the same time.
func (c *Controller) each(f func(int, Point) error) error {
	var g errgroup.Group
	errs := make([]error, len(c.points))
	for i, p := range c.points {
		g.Go(func() error { errs[i] = f(i, p); return nil })
	}
	_ = g.Wait() // the errors are in errs
	return errors.Join(errs...)
}
