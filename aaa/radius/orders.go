package radius

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"layeh.com/radius"
	"layeh.com/radius/rfc2865"
	"layeh.com/radius/rfc2866"
	"layeh.com/radius/rfc2869"
	"layeh.com/radius/rfc3162"
	"layeh.com/radius/rfc3576"
	"layeh.com/radius/rfc4372"
	"layeh.com/radius/rfc5176"

	"openmpa/paa/keys"
)

// Cause is Error-Cause (RFC 5176 section 3.5).
type Cause uint32

// The causes that are told here. CauseInitiated is how an order to authenticate again
// succeeds.
const (
	CauseNone                 Cause = 0 // done
	CauseUnsupportedAttribute       = Cause(rfc3576.ErrorCause_Value_UnsupportedAttribute)
	CauseMissingAttribute           = Cause(rfc3576.ErrorCause_Value_MissingAttribute)
	CauseOtherNAS                   = Cause(rfc3576.ErrorCause_Value_NASIdentificationMismatch)
	CauseInvalidRequest             = Cause(rfc3576.ErrorCause_Value_InvalidRequest)
	CauseUnsupportedService         = Cause(rfc3576.ErrorCause_Value_UnsupportedService)
	CauseUnsupportedExtension       = Cause(rfc3576.ErrorCause_Value_UnsupportedExtension)
	CauseInvalidValue               = Cause(rfc5176.ErrorCause_Value_InvalidAttributeValue)
	CauseUnroutable                 = Cause(rfc3576.ErrorCause_Value_ProxyRequestNotRoutable)
	CauseNotFound                   = Cause(rfc3576.ErrorCause_Value_SessionContextNotFound)
	CauseResources                  = Cause(rfc3576.ErrorCause_Value_ResourcesUnavailable)
	CauseInitiated                  = Cause(rfc3576.ErrorCause_Value_RequestInitiated)
)

// String implements fmt.Stringer.
func (c Cause) String() string { return rfc3576.ErrorCause(c).String() }

// authorizeOnly is the Service-Type of an order to authenticate again.
const authorizeOnly = uint32(ServiceType_Value_AuthorizeOnly)

// Order is what a server wants of sessions (RFC 5176). Those are meant that match every
// field which names one.
type Order struct {
	Server netip.AddrPort // that sent it
	Code   Code           // DisconnectRequest: end them; CoARequest: Again or Life

	Session        string // Acct-Session-Id
	UserName       string
	NASPort        string // NAS-Port-Id
	CallingStation string
	CalledStation  string
	Handle         []byte // Chargeable-User-Identity
	Class          []byte

	Again bool          // have the nodes authenticate again (section 3.2)
	Life  time.Duration // they last that long from now on; 0: as before
}

// names reports whether it names any session.
func (o *Order) names() bool {
	return o.Session != "" || o.UserName != "" || o.NASPort != "" || o.CallingStation != "" || o.CalledStation != "" || len(o.Handle) > 0 || len(o.Class) > 0
}

// received is an order as it came.
type received struct {
	Order
	id            uint8
	authenticator [authLen]byte
	time          time.Time // Event-Timestamp; zero: none
	state         []byte
	proxyStates   [][]byte
	cause         Cause // why it is refused; CauseNone: it is not
}

// router is who an order may be for.
type router struct {
	identifier string
	addr       netip.Addr // where orders are taken; zero or unspecified: any
}

// parseOrder verifies and reads an order. signed says that it must have a
// Message-Authenticator. An error means: drop it. One that is authentic but wrong has a
// cause.
func parseOrder(b []byte, secret *keys.Secret, to router, signed bool) (*received, error) {
	p, err := open(b, nil, secret.Bytes())
	if err != nil && (signed || !errors.Is(err, ErrNoMessageAuthenticator)) {
		return nil, err
	}
	r := &received{id: p.Identifier, authenticator: p.Authenticator}
	if r.Code = Code(p.Code); r.Code != DisconnectRequest && r.Code != CoARequest {
		return nil, fmt.Errorf("%w: %v, expected %v or %v", ErrCode, r.Code, DisconnectRequest, CoARequest)
	}
	r.proxyStates = all(p.Attributes, rfc2865.ProxyState_Type)
	r.state, r.time = p.Get(rfc2865.State_Type), eventTime(p.Attributes)
	if len(r.proxyStates) > MaxPassed {
		return nil, fmt.Errorf("radius: order through %d proxies, at most %d", len(r.proxyStates), MaxPassed)
	}
	var service uint32
	seen := map[radius.Type]bool{}
	for _, avp := range p.Attributes {
		if cause := r.attribute(avp, &service, to); cause != CauseNone && r.cause == CauseNone {
			r.cause = cause
		}
		if seen[avp.Type] && avp.Type != rfc2865.ProxyState_Type && avp.Type != rfc2865.ReplyMessage_Type && r.cause == CauseNone {
			r.cause = CauseInvalidRequest // it would mean one of two
		}
		seen[avp.Type] = true
	}
	if r.cause == CauseNone {
		r.cause = r.judge(service, seen)
	}
	return r, nil
}

