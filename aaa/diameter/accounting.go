package diameter

import (
	"math"
	"time"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/avp"
)

// RecordType is an Accounting-Record-Type (RFC 6733 section 9.8.1).
type RecordType uint32

// The types.
const (
	EventRecord   RecordType = 1
	StartRecord   RecordType = 2
	InterimRecord RecordType = 3
	StopRecord    RecordType = 4
)

const authMethodEAP = 5 // Accounting-Auth-Method (RFC 7155 section 4.6.7)

// Record is an Accounting-Request (RFC 6733 section 9.7.1, RFC 7155 section 3.9). A
// record is the same as another when Session and Number are.
type Record struct {
	Session  string
	Origin   Origin
	Realm    string // Destination-Realm
	Type     RecordType
	Number   uint32
	UserName string
	Handle   []byte // Chargeable-User-Identity
	Class    [][]byte
	Access   Access
	Time     time.Time     // of what it reports
	Delay    time.Duration // since then
	Length   time.Duration // of the session
	Interim  time.Duration // between records, as agreed; 0: none
	Cause    Termination   // of a stop

	OctetsIn, OctetsOut, PacketsIn, PacketsOut uint64 // in: from the node

	Route []string // as in EAPRequest
}

func (r Record) message() *diam.Message {
	m, b := newMessage(cmdAccounting, appAccounting, r.Session, r.Origin)
	b.identity(avp.DestinationRealm, r.Realm)
	b.enum(avp.AccountingRecordType, int32(r.Type))
	b.number(avp.AccountingRecordNumber, r.Number)
	b.number(avp.AcctApplicationID, appAccounting)
	b.text(avp.UserName, r.UserName)
	b.octets(codeChargeableUserIdentity, r.Handle)
	b.each(avp.Class, r.Class)
	r.Access.put(b)
	b.enum(avp.ServiceType, serviceFramed)
	b.enum(codeAccountingAuthMethod, authMethodEAP)
	if !r.Time.IsZero() {
		b.at(avp.EventTimestamp, r.Time)
	}
	b.seconds(avp.AcctDelayTime, r.Delay)
	b.seconds(avp.AcctInterimInterval, r.Interim)
	b.route(r.Route)
	if r.Type == StartRecord || r.Type == EventRecord {
		return m
	}
	b.number(avp.AcctSessionTime, uint32(min(max(r.Length, 0)/time.Second, math.MaxUint32)))
	b.big(avp.AccountingInputOctets, r.OctetsIn)
	b.big(avp.AccountingOutputOctets, r.OctetsOut)
	b.big(avp.AccountingInputPackets, r.PacketsIn)
	b.big(avp.AccountingOutputPackets, r.PacketsOut)
	if r.Type == StopRecord && r.Cause != 0 {
		b.enum(avp.TerminationCause, int32(r.Cause))
	}
	return m
}

// parseRecord reads an ACR. The error is a *Fault.
func parseRecord(m *diam.Message) (Record, error) {
	f := fields(m.AVP)
	kind, _ := f.number(avp.AccountingRecordType)
	if t := RecordType(kind); t < EventRecord || t > StopRecord {
		return Record{}, faulty(InvalidAVPValue, f, avp.AccountingRecordType, "expected an Accounting-Record-Type of 1 to 4")
	}
	number, _ := f.number(avp.AccountingRecordNumber)
	cause, _ := f.number(avp.TerminationCause)
	return Record{
		Session: f.text(avp.SessionID), Origin: f.origin(), Realm: f.text(avp.DestinationRealm), Type: RecordType(kind), Number: number,
		UserName: f.text(avp.UserName), Handle: f.octets(codeChargeableUserIdentity), Class: f.all(avp.Class), Access: f.access(),
		Time: f.at(avp.EventTimestamp), Delay: f.seconds(avp.AcctDelayTime), Length: f.seconds(avp.AcctSessionTime),
		Interim: f.seconds(avp.AcctInterimInterval), Cause: Termination(cause),
		OctetsIn: f.big(avp.AccountingInputOctets), OctetsOut: f.big(avp.AccountingOutputOctets),
		PacketsIn: f.big(avp.AccountingInputPackets), PacketsOut: f.big(avp.AccountingOutputPackets),
		Route: f.route(),
	}, nil
}

// answer is the ACA to the request of a record (RFC 6733 section 9.7.2).
func (r Record) answer(req *diam.Message, result Result, from Origin) *diam.Message {
	m, b := answerTo(req, result, from)
	b.enum(avp.AccountingRecordType, int32(r.Type))
	b.number(avp.AccountingRecordNumber, r.Number)
	if v, ok := fields(req.AVP).number(avp.AcctApplicationID); ok {
		b.number(avp.AcctApplicationID, v)
	}
	return m
}
