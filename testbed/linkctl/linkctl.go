package linkctl

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"openmpa/testbed/space"
)

// Failure is what a point of attachment does instead of working.
type Failure string

const (
	// Works is the absence of a failure.
	Works Failure = ""
	// Dead carries out the order but the link never comes up.
	Dead Failure = "dead"
	// Refuses takes the link away and answers with an error.
	Refuses Failure = "refuses"
	// Faded is a point that is not heard well enough, see Air: it is lost, or refuses.
	Faded Failure = "faded"
)

// A Move is one change of the point of attachment.
type Move struct {
	From, To string
	// Lost is just before the link went down, Up just before it came up; Up
	// is zero when it did not. Both carry a monotonic reading.
	Lost, Up time.Time
	Failure  Failure
}

// Gap is the time without a link, zero when it did not come up.
func (m Move) Gap() time.Duration {
	if m.Up.IsZero() {
		return 0
	}
	return m.Up.Sub(m.Lost)
}

// A Controller owns the far end of one node's link.
type Controller struct {
	// Fixed after start.
	nl    *netlink.Handle
	port  netlink.Link
	onSet func(Move)

	// Guarded by mu, which is also held while the link moves.
	mu    sync.Mutex
	gap   time.Duration
	point string
	fail  map[string]Failure
	turn  map[string]string // where the link comes up instead
	moves []Move
	gone  time.Time // when the link was taken away; zero: it was not, or is back
	air   *airborne // nil: it does not know

	watching sync.WaitGroup
}

// New takes over the interface port in namespace air. Moves take gap; the
// time the kernel itself needs to move the port is part of it when it fits.
func New(air *space.Space, port string, gap time.Duration) (*Controller, error) {
	nl, err := air.NewNetlink()
	if err != nil {
		return nil, fmt.Errorf("linkctl: %w", err)
	}
	l, err := nl.LinkByName(port)
	if err != nil {
		nl.Close()
		return nil, fmt.Errorf("linkctl: %s: %w", port, err)
	}
	return &Controller{nl: nl, port: l, gap: gap, fail: make(map[string]Failure), turn: make(map[string]string)}, nil
}

// OnMove has fn called when a move begins (the link is about to go, Up is
// zero) and when it has ended. fn must neither block nor call the controller; set it before the
// first move.
func (c *Controller) OnMove(fn func(Move)) { c.onSet = fn }

// tell tells whoever OnMove has said.
func (c *Controller) tell(m Move) {
	if c.onSet != nil {
		c.onSet(m)
	}
}

// Close ends what SetAir has begun, and gives the netlink socket back.
func (c *Controller) Close() error {
	c.SetAir(nil)
	c.watching.Wait()
	c.nl.Close()
	return nil
}

// SetGap changes the time without a link of later moves.
func (c *Controller) SetGap(gap time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gap = gap
}

// Fail has a point of attachment fail from now on, or work again.
func (c *Controller) Fail(point string, f Failure) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f == Works {
		delete(c.fail, point)
		return
	}
	c.fail[point] = f
}

// Divert has the link come up at another point when it is asked for one, as a
// radio does that hears the other one better, and the answer be an error; empty:
// no longer.
func (c *Controller) Divert(point, to string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if to == "" {
		delete(c.turn, point)
		return
	}
	c.turn[point] = to
}

// Point is where the node is attached, empty when nowhere.
func (c *Controller) Point() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.point
}

// Moves are all moves so far.
func (c *Controller) Moves() []Move {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Move(nil), c.moves...)
}

// ErrRefused is the answer of a point of attachment told to refuse.
var ErrRefused = errors.New("the point of attachment refuses the association")

// ErrElsewhere is the answer when the link was diverted.
var ErrElsewhere = errors.New("the link is elsewhere")

// Attach moves the link to a point of attachment, which is the name of a
// bridge in the namespace. The context is looked at before the move only: a
// move that has begun is finished.
func (c *Controller) Attach(ctx context.Context, point string) (Move, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return Move{}, fmt.Errorf("linkctl: attach %s: %w", point, err)
	}
	return c.attach(point)
}

