package aaa

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"openmpa/paa/keys"
)

// Backend has nodes authenticated by the AAA servers of their homes, and keeps those
// servers' books. It may be used by several goroutines at once.
type Backend interface {
	// Start begins a conversation with a node.
	Start(ctx context.Context, info SessionInfo) (Session, error)
	// Granted says that a session of that Grant is in use: after the first accept, and
	// after each that renews it, with the Grant that came with it. It does not wait.
	Granted(g Grant)
	// Ended says that a session is over, by whomever: once for each that was Granted, and
	// for each accept that came to nothing. It does not wait; the server hears it even if
	// this process ends before.
	Ended(g Grant, cause Cause, u Usage)
}

// SessionInfo tells the AAA server where the node is. Every field may be empty.
type SessionInfo struct {
	NASPort        string // which session of this router
	CallingStation string // the node, by its address
	CalledStation  string // this router, by its name
	// Session is what somebody for whom this asks names it by. It is handed through, RADIUS to
	// RADIUS and Diameter to Diameter, so that whoever forwards the records of a session need not
	// be who forwarded its begin.
	Session string
	// Passed are the marks of servers that have passed the request on until here, in order: what
	// comes back to one of them goes in a circle. RADIUS has them as Proxy-State, of anybody's
	// making; Diameter as Route-Record, and only what may be a name.
	Passed [][]byte
	Again  *Grant // the session is open, and authenticates again; nil: another one
}

// Session is the conversation with one node. It must not be used by several
// goroutines at once.
type Session interface {
	// Identity is the EAP-Request/Identity to send first.
	Identity() []byte
	// Exchange carries one response of the node to the AAA server. With a
	// *RejectError the Result still holds what the node is to be told. A timeout
	// is ErrTimeout, of a server that had begun and for which another stands in
	// *LostError; a cancelled ctx is context.Canceled.
	Exchange(ctx context.Context, eapResponse []byte) (Result, error)
	// Close lets go of the conversation. It may be called at any time, and again.
	Close()
}

// Decision is what the AAA server has decided.
type Decision uint8

// The decisions.
const (
	Continue Decision = iota // not yet: send Result.EAP and exchange the answer
	Accept
	Reject
)

// String implements fmt.Stringer.
func (d Decision) String() string {
	switch d {
	case Continue:
		return "continue"
	case Accept:
		return "accept"
	case Reject:
		return "reject"
	}
	return fmt.Sprintf("Decision(%d)", uint8(d))
}

// Result is the AAA server's answer.
type Result struct {
	EAP            []byte // to be sent to the node; nil when the server sent none
	Decision       Decision
	MSK            *keys.Secret  // of an Accept, 64 octets, the receiver's to clear
	SessionTimeout time.Duration // of an Accept; 0: the server sets no limit
	Identity       string        // of an Accept: whom the server names, else what the node called itself
	Grant          Grant         // of an Accept: what the session is known by from now on
}

// ErrTimeout says that no AAA server answered. What wraps it names those that were
// asked.
var ErrTimeout = errors.New("aaa: no answer")

// timeoutError is ErrTimeout with the words of whoever waited.
type timeoutError struct{ err error }

func (e *timeoutError) Error() string        { return "aaa: " + bare(e.err) }
func (e *timeoutError) Is(target error) bool { return target == ErrTimeout }
func (e *timeoutError) Unwrap() error        { return e.err }

// SilentError is an ErrTimeout that says who was asked.
type SilentError struct {
	Servers []string // in the order they were asked; names or addresses
	Waited  time.Duration
	Refused error // why the last answer did not count; nil when there was none
	Err     error // in the words of whoever waited
}

// Error implements error in one line.
func (e *SilentError) Error() string { return "aaa: " + bare(e.Err) }

// Is makes it an ErrTimeout.
func (e *SilentError) Is(target error) bool { return target == ErrTimeout }

// Unwrap gives errors.As the cause.
func (e *SilentError) Unwrap() error { return e.Err }

// Told is what the node may be told of it.
func (e *SilentError) Told() string {
	waited := e.Waited.Round(100 * time.Millisecond)
	if e.Refused != nil {
		return fmt.Sprintf("the router could not trust what its AAA server answered (%s, for %v): %s", strings.Join(e.Servers, ", "), waited, bare(e.Refused))
	}
	return fmt.Sprintf("the router could not reach its AAA server (%s silent for %v)", strings.Join(e.Servers, ", "), waited)
}

// bare is an error's text without the name of the package that speaks a protocol.
func bare(err error) string {
	text := err.Error()
	for _, p := range []string{"radius: ", "diameter: "} {
		text = strings.TrimPrefix(text, p)
	}
	return text
}

// LostError says that the server of a conversation is gone in the middle of it, and
// that another could serve a new one: the node should authenticate once more, from
// the start. errors.Is(err, ErrTimeout) holds.
type LostError struct {
	Server string // that was lost
	Next   string // that would be asked; a name or address
	Err    error  // how it was noticed
}

// Error implements error in one line.
func (e *LostError) Error() string {
	return fmt.Sprintf("aaa: %s was lost in the middle of an authentication; %s takes a new one: %v", e.Server, e.Next, e.Err)
}

// Is makes it an ErrTimeout.
func (e *LostError) Is(target error) bool { return target == ErrTimeout }

// Unwrap gives errors.As the cause.
func (e *LostError) Unwrap() error { return e.Err }

// RejectError says that the AAA server refuses the node.
type RejectError struct {
	Server   string // that decided
	Identity string // of the node, as it gave it
	Message  string // from the server; often empty
	// Bare says that the server sent no EAP packet: it was not EAP that decided, and
	// EAP tells the node nothing.
	Bare bool
}

// Error implements error in one line.
func (e *RejectError) Error() string {
	s := fmt.Sprintf("aaa: %s rejected %q", e.Server, e.Identity)
	if e.Bare {
		s += " without an EAP packet: it does not know the conversation (was it restarted just now?), or its policy refuses"
	}
	if e.Message != "" {
		return s + fmt.Sprintf(": %q", e.Message)
	}
	return s + "; its log has the reason"
}
