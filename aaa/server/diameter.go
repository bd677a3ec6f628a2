package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"openmpa/aaa"
	"openmpa/aaa/diameter"
	"openmpa/aaa/eap"
)

const (
	diameterFront = "diameter" // the name that Diameter clients' names begin with
	maxRealms     = 4096       // routers whose realm is remembered
)

// Diameter is the front for routers that ask by the Diameter EAP application (RFC 4072),
// themselves or through relays. The node of a client is its Origin-Host; one that a relay
// speaks for is another client than the one who says so itself.
type Diameter struct {
	core *Server
	log  *slog.Logger
	app  *diameter.Server

	mu     sync.Mutex        // guards the field below
	realms map[string]string // of routers, as they have said
}

// NewDiameter makes the Diameter front of a server. Config.Handler is the front's own.
func NewDiameter(core *Server, cfg diameter.Config) (*Diameter, error) {
	f := &Diameter{core: core, log: cfg.Log, realms: make(map[string]string)}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if f.app, err = diameter.NewServer(cfg, f); err != nil {
		return nil, err
	}
	core.Attach(diameterFront, f)
	return f, nil
}

// Serve answers requests until ctx is done. An error is why it could not begin.
func (f *Diameter) Serve(ctx context.Context) error { return f.app.Run(ctx) }

// Node is what carries the front's messages.
func (f *Diameter) Node() *diameter.Node { return f.app.Node() }

// EAP implements diameter.Service.
func (f *Diameter) EAP(ctx context.Context, from string, r diameter.EAPRequest) diameter.EAPAnswer {
	f.meet(r.Origin)
	if len(r.EAP) == 0 && len(r.State) == 0 { // a router that leaves it to us to begin (RFC 4072 section 2.2)
		var id [1]byte
		_, _ = rand.Read(id[:]) // never fails
		return diameter.EAPAnswer{Result: diameter.MultiRoundAuth, EAP: []byte{byte(eap.CodeRequest), id[0], 0, 5, byte(eap.TypeIdentity)}}
	}
	a := Ask{
		Client: diameterFront + ":" + from, State: bytes.Join(r.State, nil), UserName: r.UserName, EAP: r.EAP, MTU: r.MTU,
		NAS: r.Access.NASIdentifier, NASPort: r.Access.NASPort, Station: r.Access.CallingStation, Called: r.Access.CalledStation, Session: r.Session,
		Passed: marks(r.Route),
	}
	if a.NAS == "" {
		a.NAS = r.Origin.Host
	}
	reply, err := f.core.Answer(ctx, a)
	var lost *aaa.LostError
	switch {
	case errors.As(err, &lost): // the node's home, behind us
		return diameter.EAPAnswer{Result: diameter.UnableToDeliver, Message: err.Error()}
	case err != nil:
		return diameter.EAPAnswer{Result: diameter.TooBusy, Message: err.Error()}
	}
	out := diameter.EAPAnswer{EAP: reply.EAP, Message: reply.Message}
	switch reply.Decision {
	case aaa.Accept:
		out.Result, out.MSK, out.UserName, out.Stateful = diameter.Success, reply.MSK, reply.Identity, true
		out.Class, out.Handle, out.Timeout, out.Interim = reply.Class, reply.Handle, reply.Timeout, reply.Interim
	case aaa.Reject:
		out.Result = diameter.AuthenticationRejected
	default:
		out.Result, out.State = diameter.MultiRoundAuth, [][]byte{reply.State}
	}
	return out
}

func marks(route []string) (out [][]byte) {
	for _, name := range route {
		out = append(out, []byte(name))
	}
	return out
}

