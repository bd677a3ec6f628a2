package diameter

import (
	"errors"
	"fmt"
	"strings"
)

// ErrNoPeer says that no peer takes a message, for now: nothing was sent. What wraps it
// names the peers that could, and what is with them.
var ErrNoPeer = errors.New("diameter: no peer")

// noPeerError is ErrNoPeer with its reasons.
type noPeerError struct {
	to  Target
	why []string
}

func (e *noPeerError) Error() string {
	s := "diameter: no peer for " + e.to.String()
	if len(e.why) == 0 {
		return s + ": none is configured for it, or offers the application"
	}
	return s + ": " + strings.Join(e.why, "; ")
}

func (e *noPeerError) Is(target error) bool { return target == ErrNoPeer }

// LostError says that a request was sent, that no answer comes from there any more, and
// that nobody else may take it: whether it was served is not known.
type LostError struct {
	Peer string // that has it
	Host string // whom the request was for; empty: any of the realm
	Err  error
}

// Error implements error in one line.
func (e *LostError) Error() string {
	s := fmt.Sprintf("diameter: %s has a request and does not answer", e.Peer)
	if e.Host != "" && e.Host != e.Peer {
		s += " for " + e.Host
	}
	return s + ": " + e.Err.Error()
}

// Unwrap gives errors.As the cause.
func (e *LostError) Unwrap() error { return e.Err }

// What may become of a request on a connection.
var (
	errSilent   = errors.New("no answer in time")
	errSuspect  = errors.New("it no longer answers watchdogs")
	errClosed   = errors.New("the connection is gone")
	errLeaves   = errors.New("it has said goodbye")
	errElection = errors.New("another connection with it was kept")
	errBusy     = errors.New("too many requests wait for it")

	// errUnsent comes with whichever of them kept a request from being sent at all.
	errUnsent = errors.New("")
)
