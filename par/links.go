package par

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/wpactrl"
	"openmpa/paa/keys"
	"openmpa/paa/notify"
	"openmpa/par/apctl"
)

// AccessPoints is what the router needs of its access points. Its methods return
// when ctx ends, and go on by themselves with what is to be done until it is.
type AccessPoints interface {
	// Install gives every access point the key that derive makes for it, in place
	// of any that the station has there, and returns those that have it.
	Install(ctx context.Context, station wpactrl.MAC, life time.Duration, derive apctl.Derive) ([]apctl.Info, error)
	// Remove takes the station's keys from all of them.
	Remove(ctx context.Context, station wpactrl.MAC) error
	// Watch has f called when a station that has a key has come to an access point, and when it
	// is at none any more. f does not wait.
	Watch(f func(station wpactrl.MAC, gone bool))
	// Status is for people.
	Status() []apctl.Status
}

// links knows which session makes the keys of a station, at most one:
//
//	request -----------------> installed --another session of the same node--> its keys installed
//	                            |     ^
//	                            |     +--- authenticated again: new keys in place of the old ones
//	the session ends, however --+--> removed, and what was made of them
//
// When the router ends the access points' controller does, which takes the keys but
// leaves associations: nobody's time is over, and a router that is begun again
// interrupts nobody.
//
// A station's address can be claimed by anybody. Keys of one's own session read
// nobody's frames, but an access point has one key a station, so they would put
// the owner's out: while a session of another node has the address it is refused.
type links struct {
	// fixed
	r      *Router
	points AccessPoints  // nil: none
	within time.Duration // for all access points together; one that is slower gets its keys later

	mu        sync.Mutex // a leaf: nothing is waited for under it
	byStation map[wpactrl.MAC]*link
	byOwner   map[*visitor]*link
}

// link is one station's keys at the access points.
type link struct {
	station wpactrl.MAC
	turn    chan struct{} // capacity 1: whoever has put something in deals with the access points

	// guarded by links.mu
	users    int      // goroutines that have or want the turn
	owner    *visitor // whose session makes the keys; nil: there are to be none
	identity string   // of owner, as AAA has it
}

const (
	linkKeysWithin = 2 * time.Second
	// linkKeysWait is how long a node waits at most: its predecessor's keys may be
	// on their way out.
	linkKeysWait = linkKeysWithin + 500*time.Millisecond
)

func newLinks(r *Router, points AccessPoints) *links {
	return &links{r: r, points: points, within: linkKeysWithin, byStation: map[wpactrl.MAC]*link{}, byOwner: map[*visitor]*link{}}
}

// errTakenOver: the station's keys are another session's by now.
var errTakenOver = errors.New("the keys of this station are another session's by now")

// linkKeys answers a LinkKeysRequest when the access points have the keys, or when
// the node has waited long enough. A request that comes meanwhile is answered then.
func (v *visitor) linkKeys(m *notify.LinkKeysRequest) {
	foreign := v.r.foreign(v, m.Station)
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.closed:
		return
	case v.linking:
		v.asked = m
		return
	case v.r.links.points == nil:
		v.r.send(v.sid, &notify.LinkKeysReply{Header: m.Header})
		return
	}
	done, err := (<-chan notify.LinkKeysReply)(nil), foreign
	if err == nil {
		done, err = v.r.links.claim(v, v.identity, m.Station, m.Handover)
	}
	if err != nil {
		v.r.cfg.Log.Warn("no link keys", "sid", v.sid, "err", err)
		v.r.send(v.sid, &notify.LinkKeysReply{Header: m.Header, Reason: err.Error()})
		return
	}
	v.linking = true
	v.r.wg.Go(func() {
		reply := &notify.LinkKeysReply{Header: m.Header}
		select {
		case *reply = <-done:
			reply.Header = m.Header
		case <-time.After(linkKeysWait):
			reply.Reason = fmt.Sprintf("the access points did not take the keys in %v", linkKeysWait)
		}
		v.r.send(v.sid, reply)
		v.mu.Lock()
		v.linking = false
		next := v.asked
		v.asked = nil
		v.mu.Unlock()
		if next != nil {
			v.linkKeys(next)
		}
	})
}

// foreign says that a session of another node than v's has an address leased with
// this link-layer address.
func (r *Router) foreign(v *visitor, station wpactrl.MAC) error {
	identity, _ := v.who()
	for _, o := range r.visitors() {
		o.mu.Lock()
		theirs := o.identity != identity && slices.Equal(o.mac, station[:])
		o.mu.Unlock()
		if theirs {
			return inUse(station)
		}
	}
	return nil
}

func inUse(station wpactrl.MAC) error {
	return fmt.Errorf("the station %v is in use in the session of another node", station)
}

