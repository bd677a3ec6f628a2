package diameter

import (
	"errors"
	"fmt"
)

// Result is a Result-Code (RFC 6733 section 7.1).
type Result uint32

// The results this package knows by name.
const (
	MultiRoundAuth         Result = 1001
	Success                Result = 2001
	LimitedSuccess         Result = 2002
	CommandUnsupported     Result = 3001
	UnableToDeliver        Result = 3002
	RealmNotServed         Result = 3003
	TooBusy                Result = 3004
	LoopDetected           Result = 3005
	RedirectIndication     Result = 3006
	ApplicationUnsupported Result = 3007
	InvalidHeaderBits      Result = 3008
	InvalidAVPBits         Result = 3009
	UnknownPeer            Result = 3010
	AuthenticationRejected Result = 4001
	OutOfSpace             Result = 4002
	ElectionLost           Result = 4003
	AVPUnsupported         Result = 5001
	UnknownSession         Result = 5002
	AuthorizationRejected  Result = 5003
	InvalidAVPValue        Result = 5004
	MissingAVP             Result = 5005
	ResourcesExceeded      Result = 5006
	ContradictingAVPs      Result = 5007
	AVPNotAllowed          Result = 5008
	AVPTooOften            Result = 5009
	NoCommonApplication    Result = 5010
	UnsupportedVersion     Result = 5011
	UnableToComply         Result = 5012
	InvalidBitInHeader     Result = 5013
	InvalidAVPLength       Result = 5014
	InvalidMessageLength   Result = 5015
	InvalidAVPBitCombo     Result = 5016
	NoCommonSecurity       Result = 5017
)

// words has, for each result, its name in the RFC and what whoever reads it does now.
var words = map[Result][2]string{
	MultiRoundAuth:         {"DIAMETER_MULTI_ROUND_AUTH", "the authentication goes on"},
	Success:                {"DIAMETER_SUCCESS", "done"},
	LimitedSuccess:         {"DIAMETER_LIMITED_SUCCESS", "done, and something of it is left to do"},
	CommandUnsupported:     {"DIAMETER_COMMAND_UNSUPPORTED", "the server lacks the command; does it run the EAP application (5)?"},
	UnableToDeliver:        {"DIAMETER_UNABLE_TO_DELIVER", "no server of that realm or name can be reached from there; see the relay's peers"},
	RealmNotServed:         {"DIAMETER_REALM_NOT_SERVED", "nobody there serves the node's realm; add a route for it"},
	TooBusy:                {"DIAMETER_TOO_BUSY", "the server has too much to do"},
	LoopDetected:           {"DIAMETER_LOOP_DETECTED", "relays send it in a circle; see their routes for the realm"},
	RedirectIndication:     {"DIAMETER_REDIRECT_INDICATION", "a redirect agent, which is not followed; make the server it names a peer"},
	ApplicationUnsupported: {"DIAMETER_APPLICATION_UNSUPPORTED", "the server lacks the application; EAP is 5, accounting 3"},
	InvalidHeaderBits:      {"DIAMETER_INVALID_HDR_BITS", "flags of a message are wrong; please report it"},
	InvalidAVPBits:         {"DIAMETER_INVALID_AVP_BITS", "flags of an AVP are wrong; please report it"},
	UnknownPeer:            {"DIAMETER_UNKNOWN_PEER", "the server does not know this identity; add it to its peers"},
	AuthenticationRejected: {"DIAMETER_AUTHENTICATION_REJECTED", "the node could not prove who it is; the server's log has the reason"},
	OutOfSpace:             {"DIAMETER_OUT_OF_SPACE", "the server cannot store the record now; it is sent again"},
	ElectionLost:           {"DIAMETER_ELECTION_LOST", "the other connection of the two is used"},
	AVPUnsupported:         {"DIAMETER_AVP_UNSUPPORTED", "an AVP with the M bit that the server does not know"},
	UnknownSession:         {"DIAMETER_UNKNOWN_SESSION_ID", "the session is not known there (any more)"},
	AuthorizationRejected:  {"DIAMETER_AUTHORIZATION_REJECTED", "the node is who it says, and may not; see the server's policy"},
	InvalidAVPValue:        {"DIAMETER_INVALID_AVP_VALUE", "an AVP has a value that the server does not take"},
	MissingAVP:             {"DIAMETER_MISSING_AVP", "an AVP is missing"},
	ResourcesExceeded:      {"DIAMETER_RESOURCES_EXCEEDED", "the node has as many sessions as it may"},
	ContradictingAVPs:      {"DIAMETER_CONTRADICTING_AVPS", "two AVPs contradict each other"},
	AVPNotAllowed:          {"DIAMETER_AVP_NOT_ALLOWED", "an AVP may not be in this message"},
	AVPTooOften:            {"DIAMETER_AVP_OCCURS_TOO_MANY_TIMES", "an AVP is there too often"},
	NoCommonApplication:    {"DIAMETER_NO_COMMON_APPLICATION", "the peer has neither EAP (5) nor is it a relay"},
	UnsupportedVersion:     {"DIAMETER_UNSUPPORTED_VERSION", "the version is not 1"},
	UnableToComply:         {"DIAMETER_UNABLE_TO_COMPLY", "the server could not, for a reason of its own; its log has it"},
	InvalidBitInHeader:     {"DIAMETER_INVALID_BIT_IN_HEADER", "a reserved bit of the header is set"},
	InvalidAVPLength:       {"DIAMETER_INVALID_AVP_LENGTH", "an AVP has a length that its type does not allow"},
	InvalidMessageLength:   {"DIAMETER_INVALID_MESSAGE_LENGTH", "the length of the message does not fit its AVPs"},
	InvalidAVPBitCombo:     {"DIAMETER_INVALID_AVP_BIT_COMBO", "flags of an AVP are not allowed together"},
	NoCommonSecurity:       {"DIAMETER_NO_COMMON_SECURITY", "one side has TLS and the other has not; set tls: on both"},
}

