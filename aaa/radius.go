package aaa

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"

	"openmpa/aaa/eap"
	"openmpa/aaa/radius"
)

// maxInvalid bounds the invalid responses of one conversation (RFC 3579 section 2.2).
const maxInvalid = 5

// NewRADIUS makes a Backend of RADIUS servers. The client stays the caller's to close.
func NewRADIUS(client *radius.Client) Backend { return &radiusBackend{client} }

type radiusBackend struct{ client *radius.Client }

func (b *radiusBackend) Start(_ context.Context, info SessionInfo) (Session, error) {
	return &radiusSession{
		client: b.client,
		auth:   eap.NewAuthenticator(uint8(rand.Uint32())), // tells conversations apart, is no secret
		req:    radius.Request{NASPort: info.NASPort, CallingStation: info.CallingStation, CalledStation: info.CalledStation},
	}, nil
}

type radiusSession struct {
	client  *radius.Client
	auth    *eap.Authenticator
	req     radius.Request // State and Server are those of the last challenge
	last    []byte         // the request the node has to answer
	invalid int
	closed  atomic.Bool
}

func (s *radiusSession) Identity() []byte {
	if s.last == nil {
		s.last = s.auth.Start()
	}
	return s.last
}

func (s *radiusSession) Exchange(ctx context.Context, response []byte) (Result, error) {
	if done, _ := s.auth.Result(); done || s.closed.Load() {
		return Result{}, errors.New("aaa: this authentication has ended")
	}
	forward, err := s.auth.Response(response)
	if err != nil {
		// The layer below is lock-step too: ask again, a few times.
		if s.invalid++; s.invalid < maxInvalid {
			return Result{EAP: s.Identity()}, nil
		}
		return Result{Decision: Reject}, fmt.Errorf("aaa: %d invalid responses, the last one: %w", s.invalid, err)
	}
	s.req.UserName, s.req.EAP = s.auth.Identity(), forward
	r, err := s.client.Exchange(ctx, s.req)
	if err != nil {
		if silent := (*radius.TimeoutError)(nil); errors.As(err, &silent) {
			return Result{}, &timeoutError{err}
		}
		return Result{}, fmt.Errorf("aaa: %w", err)
	}
	s.req.State, s.req.Server = r.State, r.Server
	var out Result
	if r.EAP != nil {
		if out.EAP, err = s.auth.Request(r.EAP); err != nil {
			r.MSK.Clear()
			return Result{Decision: Reject}, fmt.Errorf("aaa: %v of %v: %w", r.Code, r.Server, err)
		}
	}
	switch r.Code {
	case radius.AccessAccept:
		return s.accept(r, out)
	case radius.AccessReject:
		s.auth.Decide(false)
		out.Decision = Reject
		return out, &RejectError{Server: r.Server.String(), Identity: s.auth.Identity(), Message: r.ReplyMessage, Bare: r.EAP == nil}
	default:
		// Anything but a Request in a challenge would end the node's side without a
		// decision (RFC 3579 section 2.6.3).
		if len(out.EAP) == 0 || eap.Code(out.EAP[0]) != eap.CodeRequest {
			return Result{Decision: Reject}, fmt.Errorf("aaa: %v of %v without an EAP request", r.Code, r.Server)
		}
		s.last = out.EAP
		return out, nil
	}
}

func (s *radiusSession) accept(r radius.Response, out Result) (Result, error) {
	if r.MSK == nil {
		s.auth.Decide(false)
		return Result{Decision: Reject}, fmt.Errorf("aaa: %v accepts %q without MS-MPPE keys; it must use an EAP method that makes keys, and send them", r.Server, s.auth.Identity())
	}
	s.auth.Decide(true)
	out.Decision, out.MSK, out.SessionTimeout, out.Identity = Accept, r.MSK, r.SessionTimeout, r.UserName
	if out.Identity == "" {
		out.Identity = s.auth.Identity()
	}
	return out, nil
}

func (s *radiusSession) Close() { s.closed.Store(true) }
