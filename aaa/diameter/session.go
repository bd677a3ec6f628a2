package diameter

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/avp"
)

// Re-Auth-Request-Type (RFC 6733 section 8.12).
const (
	authorizeOnly  = 0
	reAuthenticate = 1
)

// Termination is a Termination-Cause (RFC 6733 section 8.15, RFC 7155 section 4.6.11).
type Termination uint32

// The causes that are used here.
const (
	Logout             Termination = 1
	ServiceNotProvided Termination = 2
	BadAnswer          Termination = 3
	Administrative     Termination = 4
	LinkBroken         Termination = 5
	AuthExpired        Termination = 6
	UserMoved          Termination = 7
	SessionTimeout     Termination = 8
	NASReboot          Termination = 21
	AdminReboot        Termination = 17
	NASError           Termination = 19
)

// sessionIDs makes Session-Ids that nobody ever had (RFC 6733 section 8.8): the second
// of the start, a counter, and a random number for processes that begin in one second.
type sessionIDs struct {
	prefix, suffix string
	next           atomic.Uint32
}

func newSessionIDs(identity string, now time.Time, random io.Reader) (*sessionIDs, error) {
	if random == nil {
		random = rand.Reader
	}
	var b [8]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return nil, fmt.Errorf("diameter: randomness: %w", err)
	}
	s := &sessionIDs{
		prefix: fmt.Sprintf("%s;%d;", identity, uint32(now.Unix()+ntpEra)),
		suffix: fmt.Sprintf(";%016x", binary.BigEndian.Uint64(b[:])),
	}
	return s, nil
}

func (s *sessionIDs) make() string {
	return fmt.Sprintf("%s%d%s", s.prefix, s.next.Add(1), s.suffix)
}

// Ended is a Session-Termination-Request (RFC 6733 section 8.4.1).
type Ended struct {
	Session  string
	Origin   Origin
	Realm    string // Destination-Realm
	UserName string
	Class    [][]byte
	Cause    Termination
}

func (e Ended) message() *diam.Message {
	m, b := newMessage(cmdSessionTermination, appEAP, e.Session, e.Origin)
	b.identity(avp.DestinationRealm, e.Realm)
	b.number(avp.AuthApplicationID, appEAP)
	b.enum(avp.TerminationCause, int32(e.Cause))
	b.text(avp.UserName, e.UserName)
	b.each(avp.Class, e.Class)
	return m
}

func parseEnded(m *diam.Message) Ended {
	f := fields(m.AVP)
	cause, _ := f.number(avp.TerminationCause)
	return Ended{
		Session: f.text(avp.SessionID), Origin: f.origin(), Realm: f.text(avp.DestinationRealm), UserName: f.text(avp.UserName),
		Class: f.all(avp.Class), Cause: Termination(cause),
	}
}

// OrderKind is what a server wants of a session.
type OrderKind uint8

// The kinds: Abort-Session-Request; Re-Auth-Request; and one that only authorizes, with
// a Session-Timeout for the time that is left from now on.
const (
	Abort OrderKind = iota + 1
	ReAuth
	Extend
)

// String implements fmt.Stringer.
func (k OrderKind) String() string {
	switch k {
	case Abort:
		return "Abort-Session-Request"
	case ReAuth, Extend:
		return "Re-Auth-Request"
	}
	return fmt.Sprintf("OrderKind(%d)", uint8(k))
}

// Order is what a server wants of a session after the accept.
type Order struct {
	Kind     OrderKind
	Session  string
	Origin   Origin // of the server
	Host     string // the router (Destination-Host)
	Realm    string // the router's
	UserName string // empty: not said
	Life     time.Duration
	Why      string // Error-Message has no place in a request: Reply-Message
}

func (o Order) message() *diam.Message {
	cmd := uint32(cmdReAuth)
	if o.Kind == Abort {
		cmd = cmdAbortSession
	}
	m, b := newMessage(cmd, appEAP, o.Session, o.Origin)
	b.identity(avp.DestinationRealm, o.Realm)
	b.identity(avp.DestinationHost, o.Host)
	b.number(avp.AuthApplicationID, appEAP)
	switch o.Kind {
	case ReAuth:
		b.enum(avp.ReAuthRequestType, reAuthenticate)
	case Extend:
		b.enum(avp.ReAuthRequestType, authorizeOnly)
		b.seconds(avp.SessionTimeout, o.Life)
	}
	b.text(avp.UserName, o.UserName)
	b.text(avp.ReplyMessage, o.Why)
	return m
}

// parseOrder reads an ASR or RAR. The error is a *Fault.
func parseOrder(m *diam.Message) (Order, error) {
	f := fields(m.AVP)
	if v, _ := f.number(avp.AuthApplicationID); v != appEAP {
		return Order{}, faulty(InvalidAVPValue, f, avp.AuthApplicationID, "expected Auth-Application-Id 5")
	}
	o := Order{
		Kind: Abort, Session: f.text(avp.SessionID), Origin: f.origin(), Host: f.text(avp.DestinationHost), Realm: f.text(avp.DestinationRealm),
		UserName: f.text(avp.UserName), Why: f.text(avp.ReplyMessage),
	}
	if m.Header.CommandCode == cmdReAuth {
		o.Kind = ReAuth
		kind, _ := f.number(avp.ReAuthRequestType)
		switch life := f.seconds(avp.SessionTimeout); {
		case kind > reAuthenticate:
			return Order{}, faulty(InvalidAVPValue, f, avp.ReAuthRequestType, "expected a Re-Auth-Request-Type of 0 or 1")
		case kind == authorizeOnly && life > 0:
			o.Kind, o.Life = Extend, life
		}
	}
	return o, nil
}
