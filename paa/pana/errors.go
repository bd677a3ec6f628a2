package pana

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Reasons of a Closed, and errors of calls.
var (
	// ErrTerminated: this side ended the session.
	ErrTerminated = errors.New("pana: session terminated by this side")
	// ErrNotOpen: the call needs an open session.
	ErrNotOpen = errors.New("pana: session is not open")
	// ErrUnknownSession: the PAA has no session with this identifier.
	ErrUnknownSession = errors.New("pana: unknown session")
	// ErrQueueFull: too many notifications wait for their turn.
	ErrQueueFull = errors.New("pana: too many notifications are waiting")
	// ErrRunnerClosed: the Client or Server has been closed.
	ErrRunnerClosed = errors.New("pana: closed")
	// ErrSuperseded: the PaC has gone on with another PAR[S].
	ErrSuperseded = errors.New("pana: the PaC has begun another session instead")
	// ErrCrowded: an authentication under way has given way to another's.
	ErrCrowded = errors.New("pana: too many are being authenticated, and this one gave way")
	// ErrConfig is wrapped when a configuration cannot be used.
	ErrConfig = errors.New("pana: configuration")
)

// ResultCode is the value of a Result-Code AVP (RFC 5191 section 8.7).
type ResultCode uint32

// Result codes.
const (
	ResultSuccess                ResultCode = 0
	ResultAuthenticationRejected ResultCode = 1
	ResultAuthorizationRejected  ResultCode = 2
)

// String spells the result as RFC 5191 does.
func (r ResultCode) String() string {
	switch r {
	case ResultSuccess:
		return "PANA_SUCCESS"
	case ResultAuthenticationRejected:
		return "PANA_AUTHENTICATION_REJECTED"
	case ResultAuthorizationRejected:
		return "PANA_AUTHORIZATION_REJECTED"
	}
	return fmt.Sprintf("result %d", uint32(r))
}

// TerminationCause is the value of a Termination-Cause AVP (RFC 5191 section
// 8.9).
type TerminationCause uint32

// Termination causes.
const (
	CauseLogout         TerminationCause = 1 // PaC to PAA
	CauseAdministrative TerminationCause = 4 // PAA to PaC
	CauseSessionTimeout TerminationCause = 8 // PAA to PaC
)

// String spells the cause as RFC 5191 does.
func (c TerminationCause) String() string {
	switch c {
	case CauseLogout:
		return "LOGOUT"
	case CauseAdministrative:
		return "ADMINISTRATIVE"
	case CauseSessionTimeout:
		return "SESSION_TIMEOUT"
	}
	return fmt.Sprintf("cause %d", uint32(c))
}

// ErrAuthRejected closes a session whose PAR[C] did not say PANA_SUCCESS. Err,
// when there is one, is what this side's EAP knows about it.
type ErrAuthRejected struct {
	Code ResultCode
	Err  error
	// AVPs is, on the PaC, what the PAR[C] carried besides the AVPs of RFC 5191.
	// Before there is a PANA SA anybody on the path can write it.
	AVPs []AVP
}

func (e *ErrAuthRejected) Error() string {
	s := "pana: authentication ended with " + e.Code.String()
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *ErrAuthRejected) Unwrap() error { return e.Err }

// ErrAuthTimeout closes a session whose authentication phase did not end in
// time (FAILED_SESS_TIMEOUT of RFC 5609).
type ErrAuthTimeout struct {
	Peer  netip.AddrPort // PaC: the PAA; PAA: the PaC
	After time.Duration
	PCIs  int    // PaC: how many PCIs were sent
	State string // how far it came; empty when the PAA never answered
	Err   error  // the last error of the socket or of EAP, if any
}

func (e *ErrAuthTimeout) Error() string {
	peer := "peer"
	if e.Peer.IsValid() {
		peer = e.Peer.String()
	}
	s := fmt.Sprintf("pana: no answer from PAA %s after %v, %d PCIs sent", peer, e.After, e.PCIs)
	if e.State != "" {
		s = fmt.Sprintf("pana: authentication with %s not finished after %v: %s", peer, e.After, e.State)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *ErrAuthTimeout) Unwrap() error { return e.Err }

// ErrPeerTerminated closes a session that the peer ended with a PTR.
type ErrPeerTerminated struct{ Cause TerminationCause }

func (e *ErrPeerTerminated) Error() string {
	return "pana: session terminated by the peer: " + e.Cause.String()
}

// ErrLifetime closes a session whose lifetime has run out.
type ErrLifetime struct{ Lifetime time.Duration }

func (e *ErrLifetime) Error() string {
	return fmt.Sprintf("pana: session lifetime of %v has run out", e.Lifetime)
}

// ErrSilent closes a session whose peer has not been heard for so long, although it
// was asked.
type ErrSilent struct{ For time.Duration }

// Error implements error.
func (e *ErrSilent) Error() string {
	return fmt.Sprintf("pana: nothing that could be verified came from the peer for %v, and no answer to a ping", e.For)
}

// ErrRetransmissions closes a session whose peer left a request unanswered
// (RFC 5191 section 9).
type ErrRetransmissions struct {
	Request string // for example "PNR[P]"
	Sent    int
	After   time.Duration
}

func (e *ErrRetransmissions) Error() string {
	return fmt.Sprintf("pana: no answer to %s, sent %d times in %v", e.Request, e.Sent, e.After.Round(time.Millisecond))
}

// ErrEAP closes a session that EAP failed; it wraps the EAP peer's error on
// the PaC and what the owner passed in EAPReply on the PAA.
type ErrEAP struct{ Err error }

func (e *ErrEAP) Error() string { return "pana: EAP failed: " + e.Err.Error() }

func (e *ErrEAP) Unwrap() error { return e.Err }

// errEAPMismatch: PAR[C] and the EAP peer disagree.
var errEAPMismatch = errors.New("the PAA reports success, the EAP peer does not")
