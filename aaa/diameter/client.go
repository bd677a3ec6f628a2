package diameter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/avp"
)

const (
	defaultTimeout = 8 * time.Second
	spareTimeout   = 5 * time.Second  // of the server of a conversation, where another could have a new one
	shunTime       = 30 * time.Second // a server that has been silent is not begun with; as long as a watchdog takes
	maxShunned     = 64
	maxFarewells   = 64 // sessions given back at once
	farewells      = 3  // times each is tried
)

// Errors of a Client, beside *ResultError and *RestartError.
var (
	// ErrNoAnswer says that no server answered, or none could be reached. What wraps it
	// says why.
	ErrNoAnswer = errors.New("diameter: no answer")
	// ErrRefused says that a server has a record, or the end of a session, for good, and
	// does not take it: asking again is in vain.
	ErrRefused = errors.New("diameter: refused for good")
)

// silentError is ErrNoAnswer with its reason.
type silentError struct {
	what string
	err  error
}

func (e *silentError) Error() string        { return "diameter: no answer to " + e.what + ": " + plain(e.err) }
func (e *silentError) Is(target error) bool { return target == ErrNoAnswer }
func (e *silentError) Unwrap() error        { return e.err }

// plain is an error of this package without its name, for use within another one.
func plain(err error) string { return strings.TrimPrefix(err.Error(), "diameter: ") }

// RestartError says that the server of a conversation is gone in the middle of it, or
// has forgotten it, and that a new conversation would find one.
type RestartError struct {
	Server string // that was lost
	Next   string // the peer that takes a new one
	Err    error
}

// Error implements error in one line.
func (e *RestartError) Error() string {
	return fmt.Sprintf("diameter: %s was lost in the middle of an authentication, %s takes a new one: %s", e.Server, e.Next, plain(e.Err))
}

// Is makes it an ErrNoAnswer.
func (e *RestartError) Is(target error) bool { return target == ErrNoAnswer }

// Unwrap gives errors.As the cause.
func (e *RestartError) Unwrap() error { return e.Err }

// Orders is what servers want of sessions; each returns how many sessions it concerned.
// None waits.
type Orders interface {
	End(session, why string) int
	Again(session string) int
	Extend(session string, life time.Duration) int
}

// sender is the part of a Node that applications use.
type sender interface {
	Send(ctx context.Context, m *diam.Message, to Target) (answer *diam.Message, peer string, err error)
	Reaches(realm string, not ...string) (peer string, ok bool)
}

// ClientConfig configures a Client beside its Node.
type ClientConfig struct {
	NASIdentifier string        // default: the node's identity
	Timeout       time.Duration // of one request, over all servers; default 8 s
	NoAccounting  bool          // records are sent to nobody
	Log           *slog.Logger  // nil: none
}

// Client is an access router's side of the EAP application: it asks servers for nodes,
// reports their sessions, and takes orders. It may be used by several goroutines at once.
type Client struct {
	// fixed
	node *Node // nil in tests
	via  sender
	self Origin
	cfg  ClientConfig
	ids  *sessionIDs

	// atomic
	orders atomic.Pointer[Orders]

	farewell sync.WaitGroup
	slots    chan struct{} // one for each farewell

	mu    sync.Mutex           // guards the fields below
	alive context.Context      // of Run; nil before and after
	quiet map[string]time.Time // servers that were silent, and until when they are shunned
}

// shun has no conversation begin with a server for a while.
func (c *Client) shun(server string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.quiet == nil || len(c.quiet) >= maxShunned {
		c.quiet = make(map[string]time.Time)
	}
	c.quiet[server] = time.Now().Add(shunTime)
}

// shunned are the servers that are shunned now, if somebody else reaches the realm.
func (c *Client) shunned(realm string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []string
	for name, until := range c.quiet {
		if time.Now().After(until) {
			delete(c.quiet, name)
			continue
		}
		list = append(list, name)
	}
	if len(list) == 0 {
		return nil
	}
	if _, ok := c.via.Reaches(realm, list...); !ok {
		return nil
	}
	return list
}

// NewClient makes a client and its Node. Config.Handler is the client's own.
func NewClient(cfg Config, app ClientConfig) (*Client, error) {
	var c *Client
	cfg.Handler = func(ctx context.Context, from string, req *diam.Message) *diam.Message { return c.handle(from, req) }
	node, err := New(cfg)
	if err != nil {
		return nil, err
	}
	if c, err = newClient(node, Origin{Host: strings.ToLower(cfg.Identity), Realm: strings.ToLower(cfg.Realm)}, app); err != nil {
		return nil, err
	}
	c.node = node
	c.ids, err = newSessionIDs(c.self.Host, time.Now(), cfg.Rand)
	return c, err
}

func newClient(via sender, self Origin, app ClientConfig) (*Client, error) {
	if app.Timeout <= 0 {
		app.Timeout = defaultTimeout
	}
	if app.NASIdentifier == "" {
		app.NASIdentifier = self.Host
	}
	if app.Log == nil {
		app.Log = slog.New(slog.DiscardHandler)
	}
	ids, err := newSessionIDs(self.Host, time.Now(), nil)
	return &Client{via: via, self: self, cfg: app, ids: ids, slots: make(chan struct{}, maxFarewells)}, err
}

// Node is what carries the client's messages.
func (c *Client) Node() *Node { return c.node }

