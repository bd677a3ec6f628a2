package mn

import (
	"context"
	"encoding/hex"
	"errors"
	"sync"
	"testing"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/host"
	"openmpa/internal/wpactrl"
	"openmpa/mn/link"
	"openmpa/paa/keys"
	"openmpa/paa/pana"
	"openmpa/par/apctl"
)

// points are the access points of a router: what key each has.
type points struct {
	infos []apctl.Info

	mu   sync.Mutex
	fail error
	keys map[wpactrl.MAC]string // of the station, by BSSID
}

func newPoints(bssids ...wpactrl.MAC) *points {
	p := &points{keys: map[wpactrl.MAC]string{}}
	for _, b := range bssids {
		p.infos = append(p.infos, apctl.Info{Name: b.String(), BSSID: b, AKM: keys.AKM8021X})
	}
	return p
}

func (p *points) Install(_ context.Context, _ wpactrl.MAC, _ time.Duration, derive apctl.Derive) ([]apctl.Info, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fail != nil {
		return nil, p.fail
	}
	for _, i := range p.infos {
		pmk, err := derive(i)
		if err != nil {
			return nil, err
		}
		p.keys[i.BSSID] = hex.EncodeToString(pmk.Bytes())
		pmk.Clear()
	}
	return p.infos, nil
}

func (p *points) Remove(context.Context, wpactrl.MAC) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.keys)
	return nil
}

// Watch says nothing: these never lose a station.
func (p *points) Watch(func(wpactrl.MAC, bool)) {}

func (p *points) Status() []apctl.Status { return nil }

func (p *points) has() map[string]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[string]string{}
	for b, k := range p.keys {
		out[b.String()] = k
	}
	return out
}

// keyedAdapter is an adapter that takes keys.
type keyedAdapter struct {
	*adapter

	mu   sync.Mutex
	keys map[string]string // by point
	life time.Duration     // of the newest
	fail error

	removed []string
}

func (a *keyedAdapter) InstallKey(_ context.Context, poa string, k link.Key) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fail != nil {
		return a.fail
	}
	a.keys[poa], a.life = hex.EncodeToString(k.PMK.Bytes()), k.Lifetime
	return nil
}

func (a *keyedAdapter) RemoveKey(_ context.Context, poa string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.keys, poa)
	a.removed = append(a.removed, poa)
	return nil
}

func (a *keyedAdapter) RemoveKeys(context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.keys)
	return nil
}

func (a *keyedAdapter) Station(context.Context) (wpactrl.MAC, error) {
	return wpactrl.MAC{2, 0, 0, 0, 0, 1}, nil
}

// matches reports whether the link has the key of each of those points, and no others.
func (a *keyedAdapter) matches(all ...*points) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, p := range all {
		for b, k := range p.has() {
			if n++; a.keys[b] != k {
				return false
			}
		}
	}
	return n == len(a.keys)
}

// keyed starts a bed whose link takes keys, and whose routers have access points.
func keyed(t *testing.T) (b *bed, a *keyedAdapter, of map[string]*points) {
	t.Helper()
	of = map[string]*points{
		"b": newPoints(wpactrl.MAC{2, 0, 0, 0, 1, 1}),
		"a": newPoints(wpactrl.MAC{2, 0, 0, 0, 2, 1}, wpactrl.MAC{2, 0, 0, 0, 2, 2}),
	}
	a = &keyedAdapter{keys: map[string]string{}}
	b = startWith(t, of, func(c *Config) {
		plain := c.Interfaces[0].Link
		c.Interfaces[0].Link = func(h host.Host) (link.Adapter, error) {
			l, err := plain(h)
			if err == nil {
				a.adapter = l.(*adapter)
			}
			return a, err
		}
	})
	b.eventually("the keys of where it is", func(Status) bool { return a.matches(of["b"]) })
	return b, a, of
}

