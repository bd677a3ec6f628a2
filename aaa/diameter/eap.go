package diameter

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/avp"

	"openmpa/paa/keys"
)

const (
	authorizeAuthenticate = 3 // Auth-Request-Type (RFC 6733 section 8.7)
	authenticateOnly      = 1
	noStateMaintained     = 1 // Auth-Session-State (RFC 6733 section 8.11)
	serviceFramed         = 2 // Service-Type (RFC 7155 section 4.4.1)
	portVirtual           = 5 // NAS-Port-Type (RFC 7155 section 4.2.4)

	maxKey   = 256  // octets of a key that is taken
	maxClass = 4096 // octets of all Class AVPs (RFC 6733 section 8.20)
	maxState = 16   // State AVPs taken
)

// Access is where a node is, as its router says it. Every field may be empty.
type Access struct {
	NASIdentifier  string // the router
	NASPort        string // NAS-Port-Id: which session of it
	CallingStation string // the node's address
	CalledStation  string // the router's name, for the node
}

func (a Access) put(b builder) {
	b.text(codeNASIdentifier, a.NASIdentifier)
	b.text(codeNASPortID, a.NASPort)
	b.enum(avp.NASPortType, portVirtual)
	b.text(avp.CalledStationID, a.CalledStation)
	b.text(avp.CallingStationID, a.CallingStation)
}

func (f fields) access() Access {
	return Access{
		NASIdentifier: f.text(codeNASIdentifier), NASPort: f.text(codeNASPortID),
		CallingStation: f.text(avp.CallingStationID), CalledStation: f.text(avp.CalledStationID),
	}
}

// Origin is who made a message, as the message says it.
type Origin struct {
	Host, Realm string
}

func (f fields) origin() Origin {
	return Origin{Host: f.text(avp.OriginHost), Realm: f.text(avp.OriginRealm)}
}

func (b builder) route(names []string) {
	for _, name := range names {
		b.identity(avp.RouteRecord, name)
	}
}

func (f fields) route() (names []string) {
	for _, r := range f.all(avp.RouteRecord) {
		names = append(names, string(r))
	}
	return names
}

// newMessage begins a message with what must come first: Session-Id (RFC 6733 section
// 8.8).
func newMessage(cmd uint32, app uint32, session string, from Origin) (*diam.Message, builder) {
	m := diam.NewMessage(cmd, diam.RequestFlag|diam.ProxiableFlag, app, 0, 0, dictionary())
	b := builder{m}
	b.text(avp.SessionID, session)
	b.identity(avp.OriginHost, from.Host)
	b.identity(avp.OriginRealm, from.Realm)
	return m, b
}

// answerTo begins the answer to a request.
func answerTo(req *diam.Message, r Result, from Origin) (*diam.Message, builder) {
	m := diam.NewMessage(req.Header.CommandCode, req.Header.CommandFlags&diam.ProxiableFlag, req.Header.ApplicationID,
		req.Header.HopByHopID, req.Header.EndToEndID, dictionary())
	b := builder{m}
	b.text(avp.SessionID, fields(req.AVP).text(avp.SessionID))
	b.number(avp.ResultCode, uint32(r))
	b.identity(avp.OriginHost, from.Host)
	b.identity(avp.OriginRealm, from.Realm)
	return m, b
}

// EAPRequest is a Diameter-EAP-Request (RFC 4072 section 3.1).
type EAPRequest struct {
	Session  string // Session-Id
	Origin   Origin
	Realm    string // Destination-Realm
	UserName string // the node's identity
	EAP      []byte // the node's response
	State    [][]byte
	MTU      int // octets an EAP packet may have; 0: not said
	Access   Access
	Route    []string // Route-Record: who has passed it on (RFC 6733 section 6.7.1)
}

func (r EAPRequest) message() *diam.Message {
	m, b := newMessage(cmdEAP, appEAP, r.Session, r.Origin)
	b.number(avp.AuthApplicationID, appEAP)
	b.identity(avp.DestinationRealm, r.Realm)
	b.enum(avp.AuthRequestType, authorizeAuthenticate)
	b.text(avp.UserName, r.UserName)
	b.octets(codeEAPPayload, r.EAP)
	r.Access.put(b)
	b.enum(avp.ServiceType, serviceFramed)
	if r.MTU > 0 {
		b.number(avp.FramedMTU, uint32(min(r.MTU, math.MaxUint16)))
	}
	b.each(codeState, r.State)
	b.route(r.Route)
	return m
}

