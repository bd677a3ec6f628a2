package dhcp6

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/iana"
)

// ErrMalformed is wrapped by errors about answers that were refused.
var ErrMalformed = errors.New("malformed answer")

// NoAnswerError says that no acceptable answer came.
type NoAnswerError struct {
	Waiting string        // "advertise" or "reply"
	Asked   string        // the server, or the link
	Tries   int           // messages sent
	Waited  time.Duration // since the first
	Check   string        // what to look at
	Refused error         // the last answer refused, nil if none came
	Cause   error         // why the wait ended, if it was not that the tries were used up
}

// Error implements error.
func (e *NoAnswerError) Error() string {
	s := fmt.Sprintf("dhcp6: no %s from %s after %d tries in %v", e.Waiting, e.Asked, e.Tries, e.Waited.Round(time.Millisecond))
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
	return slices.DeleteFunc([]error{e.Refused, e.Cause}, func(err error) bool { return err == nil })
}

// StatusError says that the server refused (RFC 8415 section 21.13).
type StatusError struct {
	Code    uint16 // 2: no addresses, 3: it knows no such lease, 4: the address is not of the link
	Message string // printable part, at most maxMessage octets
}

// Error implements error.
func (e *StatusError) Error() string {
	s := fmt.Sprintf("dhcp6: the server answers with status %d (%v)", e.Code, iana.StatusCode(e.Code))
	if e.Message != "" {
		s += fmt.Sprintf(": it says %q", e.Message)
	}
	return s
}

// ErrWithdrawn says that a server that was asked for more time lets a lease end at once.
var ErrWithdrawn = errors.New("dhcp6: the server withdraws the address: acquire another one")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}
