package diameter

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/fiorix/go-diameter/v4/diam"
	"github.com/fiorix/go-diameter/v4/diam/avp"
)

// peer is a Peer and what is known of it. All but name and cfg are guarded by Node.mu.
type peer struct {
	name  string
	cfg   Peer
	guest bool // let in by a wildcard: forgotten with its connection
	kick  chan struct{}

	watch   watchdog
	conn    *conn // open; nil: none
	leaving bool  // conn is on its way out
	trying  *conn // ours, waits for its CEA
	offer   offer // of the CER or CEA of conn, or of the last one
	dialing bool  // an attempt is under way, or about to be
	tried   time.Time
	since   time.Time // of the present state
	last    error     // why there is no connection
}

// PeerStatus is what a peer is like now.
type PeerStatus struct {
	Identity string    `json:"identity"`
	Addr     string    `json:"address,omitzero"` // of its connection, else as configured
	State    string    `json:"state"`            // initial, okay, suspect, down, reopen (RFC 3539)
	Since    time.Time `json:"since,omitzero"`
	Error    string    `json:"error,omitzero"` // why it is down
	TLS      bool      `json:"tls"`
	Relay    bool      `json:"relay,omitzero"`
	Product  string    `json:"product,omitzero"`
	Pending  int       `json:"pending"` // requests that wait for it
}

// Peers tells of every peer, in order of preference.
func (n *Node) Peers() []PeerStatus {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []PeerStatus
	for _, p := range n.peers {
		if strings.HasPrefix(p.name, "*.") {
			continue
		}
		s := PeerStatus{Identity: p.name, Addr: p.cfg.Addr, State: p.watch.status.String(), Since: p.since, Error: why(p.last), TLS: p.cfg.TLS}
		if c := p.conn; c != nil {
			s.Addr, s.TLS, s.Relay, s.Product, s.Error = c.raw.RemoteAddr().String(), c.cert != nil, p.offer.relay, p.offer.product, ""
			c.mu.Lock()
			s.Pending = len(c.pending)
			c.mu.Unlock()
		}
		out = append(out, s)
	}
	return out
}

// wakeLocked tells those that wait for a change of any peer.
func (n *Node) wakeLocked() {
	close(n.changed)
	n.changed = make(chan struct{})
}

// admit finds the peer that a CER on an accepted connection is of, and decides whether it
// may come in. Without peer and Fault the connection is one too many.
func (n *Node) admit(c *conn, o offer) (*peer, *Fault) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p, guest := n.byName[o.host], false
	if p == nil {
		if p = n.wildcardLocked(o.host); p != nil {
			guest = true
		}
	}
	if p == nil || strings.HasPrefix(o.host, "*") {
		return nil, &Fault{Code: diam.UnknownPeer, Why: fmt.Sprintf("%s is not among the peers of %s", clip(o.host), n.self.identity)}
	}
	if f := p.acceptable(c, o); f != nil {
		return nil, f
	}
	if !o.common(&n.self) {
		return nil, &Fault{Code: diam.NoCommonApplication, Why: fmt.Sprintf("%s has applications %v and %v, this node %v and %v", o.host, o.auth, o.acct, n.self.auth, n.self.acct)}
	}
	if guest {
		if n.guests >= maxGuests {
			return nil, &Fault{Code: diam.ResourcesExceeded, Why: fmt.Sprintf("%d peers are connected by %s", n.guests, p.name)}
		}
		n.guests++
		p = n.addLocked(Peer{Identity: o.host, Realm: p.cfg.Realm, TLS: p.cfg.TLS, From: p.cfg.From, Realms: p.cfg.Realms, Priority: p.cfg.Priority}, true)
	}
	switch old := p.conn; {
	case old != nil && (p.watch.status == healthSuspect || o.state != 0 && o.state != p.offer.state):
		// The old connection is of a process that is no more.
		p.conn = nil
		n.lostLocked(p)
		old.interrupt(errClosed)
	case old != nil:
		select {
		case old.probe <- struct{}{}:
		default:
		}
		return nil, nil
	}
	if t := p.trying; t != nil { // the election (RFC 6733 section 5.6.4)
		if n.self.identity < o.host {
			return nil, nil
		}
		t.interrupt(errElection)
		p.trying = nil
	}
	p.take(c, o) // from here on no other is
	return p, nil
}

// acceptable says what keeps a connection from being this peer's.
func (p *peer) acceptable(c *conn, o offer) *Fault {
	switch {
	case p.cfg.Realm != "" && o.realm != p.cfg.Realm:
		return &Fault{Code: diam.UnknownPeer, Why: fmt.Sprintf("%s is of realm %s, expected %s", o.host, clip(o.realm), p.cfg.Realm)}
	case c.cert != nil:
		if err := c.cert.VerifyHostname(o.host); err != nil {
			return &Fault{Code: diam.UnknownPeer, Why: fmt.Sprintf("the certificate is not of %s", o.host)}
		}
	case p.cfg.TLS || o.onlyTLS:
		return &Fault{Code: diam.NoCommonSecurity, Why: fmt.Sprintf("%s comes without TLS; it begins with the connection, on a port of its own", o.host)}
	case !p.cfg.from(c.remote):
		return &Fault{Code: diam.UnknownPeer, Why: fmt.Sprintf("%s does not come from %s", o.host, c.remote)}
	}
	return nil
}