// parseEAPRequest reads a request. The error is a *Fault.
func parseEAPRequest(m *diam.Message) (EAPRequest, error) {
	f := fields(m.AVP)
	if v, _ := f.number(avp.AuthApplicationID); v != appEAP {
		return EAPRequest{}, faulty(InvalidAVPValue, f, avp.AuthApplicationID, "expected Auth-Application-Id 5")
	}
	if v, _ := f.number(avp.AuthRequestType); v != authorizeAuthenticate && v != authenticateOnly {
		return EAPRequest{}, faulty(InvalidAVPValue, f, avp.AuthRequestType, "expected an Auth-Request-Type that authenticates, 1 or 3")
	}
	r := EAPRequest{
		Session: f.text(avp.SessionID), Origin: f.origin(), Realm: f.text(avp.DestinationRealm), UserName: f.text(avp.UserName),
		EAP: f.octets(codeEAPPayload), State: f.all(codeState), Access: f.access(),
		Route: f.route(),
	}
	if len(r.State) > maxState {
		return EAPRequest{}, faulty(AVPTooOften, f, codeState, fmt.Sprintf("expected at most %d State AVPs", maxState))
	}
	if v, ok := f.number(avp.FramedMTU); ok {
		r.MTU = int(min(v, math.MaxUint16))
	}
	return r, nil
}

// EAPAnswer is a Diameter-EAP-Answer (RFC 4072 section 3.2).
type EAPAnswer struct {
	Result   Result
	Origin   Origin // who decided
	EAP      []byte // for the node; nil: none
	Reissued []byte // without EAP: the request before, once more (RFC 4072 section 2.4)
	State    [][]byte
	Message  string // Error-Message, else Reply-Message
	Failed   string // the AVPs it complains of, by name

	// Of a success.
	MSK      *keys.Secret // the receiver's to clear; nil: none
	UserName string
	Class    [][]byte
	Handle   []byte        // Chargeable-User-Identity (RFC 4372)
	Timeout  time.Duration // Session-Timeout; 0: no limit
	Lifetime time.Duration // Authorization-Lifetime with Auth-Grace-Period; 0: no limit
	Interim  time.Duration // Acct-Interim-Interval; 0: no interim records
	Stateful bool          // the server wants to hear of the end
	Methods  []uint64      // Accounting-EAP-Auth-Method
}

func parseEAPAnswer(m *diam.Message) (EAPAnswer, error) {
	defer wipe(m)
	f := fields(m.AVP)
	code, ok := f.number(avp.ResultCode)
	if !ok {
		return EAPAnswer{}, fmt.Errorf("diameter: answer of %s without a Result-Code", f.text(avp.OriginHost))
	}
	a := EAPAnswer{
		Result: Result(code), Origin: f.origin(), EAP: f.octets(codeEAPPayload), Reissued: f.octets(codeEAPReissuedPayload),
		State: f.all(codeState), Message: f.text(avp.ErrorMessage), Failed: failedNames(m),
	}
	if a.Message == "" {
		a.Message = f.text(avp.ReplyMessage)
	}
	if len(a.State) > maxState {
		return EAPAnswer{}, fmt.Errorf("diameter: answer of %s with %d State AVPs, expected at most %d", a.Origin.Host, len(a.State), maxState)
	}
	if !a.Result.succeeded() {
		return a, nil
	}
	if k := f.octets(codeEAPMasterSessionKey); len(k) > maxKey {
		return EAPAnswer{}, fmt.Errorf("diameter: answer of %s with a key of %d octets, expected 64", a.Origin.Host, len(k))
	} else if len(k) > 0 {
		a.MSK = keys.NewSecret(k) // which clears k, the message's own
	}
	a.UserName, a.Class, a.Handle = f.text(avp.UserName), f.all(avp.Class), f.octets(codeChargeableUserIdentity)
	a.Timeout, a.Interim = f.seconds(avp.SessionTimeout), f.seconds(avp.AcctInterimInterval)
	if v, ok := f.number(avp.AuthorizationLifetime); ok && v != math.MaxUint32 {
		// 0 is "at once": no more than a moment is granted.
		a.Lifetime = max(time.Duration(v)*time.Second, time.Second) + f.seconds(avp.AuthGracePeriod)
	}
	state, _ := f.number(avp.AuthSessionState) // left out: maintained
	a.Stateful = state != noStateMaintained
	for _, v := range f.all(codeAccountingEAPAuthMethod) {
		a.Methods = append(a.Methods, number64(v))
	}
	var n int
	for _, c := range a.Class {
		n += len(c)
	}
	if n > maxClass {
		a.MSK.Clear()
		return EAPAnswer{}, fmt.Errorf("diameter: answer of %s with Class AVPs of %d octets, expected at most %d", a.Origin.Host, n, maxClass)
	}
	return a, nil
}