// Run runs the Node until ctx ends, and hands on what servers want.
func (c *Client) Run(ctx context.Context, o Orders) error {
	if o != nil {
		c.orders.Store(&o)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.mu.Lock()
	c.alive = ctx
	c.mu.Unlock()
	err := c.node.Run(ctx)
	cancel()
	c.mu.Lock()
	c.alive = nil
	c.mu.Unlock()
	c.farewell.Wait()
	return err
}

// Account delivers one record, to the server that has the session if it can be reached,
// else to any of its realm. It returns the Acct-Interim-Interval the server wants from
// now on; 0: as before.
func (c *Client) Account(ctx context.Context, r Record, server string) (time.Duration, error) {
	if c.cfg.NoAccounting {
		return 0, nil
	}
	r.Origin, r.Realm, r.Access.NASIdentifier = c.self, c.realm(r.Realm), c.cfg.NASIdentifier
	f, err := c.deliver(ctx, "Accounting-Request", r.message, Target{Host: server, Realm: r.Realm})
	if err != nil {
		return 0, err
	}
	kind, _ := f.number(avp.AccountingRecordType)
	number, _ := f.number(avp.AccountingRecordNumber)
	if RecordType(kind) != r.Type || number != r.Number {
		return 0, fmt.Errorf("diameter: %s answers record %d of type %d, expected %d of type %d", f.text(avp.OriginHost), number, kind, r.Number, r.Type)
	}
	return f.seconds(avp.AcctInterimInterval), nil
}

// Terminate tells the server of a session that it is over.
func (c *Client) Terminate(ctx context.Context, e Ended, server string) error {
	e.Origin, e.Realm = c.self, c.realm(e.Realm)
	_, err := c.deliver(ctx, "Session-Termination-Request", e.message, Target{Host: server, Realm: e.Realm})
	var no *ResultError
	if errors.As(err, &no) && (no.Result == UnknownSession || no.Result == CommandUnsupported) {
		return nil // as we want it; freeDiameter's EAP server keeps no state, whatever it says
	}
	return err
}

// deliver sends a request to the server that is meant, or, when that cannot be reached,
// to any of its realm, and returns what a success says.
func (c *Client) deliver(ctx context.Context, what string, request func() *diam.Message, to Target) (fields, error) {
	mine, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	f, err := exchange(mine, c.via, what, request(), to)
	if to.Host != "" && mine.Err() == nil && away(err) {
		to.Host = ""
		f, err = exchange(mine, c.via, what, request(), to)
	}
	switch {
	case err == nil:
		return f, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case mine.Err() != nil, away(err), errors.Is(err, errLater):
		return nil, &silentError{what: what + " for realm " + to.Realm, err: err}
	}
	return nil, err
}

// away holds for what says that a message has reached nobody.
func away(err error) bool {
	var no *ResultError
	return lost(err) && !(errors.As(err, &no) && no.Result == UnknownSession)
}

// exchange sends a request and returns the AVPs of the answer, if that is a success.
func exchange(ctx context.Context, via sender, what string, m *diam.Message, to Target) (fields, error) {
	session := fields(m.AVP).text(avp.SessionID)
	a, peer, err := via.Send(ctx, m, to)
	if err != nil {
		return nil, err
	}
	f := fields(a.AVP)
	host := f.text(avp.OriginHost)
	if host == "" {
		host = peer
	}
	code, ok := f.number(avp.ResultCode)
	switch id := f.text(avp.SessionID); {
	case !ok:
		return nil, fmt.Errorf("diameter: answer of %s to %s without a Result-Code", host, what)
	case !Result(code).succeeded():
		return nil, &ResultError{Request: what, Server: host, Result: Result(code), Message: f.text(avp.ErrorMessage), Failed: failedNames(a)}
	case id != session:
		return nil, fmt.Errorf("diameter: %s answers %s for Session-Id %q, expected %q", host, what, id, session)
	}
	return f, nil
}

// Release gives back a session that a server has granted and that is not used, a few
// times if need be, while Run does. It does not wait.
func (c *Client) Release(e Ended, server string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.alive == nil {
		return
	}
	select {
	case c.slots <- struct{}{}:
	default:
		c.cfg.Log.Warn("session not given back: too many are being", "session", e.Session, "server", server)
		return
	}
	ctx := c.alive
	c.farewell.Go(func() {
		defer func() { <-c.slots }()
		for i := range farewells {
			err := c.Terminate(ctx, e, server)
			if err == nil || ctx.Err() != nil {
				return
			}
			if errors.Is(err, ErrRefused) || i == farewells-1 {
				c.cfg.Log.Warn("session not given back; its server keeps it until it expires", "session", e.Session, "err", err)
				return
			}
			select {
			case <-time.After(time.Second << i):
			case <-ctx.Done():
				return
			}
		}
	})
}

// handle answers a server's request.
func (c *Client) handle(from string, m *diam.Message) *diam.Message {
	if cmd := m.Header.CommandCode; cmd != cmdAbortSession && cmd != cmdReAuth {
		return refuseBy(m, &Fault{Code: uint32(CommandUnsupported), Why: "expected Abort-Session-Request or Re-Auth-Request: this is an access router"}, c.self)
	}
	o, err := parseOrder(m)
	if err != nil {
		return refuseBy(m, faultOf(err), c.self)
	}
	orders := c.orders.Load()
	if orders == nil {
		return refuseBy(m, &Fault{Code: uint32(UnableToComply), Why: "this access router takes no orders"}, c.self)
	}
	var n int
	switch o.Kind {
	case Abort:
		n = (*orders).End(o.Session, o.Why)
	case ReAuth:
		n = (*orders).Again(o.Session)
	case Extend:
		n = (*orders).Extend(o.Session, o.Life)
	}
	result := Success
	if n == 0 {
		result = UnknownSession
	}
	c.cfg.Log.Info("order of a server", "order", o.Kind, "session", o.Session, "from", from, "origin", o.Origin.Host, "result", result)
	answer, _ := answerTo(m, result, c.self)
	return answer
}