// attribute reads one. The others of section 3.6 are of services that are not offered.
func (r *received) attribute(avp *radius.AVP, service *uint32, to router) Cause {
	value := avp.Attribute
	switch avp.Type {
	case rfc2869.MessageAuthenticator_Type, rfc2869.EventTimestamp_Type, rfc2865.ProxyState_Type, rfc2865.State_Type,
		rfc2865.ReplyMessage_Type, rfc2865.NASPortType_Type:
	case rfc2866.AcctTerminateCause_Type:
		if r.Code != DisconnectRequest {
			return CauseUnsupportedAttribute
		}
	case rfc2865.NASIdentifier_Type:
		if string(value) != to.identifier {
			return CauseOtherNAS
		}
	case rfc2865.NASIPAddress_Type, rfc3162.NASIPv6Address_Type:
		if a, ok := netip.AddrFromSlice(value); !ok || to.addr.IsValid() && !to.addr.IsUnspecified() && a.Unmap() != to.addr.Unmap() {
			return CauseOtherNAS
		}
	case rfc2866.AcctSessionID_Type:
		r.Session = string(value)
	case rfc2865.UserName_Type:
		r.UserName = string(value)
	case rfc2869.NASPortID_Type:
		r.NASPort = string(value)
	case rfc2865.CallingStationID_Type:
		r.CallingStation = string(value)
	case rfc2865.CalledStationID_Type:
		r.CalledStation = string(value)
	case rfc4372.ChargeableUserIdentity_Type:
		r.Handle = value
	case rfc2865.Class_Type:
		r.Class = value
	case rfc2865.ServiceType_Type:
		return r.number(value, service)
	case rfc2865.SessionTimeout_Type:
		var seconds uint32
		if cause := r.number(value, &seconds); cause != CauseNone {
			return cause
		}
		if seconds == 0 { // to end it there is Disconnect-Request
			return CauseInvalidValue
		}
		r.Life = time.Duration(seconds) * time.Second
	default:
		return CauseUnsupportedAttribute
	}
	return CauseNone
}

// number reads one that only a CoA-Request may have.
func (r *received) number(value []byte, to *uint32) Cause {
	v, err := radius.Integer(value)
	switch {
	case r.Code != CoARequest:
		return CauseUnsupportedAttribute
	case err != nil:
		return CauseInvalidRequest
	}
	*to = v
	return CauseNone
}

// judge looks at the whole.
func (r *received) judge(service uint32, seen map[radius.Type]bool) Cause {
	switch {
	case seen[rfc2865.ServiceType_Type] && service != authorizeOnly:
		return CauseUnsupportedService
	case service == authorizeOnly && r.state == nil: // section 3.3
		return CauseMissingAttribute
	case service == authorizeOnly && r.Life != 0: // section 3.2
		return CauseUnsupportedAttribute
	case !r.names():
		return CauseMissingAttribute
	case r.Code == CoARequest && service == 0 && r.Life == 0:
		return CauseMissingAttribute
	}
	r.Again = service == authorizeOnly
	return CauseNone
}

// answer makes the octets that say what came of it.
func (r *received) answer(cause Cause, secret *keys.Secret) ([]byte, error) {
	var a attributes
	code := r.Code + 1 // ACK
	if cause != CauseNone {
		code++ // NAK
		a.addInt(rfc3576.ErrorCause_Type, uint32(cause))
	}
	if r.Again && cause == CauseInitiated {
		a.addInt(rfc2865.ServiceType_Type, authorizeOnly)
	}
	if r.state != nil {
		a.add(rfc2865.State_Type, r.state)
	}
	for _, s := range r.proxyStates {
		a.add(rfc2865.ProxyState_Type, s)
	}
	return a.seal(code, r.id, r.authenticator, secret.Bytes())
}

