package eap

import (
	"errors"
	"fmt"
)

// ErrDiscard marks packets of the peer that a pass-through must drop silently
// (RFC 3579 section 2.2): the conversation stands.
var ErrDiscard = errors.New("packet discarded")

// Authenticator does what a pass-through authenticator must know of EAP (RFC 3579
// section 2): it asks for the identity, checks code, length and identifier both
// ways, and leaves the rest to the AAA server. The zero value asks with identifier 0.
type Authenticator struct {
	id       uint8
	waiting  bool // a Request is out
	identity string
	done     bool
	success  bool
}

// NewAuthenticator starts with that identifier; a random one tells conversations apart.
func NewAuthenticator(id uint8) *Authenticator { return &Authenticator{id: id} }

// Start returns the Request/Identity that begins the conversation.
func (a *Authenticator) Start() []byte {
	a.waiting = true
	return Packet{Code: CodeRequest, ID: a.id, Type: TypeIdentity}.bytes()
}

// Response checks a packet of the peer and returns what goes to the AAA server:
// the packet without padding. errors.Is(err, ErrDiscard) says to drop it.
func (a *Authenticator) Response(packet []byte) ([]byte, error) {
	pkt, err := Parse(packet)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrDiscard)
	}
	if a.done || !a.waiting || pkt.Code != CodeResponse || pkt.ID != a.id {
		return nil, fmt.Errorf("eap: expected Response %d, got %v %d: %w", a.id, pkt.Code, pkt.ID, ErrDiscard)
	}
	if a.identity == "" {
		if pkt.Type != TypeIdentity || len(pkt.Data) == 0 || len(pkt.Data) > maxIdentity {
			return nil, fmt.Errorf("eap: expected an identity of 1 to %d octets, got %v of %d: %w", maxIdentity, pkt.Type, len(pkt.Data), ErrDiscard)
		}
		a.identity = string(pkt.Data)
	}
	return pkt.bytes(), nil
}

// Request checks a packet of the AAA server, challenge or final, and returns it as
// it goes to the peer. A final packet ends the conversation only by Decide: access
// follows RADIUS, never the EAP inside (RFC 3579 section 2.6.3).
func (a *Authenticator) Request(packet []byte) ([]byte, error) {
	pkt, err := Parse(packet)
	if err != nil {
		return nil, err
	}
	if pkt.Code == CodeResponse {
		return nil, &ProtocolError{Detail: "the AAA server sent a Response, expected Request, Success or Failure"}
	}
	if pkt.Code == CodeRequest {
		a.id, a.waiting = pkt.ID, true
	}
	return pkt.bytes(), nil
}

// Decide notes the AAA server's decision, which is the end.
func (a *Authenticator) Decide(success bool) { a.done, a.success, a.waiting = true, success, false }

// Identity is the peer's, not authenticated; empty before its first response.
func (a *Authenticator) Identity() string { return a.identity }

// Result says whether the AAA server has decided, and how.
func (a *Authenticator) Result() (done, success bool) { return a.done, a.success }
