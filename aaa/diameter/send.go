package diameter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/avp"
	"github.com/fiorix/go-diameter/v4/diam/datatype"
)

// Target is where a request is to go.
type Target struct {
	Host  string   // the one node it is for; empty: any of the realm
	Realm string   // of that node
	Not   []string // peers that are not to be asked
	From  string   // the peer it came from, of a request that is passed on: its End-to-End Identifier stays
}

// String names it for errors.
func (t Target) String() string {
	if t.Host != "" {
		return fmt.Sprintf("host %s of realm %s", t.Host, t.Realm)
	}
	return "realm " + t.Realm
}

// Send sends a request to the peer that is to have it, and returns the answer and who
// gave it. Where a peer goes, falls silent or cannot deliver (DIAMETER_UNABLE_TO_DELIVER,
// DIAMETER_TOO_BUSY), the next one is asked, with the T bit if the first may have served
// the request. An answer with any other result is an answer. An error wraps ErrNoPeer, is
// a *LostError, a *Fault in the answer, or what ended ctx: ctx should have a deadline.
//
// m must be a request with its application and AVPs; Send adds Origin-Host, Origin-Realm,
// Destination-Realm and Destination-Host where they are missing, and sets the identifiers.
func (n *Node) Send(ctx context.Context, m *diam.Message, to Target) (answer *diam.Message, peer string, err error) {
	to.Host, to.Realm = strings.ToLower(to.Host), strings.ToLower(to.Realm)
	n.prepare(m, to)
	tried := make(map[string]bool)
	for _, name := range to.Not {
		tried[strings.ToLower(name)] = true
	}
	for _, r := range fields(m.AVP).all(avp.RouteRecord) {
		tried[strings.ToLower(string(r))] = true
	}
	var lost *LostError
	var last *diam.Message
	var unsent []string
	for {
		c, err := n.pick(ctx, m.Header.ApplicationID, to, tried, lost == nil && last == nil)
		switch {
		case err == nil:
		case lost != nil:
			return nil, lost.Peer, lost
		case last != nil:
			return last, peer, nil
		case unsent != nil:
			return nil, "", &noPeerError{to: to, why: unsent}
		default:
			return nil, "", err
		}
		name := c.peer.name
		tried[name] = true
		if lost != nil {
			m.Header.CommandFlags |= diam.RetransmittedFlag
			n.count.retransmitted.Add(1)
		}
		a, err := c.exchange(ctx, m, func() bool { return n.any(m.Header.ApplicationID, to, tried) })
		switch {
		case err == nil:
			last, peer = a, name
			if code := resultCode(a); code != diam.UnableToDeliver && code != diam.TooBusy {
				return a, name, nil
			}
			n.count.refusedElsewhere.Add(1)
			lost = nil // whoever had it before has it no more than this one
		case errors.Is(err, errUnsent):
			unsent = append(unsent, name+": "+err.Error())
		case errors.Is(err, errSilent), errors.Is(err, errSuspect), errors.Is(err, errClosed), errors.Is(err, errLeaves), errors.Is(err, errElection):
			lost = &LostError{Peer: name, Host: to.Host, Err: err}
		default:
			return nil, name, err
		}
	}
}

// prepare completes a request.
func (n *Node) prepare(m *diam.Message, to Target) {
	m.Header.CommandFlags |= diam.RequestFlag
	n.self.origin(m)
	b, f := builder{m}, fields(m.AVP)
	if _, ok := f.first(avp.DestinationRealm); !ok {
		b.identity(avp.DestinationRealm, to.Realm)
	}
	if _, ok := f.first(avp.DestinationHost); !ok {
		b.identity(avp.DestinationHost, to.Host)
	}
	if to.From == "" {
		if _, ok := f.first(avp.OriginStateID); !ok {
			b.number(avp.OriginStateID, n.self.state)
		}
		m.Header.EndToEndID = n.endToEnd()
		return
	}
	m.AddAVP(diam.NewAVP(avp.RouteRecord, avp.Mbit, 0, datatype.DiameterIdentity(to.From)))
}

// candidate is a peer that might take a request.
type candidate struct {
	p    *peer
	fits int // how closely its realms match
}

