package acd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Conn carries ARP packets of one interface. Each Conn has one reader.
type Conn interface {
	// ReadARP returns the next well-formed ARP packet for Ethernet and IPv4. It
	// returns ctx.Err() soon after ctx ends.
	ReadARP(ctx context.Context) (Packet, error)
	// WriteARP sends p in a frame to dst.
	WriteARP(dst net.HardwareAddr, p Packet) error
}

// ConflictError says that an address is in use by somebody else.
type ConflictError struct {
	Addr netip.Addr
	By   net.HardwareAddr
}

// Error implements error.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("acd: %v is in use by %v", e.Addr, e.By)
}

// Probe finds out whether addr is free on conn's link, as RFC 5227 section 2.1.1
// says: nil when it is, a *ConflictError when somebody has it or probes for it,
// ctx's error when ctx ends first, or what conn returned. mac is the hardware
// address of the interface; rnd spreads the probes. It takes t.Longest() at most.
func Probe(ctx context.Context, conn Conn, addr netip.Addr, mac net.HardwareAddr, t Timers, rnd io.Reader) error {
	m, err := New(Config{Addr: addr, MAC: mac, Timers: t, Rand: rnd})
	if err != nil {
		return err
	}
	if err := m.Start(time.Now()); err != nil {
		return err
	}
	if err := Run(ctx, conn, m, nil); err != nil {
		var conflict *ConflictError
		if errors.As(err, &conflict) {
			return err
		}
		return fmt.Errorf("acd: probe %v: %w", addr, err)
	}
	return nil
}

// Keep announces addr as mac's and defends it by policy until ctx ends: RFC 5227
// sections 2.3 and 2.4 for an address that was probed before, here or, before a
// handover, by the access router. report, which may be nil, gets Defended and
// Ceased. Keep returns ctx's error, a *ConflictError when the address must not be
// used any longer, or what conn returned.
func Keep(ctx context.Context, conn Conn, addr netip.Addr, mac net.HardwareAddr, t Timers, policy Policy, report func(Output)) error {
	m, err := New(Config{Addr: addr, MAC: mac, Timers: t, Policy: policy})
	if err != nil {
		return err
	}
	if err := m.Announce(time.Now()); err != nil {
		return err
	}
	err = Run(ctx, conn, m, report)
	var conflict *ConflictError
	if errors.As(err, &conflict) {
		return err
	}
	return fmt.Errorf("acd: keep %v: %w", addr, err)
}

// Run drives a started machine over conn. report, which may be nil, gets every
// output but Send, on this goroutine. Run returns nil when probing found the
// address free (then Announce and Run again keep it), a *ConflictError when there
// is a conflict or the address was given up, ctx's error, or what conn returned.
// An announcing or bound machine is run until one of the last three.
func Run(ctx context.Context, conn Conn, m *Machine, report func(Output)) error {
	return Drive(ctx, conn.ReadARP, m, func() (bool, error) { return flush(conn, m, report) })
}

// Driven is a machine that takes packets P and has one deadline.
type Driven[P any] interface {
	HandlePacket(now time.Time, p P)
	Deadline() (time.Time, bool)
	OnDeadline(now time.Time)
}

// Drive gives m what read returns and its deadlines, until flush, called before each, is done or fails, ctx ends (its
// error) or read fails.
func Drive[P any](ctx context.Context, read func(context.Context) (P, error), m Driven[P], flush func() (done bool, err error)) error {
	ctx, cancel := context.WithCancel(ctx)
	packets := make(chan P)
	failed := make(chan error, 1)
	var reader sync.WaitGroup
	reader.Go(func() {
		for {
			p, err := read(ctx)
			if err != nil {
				failed <- err
				return
			}
			select {
			case packets <- p:
			case <-ctx.Done():
				return
			}
		}
	})
	defer reader.Wait()
	defer cancel()

	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if done, err := flush(); done || err != nil {
			return err
		}
		var expired <-chan time.Time
		if at, ok := m.Deadline(); ok {
			timer.Reset(time.Until(at))
			expired = timer.C
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("read: %w", err)
		case p := <-packets:
			m.HandlePacket(time.Now(), p)
		case <-expired:
			m.OnDeadline(time.Now())
		}
	}
}

// flush carries out the machine's outputs; done says that probing has ended well.
func flush(conn Conn, m *Machine, report func(Output)) (done bool, err error) {
	for {
		o, ok := m.Poll()
		if !ok {
			return done, nil
		}
		if report != nil {
			if _, isSend := o.(Send); !isSend {
				report(o)
			}
		}
		switch o := o.(type) {
		case Send:
			if err := conn.WriteARP(Broadcast(), o.Packet); err != nil {
				return false, fmt.Errorf("write: %w", err)
			}
		case Usable:
			done = true
		case Conflict:
			return false, &ConflictError{Addr: m.addr, By: o.By.HardwareAddr()}
		case Ceased:
			return false, &ConflictError{Addr: m.addr, By: o.By.HardwareAddr()}
		}
	}
}

// ErrLimited says that a probe's turn does not come before its context ends (RFC
// 5227 section 2.1.1).
var ErrLimited = errors.New("rate limit")

// Link keeps the rate limit of one interface over all probes on it. It may be
// used by several goroutines at once.
type Link struct {
	timers Timers // fixed after NewLink

	mu      sync.Mutex
	limiter *Limiter // guarded by mu
}

// NewLink makes the keeper of one interface. Errors are those of t.Check.
func NewLink(t Timers) (*Link, error) {
	if err := t.Check(); err != nil {
		return nil, err
	}
	return &Link{timers: t, limiter: NewLimiter(t)}, nil
}

// Probe is like the function Probe, and keeps the interface's rate limit: after
// MaxConflicts conflicts it waits until its turn comes, or fails at once if ctx
// ends before.
func (l *Link) Probe(ctx context.Context, conn Conn, addr netip.Addr, mac net.HardwareAddr, rnd io.Reader) error {
	limited := func(err error) error {
		return fmt.Errorf("acd: probe %v: waiting because of the %w after %d conflicts: %w", addr, ErrLimited, l.timers.MaxConflicts, err)
	}
	l.mu.Lock()
	now := time.Now()
	wait := l.limiter.Wait(now)
	if end, ok := ctx.Deadline(); ok && wait > 0 && now.Add(wait).After(end) {
		l.mu.Unlock()
		return limited(context.DeadlineExceeded) // a turn booked for nobody would be lost to the next
	}
	l.limiter.Attempt(now)
	l.mu.Unlock()
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return limited(ctx.Err())
		}
	}
	err := Probe(ctx, conn, addr, mac, l.timers, rnd)
	var conflict *ConflictError
	switch {
	case err == nil:
		l.mu.Lock()
		l.limiter.Success()
		l.mu.Unlock()
	case errors.As(err, &conflict):
		l.Conflict()
	}
	return err
}

// Conflict counts a conflict seen outside Probe, with an address already in use.
func (l *Link) Conflict() {
	l.mu.Lock()
	l.limiter.Conflict()
	l.mu.Unlock()
}
