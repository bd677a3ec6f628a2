package server

import (
	"context"
	"errors"
	"time"

	"openmpa/aaa"
	"openmpa/paa/keys"
)

// Ask is one EAP response of a node, as a front has it from a router.
type Ask struct {
	// Client is who sends it: the name under which the front is attached, a colon, and
	// whom the front has authenticated, such as "radius:10.0.2.1". A conversation belongs
	// to the Client that began it.
	Client   string
	State    []byte // of the Reply that is answered; nil in a first one
	UserName string // as the router says it; for the log
	EAP      []byte
	MTU      int // octets an EAP packet may have on the access link; 0: not said

	NAS     string // the router, as it calls itself
	NASPort string // as in aaa.SessionInfo
	Station string // likewise, CallingStation
	Called  string // likewise, CalledStation
	Session string // that accounting and orders know the session by; empty: not said
	Again   bool   // the session is open, and authenticates again

	Passed [][]byte // as in aaa.SessionInfo
}

// Reply is the answer to an Ask.
type Reply struct {
	Decision aaa.Decision
	EAP      []byte // for the node
	State    []byte // of Continue: comes back with the next Ask

	// Of an Accept.
	MSK      *keys.Secret  // 64 octets, the receiver's to clear
	Timeout  time.Duration // of the session; 0: no limit
	Identity string        // whom the method has authenticated
	Class    [][]byte      // comes back with every accounting record
	Handle   []byte        // Chargeable-User-Identity; nil: none
	Interim  time.Duration // between accounting records; 0: none

	Message string // for the router's log; empty: none
}

// Errors of Answer: whoever asked is told that it should try later, or nothing.
var (
	ErrOverload = errors.New("server: too many conversations")
	ErrPending  = errors.New("server: the conversation is busy with another request")
)

// OrderKind is what an order wants.
type OrderKind uint8

// The kinds, as aaa.Orders has them.
const (
	OrderEnd OrderKind = iota + 1
	OrderAgain
	OrderExtend
)

// String implements fmt.Stringer.
func (k OrderKind) String() string {
	switch k {
	case OrderEnd:
		return "end"
	case OrderAgain:
		return "again"
	case OrderExtend:
		return "extend"
	}
	return "none"
}

// Order is what the router of a session is to do with it.
type Order struct {
	Kind  OrderKind
	Grant aaa.Grant     // as the router knows it; Server and Operator mean nothing here
	Life  time.Duration // of OrderExtend: from now on
	Why   string        // of OrderEnd, for logs
}

// Front speaks one protocol with routers: it makes Asks and records of what comes, and
// carries orders to them.
type Front interface {
	// Order returns when that client (as in Ask) has taken the order, or why not.
	Order(ctx context.Context, client string, o Order) error
}
