package par

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/wpactrl"
	"openmpa/paa/keys"
	"openmpa/paa/notify"
	"openmpa/paa/pana"
	"openmpa/par/apctl"
	"openmpa/tunnel/flow"
)

var (
	laptop = wpactrl.MAC{2, 0, 0, 0, 2, 0}
	phone  = wpactrl.MAC{2, 0, 0, 0, 2, 1}
	poa1   = apctl.Info{Name: "poa1", BSSID: wpactrl.MAC{2, 0, 0, 0, 1, 0}, AKM: keys.AKM8021X}
	poa2   = apctl.Info{Name: "poa2", BSSID: wpactrl.MAC{2, 0, 0, 0, 1, 1}, AKM: keys.AKM8021XSHA256}
)

// air is two access points on paper.
type air struct {
	mu    sync.Mutex
	has   map[wpactrl.MAC]map[string]string // by station and point: the key
	did   []string
	fails map[string]error         // by point
	takes map[string]time.Duration // by point, to do anything
	watch func(wpactrl.MAC, bool)
}

func newAir() *air {
	return &air{has: map[wpactrl.MAC]map[string]string{}, fails: map[string]error{}, takes: map[string]time.Duration{}}
}

func (a *air) Install(ctx context.Context, s wpactrl.MAC, life time.Duration, derive apctl.Derive) (have []apctl.Info, err error) {
	a.note("install %v", s)
	if life < time.Second || life > time.Hour {
		err = fmt.Errorf("a life of %v", life)
	}
	for _, p := range []apctl.Info{poa1, poa2} {
		if e := a.wait(ctx, p); e != nil {
			err = errors.Join(err, e)
			continue
		}
		pmk, e := derive(p)
		if e != nil {
			err = errors.Join(err, e)
			continue
		}
		a.mu.Lock()
		if a.has[s] == nil {
			a.has[s] = map[string]string{}
		}
		a.has[s][p.Name] = string(pmk.Bytes())
		a.mu.Unlock()
		have = append(have, p)
	}
	return have, err
}

func (a *air) wait(ctx context.Context, p apctl.Info) error {
	a.mu.Lock()
	takes, err := a.takes[p.Name], a.fails[p.Name]
	a.mu.Unlock()
	if err != nil || takes == 0 {
		return err
	}
	select {
	case <-time.After(takes):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *air) Remove(ctx context.Context, s wpactrl.MAC) error {
	a.note("remove %v", s)
	err := errors.Join(a.wait(ctx, poa1), a.wait(ctx, poa2))
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.has, s)
	return err
}

func (a *air) Watch(f func(wpactrl.MAC, bool)) { a.watch = f }

func (a *air) Status() []apctl.Status { return []apctl.Status{{Info: poa1, Up: true}, {Info: poa2}} }

// make changes how the points behave.
func (a *air) make(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
}

func (a *air) note(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.did = append(a.did, fmt.Sprintf(format, args...))
}

// holds says whether the points have a session's keys for a station, and no others.
func (a *air) holds(t *testing.T, s wpactrl.MAC, k *keys.SessionKeys) bool {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range []apctl.Info{poa1, poa2} {
		pmk, err := k.PMK(p.BSSID)
		if err != nil {
			t.Fatal(err)
		}
		if a.has[s][p.Name] != string(pmk.Bytes()) {
			return false
		}
	}
	return true
}

func (a *air) empty() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.has) == 0
}

// linked is a router as far as link keys go, on paper.
type linked struct {
	*Router
	*air
	replies map[uint32]chan notify.LinkKeysReply
}

func (l *linked) Send(sid uint32, m notify.Message) error {
	l.replies[sid] <- *m.(*notify.LinkKeysReply)
	return nil
}
func (*linked) Terminate(uint32) error      { return nil }
func (*linked) Invite(netip.AddrPort) error { return nil }

func newLinked(t *testing.T, points AccessPoints) *linked {
	l := &linked{replies: map[uint32]chan notify.LinkKeysReply{}}
	l.air, _ = points.(*air)
	r := &Router{
		keeper: newGatekeeper(nil),
		cfg:    Config{Points: points, Rand: rand.Reader, Recorder: event.NewRecorder("a", nil, 1000), Log: slog.New(slog.DiscardHandler)},
		bySID:  map[uint32]*visitor{}, gone: map[flow.Reason]uint64{},
	}
	var sessions Sessions = l
	r.sessions.Store(&sessions)
	r.leases, r.links = newLedger(r, nil), newLinks(r, points)
	var err error
	if r.classes, err = r.cfg.classes(); err != nil {
		t.Fatal(err)
	}
	r.buffers = newBuffers(DefaultBuffer(), r.classes)
	r.ctx, r.cancel = context.WithCancel(t.Context())
	l.Router = r
	return l
}