// String names it with its number.
func (r Result) String() string {
	if w, ok := words[r]; ok {
		return fmt.Sprintf("%s (%d)", w[0], uint32(r))
	}
	return fmt.Sprintf("Result-Code %d", uint32(r))
}

// Advice says in a few words what it means and what to do. Codes that are not known count
// as the general one of their class (RFC 6733 section 7.1).
func (r Result) Advice() string {
	if w, ok := words[r]; ok {
		return w[1]
	}
	switch r.class() {
	case 1:
		return words[MultiRoundAuth][1]
	case 2:
		return words[Success][1]
	case 3:
		return "the message could not be delivered"
	case 4:
		return "not now; later it may be"
	}
	return words[UnableToComply][1]
}

func (r Result) class() uint32 { return uint32(r) / 1000 }

// succeeded holds for 2xxx.
func (r Result) succeeded() bool { return r.class() == 2 }

// passing holds for what may be otherwise at another try, or another server: what cannot
// be delivered now, and transient failures but for a rejection.
func (r Result) passing() bool {
	switch r {
	case CommandUnsupported, ApplicationUnsupported, InvalidHeaderBits, InvalidAVPBits, AuthenticationRejected:
		return false
	}
	return r.class() == 3 || r.class() == 4
}

// ResultError is an answer that says no.
type ResultError struct {
	Request string // what was asked, by its name in the RFC
	Server  string // that answered
	Result  Result
	Message string // Error-Message; often empty
	Failed  string // the AVPs it complains of, by name; empty when it names none
}

// errLater is a *ResultError that another try may spare.
var errLater = errors.New("diameter: not now")

// Is makes it ErrRefused when another try is in vain.
func (e *ResultError) Is(target error) bool {
	return target == ErrRefused && !e.Result.passing() || target == errLater && e.Result.passing()
}

// Error implements error in one line.
func (e *ResultError) Error() string {
	s := fmt.Sprintf("diameter: %s answers %s with %v: %s", e.Server, e.Request, e.Result, e.Result.Advice())
	if e.Failed != "" {
		s += "; it complains of " + e.Failed
	}
	if e.Message != "" {
		s += fmt.Sprintf("; it says %q", e.Message)
	}
	return s
}