// attach is Attach for who has the lock.
func (c *Controller) attach(point string) (Move, error) {
	asked := point
	if to := c.turn[point]; to != "" {
		point = to
	}
	bridge, err := c.nl.LinkByName(point)
	if err != nil {
		return Move{}, fmt.Errorf("linkctl: no point of attachment %q: %w", point, err)
	}
	if _, ok := bridge.(*netlink.Bridge); !ok {
		return Move{}, fmt.Errorf("linkctl: %q is no point of attachment", point)
	}
	m := Move{From: c.point, To: point, Failure: c.fail[point]}
	if m.Failure == Works && !c.air.carries(point) {
		m.Failure = Faded
	}
	m.Lost = c.lostAt()
	c.tell(m)
	err = c.move(&m, bridge)
	c.moves = append(c.moves, m)
	c.tell(m)
	if err == nil && point != asked {
		err = fmt.Errorf("linkctl: asked for %s the link came up at %s: %w", asked, point, ErrElsewhere)
	}
	return m, err
}

func (c *Controller) move(m *Move, bridge netlink.Link) error {
	// The sleep below is to be exact, so nobody else gets this thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	m.Lost = c.lostAt()
	end := monotonic() + c.gap
	if err := c.nl.LinkSetDown(c.port); err != nil {
		return fmt.Errorf("linkctl: link down: %w", err)
	}
	c.point = ""
	if err := c.nl.LinkSetNoMaster(c.port); err != nil {
		return fmt.Errorf("linkctl: leave %q: %w", m.From, err)
	}
	if m.Failure == Refuses || m.Failure == Faded {
		sleepUntil(end)
		return fmt.Errorf("linkctl: %s: %w", m.To, ErrRefused)
	}
	if err := c.nl.LinkSetMaster(c.port, bridge); err != nil {
		return fmt.Errorf("linkctl: join %q: %w", m.To, err)
	}
	sleepUntil(end)
	if m.Failure == Dead {
		return nil
	}
	m.Up = time.Now()
	if err := c.nl.LinkSetUp(c.port); err != nil {
		m.Up = time.Time{}
		return fmt.Errorf("linkctl: link up at %q: %w", m.To, err)
	}
	c.point, c.gone = m.To, time.Time{}
	return c.carries()
}

// lostAt is when the link went: now, unless it has gone before.
func (c *Controller) lostAt() time.Time {
	if c.gone.IsZero() {
		return time.Now()
	}
	return c.gone
}

// carries waits until the bridge takes what comes. It does when the kernel has told it of the carrier, which the node sees
// before: its first word would be lost. The limit is far beyond what that takes.
func (c *Controller) carries() error {
	for end := monotonic() + 5*time.Second; ; {
		l, err := c.nl.LinkByIndex(c.port.Attrs().Index)
		switch {
		case err != nil:
			return fmt.Errorf("linkctl: %q: %w", c.point, err)
		case l.Attrs().OperState == netlink.OperUp, l.Attrs().RawFlags&unix.IFF_LOWER_UP == 0: // or the node's end is down
			return nil
		case monotonic() > end:
			return fmt.Errorf("linkctl: link up at %q: it is %s after five seconds, expected up", c.point, l.Attrs().OperState)
		}
		sleepUntil(monotonic() + 50*time.Microsecond)
	}
}

// Mute has the link carry nothing any more, until the next move, while its carrier
// stays up: what an access point does that hangs.
func (c *Controller) Mute() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.nl.LinkSetNoMaster(c.port); err != nil {
		return fmt.Errorf("linkctl: mute at %q: %w", c.point, err)
	}
	return nil
}

// Detach takes the link away without another in sight.
func (c *Controller) Detach() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.detach()
}

// detach is Detach for who has the lock.
func (c *Controller) detach() error {
	if c.point != "" {
		c.gone = time.Now()
	}
	c.point = ""
	if err := c.nl.LinkSetDown(c.port); err != nil {
		return fmt.Errorf("linkctl: link down: %w", err)
	}
	if err := c.nl.LinkSetNoMaster(c.port); err != nil {
		return fmt.Errorf("linkctl: leave: %w", err)
	}
	return nil
}

func monotonic() time.Duration {
	var ts unix.Timespec
	// CLOCK_MONOTONIC cannot fail.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return time.Duration(ts.Nano())
}

func sleepUntil(at time.Duration) {
	ts := unix.NsecToTimespec(int64(at))
	for {
		err := unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &ts, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