// open opens a session, or opens it again with other keys, which are also returned.
func (l *linked) open(sid uint32, identity string, seed uint32) *keys.SessionKeys {
	if l.replies[sid] == nil {
		l.replies[sid] = make(chan notify.LinkKeysReply, 10)
	}
	l.SessionOpened(sid, identity, netip.AddrPortFrom(outer, 1000), true, sessionKeys(seed), time.Hour)
	return sessionKeys(seed)
}

func (l *linked) ask(sid uint32, s wpactrl.MAC) {
	l.SessionMessage(sid, &notify.LinkKeysRequest{Header: header, Station: s})
}

func (l *linked) reply(t *testing.T, sid uint32) notify.LinkKeysReply {
	t.Helper()
	select {
	case r := <-l.replies[sid]:
		if r.Header != header {
			t.Errorf("reply to %v", r.Header)
		}
		return r
	case <-time.After(patience):
		t.Fatal("no reply")
		return notify.LinkKeysReply{}
	}
}

// end closes the sessions that are open and waits for all.
func (l *linked) end() {
	for _, v := range l.visitors() {
		l.SessionClosed(v.sid, errors.New("the test ends"))
	}
	l.cancel()
	l.wg.Wait()
}

var gone = &pana.ErrPeerTerminated{}

// TestLinkKeys: the points have the keys before the node is told so; new ones take
// their place after a re-authentication, and none stay behind a session.
func TestLinkKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLinked(t, newAir())
		defer l.end()
		first := l.open(1, "mn@home.example", 1)
		l.ask(1, laptop)
		r := l.reply(t, 1)
		want := []notify.LinkPoint{{BSSID: poa1.BSSID, AKM: 1}, {BSSID: poa2.BSSID, AKM: 5}}
		if r.Reason != "" || r.Lifetime != time.Hour || !slices.Equal(r.Points, want) || !l.holds(t, laptop, first) {
			t.Errorf("%+v, points have %v", r, l.has)
		}
		if s := l.visitor(1).status().Station; s == nil || *s != laptop {
			t.Errorf("status has the station %v", s)
		}

		second := l.open(1, "mn@home.example", 2)
		synctest.Wait()
		if !l.holds(t, laptop, second) {
			t.Error("authenticated again, and the points have the keys of before")
		}
		time.Sleep(10 * time.Minute)
		l.ask(1, laptop)
		if r := l.reply(t, 1); r.Lifetime != 50*time.Minute || len(r.Points) != 2 || !l.holds(t, laptop, second) {
			t.Errorf("asked again: %+v", r)
		}
		if slices.ContainsFunc(l.did, func(s string) bool { return strings.HasPrefix(s, "remove") }) {
			t.Errorf("there was a time without a key: %q", l.did)
		}

		l.ask(1, phone) // another address of the node
		if r := l.reply(t, 1); len(r.Points) != 2 {
			t.Errorf("%+v", r)
		}
		synctest.Wait()
		if !l.holds(t, phone, second) || len(l.has) != 1 {
			t.Errorf("a node has one station; points have keys of %d", len(l.has))
		}
		l.SessionClosed(1, gone)
		synctest.Wait()
		if !l.empty() || len(l.links.byStation) != 0 || len(l.links.byOwner) != 0 {
			t.Errorf("left behind: %v, %v", l.has, l.links.byStation)
		}
	})
}

