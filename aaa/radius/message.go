package radius

import (
	"fmt"
	"net/netip"
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

const (
	serviceFramed = 2    // Service-Type (RFC 2865 section 5.6)
	portVirtual   = 5    // NAS-Port-Type (RFC 2865 section 5.41)
	framedMTU     = 1160 // what an EAP packet may fill on our access link: eap.DefaultFragmentSize
)

// nas is who asks.
type nas struct{ identifier, operator string }

// add names it. The operator's name is in the namespace of realms (RFC 5580 section 4.1).
func (n nas) add(a *attributes) {
	a.addText(rfc2865.NASIdentifier_Type, n.identifier)
	if n.operator != "" {
		a.addText(rfc5580.OperatorName_Type, "1"+n.operator)
	}
}

// Request is an Access-Request of EAP.
type Request struct {
	UserName       string // the peer's identity, of 1 to 253 octets, in every request
	EAP            []byte // the peer's response
	State          []byte // of the challenge answered, nil in a first request
	NASPort        string // NAS-Port-Id; empty: not sent
	CallingStation string // the node's address; empty: not sent
	CalledStation  string // this router's name; empty: not sent
	Session        string // Acct-Session-Id, by which orders name it later; empty: not sent
	Handle         []byte // Chargeable-User-Identity of that accept; nil: the server is asked for one (RFC 4372 section 2.1)

	Passed [][]byte // Proxy-State of servers that have passed it on, ourselves the last (RFC 2865 section 5.33)

	// Server is the one that sent State: a conversation stays with it. Zero in a
	// first request.
	Server netip.AddrPort
}

// encode gives the octets of the request, which stay the same when it is repeated.
func (r Request) encode(nas nas, id uint8, authenticator [authLen]byte, secret *keys.Secret) ([]byte, error) {
	var a attributes
	if r.UserName == "" {
		return nil, fmt.Errorf("radius: request without a user name")
	}
	a.addText(rfc2865.UserName_Type, r.UserName)
	nas.add(&a)
	a.addInt(rfc2865.NASPortType_Type, portVirtual)
	a.addText(rfc2869.NASPortID_Type, r.NASPort)
	a.addText(rfc2865.CallingStationID_Type, r.CallingStation)
	a.addText(rfc2865.CalledStationID_Type, r.CalledStation)
	a.addText(rfc2866.AcctSessionID_Type, r.Session)
	if handle := r.Handle; len(handle) > 0 {
		a.add(rfc4372.ChargeableUserIdentity_Type, handle)
	} else {
		a.add(rfc4372.ChargeableUserIdentity_Type, []byte{0})
	}
	a.addInt(rfc2865.ServiceType_Type, serviceFramed)
	a.addInt(rfc2865.FramedMTU_Type, framedMTU)
	a.addEAP(r.EAP)
	if len(r.State) > 0 {
		a.add(rfc2865.State_Type, r.State)
	}
	a.addAll(rfc2865.ProxyState_Type, r.Passed)
	return a.seal(AccessRequest, id, authenticator, secret.Bytes())
}

// Response is the verified answer to a Request.
type Response struct {
	Code           Code          // AccessAccept, AccessReject or AccessChallenge
	EAP            []byte        // for the peer; nil when the server sent none
	State          []byte        // to be sent back with the next request
	MSK            *keys.Secret  // 64 octets, the caller's to clear; nil without MPPE keys
	SessionTimeout time.Duration // of the session in an accept, of the EAP request in a challenge; 0: none
	UserName       string        // whom the server authenticated; often empty
	ReplyMessage   string        // for the log only (RFC 3579 section 2.6.5)
	ErrorCause     Cause         // 0: none
	Class          [][]byte      // of an accept: goes with every record
	Handle         []byte        // Chargeable-User-Identity of an accept; nil: none
	Interim        time.Duration // between accounting records, of an accept; 0: as the router likes
	Server         netip.AddrPort
	Sent           int           // transmissions to that server
	RTT            time.Duration // from the first of them

	Signed bool // of an answer to a Record: it had a Message-Authenticator
}

func (Request) answer(b []byte, sent [authLen]byte, secret *keys.Secret) (Response, error) {
	return parseResponse(b, sent, secret)
}

// parseResponse verifies and reads a reply to the request with that authenticator.
func parseResponse(b []byte, request [authLen]byte, secret *keys.Secret) (Response, error) {
	p, err := open(b, &request, secret.Bytes())
	if err != nil {
		return Response{}, err
	}
	r := Response{
		Code:           Code(p.Code),
		EAP:            joinEAP(p.Attributes),
		State:          p.Get(rfc2865.State_Type),
		SessionTimeout: seconds(p.Attributes, rfc2865.SessionTimeout_Type),
		UserName:       text(p.Attributes, rfc2865.UserName_Type),
		ReplyMessage:   text(p.Attributes, rfc2865.ReplyMessage_Type),
	}
	if v, err := radius.Integer(p.Get(rfc3576.ErrorCause_Type)); err == nil {
		r.ErrorCause = Cause(v)
	}
	switch r.Code {
	case AccessAccept:
		if r.MSK, err = takeKeys(p.Attributes, secret.Bytes(), request); err != nil {
			return Response{}, err
		}
		r.Class, r.Handle = all(p.Attributes, rfc2865.Class_Type), p.Get(rfc4372.ChargeableUserIdentity_Type)
		r.Interim = seconds(p.Attributes, rfc2869.AcctInterimInterval_Type)
	case AccessReject, AccessChallenge:
	default:
		return Response{}, fmt.Errorf("%w: %v", ErrCode, r.Code)
	}
	return r, nil
}
