package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"openmpa/aaa"
	"openmpa/aaa/radius"
)

// statusReply answers Status-Server where requests of that code go (RFC 5997 section 4.2).
func statusReply(code radius.Code) radius.Reply {
	if code == radius.AccountingRequest {
		return radius.Reply{Code: radius.AccountingResponse}
	}
	return radius.Reply{Code: radius.AccessAccept}
}

// process has the server answer a request of a client, however it came. With an error
// there is nothing to answer: the client asks again.
func process(ctx context.Context, core *Server, client string, req *radius.ServerRequest) (radius.Reply, error) {
	switch req.Code {
	case radius.StatusServer:
		return statusReply(radius.AccessRequest), nil
	case radius.AccountingRequest:
		r, ok := aaa.RecordOfRADIUS(req.Record, time.Now())
		if ok { // what is of no session, such as Accounting-On, goes into no book
			err := core.Account(ctx, client, r)
			if errors.Is(err, aaa.ErrRefused) { // nor will it ever (RFC 6614 section 2.5)
				return radius.Reply{Code: radius.AccountingResponse, ErrorCause: radius.CauseUnsupportedExtension}, nil
			}
			if err != nil {
				return radius.Reply{}, err
			}
		}
		return radius.Reply{Code: radius.AccountingResponse}, nil
	case radius.AccessRequest:
		r, err := core.Answer(ctx, Ask{
			Client: client, State: req.State, UserName: req.UserName, EAP: req.EAP, MTU: req.FramedMTU, NAS: req.NASIdentifier,
			NASPort: req.NASPort, Station: req.CallingStation, Called: req.CalledStation, Session: req.Session,
			Passed: req.Passed,
		})
		if lost := (*aaa.LostError)(nil); errors.As(err, &lost) {
			// Behind us another server stands by: the node may begin anew, through us.
			return radius.Reply{Code: radius.AccessReject, ErrorCause: radius.CauseUnroutable}, nil
		}
		if err != nil {
			return radius.Reply{}, err
		}
		return radiusReply(r), nil
	}
	return radius.Reply{}, fmt.Errorf("server: a router sends no %v", req.Code)
}

// radiusReply is an answer as RADIUS has it.
func radiusReply(r Reply) radius.Reply {
	out := radius.Reply{Code: radius.AccessChallenge, EAP: r.EAP, State: r.State, MSK: r.MSK}
	switch r.Decision {
	case aaa.Accept:
		out.Code = radius.AccessAccept
		out.SessionTimeout, out.UserName, out.Class, out.Handle, out.Interim = r.Timeout, r.Identity, r.Class, r.Handle, r.Interim
	case aaa.Reject:
		out.Code, out.Message = radius.AccessReject, r.Message
	}
	return out
}
