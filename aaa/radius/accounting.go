package radius

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"layeh.com/radius"
	"layeh.com/radius/rfc2865"
	"layeh.com/radius/rfc2866"
	"layeh.com/radius/rfc2869"
	"layeh.com/radius/rfc3576"
	"layeh.com/radius/rfc4372"

	"openmpa/paa/keys"
)

// RecordKind is Acct-Status-Type (RFC 2866 section 5.1).
type RecordKind uint32

// The kinds. A router sends On and Off of itself; they are of no session.
const (
	RecordStart   = RecordKind(rfc2866.AcctStatusType_Value_Start)
	RecordStop    = RecordKind(rfc2866.AcctStatusType_Value_Stop)
	RecordInterim = RecordKind(rfc2866.AcctStatusType_Value_InterimUpdate)
	RecordOn      = RecordKind(rfc2866.AcctStatusType_Value_AccountingOn)
	RecordOff     = RecordKind(rfc2866.AcctStatusType_Value_AccountingOff)
)

// String implements fmt.Stringer.
func (k RecordKind) String() string { return rfc2866.AcctStatusType(k).String() }

// authenticByRADIUS is Acct-Authentic: the server has authenticated, not the router
// (RFC 2866 section 5.6).
const authenticByRADIUS = uint32(rfc2866.AcctAuthentic_Value_RADIUS)

// Record is what an Accounting-Request reports (RFC 2866 section 5, RFC 2869 section 5).
type Record struct {
	Kind           RecordKind
	Session        string // Acct-Session-Id; required
	UserName       string
	NASPort        string // NAS-Port-Id
	CallingStation string
	CalledStation  string
	Class          [][]byte
	Handle         []byte        // Chargeable-User-Identity
	Time           time.Time     // of what it reports, Event-Timestamp; zero: not said
	Delay          time.Duration // Acct-Delay-Time: since then, when it was sent first
	SessionTime    time.Duration // of an interim record and a stop
	InputOctets    uint64        // from the node; likewise
	OutputOctets   uint64
	InputPackets   uint32
	OutputPackets  uint32
	Cause          uint32   // Acct-Terminate-Cause of a stop (RFC 2866 section 5.10); 0: not said
	Passed         [][]byte // as Request.Passed
}

func (r Record) encode(nas nas, id uint8, _ [authLen]byte, secret *keys.Secret) ([]byte, error) {
	if r.Session == "" {
		return nil, errors.New("radius: accounting record without a session")
	}
	var a attributes
	nas.add(&a)
	a.addInt(rfc2866.AcctStatusType_Type, uint32(r.Kind))
	a.addText(rfc2866.AcctSessionID_Type, r.Session)
	a.addText(rfc2865.UserName_Type, r.UserName)
	a.addInt(rfc2865.NASPortType_Type, portVirtual)
	a.addText(rfc2869.NASPortID_Type, r.NASPort)
	a.addText(rfc2865.CallingStationID_Type, r.CallingStation)
	a.addText(rfc2865.CalledStationID_Type, r.CalledStation)
	a.addInt(rfc2866.AcctAuthentic_Type, authenticByRADIUS)
	a.addAll(rfc2865.Class_Type, r.Class)
	if len(r.Handle) > 0 {
		a.add(rfc4372.ChargeableUserIdentity_Type, r.Handle)
	}
	if !r.Time.IsZero() {
		a.addInt(rfc2869.EventTimestamp_Type, uint32(r.Time.Unix()))
	}
	a.addInt(rfc2866.AcctDelayTime_Type, wholeSeconds(r.Delay))
	if r.Kind == RecordInterim || r.Kind == RecordStop {
		a.addInt(rfc2866.AcctSessionTime_Type, wholeSeconds(r.SessionTime))
		a.addInt(rfc2866.AcctInputOctets_Type, uint32(r.InputOctets))
		a.addInt(rfc2866.AcctOutputOctets_Type, uint32(r.OutputOctets))
		a.addInt(rfc2869.AcctInputGigawords_Type, uint32(r.InputOctets>>32))
		a.addInt(rfc2869.AcctOutputGigawords_Type, uint32(r.OutputOctets>>32))
		a.addInt(rfc2866.AcctInputPackets_Type, r.InputPackets)
		a.addInt(rfc2866.AcctOutputPackets_Type, r.OutputPackets)
	}
	if r.Kind == RecordStop && r.Cause != 0 {
		a.addInt(rfc2866.AcctTerminateCause_Type, r.Cause)
	}
	a.addAll(rfc2865.ProxyState_Type, r.Passed)
	return a.seal(AccountingRequest, id, [authLen]byte{}, secret.Bytes())
}