// TestLinkKeys: the link has the key of every point of the network before the move,
// and those of the old one go with its session.
func TestLinkKeys(t *testing.T) {
	b, a, of := keyed(t)
	id := b.prepare("a")
	if !a.matches(of["b"], of["a"]) || len(of["a"].has()) != 2 {
		t.Errorf("the link has %v, the points %v and %v", a.keys, of["b"].has(), of["a"].has())
	}
	a.mu.Lock()
	life := a.life
	a.mu.Unlock()
	if life < time.Minute {
		t.Errorf("the keys end in %v", life)
	}
	told := 0
	for _, e := range b.node.cfg.Recorder.Events(id) {
		if e.Phase == event.PhaseKeys && e.Kind == event.KindEnd && e.Node == "mn" && e.Attrs["points"] == int64(2) && e.Outcome == event.OK {
			told++
		}
	}
	if told != 1 {
		t.Errorf("%d records of two points: %+v", told, b.node.cfg.Recorder.Events(id))
	}
	if o, err := b.handover("a"); o != event.Completed || err != nil {
		t.Fatalf("%s, %v", o, err)
	}
	b.eventually("the old keys to go", func(Status) bool { return a.matches(of["a"]) && len(of["b"].has()) == 0 })

	before := of["a"].has()
	c := b.serving().session.Load()
	if err := c.client.Do(func(now time.Time, p *pana.PaC) { p.Reauthenticate(now) }); err != nil {
		t.Fatal(err)
	}
	b.eventually("other keys", func(Status) bool {
		now := of["a"].has()
		for p, k := range before {
			if now[p] == k {
				return false
			}
		}
		return a.matches(of["a"])
	})
}

// TestLinkKeysGivenBack: keys of what was prepared and not used go, too.
func TestLinkKeysGivenBack(t *testing.T) {
	b, a, of := keyed(t)
	b.link.die(true, "poa-a")
	if o, err := b.handover("a"); o != event.SwitchedBack || err == nil {
		t.Errorf("%s, %v", o, err)
	}
	b.eventually("the keys to go", func(Status) bool { return a.matches(of["b"]) && len(of["a"].has()) == 0 })
}

// TestLinkKeysFail: a handover without keys completes; which end had none is told.
func TestLinkKeysFail(t *testing.T) {
	b, a, of := keyed(t)
	of["a"].mu.Lock()
	of["a"].fail = errors.New("hostapd is gone")
	of["a"].mu.Unlock()
	if o, err := b.handover("a"); o != event.Completed || err != nil {
		t.Fatalf("%s, %v", o, err)
	}
	a.mu.Lock()
	a.fail = errors.New("wpa_supplicant is gone")
	a.mu.Unlock()
	if o, err := b.handover("b"); o != event.Completed || err != nil {
		t.Fatalf("%s, %v", o, err)
	}
	var failed []string
	for _, e := range b.node.cfg.Recorder.Events(event.HandoverID{}) {
		if e.Phase == event.PhaseKeys && e.Kind == event.KindEnd && e.Node == "mn" && e.Outcome == event.Failed {
			failed = append(failed, e.Reason)
		}
	}
	if len(failed) < 2 || failed[len(failed)-1] != "wpa_supplicant is gone" {
		t.Errorf("failures %q", failed)
	}
}

// TestLinkKeysHeld: the keys of a network that is held stay with the link and the access points, so that a return is
// association and handshake, and go with it.
func TestLinkKeysHeld(t *testing.T) {
	b, a, of := keyed(t)
	b.node.cfg.Timers.Hold = time.Minute
	if o, err := b.handover("a"); o != event.Completed || err != nil {
		t.Fatalf("%s, %v", o, err)
	}
	b.held("b")
	b.eventually("the keys of both", func(Status) bool { return a.matches(of["a"], of["b"]) })
	b.returns("b")
	b.held("a")
	b.eventually("the keys of both", func(Status) bool { return a.matches(of["a"], of["b"]) })
	b.node.mu.Lock()
	b.node.stands["a"].until = time.Now()
	b.node.mu.Unlock()
	poke(b.node.ladder.wake)
	b.over("b")
	b.eventually("the keys of b alone", func(Status) bool { return a.matches(of["b"]) })
}
