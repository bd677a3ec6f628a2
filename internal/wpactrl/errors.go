package wpactrl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// Causes of a CommandError, for errors.Is. A time-out is context.DeadlineExceeded.
var (
	// ErrFail: the daemon answered FAIL.
	ErrFail = errors.New("the daemon refuses")
	// ErrUnknownCommand: the daemon does not know the command; it may be built without it.
	ErrUnknownCommand = errors.New("the daemon does not know the command")
	// ErrAnswer: the daemon answered what the command has no use for.
	ErrAnswer = errors.New("unexpected answer")
	// ErrGone: nobody listens on the control socket.
	ErrGone = errors.New("no daemon listens on the control socket: start it with ctrl_interface set, or correct the path")
	// ErrClosed: the Client was closed.
	ErrClosed = errors.New("closed")
)

// CommandError says which command on which socket went wrong. Keys in the command are shown as "?".
type CommandError struct {
	Socket  string
	Command string // "?" for keys
	Answer  string // the daemon's, if it gave one; printable, at most maxShown octets
	Err     error  // one of the causes above, or what the system says
}

const maxShown = 200 // octets of a command or answer in an error

// Error implements error.
func (e *CommandError) Error() string {
	s := fmt.Sprintf("wpactrl: %s on %s: %v", shown(e.Command), e.Socket, e.Err)
	if e.Answer != "" {
		s += fmt.Sprintf(" (it answered %q)", e.Answer)
	}
	return s
}

// Unwrap returns the cause.
func (e *CommandError) Unwrap() error { return e.Err }

func shown(s string) string {
	if len(s) > maxShown {
		return s[:maxShown] + "..."
	}
	return s
}

// cause makes of a system's error what it means for the user of a control socket.
func cause(ctx, life context.Context, err error) error {
	switch {
	case life.Err() != nil:
		return ErrClosed
	case ctx.Err() != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("no answer in time, is the daemon stuck? %w", ctx.Err())
	case ctx.Err() != nil:
		return ctx.Err()
	case gone(err):
		return fmt.Errorf("%w: %w", ErrGone, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("the control socket does not let us in: run as root, or set ctrl_interface_group: %w", err)
	}
	return err
}

// gone says whether err is that of a socket nobody listens on.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.ENOTCONN)
}