// claim makes v, of that identity, the owner of a station's keys and begins to
// install them; the channel says what came of it. The caller holds v.mu.
func (l *links) claim(v *visitor, identity string, station wpactrl.MAC, id event.HandoverID) (<-chan notify.LinkKeysReply, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.byStation[station]
	if k != nil && k.owner != nil && k.owner != v {
		if k.identity != identity {
			return nil, inUse(station)
		}
		delete(l.byOwner, k.owner)
	}
	if k == nil {
		k = &link{station: station, turn: make(chan struct{}, 1)}
		l.byStation[station] = k
	}
	if before := l.byOwner[v]; before != nil && before != k {
		l.disown(before)
	}
	k.owner, k.identity, l.byOwner[v] = v, identity, k
	return l.install(v, k, id), nil
}

// install gives the access points v's keys in a goroutine of its own, if the
// station is still v's then. The caller holds mu.
func (l *links) install(v *visitor, k *link, id event.HandoverID) <-chan notify.LinkKeysReply {
	done := make(chan notify.LinkKeysReply, 1)
	k.users++
	l.r.wg.Go(func() {
		defer l.leave(k)
		k.turn <- struct{}{}
		defer func() { <-k.turn }()
		if l.ownerOf(k) != v {
			done <- notify.LinkKeysReply{Reason: errTakenOver.Error()}
			return
		}
		span := l.r.cfg.Recorder.Begin(id, event.PhaseKeys, "station", k.station.String())
		ctx, cancel := context.WithTimeout(v.ctx, l.within)
		defer cancel()
		life := min(v.keysLeft(), apctl.MaxLifetime)
		have, err := l.points.Install(ctx, k.station, life, v.pmk)
		span.End(err, "points", len(have))
		if err != nil && ctx.Err() == nil {
			l.r.cfg.Log.Warn("access points without a key", "sid", v.sid, "station", k.station, "err", err)
		}
		reply := notify.LinkKeysReply{Lifetime: life}
		for _, i := range have {
			reply.Points = append(reply.Points, notify.LinkPoint{BSSID: i.BSSID, AKM: uint8(i.AKM)})
		}
		if len(have) == 0 && err != nil {
			reply.Reason = err.Error()
		}
		done <- reply
	})
	return done
}

// roll installs the keys of a session that was authenticated again, if it has a
// station, in place of those before: nothing is interrupted (RFC 6252 §6.2).
func (l *links) roll(v *visitor) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k := l.byOwner[v]; k != nil {
		l.install(v, k, event.HandoverID{})
	}
}

// pass gives the station of a session to another one of the same node, which has
// begun again, with keys of that one.
func (l *links) pass(from, to *visitor) {
	to.mu.Lock()
	defer to.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.byOwner[from]
	if k == nil || to.closed || l.byOwner[to] != nil || k.identity != to.identity {
		return // with from, its keys go
	}
	delete(l.byOwner, from)
	k.owner, l.byOwner[to] = to, k
	l.install(to, k, event.HandoverID{})
}

// release has v's keys removed from the access points, if it has any there.
func (l *links) release(v *visitor) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k := l.byOwner[v]; k != nil {
		delete(l.byOwner, v)
		l.disown(k)
	}
}

// disown removes a station's keys in a goroutine of its own, if it has no owner
// then. The caller holds mu.
func (l *links) disown(k *link) {
	k.owner = nil
	k.users++
	l.r.wg.Go(func() {
		defer l.leave(k)
		k.turn <- struct{}{}
		defer func() { <-k.turn }()
		if l.ownerOf(k) != nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), l.within) // at the router's end, too
		defer cancel()
		if err := l.points.Remove(ctx, k.station); err != nil {
			l.r.cfg.Log.Warn("keys not removed from access points yet", "station", k.station, "err", err)
		}
	})
}

// leave ends the use of a link, and the link itself when it is nobody's.
func (l *links) leave(k *link) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k.users--; k.users == 0 && k.owner == nil {
		delete(l.byStation, k.station)
	}
}

func (l *links) ownerOf(k *link) *visitor {
	l.mu.Lock()
	defer l.mu.Unlock()
	return k.owner
}

// station is the one whose keys v's session makes, nil if there is none.
func (l *links) station(v *visitor) *wpactrl.MAC {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k := l.byOwner[v]; k != nil {
		return &k.station
	}
	return nil
}

// owner is whose session makes the keys of a station, nil if none does.
func (l *links) owner(station wpactrl.MAC) *visitor {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k := l.byStation[station]; k != nil {
		return k.owner
	}
	return nil
}

// pmk is the session's key for an access point, as long as the session lives.
func (v *visitor) pmk(i apctl.Info) (*keys.Secret, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.keys.PMK(i.BSSID)
}

// keysLeft is how long the session's keys are good for.
func (v *visitor) keysLeft() time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	return time.Until(v.ends)
}