// pick is the connection of the best peer for a request. With wait it gives peers that
// are just being connected their chance.
func (n *Node) pick(ctx context.Context, app uint32, to Target, tried map[string]bool, wait bool) (*conn, error) {
	patience := time.NewTimer(n.cfg.Patience)
	defer patience.Stop()
	for {
		n.mu.Lock()
		list := n.candidatesLocked(app, to, tried)
		for _, x := range list {
			if x.p.usableLocked() {
				c := x.p.conn
				n.mu.Unlock()
				return c, nil
			}
		}
		err := &noPeerError{to: to}
		soon := false
		var suspect *conn
		for _, x := range list {
			p := x.p
			switch {
			case p.conn != nil && !p.leaving && suspect == nil:
				suspect = p.conn
			case p.conn != nil || p.cfg.Addr == "":
			case p.dialing:
				soon = true
			case time.Since(p.tried) >= retryMin && n.running:
				soon, p.dialing = true, true
				select {
				case p.kick <- struct{}{}:
				default:
				}
			}
			err.why = append(err.why, p.excuseLocked())
		}
		changed := n.changed
		if n.ended {
			wait = false
			err.why = []string{"this node has ended"}
		}
		n.mu.Unlock()
		if !wait || !soon {
			// Rather one that is silent than none (RFC 3539 section 3.4.1 [3]).
			if suspect != nil {
				return suspect, nil
			}
			return nil, err
		}
		select {
		case <-changed:
		case <-patience.C:
			wait = false
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Reaches says which peer would be asked for a realm now, if not one of those named.
func (n *Node) Reaches(realm string, not ...string) (peer string, ok bool) {
	tried := make(map[string]bool)
	for _, name := range not {
		tried[strings.ToLower(name)] = true
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, x := range n.candidatesLocked(appEAP, Target{Realm: strings.ToLower(realm)}, tried) {
		if x.p.usableLocked() {
			return x.p.name, true
		}
	}
	return "", false
}

// usableLocked says whether the peer takes requests now.
func (p *peer) usableLocked() bool {
	return p.conn != nil && !p.leaving && p.watch.status != healthSuspect
}

// any says whether there is somebody else to ask at once.
func (n *Node) any(app uint32, to Target, tried map[string]bool) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.ContainsFunc(n.candidatesLocked(app, to, tried), func(x candidate) bool {
		return x.p.usableLocked()
	})
}

// excuseLocked says why a peer takes nothing.
func (p *peer) excuseLocked() string {
	switch {
	case p.conn != nil && p.leaving:
		return p.name + " is leaving"
	case p.conn != nil:
		return p.name + ": " + errSuspect.Error()
	case p.last != nil:
		return fmt.Sprintf("%s: %s", p.name, why(p.last))
	case p.cfg.Addr == "":
		return p.name + " has not connected"
	}
	return p.name + " is not connected yet"
}

// candidatesLocked are the peers that may have a request, the best first, connected or
// not (RFC 6733 sections 6.1.4 to 6.1.6).
func (n *Node) candidatesLocked(app uint32, to Target, tried map[string]bool) []candidate {
	var list []candidate
	_, direct := n.byName[to.Host]
	for _, p := range n.peers {
		if tried[p.name] || strings.HasPrefix(p.name, "*.") || p.conn != nil && !p.offer.takes(app) {
			continue
		}
		if to.Host != "" && p.name == to.Host {
			list = append(list, candidate{p, maxIdentity * 4})
			continue
		}
		// For a node that is a peer itself, others can only be relays.
		if direct && !p.offer.relay {
			continue
		}
		if f := p.reaches(to.Realm); f >= 0 {
			list = append(list, candidate{p, f})
		}
	}
	slices.SortStableFunc(list, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.fits, a.fits), cmp.Compare(a.p.rankLocked(), b.p.rankLocked()))
	})
	return list
}

// rankLocked puts peers on probation behind those that are not.
func (p *peer) rankLocked() int {
	if p.watch.status == healthReopen {
		return 1
	}
	return 0
}

// reaches says how well the peer's realms match one; negative: not at all.
func (p *peer) reaches(realm string) int {
	list := p.cfg.Realms
	if len(list) == 0 {
		if p.cfg.Addr != "" {
			return 0
		}
		own := p.offer.realm
		if p.cfg.Realm != "" {
			own = p.cfg.Realm
		}
		list = []string{own}
	}
	best := -1
	for _, entry := range list {
		rest, wild := strings.CutPrefix(entry, "*")
		switch {
		case entry == realm:
			best = max(best, 2*len(entry)+1)
		case wild && strings.HasSuffix(realm, rest):
			best = max(best, 2*len(rest))
		}
	}
	return best
}
