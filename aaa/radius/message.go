package radius

import (
	"fmt"
	"io"
	"math"
	"net/netip"
	"time"

	"layeh.com/radius"
	"layeh.com/radius/rfc2865"
	"layeh.com/radius/rfc2869"
	"layeh.com/radius/rfc3576"

	"openmpa/paa/keys"
)

const (
	serviceFramed  = 2    // Service-Type (RFC 2865 section 5.6)
	portVirtual    = 5    // NAS-Port-Type (RFC 2865 section 5.41)
	framedMTU      = 1200 // what an EAP packet may fill on our access link
	maxProxyStates = 16
)

// Request is an Access-Request of EAP.
type Request struct {
	UserName       string // the peer's identity, of 1 to 253 octets, in every request
	EAP            []byte // the peer's response
	State          []byte // of the challenge answered, nil in a first request
	NASPort        string // NAS-Port-Id; empty: not sent
	CallingStation string // the node's address; empty: not sent
	CalledStation  string // this router's name; empty: not sent

	// Server is the one that sent State: a conversation stays with it. Zero in a
	// first request.
	Server netip.AddrPort
}

// encode gives the octets of the request, which stay the same when it is repeated.
func (r Request) encode(nasIdentifier string, id uint8, authenticator [authLen]byte, secret *keys.Secret) ([]byte, error) {
	var a attributes
	if r.UserName == "" {
		return nil, fmt.Errorf("radius: request without a user name")
	}
	a.addText(rfc2865.UserName_Type, r.UserName)
	a.addText(rfc2865.NASIdentifier_Type, nasIdentifier)
	a.addInt(rfc2865.NASPortType_Type, portVirtual)
	a.addText(rfc2869.NASPortID_Type, r.NASPort)
	a.addText(rfc2865.CallingStationID_Type, r.CallingStation)
	a.addText(rfc2865.CalledStationID_Type, r.CalledStation)
	a.addInt(rfc2865.ServiceType_Type, serviceFramed)
	a.addInt(rfc2865.FramedMTU_Type, framedMTU)
	a.addEAP(r.EAP)
	if len(r.State) > 0 {
		a.add(rfc2865.State_Type, r.State)
	}
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
	ErrorCause     uint32        // RFC 3576 section 3.6; 0: none
	Server         netip.AddrPort
	Sent           int           // transmissions to that server
	RTT            time.Duration // from the first of them
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
		r.ErrorCause = v
	}
	switch r.Code {
	case AccessAccept:
		if r.MSK, err = takeKeys(p.Attributes, secret.Bytes(), request); err != nil {
			return Response{}, err
		}
	case AccessReject, AccessChallenge:
	default:
		return Response{}, fmt.Errorf("%w: %v", ErrCode, r.Code)
	}
	return r, nil
}

// ServerRequest is an Access-Request as a server reads it, verified.
type ServerRequest struct {
	Identifier     uint8
	Authenticator  [authLen]byte
	UserName       string
	EAP            []byte // nil without EAP-Message
	State          []byte // nil in a first request
	NASIdentifier  string
	NASPort        string
	CallingStation string
	CalledStation  string
	FramedMTU      int // octets an EAP packet may have on the access link; 0: not said

	proxyStates [][]byte // go back as they came (RFC 2865 section 5.33)
}

// ParseRequest verifies and reads an Access-Request. Everything it refuses is to be
// dropped without an answer; errors.Is tells ErrNoMessageAuthenticator,
// ErrBadMessageAuthenticator (most often a wrong secret) and ErrCode.
func ParseRequest(b []byte, secret *keys.Secret) (*ServerRequest, error) {
	if len(b) > 0 && Code(b[0]) != AccessRequest {
		return nil, fmt.Errorf("%w: %v, expected %v", ErrCode, Code(b[0]), AccessRequest)
	}
	p, err := open(b, nil, secret.Bytes())
	if err != nil {
		return nil, err
	}
	r := &ServerRequest{
		Identifier:     p.Identifier,
		Authenticator:  p.Authenticator,
		UserName:       text(p.Attributes, rfc2865.UserName_Type),
		EAP:            joinEAP(p.Attributes),
		State:          p.Get(rfc2865.State_Type),
		NASIdentifier:  text(p.Attributes, rfc2865.NASIdentifier_Type),
		NASPort:        text(p.Attributes, rfc2869.NASPortID_Type),
		CallingStation: text(p.Attributes, rfc2865.CallingStationID_Type),
		CalledStation:  text(p.Attributes, rfc2865.CalledStationID_Type),
	}
	if v, err := radius.Integer(p.Get(rfc2865.FramedMTU_Type)); err == nil {
		r.FramedMTU = int(min(v, math.MaxUint16))
	}
	for _, avp := range p.Attributes {
		if avp.Type == rfc2865.ProxyState_Type {
			r.proxyStates = append(r.proxyStates, avp.Attribute)
		}
	}
	if len(r.proxyStates) > maxProxyStates {
		return nil, fmt.Errorf("radius: request through %d proxies, at most %d", len(r.proxyStates), maxProxyStates)
	}
	return r, nil
}

// Reply is a server's answer.
type Reply struct {
	Code           Code // AccessAccept, AccessReject or AccessChallenge
	EAP            []byte
	State          []byte
	MSK            *keys.Secret  // sent as MPPE keys; nil: none
	SessionTimeout time.Duration // whole seconds are sent; 0: none
	UserName       string        // whom the method authenticated
}

// Encode gives the octets of the reply to r. rand makes the salts of keys.
func (r *ServerRequest) Encode(reply Reply, secret *keys.Secret, rand io.Reader) ([]byte, error) {
	switch reply.Code {
	case AccessAccept, AccessReject, AccessChallenge:
	default:
		return nil, fmt.Errorf("%w: a reply cannot be %v", ErrCode, reply.Code)
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
	if reply.MSK != nil {
		a.addKeys(reply.MSK, secret.Bytes(), r.Authenticator, rand)
	}
	for _, s := range r.proxyStates {
		a.add(rfc2865.ProxyState_Type, s)
	}
	return a.seal(reply.Code, r.Identifier, r.Authenticator, secret.Bytes())
}