// from says whether the peer may connect from an address without TLS.
func (p *Peer) from(a netip.Addr) bool {
	if len(p.From) > 0 {
		return slices.ContainsFunc(p.From, func(f netip.Prefix) bool { return f.Contains(a) })
	}
	if ap, err := netip.ParseAddrPort(p.Addr); err == nil {
		return ap.Addr().Unmap() == a
	}
	return true
}

// wildcardLocked is the entry that lets a host in; nil: none.
func (n *Node) wildcardLocked(host string) *peer {
	var best *peer
	for _, p := range n.peers {
		if rest, wild := strings.CutPrefix(p.name, "*"); wild && strings.HasSuffix(host, rest) && (best == nil || len(p.name) > len(best.name)) {
			best = p
		}
	}
	return best
}

// interrupt ends a connection from outside of its owner.
func (c *conn) interrupt(why error) {
	c.mu.Lock()
	if c.ended == nil {
		c.ended = why
	}
	c.mu.Unlock()
	c.raw.Close()
}

// keep says whether a connection of ours, now that the peer has accepted it, is its only one.
func (n *Node) keep(p *peer, c *conn, o offer) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p.trying == c {
		p.trying = nil
	}
	if p.conn != nil {
		return false
	}
	p.take(c, o)
	return true
}

// take makes a connection the peer's. What it has said of itself comes along: the next CER is
// measured by its Origin-State-Id.
func (p *peer) take(c *conn, o offer) { p.conn, p.offer, p.leaving = c, o, false }

// opened is the end of the capabilities exchange.
func (n *Node) opened(p *peer, c *conn, o offer) watchdogOut {
	n.mu.Lock()
	var out watchdogOut
	if p.conn == c { // else a connection of a newer process has taken its place already
		out = p.watch.up(time.Now())
		p.since, p.last, p.dialing = time.Now(), nil, false
		n.wakeLocked()
	}
	n.mu.Unlock()
	n.count.opened.Add(1)
	n.cfg.Log.Info("diameter: peer connected", "peer", p.name, "addr", c.raw.RemoteAddr(), "tls", c.cert != nil, "product", o.product, "relay", o.relay)
	n.newState(p.name, o.state)
	return out
}

// lost is the end of a connection.
func (n *Node) lost(p *peer, c *conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p.trying == c {
		p.trying = nil
	}
	if p.conn != c {
		return
	}
	p.conn = nil
	p.last = c.why
	n.lostLocked(p)
	n.cfg.Log.Info("diameter: peer lost", "peer", p.name, "why", why(c.why))
	if p.guest {
		n.guests--
		delete(n.byName, p.name)
		n.peers = slices.DeleteFunc(n.peers, func(x *peer) bool { return x == p })
	}
}

func (n *Node) lostLocked(p *peer) {
	p.watch.down()
	p.since, p.leaving = time.Now(), false
	n.count.closed.Add(1)
	n.wakeLocked()
}

// leaving takes a connection out of service, with what waits on it.
func (n *Node) leaving(p *peer, c *conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p.conn == c && !p.leaving {
		p.leaving = true
		n.wakeLocked()
	}
}

// watchAt, watchReceived, watchExpired and watchProbe are the watchdog of a peer, for the
// owner of its connection. Another one may have taken its place since: it is that one's then.
func (n *Node) watchAt(p *peer) time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return p.watch.deadline
}

func (n *Node) watchReceived(p *peer, c *conn, now time.Time, answer bool) watchdogOut {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p.conn != c {
		return 0
	}
	out := p.watch.received(now, answer)
	if out != 0 {
		p.since = now
		n.wakeLocked()
	}
	return out
}

func (n *Node) watchExpired(p *peer, c *conn, now time.Time) watchdogOut {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p.conn != c {
		return closeConnection
	}
	out := p.watch.expired(now)
	if out&failOver != 0 {
		p.since = now
		n.count.failovers.Add(1)
		n.wakeLocked()
	}
	return out
}

func (n *Node) watchProbe(p *peer, c *conn, now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p.conn != c || p.watch.status != healthOkay || p.watch.pending {
		return false
	}
	p.watch.pending = true
	p.watch.set(now)
	return true
}

// noteState looks at the Origin-State-Id of whatever comes: of the peer itself, or of
// whom a relay speaks for.
func (n *Node) noteState(p *peer, m *diam.Message) {
	f := fields(m.AVP)
	state, ok := f.number(avp.OriginStateID)
	if !ok {
		return
	}
	host := strings.ToLower(f.text(avp.OriginHost))
	if host == p.name || p.relay(n) {
		n.newState(host, state)
	}
}

func (p *peer) relay(n *Node) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return p.offer.relay
}

// maxStates bounds the nodes whose Origin-State-Id is remembered.
const maxStates = 4096

// newState remembers a state, and tells of one that is newer (RFC 6733 section 8.16).
func (n *Node) newState(host string, state uint32) {
	if state == 0 || host == "" {
		return
	}
	n.mu.Lock()
	was, known := n.states[host]
	if known || len(n.states) < maxStates {
		n.states[host] = max(state, was)
	}
	n.mu.Unlock()
	if known && state > was {
		n.count.restarts.Add(1)
		n.cfg.Log.Info("diameter: node has restarted: its sessions are gone", "host", host)
		if n.cfg.Restarted != nil {
			n.cfg.Restarted(host)
		}
	}
}
