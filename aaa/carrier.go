package aaa

import (
	"context"
	"errors"
	"time"

	"openmpa/paa/keys"
)

// ErrRefused says that a server does not take a record, now or ever.
var ErrRefused = errors.New("aaa: refused for good")

// Carrier speaks one AAA protocol with the servers of one operator: the fail-over
// among them is its own. It may be used by several goroutines at once.
type Carrier interface {
	// Open begins the conversation of the node that calls itself identity. It does not
	// wait, and asks nobody yet.
	Open(info SessionInfo, identity string) (Conversation, error)
	// Account delivers one record, and with the last of a Stateful grant its end. It
	// returns nil when a server has it: until then whoever calls does so again, but for an
	// ErrRefused. The error is an ErrTimeout where no server has answered.
	Account(ctx context.Context, r Record) error
	// Run keeps connections up and watches servers until ctx ends, and hands on what
	// servers want. It is called once, before anything else. An error is why it could not
	// begin (an address in use); servers that are away are none.
	Run(ctx context.Context, o Orders) error
}

// Conversation is one authentication with one server, from its first answer on. It must
// not be used by several goroutines at once.
type Conversation interface {
	// Ask carries one EAP response. An error is as of Session.Exchange, but a reject is
	// an Answer.
	Ask(ctx context.Context, eapResponse []byte) (Answer, error)
	// Close lets go of it. It may be called at any time, and again.
	Close()
}

// Answer is what a server says to one EAP response.
type Answer struct {
	Decision Decision
	EAP      []byte        // for the node; nil when the server sent none
	MSK      *keys.Secret  // of an Accept, the receiver's to clear; nil: the server sent none
	Timeout  time.Duration // of an Accept: of the session; 0: no limit
	Message  string        // from the server, for the log
	Server   string        // that answered
	Grant    Grant         // of an Accept; Identity is empty when the server names nobody
}