// causes are those of Diameter as they are here.
var causes = map[diameter.Termination]aaa.Cause{
	diameter.Logout:             aaa.CauseUser,
	diameter.ServiceNotProvided: aaa.CauseError,
	diameter.BadAnswer:          aaa.CauseError,
	diameter.Administrative:     aaa.CauseAdmin,
	diameter.LinkBroken:         aaa.CauseLost,
	diameter.AuthExpired:        aaa.CauseExpired,
	diameter.UserMoved:          aaa.CauseMoved,
	diameter.SessionTimeout:     aaa.CauseExpired,
	diameter.AdminReboot:        aaa.CauseShutdown,
	diameter.NASReboot:          aaa.CauseCrash,
	diameter.NASError:           aaa.CauseError,
}

// Account implements diameter.Service.
func (f *Diameter) Account(ctx context.Context, from string, r diameter.Record) diameter.Result {
	f.meet(r.Origin)
	kind := map[diameter.RecordType]aaa.RecordKind{
		diameter.StartRecord: aaa.RecordStart, diameter.InterimRecord: aaa.RecordInterim, diameter.StopRecord: aaa.RecordStop,
	}[r.Type]
	if kind == 0 {
		return diameter.InvalidAVPValue // an event is no session
	}
	when := r.Time
	if when.IsZero() {
		when = time.Now().Add(-r.Delay)
	}
	rec := aaa.Record{
		Grant: aaa.Grant{
			Session: r.Session, Identity: r.UserName, Realm: aaa.RealmOf(r.UserName), Station: r.Access.CallingStation, Called: r.Access.CalledStation,
			NASPort: r.Access.NASPort, Class: r.Class, Handle: r.Handle, Interim: r.Interim, Stateful: true,
		},
		Kind: kind, Number: r.Number, Time: when,
		Usage:  aaa.Usage{Time: r.Length, OctetsIn: r.OctetsIn, OctetsOut: r.OctetsOut, PacketsIn: r.PacketsIn, PacketsOut: r.PacketsOut},
		Passed: marks(r.Route),
	}
	if kind == aaa.RecordStop {
		rec.Cause = causes[r.Cause]
	}
	if err := f.core.Account(ctx, diameterFront+":"+from, rec); err != nil {
		f.log.Warn("record not taken", "kind", kind, "session", r.Session, "from", from, "err", err)
		if errors.Is(err, aaa.ErrRefused) { // by the server of its home
			return diameter.UnableToComply
		}
		return diameter.OutOfSpace
	}
	return diameter.Success
}

// Ended implements diameter.Service. The books have it from the record before.
func (f *Diameter) Ended(ctx context.Context, from string, e diameter.Ended) diameter.Result {
	f.log.Debug("session ended", "session", e.Session, "from", from, "cause", causes[e.Cause])
	if err := f.core.Ended(ctx, diameterFront+":"+from, e.Session, causes[e.Cause]); err != nil {
		return diameter.UnableToDeliver
	}
	return diameter.Success
}

// meet remembers the realm of a router, for orders to it.
func (f *Diameter) meet(o diameter.Origin) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.realms) >= maxRealms {
		clear(f.realms)
	}
	f.realms[strings.ToLower(o.Host)] = strings.ToLower(o.Realm)
}

// realmOf is the realm of a router: as it has said, else by its name.
func (f *Diameter) realmOf(host string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r, ok := f.realms[host]; ok {
		return r
	}
	_, r, _ := strings.Cut(host, ".")
	return r
}

// Order implements Front.
func (f *Diameter) Order(ctx context.Context, client string, o Order) error {
	name, ok := strings.CutPrefix(client, diameterFront+":")
	if !ok {
		return fmt.Errorf("server: client %q, expected one of Diameter", client)
	}
	host := strings.ToLower(diameter.HostOf(name))
	kind := map[OrderKind]diameter.OrderKind{OrderEnd: diameter.Abort, OrderAgain: diameter.ReAuth, OrderExtend: diameter.Extend}[o.Kind]
	if kind == 0 {
		return fmt.Errorf("server: order %d", o.Kind)
	}
	return f.app.Order(ctx, diameter.Order{
		Kind: kind, Session: o.Grant.Session, Host: host, Realm: f.realmOf(host), UserName: o.Grant.Identity, Life: o.Life, Why: o.Why,
	})
}