// message is the answer to that request.
func (a EAPAnswer) message(req *diam.Message, from Origin) *diam.Message {
	m, b := answerTo(req, a.Result, from)
	if a.Result.class() == 3 { // an error of the protocol (RFC 6733 section 7.2)
		b.text(avp.ErrorMessage, a.Message)
		return m
	}
	b.number(avp.AuthApplicationID, appEAP)
	kind, ok := fields(req.AVP).number(avp.AuthRequestType)
	if !ok {
		kind = authorizeAuthenticate
	}
	b.enum(avp.AuthRequestType, int32(kind))
	b.octets(codeEAPPayload, a.EAP)
	b.octets(codeEAPReissuedPayload, a.Reissued)
	b.each(codeState, a.State)
	if !a.Result.succeeded() {
		if a.Result != MultiRoundAuth {
			b.text(avp.ErrorMessage, a.Message)
		}
		return m
	}
	b.text(avp.UserName, a.UserName)
	if k := a.MSK.Bytes(); len(k) > 0 {
		b.put(codeEAPMasterSessionKey, key(append([]byte(nil), k...))) // wiped when it was sent
	}
	b.each(avp.Class, a.Class)
	b.octets(codeChargeableUserIdentity, a.Handle)
	b.seconds(avp.SessionTimeout, a.Timeout)
	if a.Lifetime > 0 {
		b.seconds(avp.AuthorizationLifetime, a.Lifetime)
		b.enum(avp.ReAuthRequestType, reAuthenticate)
	}
	b.seconds(avp.AcctInterimInterval, a.Interim)
	if !a.Stateful {
		b.enum(avp.AuthSessionState, noStateMaintained)
	}
	for _, v := range a.Methods {
		b.big(codeAccountingEAPAuthMethod, v)
	}
	return m
}

// Limit is how long the access lasts; 0: without end.
func (a EAPAnswer) Limit() time.Duration {
	if a.Timeout == 0 || a.Lifetime > 0 && a.Lifetime < a.Timeout {
		return a.Lifetime
	}
	return a.Timeout
}

// faulty names the AVP of that code, if it is there.
func faulty(r Result, f fields, code uint32, why string) *Fault {
	for _, a := range f {
		if a.Code == code && a.VendorID == 0 {
			return &Fault{Code: uint32(r), Failed: a, Why: why}
		}
	}
	return &Fault{Code: uint32(r), Why: why}
}

// faultOf is what is answered to a request that was not taken.
func faultOf(err error) *Fault {
	var f *Fault
	if !errors.As(err, &f) {
		f = &Fault{Code: uint32(UnableToComply), Why: plain(err)}
	}
	return f
}

// refuseBy is the answer to such a request.
func refuseBy(req *diam.Message, f *Fault, from Origin) *diam.Message {
	m, b := answerTo(req, Result(f.Code), from)
	b.text(avp.ErrorMessage, f.Why)
	if f.Failed != nil {
		b.put(avp.FailedAVP, &diam.GroupedAVP{AVP: []*diam.AVP{f.Failed}})
	}
	return m
}

// failedNames names what the Failed-AVP of an answer holds.
func failedNames(m *diam.Message) string {
	var names []string
	for _, a := range m.AVP {
		g, ok := a.Data.(*diam.GroupedAVP)
		if !ok || a.Code != avp.FailedAVP || a.VendorID != 0 {
			continue
		}
		for _, inner := range g.AVP {
			if len(names) == 4 {
				return strings.Join(names, ", ") + ", ..."
			}
			name := fmt.Sprintf("AVP %d", inner.Code)
			if d, err := dictionary().FindAVPByCode(appEAP, inner.Code, 0); err == nil && inner.VendorID == 0 {
				name = d.Name
			}
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}
