package par

import (
	"net/netip"
	"sync"
	"time"

	"openmpa/paa/pana"
)

// Behind an enforcement point a node that has no session is invited to one (RFC 5191 section
// 4.1, session initiated by the PAA), since it may not know whom to ask. What shows that it is
// there is its ARP, or neighbour solicitation, which everybody sends who wants to speak; such a packet can be forged,
// so whatever is done for one is bounded, and nothing of it stays in the PAA.

// invitePauses are those before each invitation, the first from the node's word on: nodes that
// know the PAA have begun by then.
var invitePauses = [...]time.Duration{200 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second}

const (
	inviteAgain = 30 * time.Second       // after the last one nothing is said to that address for this time
	inviteMost  = 1024                   // addresses remembered; one more puts out any of them
	inviteTick  = 100 * time.Millisecond // so often invitations are sent, and
	inviteBurst = 4                      // at most so many: an address that is not there costs an ARP request each
)

// invitations are those under way, by address.
type invitations struct {
	wake chan struct{} // there are some

	mu sync.Mutex
	to map[netip.Addr]*invitation
}

// invitation is one node's.
type invitation struct {
	sent int
	next time.Time // of the next one; after the last: when it is forgotten
}

func newInvitations() *invitations {
	return &invitations{wake: make(chan struct{}, 1), to: map[netip.Addr]*invitation{}}
}

// heard begins to invite a, unless that is under way.
func (i *invitations) heard(now time.Time, a netip.Addr) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.to[a] != nil {
		return
	}
	if len(i.to) >= inviteMost {
		for victim := range i.to {
			delete(i.to, victim)
			break
		}
	}
	i.to[a] = &invitation{next: now.Add(invitePauses[0])}
	select {
	case i.wake <- struct{}{}:
	default:
	}
}

// due takes those to be invited now. Whoever has come in is not, and is forgotten. more says
// that there will be others.
func (i *invitations) due(now time.Time, in func(netip.Addr) bool) (due []netip.Addr, more bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for a, v := range i.to {
		switch {
		case now.Before(v.next):
		case v.sent == len(invitePauses) || in(a):
			delete(i.to, a)
		case len(due) < inviteBurst:
			due = append(due, a)
			if v.sent++; v.sent < len(invitePauses) {
				v.next = now.Add(invitePauses[v.sent])
			} else {
				v.next = now.Add(inviteAgain)
			}
		}
	}
	return due, len(i.to) > 0
}

// neighbourFrom is told of everybody who sends ARP, or solicits neighbours, on the access link.
func (r *Router) neighbourFrom(a netip.Addr) {
	server := a == r.cfg.DHCPServer || r.cfg.IPv6 != nil && a == r.cfg.IPv6.Server
	if !r.own(a) && !server && r.onLink(a) && !r.keeper.authorised(a) {
		r.invites.heard(time.Now(), a)
	}
}

// invite sends invitations until the router ends.
func (r *Router) invite() {
	tick := time.NewTicker(inviteTick)
	defer tick.Stop()
	for more := false; ; {
		ticks := tick.C
		if !more {
			ticks = nil
		}
		select {
		case <-r.ctx.Done():
			return
		case <-r.invites.wake:
			more = true
		case <-ticks:
			if r.sessions.Load() == nil {
				continue // not bound yet
			}
			var due []netip.Addr
			due, more = r.invites.due(time.Now(), r.keeper.authorised)
			for _, a := range due {
				r.cfg.Log.Debug("node without a session invited", "addr", a)
				if err := r.paa().Invite(netip.AddrPortFrom(a, pana.Port)); err != nil {
					return // the PAA has ended
				}
			}
		}
	}
}