// TestLinkKeysOwner: a station is one node's; another session of the same node takes it over.
func TestLinkKeysOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLinked(t, newAir())
		defer l.end()
		k := l.open(1, "mn@home.example", 1)
		l.ask(1, laptop)
		l.reply(t, 1)
		l.open(2, "evil@home.example", 2)
		l.ask(2, laptop)
		if r := l.reply(t, 2); !strings.Contains(r.Reason, "another node") || r.Points != nil {
			t.Errorf("%+v", r)
		}
		l.visitor(1).mac = phone[:] // of its lease: it has not asked for keys of that
		l.ask(2, phone)
		if r := l.reply(t, 2); !strings.Contains(r.Reason, "another node") || r.Points != nil {
			t.Errorf("%+v", r)
		}
		l.SessionClosed(2, gone)
		synctest.Wait()
		if !l.holds(t, laptop, k) {
			t.Error("another node's session has put the key out")
		}

		again := l.open(3, "mn@home.example", 3)
		l.ask(3, laptop)
		if r := l.reply(t, 3); len(r.Points) != 2 || !l.holds(t, laptop, again) {
			t.Errorf("%+v", r)
		}
		l.open(1, "mn@home.example", 4) // the older one's keys are out of it
		l.SessionClosed(1, pana.ErrTerminated)
		synctest.Wait()
		if !l.holds(t, laptop, again) {
			t.Error("the older session has taken the key along")
		}

		l.open(4, "mn@home.example", 4)
		l.links.pass(l.visitor(3), l.visitor(4)) // as when it is superseded
		l.SessionClosed(3, pana.ErrTerminated)
		synctest.Wait()
		if !l.holds(t, laptop, sessionKeys(4)) {
			t.Error("the session that supersedes has not its keys there")
		}
		l.SessionClosed(4, context.Canceled) // as at the router's end
		synctest.Wait()
		if l.empty() {
			t.Error("a router that ends interrupts its nodes")
		}
		l.links.release(l.links.byStation[laptop].owner)
		synctest.Wait()
		l.open(5, "evil@home.example", 5)
		l.ask(5, laptop)
		if r := l.reply(t, 5); len(r.Points) != 2 {
			t.Errorf("the station is free: %+v", r)
		}
	})
}

// TestLinkKeysFaults: what fails is left out, what is slow is not waited for.
func TestLinkKeysFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLinked(t, newAir())
		defer l.end()
		l.open(1, "mn@home.example", 1)
		l.make(func() { l.fails["poa2"] = apctl.ErrAway })
		l.ask(1, laptop)
		if r := l.reply(t, 1); len(r.Points) != 1 || r.Points[0].BSSID != poa1.BSSID || r.Reason != "" {
			t.Errorf("one is away: %+v", r)
		}
		l.make(func() { l.fails["poa1"] = apctl.ErrMismatch })
		l.ask(1, laptop)
		if r := l.reply(t, 1); r.Points != nil || !strings.Contains(r.Reason, apctl.ErrMismatch.Error()) {
			t.Errorf("all fail: %+v", r)
		}
		l.make(func() { clear(l.fails) })

		l.make(func() { l.takes["poa2"] = time.Hour })
		began := time.Now()
		l.ask(1, laptop)
		l.ask(1, laptop) // both are answered
		for range 2 {
			if r := l.reply(t, 1); len(r.Points) != 1 || time.Since(began) > 2*linkKeysWithin {
				t.Errorf("one is slow: %+v after %v", r, time.Since(began))
			}
			began = time.Now()
		}
		other := l.open(2, "other@home.example", 2) // waits for nobody else's
		l.ask(2, phone)
		if r := l.reply(t, 2); len(r.Points) != 1 || time.Since(began) > linkKeysWithin {
			t.Errorf("%+v after %v", r, time.Since(began))
		}

		// Gone while the points are slow, and back: the keys of now come behind the removal.
		l.SessionClosed(1, gone)
		k := l.open(3, "mn@home.example", 3)
		l.make(func() { delete(l.takes, "poa2") })
		l.ask(3, laptop)
		if r := l.reply(t, 3); len(r.Points) != 2 {
			t.Errorf("back: %+v", r)
		}
		synctest.Wait()
		if !l.holds(t, laptop, k) || l.holds(t, phone, other) {
			t.Error("not the keys of now")
		}
	})
}

// TestLinkKeysStuck: a node is answered even if the turn of its station does not come.
func TestLinkKeysStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLinked(t, newAir())
		defer l.end()
		l.links.within = 10 * linkKeysWait
		l.make(func() { l.takes["poa1"] = time.Hour })
		l.open(1, "mn@home.example", 1)
		began := time.Now()
		l.ask(1, laptop)
		if r := l.reply(t, 1); r.Reason == "" || time.Since(began) != linkKeysWait {
			t.Errorf("%+v after %v", r, time.Since(began))
		}
	})
}

// TestLinkKeysWithoutPoints: a router without access points says so at once.
func TestLinkKeysWithoutPoints(t *testing.T) {
	l := newLinked(t, nil)
	defer l.end()
	l.open(1, "mn@home.example", 1)
	l.ask(1, laptop)
	if r := l.reply(t, 1); r.Reason != "" || r.Points != nil {
		t.Errorf("%+v", r)
	}
	if apctl.MaxPoints > notify.MaxPoints {
		t.Error("a reply cannot name all points that a router may have")
	}
}
