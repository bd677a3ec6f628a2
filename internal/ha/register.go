package ha

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"openmpa/internal/inet"
	"openmpa/mn/mobility/mip4"
)

// deniedEvery limits answers to requests that are not authenticated, each node.
const deniedEvery = time.Second

// Answer is what to do after a request.
type Answer struct {
	To   netip.AddrPort
	Data []byte // nil: do not reply
	// OnHomeLink says that the reply must go out on the home link whatever the
	// bindings say: the request came from the home address (RFC 5944 section 3.8.3.1).
	OnHomeLink bool
	Notice     Notice
}

// HandleRequest takes a UDP payload that came from from. False: it was dropped in
// silence (and counted); err says why.
func (c *Core) HandleRequest(now time.Time, from netip.AddrPort, b []byte) (Answer, error) {
	c.counters.Add(ctrRequests)
	req, err := mip4.ParseRequest(b)
	if err != nil {
		c.counters.Add(ctrDropMalformed)
		return Answer{}, err
	}
	n := c.nodes[req.HomeAddress]
	if n == nil {
		c.counters.Add(ctrDropUnknownNode)
		return Answer{}, errUnknownNode
	}
	n.registering.Lock()
	defer n.registering.Unlock()
	if n.closed {
		return Answer{}, errEnding // the next home agent answers the repetition
	}

	a := Answer{
		To:         netip.AddrPortFrom(from.Addr().Unmap(), from.Port()),
		OnHomeLink: from.Addr().Unmap() == n.home,
		Notice:     Notice{Home: n.home, CareOf: req.CareOf},
	}
	if err := req.Verify(n.sa); err != nil {
		if !errors.Is(err, mip4.ErrAuthenticator) || now.Sub(n.denied) < deniedEvery {
			c.counters.Add(ctrDropSecurity)
			return Answer{}, err
		}
		n.denied = now
		return c.deny(n, a, &req, mip4.CodeMNAuthentication, req.ID, err.Error())
	}
	if req.Has(mip4.ExtForeignHome) { // section 3.8.2.1 d
		c.counters.Add(ctrDropForeignAgent)
		return Answer{}, errForeignAgent
	}
	if bnd := n.bindings.of(req.CareOf); bnd != nil && bnd.id == req.ID && req.Lifetime != 0 {
		c.counters.Add(ctrAnsweredAgain)
		a.Notice.What = NoticeRenewed
		return c.reply(n, a, &req, bnd.code, remaining(bnd, now), req.ID, bnd)
	}
	if skew := inet.Skew(req.ID, inet.NTP(now)); skew > c.cfg.ClockWindow || skew < -c.cfg.ClockWindow {
		return c.denyIdentification(now, n, a, &req, "the clocks are "+skew.Round(time.Millisecond).String()+" apart")
	}
	if n.hasID && !inet.Newer(req.ID, n.lastID) {
		return c.denyIdentification(now, n, a, &req, "not newer than the one before: a replay, or a request overtaken by another")
	}
	n.lastID, n.hasID = req.ID, true

	if code, reason := c.valid(&req); !code.Accepted() {
		return c.deny(n, a, &req, code, req.ID, reason)
	}
	if req.Lifetime == 0 {
		return c.deregister(now, n, a, &req)
	}
	return c.register(now, n, a, &req)
}

var (
	errEnding       = errors.New("ha: a request came while the home agent ends")
	errUnknownNode  = errors.New("ha: request of a mobile node that is not configured")
	errForeignAgent = errors.New("ha: request with a Foreign-Home Authentication Extension: no security association with a foreign agent is configured")
)

// valid makes the checks that lead to a denial (sections 3.8.2.1 to 3.8.3.2, RFC 3024
// section 4.3.1).
func (c *Core) valid(req *mip4.Request) (mip4.Code, string) {
	switch {
	case req.HomeAgent != c.cfg.Address:
		return mip4.CodeUnknownHomeAgent, "the home agent here is " + c.cfg.Address.String() + ", not " + req.HomeAgent.String()
	case req.Flags&(mip4.FlagR|mip4.FlagX) != 0:
		return mip4.CodePoorlyFormed, "reserved bits are set"
	case req.Flags&(mip4.FlagM|mip4.FlagG) != 0:
		return mip4.CodeNoSuchEncapsulation, "only IP in IP is spoken here"
	case req.Lifetime == 0 && req.CareOf == req.HomeAddress:
		return mip4.CodeAccepted, ""
	case c.unfit(req.CareOf):
		return mip4.CodePoorlyFormed, req.CareOf.String() + " cannot be a care-of address"
	}
	return mip4.CodeAccepted, ""
}

// unfit says that an address cannot be a care-of address.
func (c *Core) unfit(a netip.Addr) bool {
	return !ordinary(a) || a == c.cfg.Address || c.nodes[a] != nil
}

