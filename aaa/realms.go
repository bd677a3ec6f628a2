package aaa

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"

	"openmpa/aaa/eap"
)

// maxInvalid bounds the invalid responses of one conversation (RFC 3579 section 2.2).
const maxInvalid = 5

// mskLen is what EAP methods make, in octets (RFC 3748 section 7.10), and PANA takes.
const mskLen = 64

// Operator is who serves some realms.
type Operator struct {
	Name    string
	Realms  []string // "home.example", "*.example" for those below it, "*" for every other, "" for identities without one
	Carrier Carrier
}

// Realms is a Backend that chooses the operator by the realm of the node's identity:
// the longest entry that matches, whatever the order.
type Realms struct {
	operators []Operator
	books     *books // nil: kept by nobody
}

// NewRealms makes a Backend of operators. An operator without Realms serves every realm
// that no other one has.
func NewRealms(operators ...Operator) (*Realms, error) {
	if len(operators) == 0 {
		return nil, errors.New("aaa: no operators: expected at least one, with its servers")
	}
	return &Realms{operators: operators}, nil
}

// route is the operator of a realm, nil if none has it.
func (r *Realms) route(realm string) *Operator {
	var best *Operator
	most := -1
	for i := range r.operators {
		o := &r.operators[i]
		list := o.Realms
		if len(list) == 0 {
			list = []string{"*", ""}
		}
		for _, entry := range list {
			if n := fits(strings.ToLower(entry), realm); n > most {
				best, most = o, n
			}
		}
	}
	return best
}

// fits says how well an entry matches a realm in lower case; negative: not at all.
func fits(entry, realm string) int {
	rest, wild := strings.CutPrefix(entry, "*")
	switch {
	case entry == realm:
		return 2*len(entry) + 1
	case wild && realm != "" && strings.HasSuffix(realm, rest):
		return 2 * len(rest)
	}
	return -1
}

// RealmOf is the realm of a network access identifier in lower case (RFC 7542 section
// 2.2); empty without one.
func RealmOf(identity string) string {
	at := strings.LastIndexByte(identity, '@')
	if at < 0 {
		return ""
	}
	return strings.ToLower(identity[at+1:])
}

// Start implements Backend.
func (r *Realms) Start(_ context.Context, info SessionInfo) (Session, error) {
	return &session{
		realms: r, info: info,
		auth: eap.NewAuthenticator(uint8(rand.Uint32())), // tells conversations apart, is no secret
	}, nil
}

// session is a conversation whose operator is known once the node has said its name.
type session struct {
	realms  *Realms
	info    SessionInfo
	auth    *eap.Authenticator
	last    []byte // the request the node has to answer
	invalid int

	mu     sync.Mutex   // guards the fields below
	with   Conversation // nil until the operator is known
	closed bool
}

func (s *session) Identity() []byte {
	if s.last == nil {
		s.last = s.auth.Start()
	}
	return s.last
}

func (s *session) Exchange(ctx context.Context, response []byte) (Result, error) {
	if done, _ := s.auth.Result(); done {
		return Result{}, errEnded
	}
	forward, err := s.auth.Response(response)
	if err != nil {
		// The layer below is lock-step too: ask again, a few times.
		if s.invalid++; s.invalid < maxInvalid {
			return Result{EAP: s.Identity()}, nil
		}
		return Result{Decision: Reject}, fmt.Errorf("aaa: %d invalid responses, the last one: %w", s.invalid, err)
	}
	with, err := s.server()
	if err != nil {
		return Result{Decision: Reject}, err
	}
	a, err := with.Ask(ctx, forward)
	if err != nil {
		return Result{}, err
	}
	var out Result
	if a.EAP != nil {
		if out.EAP, err = s.auth.Request(a.EAP); err != nil {
			a.MSK.Clear()
			return Result{Decision: Reject}, fmt.Errorf("aaa: %v of %s: %w", a.Decision, a.Server, err)
		}
	}
	switch a.Decision {
	case Accept:
		return s.accept(a, out)
	case Reject:
		s.auth.Decide(false)
		out.Decision = Reject
		return out, &RejectError{Server: a.Server, Identity: s.auth.Identity(), Message: a.Message, Bare: a.EAP == nil}
	default:
		// Anything but a Request in a challenge would end the node's side without a
		// decision (RFC 3579 section 2.6.3).
		if len(out.EAP) == 0 || eap.Code(out.EAP[0]) != eap.CodeRequest {
			return Result{Decision: Reject}, fmt.Errorf("aaa: %s goes on without an EAP request", a.Server)
		}
		s.last = out.EAP
		return out, nil
	}
}

// errEnded is what comes of an exchange after the end.
var errEnded = errors.New("aaa: this authentication has ended")

// server is the conversation with the operator of the node's realm, opened when there is
// none yet.
func (s *session) server() (Conversation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, errEnded
	case s.with != nil:
		return s.with, nil
	}
	var err error
	s.with, err = s.realms.Open(s.info, s.auth.Identity())
	if unknown := (*RealmError)(nil); errors.As(err, &unknown) {
		s.auth.Decide(false)
	}
	return s.with, err
}

func (s *session) accept(a Answer, out Result) (Result, error) {
	if a.MSK.Len() != mskLen {
		a.MSK.Clear()
		s.auth.Decide(false)
		return Result{Decision: Reject}, fmt.Errorf("aaa: %s accepts %q without an MSK of %d octets; it must use an EAP method that makes keys, and send them", a.Server, s.auth.Identity(), mskLen)
	}
	s.auth.Decide(true)
	out.Decision, out.MSK, out.SessionTimeout, out.Identity, out.Grant = Accept, a.MSK, a.Timeout, a.Grant.Identity, a.Grant
	return out, nil
}

func (s *session) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.with != nil {
		s.with.Close()
	}
}
