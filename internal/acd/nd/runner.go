package nd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"openmpa/internal/acd"
)

// Conn carries neighbour discovery packets of one interface. Each Conn has one reader.
type Conn interface {
	// ReadND returns the next valid packet (RFC 4861 sections 6.1 and 7.1). It returns ctx.Err() soon after ctx ends.
	ReadND(ctx context.Context) (Packet, error)
	// WriteND sends p.
	WriteND(p Packet) error
}

// Run probes with a machine in state idle over conn. report, which may be nil, is told of probes that came back. Run returns
// nil when the address is free, an *acd.ConflictError when somebody has it or probes for it, ctx's error, or what conn returned. It
// takes m's Timers.Longest unless the link has a loop.
func Run(ctx context.Context, conn Conn, m *Machine, report func(Looped)) error {
	if err := m.Start(time.Now()); err != nil {
		return err
	}
	err := acd.Drive(ctx, conn.ReadND, m, func() (bool, error) { return flush(conn, m, report) })
	var conflict *acd.ConflictError
	if err == nil || errors.As(err, &conflict) {
		return err
	}
	return fmt.Errorf("nd: probe %v: %w", m.addr, err)
}

// flush carries out the machine's outputs; done says that probing has ended well.
func flush(conn Conn, m *Machine, report func(Looped)) (done bool, err error) {
	for {
		o, ok := m.Poll()
		if !ok {
			return done, m.Err()
		}
		switch o := o.(type) {
		case Send:
			if err := conn.WriteND(o.Packet); err != nil {
				return false, fmt.Errorf("write: %w", err)
			}
		case Looped:
			if report != nil {
				report(o)
			}
		case Usable:
			done = true
		case Conflict:
			return false, &acd.ConflictError{Addr: m.addr, By: o.By.HardwareAddr()}
		}
	}
}