// register makes, moves or renews a binding, or adds one (section 3.8.2.2). It is stored
// before anything else happens: what cannot be kept is not promised. n.registering is held.
func (c *Core) register(now time.Time, n *node, a Answer, req *mip4.Request) (Answer, error) {
	granted := min(req.Lifetime, mip4.LifetimeField(c.cfg.Lifetime))
	was := n.bindings
	next := &binding{careOf: req.CareOf, id: req.ID, granted: granted, since: now, reverse: req.Flags&mip4.FlagT != 0}
	if d := mip4.LifetimeOf(granted); d != mip4.Infinite {
		next.expires = now.Add(d)
	}
	pm, offered := req.PathMarkers()
	next.offered = offered && req.Flags&mip4.FlagD != 0 && next.reverse
	if next.offered {
		next.markers.Path = pm.Path
	}
	if same := was.of(next.careOf); same != nil {
		next.since = same.since
	}
	list, code := was.with(next, req.Flags, c.cfg.MaxBindings)
	if !code.Accepted() {
		return c.deny(n, a, req, code, req.ID, fmt.Sprintf("at most %d bindings of a home address stand at once", c.cfg.MaxBindings))
	}
	next.code = code
	a.Notice.Also = list.without(next.careOf).careOf()
	var ends uint64
	switch {
	case len(was) == 0:
		a.Notice.What = NoticeBound
	case slices.Equal(was.careOf(), list.careOf()):
		a.Notice.What = NoticeRenewed
		if next.offered {
			next.markers = was[0].markers // the path is the old one's
		}
	case list[0].careOf == was[0].careOf && len(list) > len(was):
		a.Notice.What = NoticeBeside
	default:
		a.Notice.What, a.Notice.Previous = NoticeMoved, was[0].careOf
		// From several to several no path ends.
		if next.offered && was[0].reverse && (len(was) == 1 || len(list) == 1) {
			next.markers.OldPath, ends = true, next.markers.Path
		}
	}
	if err := c.keep(now, n, list, req.ID); err != nil {
		return c.deny(n, a, req, mip4.CodeResources, req.ID, err.Error())
	}
	if len(was) == 0 {
		if err := c.world.Bound(n.home); err != nil {
			_ = c.keep(now, n, nil, req.ID) // World has reported it; a restart would try once more
			return c.deny(n, a, req, mip4.CodeReason, req.ID, err.Error())
		}
	}
	c.set(now, n, list, ends)
	n.mu.Lock()
	n.registrations++
	n.mu.Unlock()
	a.Notice.Path, a.Notice.Lifetime = next.markers.Path, mip4.LifetimeOf(granted)
	c.world.Wake()
	return c.reply(n, a, req, code, granted, req.ID, next)
}

// deregister handles a request with lifetime zero (section 3.8.2.2). It does not need
// the store's consent: a node at home is worse off with a binding than with one that
// might come back after a crash. n.registering is held.
func (c *Core) deregister(now time.Time, n *node, a Answer, req *mip4.Request) (Answer, error) {
	a.Notice.What = NoticeUnbound
	code := mip4.CodeAcceptedOneBinding
	left := n.bindings.without(req.CareOf)
	if len(n.bindings) > 0 {
		code = n.bindings[0].code
	}
	if req.CareOf == n.home {
		left = nil
	}
	_ = c.keep(now, n, left, req.ID) // World has reported it
	if len(left) < len(n.bindings) {
		a.Notice.Previous, a.Notice.Also = n.bindings[0].careOf, left.careOf()
		c.set(now, n, left, 0)
	}
	return c.reply(n, a, req, code, 0, req.ID, nil)
}

func remaining(b *binding, now time.Time) uint16 {
	if b.expires.IsZero() {
		return b.granted
	}
	return mip4.LifetimeField(b.expires.Sub(now))
}

// denyIdentification denies with code 133: the low half of the identification comes
// back, the high half is our clock (section 5.7.1).
func (c *Core) denyIdentification(now time.Time, n *node, a Answer, req *mip4.Request, reason string) (Answer, error) {
	id := inet.NTP(now)>>32<<32 | req.ID&0xffffffff
	return c.deny(n, a, req, mip4.CodeIdentification, id, reason)
}

func (c *Core) deny(n *node, a Answer, req *mip4.Request, code mip4.Code, id uint64, reason string) (Answer, error) {
	a.Notice.What, a.Notice.Reason = NoticeDenied, reason
	return c.reply(n, a, req, code, 0, id, nil)
}

// reply builds the answer; b is the binding it speaks of, or nil.
func (c *Core) reply(n *node, a Answer, req *mip4.Request, code mip4.Code, lifetime uint16, id uint64, b *binding) (Answer, error) {
	a.Notice.Code = code
	if code.Accepted() {
		c.counters.Add(ctrAccepted)
	} else {
		c.counters.Add(ctrDenied)
	}
	r := mip4.Reply{Code: code, Lifetime: lifetime, HomeAddress: req.HomeAddress, HomeAgent: c.cfg.Address, ID: id}
	if b != nil && b.offered {
		r.Extensions = []mip4.Extension{b.markers.Extension()}
	}
	data, err := r.AppendSigned(nil, n.sa)
	if err != nil {
		return Answer{}, err // cannot be: the addresses are those of a parsed request, the key was checked
	}
	a.Data = data
	return a, nil
}
