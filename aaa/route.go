package aaa

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// RealmError says that no operator serves a realm.
type RealmError struct{ Realm, Identity string }

// Error implements error in one line.
func (e *RealmError) Error() string {
	return fmt.Sprintf("aaa: nobody serves the realm %q of %q: add it to an operator's realms", e.Realm, e.Identity)
}

// Open begins a conversation of a node with the servers of its realm, for who has its
// identity already, as a server that forwards. The Grant of an Accept is complete.
func (r *Realms) Open(info SessionInfo, identity string) (Conversation, error) {
	realm := RealmOf(identity)
	via := r.route(realm)
	if via == nil {
		return nil, &RealmError{Realm: realm, Identity: identity}
	}
	if info.Again != nil && info.Again.Operator != via.Name {
		info.Again = nil // what the servers of another have accepted is nothing to these
	}
	with, err := via.Carrier.Open(info, identity)
	if err != nil {
		return nil, err
	}
	return &routed{Conversation: with, operator: via.Name, realm: realm, identity: identity, info: info}, nil
}

// Account delivers a record to the operator that its grant names, else to the one that
// serves its realm. See Carrier.
func (r *Realms) Account(ctx context.Context, rec Record) error {
	i := slices.IndexFunc(r.operators, func(o Operator) bool { return o.Name == rec.Grant.Operator })
	if i >= 0 {
		return r.operators[i].Carrier.Account(ctx, rec)
	}
	realm := rec.Grant.Realm
	if realm == "" {
		realm = RealmOf(rec.Grant.Identity)
	}
	if o := r.route(realm); o != nil {
		return o.Carrier.Account(ctx, rec)
	}
	return &RealmError{Realm: realm, Identity: rec.Grant.Identity}
}

// routed fills in what the grants of one operator's conversation have of it.
type routed struct {
	Conversation
	operator, realm, identity string
	info                      SessionInfo
}

func (c *routed) Ask(ctx context.Context, response []byte) (Answer, error) {
	a, err := c.Conversation.Ask(ctx, response)
	if err != nil || a.Decision != Accept {
		return a, err
	}
	g := &a.Grant
	g.Operator, g.Server, g.Realm = c.operator, a.Server, c.realm
	g.Station, g.Called, g.NASPort = c.info.CallingStation, c.info.CalledStation, c.info.NASPort
	if g.Identity == "" {
		g.Identity = c.identity
	}
	g.Began = time.Now()
	switch {
	case c.info.Again != nil:
		g.Session, g.Began = c.info.Again.Session, c.info.Again.Began
	case g.Session == "":
		g.Session = rand.Text()
	}
	if a.Timeout > 0 {
		g.Expires = time.Now().Add(a.Timeout)
	}
	return a, nil
}

// Run keeps connections to servers up, brings them the books, and hands their orders to
// o, until ctx ends; then it has a moment for the last records. An error is why it could
// not begin. It is called once, before the first Start.
func (r *Realms) Run(ctx context.Context, o Orders) error {
	after, stop := context.WithCancel(context.WithoutCancel(ctx)) // the carriers' time is longer
	g, after := errgroup.WithContext(after)
	for _, one := range r.operators {
		g.Go(func() error {
			if err := one.Carrier.Run(after, ofOperator{one.Name, o}); err != nil && after.Err() == nil {
				return fmt.Errorf("aaa: %s: %w", one.Name, err)
			}
			return nil
		})
	}
	g.Go(func() error {
		defer stop()
		if r.books != nil {
			return r.books.run(ctx, after)
		}
		select {
		case <-ctx.Done():
		case <-after.Done():
		}
		return nil
	})
	err := g.Wait()
	stop()
	return err
}

// ofOperator lets servers choose among the sessions of their own operator.
type ofOperator struct {
	operator string
	Orders
}

func (o ofOperator) End(m Match, why string) int {
	m.Operator = o.operator
	return o.Orders.End(m, why)
}

func (o ofOperator) Again(m Match) int {
	m.Operator = o.operator
	return o.Orders.Again(m)
}

func (o ofOperator) Extend(m Match, life time.Duration) int {
	m.Operator = o.operator
	return o.Orders.Extend(m, life)
}

// Matches says whether m chooses g.
func (m Match) Matches(g Grant) bool {
	if m.Session == "" && m.Identity == "" && m.Station == "" && m.NASPort == "" && len(m.Handle) == 0 && len(m.Class) == 0 {
		return false // whoever names nobody means nobody
	}
	for _, f := range [][2]string{{m.Operator, g.Operator}, {m.Session, g.Session}, {m.Identity, g.Identity}, {m.Station, g.Station}, {m.Called, g.Called}, {m.NASPort, g.NASPort}, {string(m.Handle), string(g.Handle)}} {
		if f[0] != "" && f[0] != f[1] {
			return false
		}
	}
	return len(m.Class) == 0 || slices.ContainsFunc(g.Class, func(c []byte) bool { return string(c) == string(m.Class) })
}

// ServerStatus is what is known of one server.
type ServerStatus struct {
	Operator string    `json:"operator"`
	Protocol string    `json:"protocol"` // radius, radsec, diameter
	Server   string    `json:"server"`   // by address or name
	Alive    bool      `json:"alive"`
	Since    time.Time `json:"since,omitzero"` // when it became so; zero: nothing has been heard or missed
	Why      string    `json:"why,omitzero"`   // it is not alive
}

// Watched is a Carrier that says how its servers are, in the order in which they are
// asked. It sets no Operator.
type Watched interface{ Servers() []ServerStatus }

// Servers says how the servers of all operators are.
func (r *Realms) Servers() []ServerStatus {
	var out []ServerStatus
	for _, o := range r.operators {
		w, ok := o.Carrier.(Watched)
		if !ok {
			continue
		}
		for _, s := range w.Servers() {
			s.Operator = o.Name
			out = append(out, s)
		}
	}
	return out
}
