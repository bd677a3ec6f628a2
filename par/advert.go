package par

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"openmpa/internal/acd/nd"
	"openmpa/internal/host"
	"openmpa/internal/osnet"
	"openmpa/paa/notify"
)

// A node that is elsewhere is told what the link's router advertises (RFC 6252 section 7.3.2): in the answer to its
// request, again through its tunnel as soon as it is known where that leads, and whenever it changes. The router itself
// sends no advertisement on its link: it listens to those that are sent there, by a daemon beside it or another host, and asks
// for one when there is none.
const (
	solicitations = 3               // MAX_RTR_SOLICITATIONS (RFC 4861 section 10)
	solicitEvery  = 2 * time.Second // less than RTR_SOLICITATION_INTERVAL, since a node waits
	advertisers   = 8               // routers whose advertisements are kept
)

// adverts keeps what the routers of the access link advertise.
type adverts struct {
	conn host.RouterAdverts

	mu      sync.Mutex // a leaf
	by      map[netip.Addr]heardAt
	changed chan struct{} // closed with each advertisement, and another one is made
}

// heardAt is an advertisement, whose lifetimes count from a time.
type heardAt struct {
	osnet.HeardAdvert
	at time.Time
}

func newAdverts(conn host.RouterAdverts) *adverts {
	return &adverts{conn: conn, by: map[netip.Addr]heardAt{}, changed: make(chan struct{})}
}

// heard takes an advertisement, and says whether it is news.
func (a *adverts) heard(now time.Time, ra osnet.HeardAdvert) (news bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	was, known := a.by[ra.From]
	if !known && len(a.by) >= advertisers {
		oldest := ra.From
		for from, o := range a.by {
			if b, ok := a.by[oldest]; !ok || o.at.Before(b.at) {
				oldest = from
			}
		}
		delete(a.by, oldest)
	}
	a.by[ra.From] = heardAt{ra, now}
	close(a.changed)
	a.changed = make(chan struct{})
	return !bytes.Equal(was.Raw, ra.Raw)
}

// best is the advertisement of the link of the router's address: one that names its prefix, of the router itself if
// there is one, else of the one that is a default router for longest. With it comes what is closed with the next.
func (a *adverts) best(now time.Time, self *stack) (ra heardAt, ok bool, next <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for from, h := range a.by {
		if !h.Holds(self.address) || now.Sub(h.at) >= lasts(h.RouterAdvert) || len(h.Raw) > notify.MaxRA {
			continue
		}
		if !ok || from == self.router || ra.From != self.router && h.Lifetime > ra.Lifetime {
			ra, ok = h, true
		}
	}
	return ra, ok, a.changed
}

// lasts is how long a prefix of an advertisement is valid, at most.
func lasts(ra nd.RouterAdvert) (longest time.Duration) {
	for _, p := range ra.Prefixes {
		longest = max(longest, p.Valid)
	}
	return longest
}

// wait returns the link's advertisement, for which it asks if there is none.
func (a *adverts) wait(ctx context.Context, self *stack) (heardAt, error) {
	for range solicitations {
		ra, ok, next := a.best(time.Now(), self)
		if ok {
			return ra, nil
		}
		if err := a.conn.Solicit(); err != nil {
			return ra, err
		}
		again := time.After(solicitEvery)
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				return ra, fmt.Errorf("no router advertisement: %w", ctx.Err())
			case <-again:
				waiting = false
			case <-next:
			}
			if ra, ok, next = a.best(time.Now(), self); ok {
				return ra, nil
			}
		}
	}
	return heardAt{}, fmt.Errorf("no router advertises %s on this link: is radvd, or what else is to do so, running?", self.prefix)
}

// listen takes advertisements until the router ends.
func (r *Router) listen() {
	for {
		ra, err := r.adverts.conn.Next(r.ctx)
		switch {
		case err == nil:
			if r.adverts.heard(time.Now(), ra) {
				r.advertise()
			}
		case r.ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return
		default:
			r.cfg.Log.Warn("router advertisements", "err", err)
			sleep(r.ctx, tryAgain)
		}
	}
}

// advertise tells every node that is elsewhere what the link's router advertises now.
func (r *Router) advertise() {
	for _, v := range r.visitors() {
		v.mu.Lock()
		v.advertise()
		v.mu.Unlock()
	}
}

// advertise sends the link's advertisement through the tunnel of a node that is elsewhere. One that is lost is no loss: the node
// has had it in answer to its request. The caller holds mu.
func (v *visitor) advertise() {
	if v.here || v.tunnel == nil || !v.inner.Is6() || !v.tunnel.Peer().IsValid() {
		return
	}
	ra, ok, _ := v.r.adverts.best(time.Now(), v.r.six)
	if !ok {
		return
	}
	if err := v.tunnel.Send(osnet.AdvertPacket(v.r.six.router, v.inner, ra.Raw)); err != nil {
		v.r.cfg.Log.Debug("router advertisement not sent", "sid", v.sid, "err", err)
	}
}