// Encode makes the octets of an order, as a server sends it at a time.
func (o *Order) Encode(id uint8, now time.Time, secret *keys.Secret) ([]byte, error) {
	if !o.names() {
		return nil, errors.New("radius: an order that names no session would be for all of them")
	}
	var a attributes
	a.addText(rfc2866.AcctSessionID_Type, o.Session)
	a.addText(rfc2865.UserName_Type, o.UserName)
	a.addText(rfc2869.NASPortID_Type, o.NASPort)
	a.addText(rfc2865.CallingStationID_Type, o.CallingStation)
	a.addText(rfc2865.CalledStationID_Type, o.CalledStation)
	if len(o.Handle) > 0 {
		a.add(rfc4372.ChargeableUserIdentity_Type, o.Handle)
	}
	if len(o.Class) > 0 {
		a.add(rfc2865.Class_Type, o.Class)
	}
	a.addInt(rfc2869.EventTimestamp_Type, uint32(now.Unix()))
	if o.Again {
		a.addInt(rfc2865.ServiceType_Type, authorizeOnly)
		a.add(rfc2865.State_Type, []byte("again")) // required, and of no meaning to us
	}
	if o.Life > 0 {
		a.addInt(rfc2865.SessionTimeout_Type, max(1, wholeSeconds(o.Life)))
	}
	return a.seal(o.Code, id, [authLen]byte{}, secret.Bytes())
}

// OrderError says that a router does not do what it was told.
type OrderError struct {
	Code  Code // DisconnectNAK or CoANAK
	Cause Cause
}

// Error implements error in one line.
func (e *OrderError) Error() string {
	s := fmt.Sprintf("radius: the router answers %v", e.Code)
	switch e.Cause {
	case CauseNone:
	case CauseNotFound:
		s += ": it knows no such session"
	default:
		s += ": " + e.Cause.String()
	}
	return s
}

// ParseOrderAnswer verifies and reads the answer to the order of those octets. done is
// nil when the router has taken it, or an *OrderError; err says that the answer does not
// count.
func ParseOrderAnswer(b, order []byte, secret *keys.Secret) (done, err error) {
	p, err := open(b, (*[authLen]byte)(order[4:headerLen]), secret.Bytes())
	if err != nil {
		return nil, err
	}
	ack := Code(order[0]) + 1
	if p.Identifier != order[1] || Code(p.Code) != ack && Code(p.Code) != ack+1 {
		return nil, fmt.Errorf("%w: %v to %v", ErrCode, Code(p.Code), Code(order[0]))
	}
	if Code(p.Code) == ack {
		return nil, nil
	}
	e := &OrderError{Code: Code(p.Code)}
	if v, err := radius.Integer(p.Get(rfc3576.ErrorCause_Type)); err == nil {
		e.Cause = Cause(v)
	}
	if e.Cause == CauseInitiated && bytes.Contains(order, again) {
		return nil, nil
	}
	return e, nil
}

// again is what only an order to authenticate again has.
var again = []byte{byte(rfc2865.ServiceType_Type), 6, 0, 0, 0, byte(authorizeOnly)}

const (
	// orderWindow is how far Event-Timestamp may be off (RFC 5176 section 6.3).
	orderWindow = 300 * time.Second
	// maxOrders bounds the orders that are remembered.
	maxOrders = 4096
)

// replays are the orders of late, with their answers: who sends one again gets the answer
// again, and nothing is done. They are remembered for as long as their time is accepted.
type replays struct {
	known map[replayKey][]byte
	order []replay // oldest first
}

type replayKey struct {
	server        netip.Addr
	id            uint8
	authenticator [authLen]byte
}

type replay struct {
	key   replayKey
	until time.Time
}

func newReplays() *replays { return &replays{known: make(map[replayKey][]byte)} }

// find is the answer to an order that was there before. room is false when another one
// could not be remembered.
func (r *replays) find(now time.Time, key replayKey) (answer []byte, room bool) {
	n := slices.IndexFunc(r.order, func(e replay) bool { return now.Before(e.until) })
	if n < 0 {
		n = len(r.order)
	}
	for _, e := range r.order[:n] {
		delete(r.known, e.key)
	}
	r.order = slices.Delete(r.order, 0, n)
	return r.known[key], len(r.order) < maxOrders
}

func (r *replays) add(now time.Time, key replayKey, answer []byte) {
	r.known[key] = answer
	r.order = append(r.order, replay{key, now.Add(2 * orderWindow)})
}
