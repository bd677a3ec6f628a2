package mn

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/wpactrl"
	"openmpa/mn/link"
	"openmpa/paa/keys"
	"openmpa/paa/notify"
	"openmpa/paa/pana"
)

const (
	linkKeysWithin = 5 * time.Second // for the router's answer, which takes half of it at most
	linkKeysAgain  = time.Minute     // after a failure
	removeWithin   = 2 * time.Second // for taking all keys of a network from the link
)

// keyring keeps the keys of a candidate's access points with the link (RFC 6252
// §7.7.1), so that a move to any of them is association and handshake. The session
// makes them: they are asked for when it opens, each time it is authenticated again, and
// before they end, for then wpa_supplicant would authenticate in full.
type keyring struct {
	c      *candidate
	keyer  link.Keyer
	cancel context.CancelFunc
	wg     sync.WaitGroup
	first  chan struct{} // closed when they were asked for once, whatever came of it

	mu     sync.Mutex
	points map[string]bool // BSSIDs of those the link has a key of
}

// keepKeys begins to, if the link takes keys, and it has not begun before; id is the handover of the first time.
func (c *candidate) keepKeys(id event.HandoverID) {
	keyer, ok := c.port.link.(link.Keyer)
	if !ok || c.keys != nil {
		return
	}
	ctx, cancel := context.WithCancel(c.n.ctx)
	k := &keyring{c: c, keyer: keyer, cancel: cancel, first: make(chan struct{}), points: map[string]bool{}}
	c.keys = k
	k.wg.Go(func() { k.run(ctx, id) })
}

// handOver has the keys go on with c, which has their session now; a nil keyring has none.
func (k *keyring) handOver(c *candidate) *keyring {
	if k == nil {
		return nil
	}
	k.cancel()
	k.wg.Wait()
	poke(c.rekeyed) // they are asked for again, since nobody knows when that was to be
	c.keepKeys(event.HandoverID{})
	k.mu.Lock()
	defer k.mu.Unlock()
	c.keys.mu.Lock()
	defer c.keys.mu.Unlock()
	for bssid := range k.points {
		c.keys.points[bssid] = true
	}
	return c.keys
}

// await waits until the keys were asked for once, or ctx ends.
func (k *keyring) await(ctx context.Context) {
	if k == nil {
		return
	}
	select {
	case <-k.first:
	case <-ctx.Done():
	}
}

// count is how many points the link has a key of.
func (k *keyring) count() int {
	if k == nil {
		return 0
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.points)
}

// spoiled takes the key of a point that did not let us in: it may have another.
func (k *keyring) spoiled(point string) {
	if k.count() == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), removeWithin)
	defer cancel()
	if err := k.keyer.RemoveKey(ctx, point); err != nil {
		k.c.n.cfg.Log.Warn("key not removed", "point", point, "err", err)
	}
}

// end takes the keys from the link, which stays where it is. A nil keyring has none.
func (k *keyring) end() {
	if k == nil {
		return
	}
	k.cancel()
	k.wg.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), removeWithin)
	defer cancel()
	k.mu.Lock()
	defer k.mu.Unlock()
	for bssid := range k.points {
		if err := k.keyer.RemoveKey(ctx, bssid); err != nil {
			k.c.n.cfg.Log.Warn("a key stays with the link until it ends", "point", bssid, "err", err)
		}
	}
	clear(k.points)
}

func (k *keyring) run(ctx context.Context, id event.HandoverID) {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	for first := true; ; {
		select {
		case <-ctx.Done():
			return
		case <-k.c.rekeyed:
		case <-timer.C:
		}
		again := linkKeysAgain
		lifetime, err := k.ask(ctx, id)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			k.c.n.cfg.Log.Warn("no keys for the access points: a move to them authenticates in full", "paa", k.c.net.PAA, "err", err)
			timer.Reset(again)
		case lifetime > 0:
			timer.Reset(lifetime - min(again, lifetime/4))
		default:
			timer.Stop() // the router has no access points
		}
		if first {
			first, id = false, event.HandoverID{}
			close(k.first)
		}
	}
}

// ask has the router give its access points the keys of the session, and gives the
// link ours. lifetime is 0 when there are none.
func (k *keyring) ask(ctx context.Context, id event.HandoverID) (lifetime time.Duration, err error) {
	n, s := k.c.n, k.c.session.Load()
	if s == nil {
		return 0, errClosedSession
	}
	given, of := 0, 0
	span := n.cfg.Recorder.Begin(id, event.PhaseKeys, "paa", k.c.net.PAA.String())
	defer func() { span.End(err, "points", given, "of", of) }()
	station, err := k.keyer.Station(ctx)
	if err != nil {
		return 0, err
	}
	asked := time.Now()
	m, err := s.ask(ctx, &notify.LinkKeysRequest{Header: notify.Header{Handover: id}, Station: station}, notify.KindLinkKeysReply, linkKeysWithin)
	if err != nil {
		return 0, err
	}
	r := m.(*notify.LinkKeysReply)
	if r.Reason != "" {
		return 0, errors.New(r.Reason)
	}
	of = len(r.Points)
	var errs []error
	names := make([]string, 0, of)
	for _, p := range r.Points {
		bssid := wpactrl.MAC(p.BSSID).String()
		names = append(names, bssid)
		if err := k.give(ctx, s, bssid, p, r.Lifetime-time.Since(asked)); err != nil {
			errs = append(errs, err)
			continue
		}
		given++
	}
	n.learn(k.c.net.Name, names)
	return r.Lifetime, errors.Join(errs...)
}

// give makes the key of one point, and gives it to the link.
func (k *keyring) give(ctx context.Context, s *session, bssid string, p notify.LinkPoint, lifetime time.Duration) error {
	pmk, err := s.pmk(p.BSSID)
	if err != nil {
		return fmt.Errorf("key of %s: %w", bssid, err)
	}
	defer pmk.Clear()
	if err := k.keyer.InstallKey(ctx, bssid, link.Key{PMK: pmk, AKM: keys.AKM(p.AKM), Lifetime: lifetime}); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.points[bssid] = true
	return nil
}

// pmk makes the key shared with an access point, from the keys the session has now:
// if it is authenticated again, the next answer brings the others.
func (s *session) pmk(bssid [6]byte) (pmk *keys.Secret, err error) {
	e := s.client.Do(func(time.Time, *pana.PaC) { pmk, err = s.keys.PMK(bssid) })
	return pmk, errors.Join(e, err)
}

// learn notes which points a router says are its own: they need not stand in the
// configuration.
func (n *Node) learn(network string, bssids []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.learned[network] = bssids
}
