package radius

import (
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"layeh.com/radius"
	"layeh.com/radius/rfc2865"
	"layeh.com/radius/rfc2866"
	"layeh.com/radius/rfc2869"
	"layeh.com/radius/rfc3576"
	"layeh.com/radius/rfc4372"
	"layeh.com/radius/rfc5580"

	"openmpa/paa/keys"
)

// MaxPassed is how many Proxy-States a request may have.
const MaxPassed = 16

// ServerRequest is a request as a server reads it, verified.
type ServerRequest struct {
	Code           Code // AccessRequest, AccountingRequest or StatusServer
	Identifier     uint8
	Authenticator  [authLen]byte
	UserName       string
	EAP            []byte // nil without EAP-Message
	State          []byte // nil in a first request
	NASIdentifier  string
	NASPort        string
	CallingStation string
	CalledStation  string
	FramedMTU      int      // octets an EAP packet may have on the access link; 0: not said
	Session        string   // Acct-Session-Id; often empty in an Access-Request
	Operator       string   // the network the node is in (RFC 5580 section 4.1); empty: not said
	Record         *Record  // of an Accounting-Request
	Passed         [][]byte // Proxy-State, goes back as it came (RFC 2865 section 5.33)
}

// ParseRequest verifies and reads a request of one of those codes, an Access-Request if
// there are none. Everything it refuses is to be dropped without an answer; errors.Is
// tells ErrNoMessageAuthenticator, ErrBadMessageAuthenticator and ErrBadAuthenticator
// (most often a wrong secret) and ErrCode.
func ParseRequest(b []byte, secret *keys.Secret, codes ...Code) (*ServerRequest, error) {
	if len(codes) == 0 {
		codes = []Code{AccessRequest}
	}
	if len(b) > 0 && !slices.Contains(codes, Code(b[0])) {
		return nil, fmt.Errorf("%w: %v, expected %v", ErrCode, Code(b[0]), codes)
	}
	p, err := open(b, nil, secret.Bytes())
	if err != nil {
		return nil, err
	}
	r := &ServerRequest{
		Code:           Code(p.Code),
		Identifier:     p.Identifier,
		Authenticator:  p.Authenticator,
		UserName:       text(p.Attributes, rfc2865.UserName_Type),
		EAP:            joinEAP(p.Attributes),
		State:          p.Get(rfc2865.State_Type),
		NASIdentifier:  text(p.Attributes, rfc2865.NASIdentifier_Type),
		NASPort:        text(p.Attributes, rfc2869.NASPortID_Type),
		CallingStation: text(p.Attributes, rfc2865.CallingStationID_Type),
		CalledStation:  text(p.Attributes, rfc2865.CalledStationID_Type),
		Session:        text(p.Attributes, rfc2866.AcctSessionID_Type),
		Passed:         all(p.Attributes, rfc2865.ProxyState_Type),
	}
	if name := text(p.Attributes, rfc5580.OperatorName_Type); len(name) > 1 && name[0] == '1' {
		r.Operator = name[1:]
	}
	if v, err := radius.Integer(p.Get(rfc2865.FramedMTU_Type)); err == nil {
		r.FramedMTU = int(min(v, math.MaxUint16))
	}
	if len(r.Passed) > MaxPassed {
		return nil, fmt.Errorf("radius: request through %d proxies, at most %d", len(r.Passed), MaxPassed)
	}
	if r.Code == AccountingRequest {
		if r.Record, err = parseRecord(p.Attributes); err != nil {
			return nil, err
		}
		r.Record.Passed = r.Passed
	}
	return r, nil
}

// Reply is a server's answer.
type Reply struct {
	Code           Code // AccessAccept, AccessReject or AccessChallenge, AccountingResponse
	EAP            []byte
	State          []byte
	MSK            *keys.Secret  // sent as MPPE keys; nil: none
	SessionTimeout time.Duration // whole seconds are sent; 0: none
	UserName       string        // whom the method authenticated
	Class          [][]byte      // of an accept, for accounting
	Handle         []byte        // Chargeable-User-Identity of an accept
	Interim        time.Duration // between accounting records, of an accept; whole seconds are sent
	Message        string        // for the router's log; cut where it does not fit
	ErrorCause     Cause         // 0: none
}

// answers are the codes that a request may be answered with.
var answers = map[Code][]Code{
	AccessRequest:     {AccessAccept, AccessReject, AccessChallenge},
	AccountingRequest: {AccountingResponse},
	StatusServer:      {AccessAccept, AccountingResponse},
}

// Encode gives the octets of the reply to r. rand makes the salts of keys.
func (r *ServerRequest) Encode(reply Reply, secret *keys.Secret, rand io.Reader) ([]byte, error) {
	if !slices.Contains(answers[r.Code], reply.Code) {
		return nil, fmt.Errorf("%w: the answer to %v cannot be %v", ErrCode, r.Code, reply.Code)
	}
	var a attributes
	a.addText(rfc2865.UserName_Type, reply.UserName)
	a.addEAP(reply.EAP)
	if len(reply.State) > 0 {
		a.add(rfc2865.State_Type, reply.State)
	}
	if s := reply.SessionTimeout / time.Second; s > 0 {
		a.addInt(rfc2865.SessionTimeout_Type, uint32(min(s, math.MaxUint32)))
	}
	a.addAll(rfc2865.Class_Type, reply.Class)
	if len(reply.Handle) > 0 {
		a.add(rfc4372.ChargeableUserIdentity_Type, reply.Handle)
	}
	if s := reply.Interim / time.Second; s > 0 {
		a.addInt(rfc2869.AcctInterimInterval_Type, uint32(min(s, math.MaxUint32)))
	}
	a.addText(rfc2865.ReplyMessage_Type, reply.Message[:min(len(reply.Message), maxValue)])
	if reply.ErrorCause != 0 {
		a.addInt(rfc3576.ErrorCause_Type, uint32(reply.ErrorCause))
	}
	if reply.MSK != nil {
		a.addKeys(reply.MSK, secret.Bytes(), r.Authenticator, rand)
	}
	a.addAll(rfc2865.ProxyState_Type, r.Passed)
	return a.seal(reply.Code, r.Identifier, r.Authenticator, secret.Bytes())
}
