package diameter

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/avp"
)

const orderTimeout = 8 * time.Second

// Service is what a Server does with requests. Each call has a goroutine of its own;
// from is who sent it: the peer that is the message's origin, or the origin followed by
// " (relayed)" when another peer has passed it on, which no peer of that name can claim
// for itself.
type Service interface {
	// EAP answers one response of a node. EAPAnswer.Origin is ignored.
	EAP(ctx context.Context, from string, r EAPRequest) EAPAnswer
	// Account takes a record, and returns when it has.
	Account(ctx context.Context, from string, r Record) Result
	// Ended takes note that a session is over.
	Ended(ctx context.Context, from string, e Ended) Result
}

// relayed is how a client's name ends that does not speak for itself.
const relayed = " (relayed)"

// HostOf is the DiameterIdentity of a client, as a Service has it.
func HostOf(from string) string { return strings.TrimSuffix(from, relayed) }

// Server is the home's side of the EAP application.
type Server struct {
	node    *Node // nil in tests
	via     sender
	self    Origin
	service Service
	log     *slog.Logger
}

// NewServer makes a server and its Node. Config.Handler is the server's own.
func NewServer(cfg Config, s Service) (*Server, error) {
	r := &Server{self: Origin{Host: strings.ToLower(cfg.Identity), Realm: strings.ToLower(cfg.Realm)}, service: s, log: cfg.Log}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	cfg.Handler = r.handle
	node, err := New(cfg)
	if err != nil {
		return nil, err
	}
	r.node, r.via = node, node
	return r, nil
}

// Node is what carries the server's messages.
func (s *Server) Node() *Node { return s.node }

// Run runs the Node until ctx ends.
func (s *Server) Run(ctx context.Context) error { return s.node.Run(ctx) }

// handle answers one request.
func (s *Server) handle(ctx context.Context, from string, m *diam.Message) *diam.Message {
	from = strings.ToLower(from)
	if origin := strings.ToLower(fields(m.AVP).text(avp.OriginHost)); origin != from {
		from = origin + relayed
	}
	switch m.Header.CommandCode {
	case cmdEAP:
		r, err := parseEAPRequest(m)
		if err != nil {
			return refuseBy(m, faultOf(err), s.self)
		}
		a := s.service.EAP(ctx, from, r)
		answer := a.message(m, s.self)
		a.MSK.Clear()
		return answer
	case cmdAccounting:
		r, err := parseRecord(m)
		if err != nil {
			return refuseBy(m, faultOf(err), s.self)
		}
		return r.answer(m, s.service.Account(ctx, from, r), s.self)
	case cmdSessionTermination:
		answer, b := answerTo(m, s.service.Ended(ctx, from, parseEnded(m)), s.self)
		b.each(avp.Class, fields(m.AVP).all(avp.Class))
		return answer
	}
	return refuseBy(m, &Fault{Code: uint32(CommandUnsupported), Why: "expected Diameter-EAP-Request, Accounting-Request or Session-Termination-Request: this is a server"}, s.self)
}

// Order sends what is wanted of a session to its router, and returns when that has taken
// it. What the router answers otherwise is a *ResultError.
func (s *Server) Order(ctx context.Context, o Order) error {
	o.Origin, o.Host, o.Realm = s.self, strings.ToLower(o.Host), strings.ToLower(o.Realm)
	mine, cancel := context.WithTimeout(ctx, orderTimeout)
	defer cancel()
	_, err := exchange(mine, s.via, o.Kind.String(), o.message(), Target{Host: o.Host, Realm: o.Realm})
	if err != nil && ctx.Err() == nil && (mine.Err() != nil || away(err)) {
		return &silentError{what: o.Kind.String() + " to " + o.Host, err: err}
	}
	return err
}
