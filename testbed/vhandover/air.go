package vhandover

import (
	"context"
	"fmt"
	"sync"
	"time"

	"openmpa/internal/host"
	"openmpa/internal/osnet"
	"openmpa/mn/link"
	"openmpa/testbed/simnet"
)

// air moves the node between points of attachment: its link.Adapter.
type air struct {
	net     *simnet.World
	dev     string // the node's
	cable   *simnet.Cable
	bridges map[string]*simnet.Bridge

	mu    sync.Mutex
	host  host.Host
	point string
	moves int
	gap   time.Duration
	bad   map[string]badLink // by point
	heal  func()             // of a link that is dead with its carrier up; nil: it is not
}

// badLink is what becomes of a link that is asked for.
type badLink uint8

const (
	dead   badLink = iota + 1 // it does not come up
	flaps                     // it goes 5 ms after it came, and comes back after a second
	strays                    // it comes up at the third network
)

// Current implements link.Adapter.
func (a *air) Current(context.Context) (string, error) {
	return a.at(), nil
}

// at is the point where the link is, or was.
func (a *air) at() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.point
}

// Attach implements link.Adapter.
func (a *air) Attach(_ context.Context, asked string) error {
	point := asked
	bridge := a.bridges[point]
	if bridge == nil {
		return fmt.Errorf("no point of attachment %q", point)
	}
	a.mu.Lock()
	strayed := a.bad[point] == strays
	if strayed {
		point = network("c").Points[0]
		bridge = a.bridges[point]
	}
	gap := a.gap
	a.plug(point, bridge)
	a.mu.Unlock()
	if !strayed {
		return nil
	}
	time.Sleep(gap + time.Millisecond)
	return &link.AttachError{Point: asked, Text: "connected to " + point + " instead"}
}

// plug moves the cable; the caller holds mu.
func (a *air) plug(point string, bridge *simnet.Bridge) {
	a.moves++
	a.point = point
	move := a.moves
	at := func(d time.Duration, to simnet.Station) {
		a.net.After(d, func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			if a.moves == move {
				a.cable.Plug(to)
			}
		})
	}
	a.cable.Plug(nil)
	if a.heal != nil {
		a.heal()
		a.heal = nil
	}
	switch a.bad[point] {
	case dead:
	case flaps:
		at(a.gap, bridge)
		at(a.gap+5*time.Millisecond, nil)
		at(a.gap+time.Second, bridge)
	default:
		at(a.gap, bridge)
	}
}

// Ready implements link.Mover: there is nothing to ask.
func (a *air) Ready(_ context.Context, point string) (link.Move, error) {
	return airMove{a, point}, nil
}

// airMove is a move to a point that can be tested before.
type airMove struct {
	a     *air
	point string
}

func (m airMove) Go(ctx context.Context) error { return m.a.Attach(ctx, m.point) }
func (airMove) Done()                          {}

// Reach implements link.Reacher. The answer takes the time of a round trip on the air.
func (m airMove) Reach(ctx context.Context) error {
	m.a.mu.Lock()
	gone := m.a.bad[m.point] == dead
	m.a.mu.Unlock()
	select {
	case <-time.After(30 * time.Millisecond):
	case <-ctx.Done():
		return ctx.Err()
	}
	if gone {
		return &link.UnreachableError{Point: m.point, Freq: 2412}
	}
	return nil
}

// lose takes the link away for a time, wherever it is; a move ends that.
func (a *air) lose(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.moves++
	move, bridge := a.moves, a.bridges[a.point]
	a.cable.Plug(nil)
	a.net.After(d, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.moves == move {
			a.cable.Plug(bridge)
		}
	})
}

// cut takes the link away; what it returns brings it back, and to life.
func (a *air) cut() (mend func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.moves++
	a.cable.Plug(nil)
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.moves++
		a.cable.Plug(a.bridges[a.point])
	}
}

// revive ends what die began.
func (a *air) revive() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.heal != nil {
		a.heal()
		a.heal = nil
	}
}

// dead says whether the link is, with its carrier up.
func (a *air) dead() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.heal != nil
}

// die has the link carry nothing any more until it is left, while its carrier stays.
func (a *air) die(as [2]simnet.Impairment) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.heal = func() { a.cable.Impair(as[0], as[1]) }
	all := simnet.Impairment{Loss: 1}
	a.cable.Impair(all, all)
}

// Watch implements link.Adapter.
func (a *air) Watch(ctx context.Context) (<-chan osnet.LinkState, error) {
	a.mu.Lock()
	h := a.host
	a.mu.Unlock()
	return h.WatchLink(ctx, a.dev)
}

// set says how the next moves go.
func (a *air) set(gap time.Duration, bad map[string]badLink) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.gap, a.bad = gap, bad
}