func wholeSeconds(d time.Duration) uint32 {
	return uint32(min(max(d, 0)/time.Second, math.MaxUint32))
}

// parseRecord reads the attributes of a record.
func parseRecord(list radius.Attributes) (*Record, error) {
	number := func(t radius.Type) uint32 {
		v, err := radius.Integer(list.Get(t))
		if err != nil {
			return 0
		}
		return v
	}
	octets := func(low, high radius.Type) uint64 { return uint64(number(high))<<32 | uint64(number(low)) }
	r := &Record{
		Kind:           RecordKind(number(rfc2866.AcctStatusType_Type)),
		Session:        text(list, rfc2866.AcctSessionID_Type),
		UserName:       text(list, rfc2865.UserName_Type),
		NASPort:        text(list, rfc2869.NASPortID_Type),
		CallingStation: text(list, rfc2865.CallingStationID_Type),
		CalledStation:  text(list, rfc2865.CalledStationID_Type),
		Class:          all(list, rfc2865.Class_Type),
		Handle:         list.Get(rfc4372.ChargeableUserIdentity_Type),
		Time:           eventTime(list),
		Delay:          seconds(list, rfc2866.AcctDelayTime_Type),
		SessionTime:    seconds(list, rfc2866.AcctSessionTime_Type),
		InputOctets:    octets(rfc2866.AcctInputOctets_Type, rfc2869.AcctInputGigawords_Type),
		OutputOctets:   octets(rfc2866.AcctOutputOctets_Type, rfc2869.AcctOutputGigawords_Type),
		InputPackets:   number(rfc2866.AcctInputPackets_Type),
		OutputPackets:  number(rfc2866.AcctOutputPackets_Type),
		Cause:          number(rfc2866.AcctTerminateCause_Type),
	}
	switch {
	case r.Kind == 0:
		return nil, errors.New("radius: Accounting-Request without Acct-Status-Type")
	case r.Session == "":
		return nil, errors.New("radius: Accounting-Request without Acct-Session-Id")
	}
	return r, nil
}

// eventTime is Event-Timestamp (RFC 2869 section 5.3); zero without one.
func eventTime(list radius.Attributes) time.Time {
	v, err := radius.Integer(list.Get(rfc2869.EventTimestamp_Type))
	if err != nil {
		return time.Time{}
	}
	return time.Unix(int64(v), 0)
}

// answer verifies the answer to a record. Few servers put a Message-Authenticator into
// it (RFC 2866 knows none); where there is one it must be right. Nothing is granted by it.
func (Record) answer(b []byte, sent [authLen]byte, secret *keys.Secret) (Response, error) {
	p, err := open(b, &sent, secret.Bytes())
	signed := err == nil
	if err != nil && !errors.Is(err, ErrNoMessageAuthenticator) {
		return Response{}, err
	}
	if c := Code(p.Code); c != AccountingResponse {
		return Response{}, fmt.Errorf("%w: %v to %v", ErrCode, c, AccountingRequest)
	}
	r := Response{Code: AccountingResponse, Signed: signed}
	if v, err := radius.Integer(p.Get(rfc3576.ErrorCause_Type)); err == nil {
		r.ErrorCause = Cause(v)
	}
	return r, nil
}

// Errors of Account: nobody is there to take records, or who is does not take this one,
// now or ever (RFC 6614 section 2.5).
var (
	ErrNoAccounting = errors.New("radius: no server takes accounting records")
	ErrNotTaken     = errors.New("radius: accounting record not taken")
)

// Account delivers a record to one of the servers, first if it is among them to the one
// that accepted the session, and returns which has it. Errors are those of Exchange.
func (c *Client) Account(ctx context.Context, r Record, accepted netip.Addr) (netip.AddrPort, error) {
	order, err := c.order(c.accounting, netip.AddrPort{})
	if err != nil || len(order) == 0 {
		return netip.AddrPort{}, ErrNoAccounting
	}
	if r.Delay == 0 && !r.Time.IsZero() {
		r.Delay = time.Since(r.Time)
	}
	prefer(order, accepted, c)
	got, err := c.exchange(ctx, order, r, false)
	switch {
	case err != nil:
		return netip.AddrPort{}, err
	case got.ErrorCause != 0:
		return netip.AddrPort{}, fmt.Errorf("%w: %v says of that of %q: %v", ErrNotTaken, got.Server, r.Session, got.ErrorCause)
	}
	return got.Server, nil
}

// prefer puts the server of that address first, if it is not dead: the records of a
// session are best in one place.
func prefer(order []*server, first netip.Addr, c *Client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, s := range order {
		if s.Addr.Addr() == first && s.health.at(time.Now()) != Dead {
			copy(order[1:i+1], order[:i])
			order[0] = s
			return
		}
	}
}
