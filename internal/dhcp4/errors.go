package dhcp4

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// ErrMalformed is wrapped by errors about answers that were refused.
var ErrMalformed = errors.New("malformed answer")

// NoAnswerError says that no acceptable answer came.
type NoAnswerError struct {
	Waiting string        // "offer" or "ack"
	Asked   string        // the server, or the link broadcast on
	Tries   int           // messages sent
	Waited  time.Duration // since the first
	Check   string        // what to look at
	Refused error         // the last answer refused, nil if none came; wraps ErrMalformed
	Cause   error         // why the wait ended, if it was not that the tries were used up
}

// Error implements error.
func (e *NoAnswerError) Error() string {
	s := fmt.Sprintf("dhcp4: no %s from %s after %d tries in %v", e.Waiting, e.Asked, e.Tries, e.Waited.Round(time.Millisecond))
	if e.Cause != nil {
		s += fmt.Sprintf(" (%v)", e.Cause)
	}
	if e.Refused != nil {
		return s + fmt.Sprintf("; an answer was refused: %v", e.Refused)
	}
	return s + ": " + e.Check
}

// Unwrap gives access to the refusal and the cause.
func (e *NoAnswerError) Unwrap() []error {
	var errs []error
	for _, err := range []error{e.Refused, e.Cause} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// NAKError says that the server refused the request.
type NAKError struct {
	Server  netip.Addr // its identifier
	Addr    netip.Addr // the address asked for
	Message string     // option 56, printable part, at most maxMessage octets
}

// Error implements error.
func (e *NAKError) Error() string {
	s := fmt.Sprintf("dhcp4: server %s refused address %s (NAK)", e.Server, e.Addr)
	if e.Message != "" {
		s += fmt.Sprintf(": it says %q", e.Message)
	}
	return s
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}
