package ha

import (
	"errors"
	"log/slog"
	"net/netip"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"openmpa/internal/inet"
	"openmpa/internal/state"
	"openmpa/mn/mobility/mip4"
)

// restart ends the rig's core as a crash does, and begins another with what was kept.
func (r *rig) restart() []Notice {
	r.Helper()
	kept := r.w.kept
	r.w = &fakeWorld{kept: kept}
	c, err := NewCore(r.c.cfg, r.w)
	if err != nil {
		r.Fatal(err)
	}
	r.c = c
	var out []Notice
	for home, k := range kept {
		if !k.Until.IsZero() && !r.now.Before(k.Until) {
			continue // as the store does
		}
		n, ok, err := c.Restore(r.now, home, k)
		if err != nil {
			r.Fatal(err)
		}
		if ok {
			out = append(out, n)
		}
	}
	return out
}

func TestRestart(t *testing.T) {
	r := newRig(t)
	first := r.request(careB)
	r.bind(first)
	second := markers(r.request(careA), 7)
	r.bind(second)
	end := r.now.Add(600 * time.Second)
	before := r.c.Bindings()[0]

	r.now = r.now.Add(2 * time.Second)
	got := r.restart()
	if len(got) != 1 || got[0].What != NoticeRestored || got[0].CareOf != careA || got[0].Path != 7 || got[0].Lifetime != 598*time.Second {
		t.Errorf("%+v", got)
	}
	r.did("bound 10.9.0.2")
	b := r.c.Bindings()[0]
	if *b.CareOf != careA || !b.Expires.Equal(end) || !b.Since.Equal(*before.Since) || !b.ReverseTunnel || !b.PathMarkers || *b.Previous != careB {
		t.Errorf("%+v", b)
	}
	// Traffic goes on, from the care-of address before, too, and nothing waits for a marker.
	r.down("d")
	r.up(careA, "new")
	r.up(careB, "old")
	r.did("to 10.2.0.100 d", "from new", "from old")
	r.now = r.now.Add(3 * time.Second)
	r.c.OnDeadline(r.now)
	r.up(careB, "too late")
	r.did()

	// The request that stands is answered again; one before it is a replay.
	if p, a := r.askOctets(r.octets(second, sa)); !p.Code.Accepted() || p.Lifetime != 595 {
		t.Errorf("the same again: %+v, %s", p, a.Notice.Reason)
	}
	if p, _ := r.askOctets(r.octets(first, sa)); p.Code != mip4.CodeIdentification {
		t.Errorf("a replay: %+v", p)
	}
	r.did()
	r.bind(markers(r.request(careB), 8))
	r.did("to 10.2.0.100 marker 8 down=true")
	r.now = r.now.Add(600 * time.Second)
	if got := r.c.OnDeadline(r.now); len(got) == 0 || got[len(got)-1].What != NoticeExpired {
		t.Errorf("%+v", got)
	}
	r.balance()
	if got := r.restart(); len(got) != 0 {
		t.Errorf("after its end: %+v", got)
	}
}

// Whoever recorded a registration cannot bring it back after deregistration and restart,
// at any time.
func TestReplayAfterRestart(t *testing.T) {
	for _, wait := range []time.Duration{0, 6 * time.Second, 8 * time.Second, time.Minute} {
		r := newRig(t)
		q := r.request(careB)
		r.bind(q)
		bye := r.request(home)
		bye.Lifetime = 0
		r.bind(bye)
		r.now = r.now.Add(wait)
		if got := r.restart(); len(got) != 0 {
			t.Errorf("after %v: %+v", wait, got)
		}
		for _, old := range []mip4.Request{q, bye} {
			if p, _ := r.askOctets(r.octets(old, sa)); p.Code != mip4.CodeIdentification {
				t.Errorf("after %v: %+v", wait, p)
			}
		}
		r.did()
		r.bind(r.request(careA))
	}
}

// After the end of what was kept the clock alone refuses a replay.
func TestKeptLongEnough(t *testing.T) {
	r := newRig(t)
	q := r.request(careB)
	q.Lifetime = 1
	q.ID = inet.NTP(r.now.Add(6 * time.Second)) // the node's clock is ahead
	r.bind(q)
	until := r.w.kept[home].Until
	r.now = until.Add(-time.Nanosecond)
	if r.restart(); !r.c.nodes[home].hasID {
		t.Error("not known, while it is kept")
	}
	r.now = until
	if r.restart(); r.c.nodes[home].hasID {
		t.Error("known, after it was kept")
	}
	if p, _ := r.askOctets(r.octets(q, sa)); p.Code != mip4.CodeIdentification {
		t.Errorf("%+v", p)
	}
}

// What cannot be stored is not promised, and changes nothing; but a node that is at
// home gets its address back.
func TestStoreFails(t *testing.T) {
	r := newRig(t)
	r.w.full = errors.New("the disk is full")
	p, a := r.ask(r.request(careB))
	if p.Code != mip4.CodeResources || a.Notice.What != NoticeDenied || a.Notice.Reason != "the disk is full" {
		t.Errorf("%+v, %+v", p, a.Notice)
	}
	r.did()
	r.w.full = nil
	r.bind(r.request(careB))
	r.did("bound 10.9.0.2")
	r.w.full = errors.New("the disk is full")
	if p, _ := r.ask(markers(r.request(careA), 3)); p.Code != mip4.CodeResources {
		t.Errorf("%+v", p)
	}
	r.down("still there")
	r.did("to 10.1.0.100 still there")
	bye := r.request(home)
	bye.Lifetime = 0
	r.bind(bye)
	r.did("unbound 10.9.0.2")
}

// A binding that the kernel refuses does not come back.
func TestKernelRefuses(t *testing.T) {
	r := newRig(t)
	r.w.refuse = errors.New("no route")
	if p, _ := r.ask(r.request(careB)); p.Code != mip4.CodeReason {
		t.Errorf("%+v", p)
	}
	if got := r.restart(); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

// While one registration waits for the disk, packets pass, of this node by the binding it has.
func TestPacketsPassWhileStored(t *testing.T) {
	r := newRig(t)
	r.bind(r.request(careB))
	r.did("bound 10.9.0.2")
	waits, goOn := make(chan struct{}), make(chan struct{})
	slow := &slowWorld{fakeWorld: r.w, waits: waits, goOn: goOn}
	r.c.world = slow
	done := make(chan mip4.Code)
	b := r.octets(r.request(careA), sa)
	go func() {
		a, err := r.c.HandleRequest(r.now, netip.AddrPortFrom(careB, 434), b)
		if err != nil {
			t.Error(err)
		}
		done <- a.Notice.Code
	}()
	<-waits
	r.down("d")
	r.up(careB, "u")
	r.c.Bindings()
	r.c.Deadline()
	r.c.OnDeadline(r.now)
	r.did("to 10.1.0.100 d", "from u")
	close(goOn)
	if code := <-done; !code.Accepted() {
		t.Error(code)
	}
	r.down("d2")
	r.did("to 10.2.0.100 d2")
}

type slowWorld struct {
	*fakeWorld
	waits, goOn chan struct{}
}

func (w *slowWorld) Keep(home netip.Addr, k Kept) error {
	close(w.waits)
	<-w.goOn
	return w.fakeWorld.Keep(home, k)
}

func TestRestoreRefuses(t *testing.T) {
	r := newRig(t)
	r.bind(r.request(careB))
	k := r.w.kept[home]
	r = newRig(t)
	if _, ok, err := r.c.Restore(r.now, peer, k); ok || err != nil {
		t.Errorf("of a node that is not configured: %v, %v", ok, err)
	}
	bad := *k.Binding
	bad.CareOf = agent
	if _, ok, err := r.c.Restore(r.now, home, Kept{ID: k.ID, Binding: &bad}); ok || err == nil {
		t.Errorf("care-of address %v: %v, %v", agent, ok, err)
	}
	r.w.refuse = errors.New("no route")
	if _, ok, err := r.c.Restore(r.now, home, k); ok || !errors.Is(err, r.w.refuse) {
		t.Errorf("the kernel refuses: %v, %v", ok, err)
	}
	r.did()
	if r.c.Bindings()[0].Bound {
		t.Error("bound")
	}
}

// A clock that was set back locks no node out, and makes no lifetime longer.
func TestClockSetBack(t *testing.T) {
	r := newRig(t)
	r.bind(r.request(careB))
	r.now = epoch.Add(-24 * time.Hour)
	if got := r.restart(); len(got) != 1 || got[0].Lifetime != 600*time.Second {
		t.Errorf("%+v", got)
	}
	r.bind(r.request(careB))
}

// What the agent stores, it reads.
func TestStored(t *testing.T) {
	store := state.NewMemory()
	defer store.Close()
	a := &Agent{cfg: Config{State: store}}
	want := Kept{ID: 1<<63 + 5, Until: time.Now().Add(time.Hour), Binding: &KeptBinding{
		CareOf: careA, Granted: 600, Since: epoch, Expires: epoch.Add(time.Minute), Reverse: true, Offered: true, Path: 1<<64 - 1,
	}, Also: []KeptBinding{{CareOf: careC, ID: 7, Granted: 60, Since: epoch, Expires: epoch.Add(time.Second)}}, Old: []netip.Addr{careB}, OldEnd: epoch}
	if err := a.Keep(home, want); err != nil {
		t.Fatal(err)
	}
	got, rec, err := state.GetJSON[Kept](store, keyPrefix+home.String())
	got.Until = want.Until // the store's
	if err != nil || !reflect.DeepEqual(got, want) || !rec.Expires.Equal(want.Until) {
		t.Errorf("%+v of %+v, %v\nwant %+v", got, rec, err, want)
	}
}

// storing keeps what it is told in a store, and does nothing else.
type storing struct {
	nowhere
	a *Agent
}

func (s storing) Keep(home netip.Addr, k Kept) error { return s.a.Keep(home, k) }

// BenchmarkRegister is a request, from its octets to those of the reply.
func BenchmarkRegister(b *testing.B) {
	file, err := state.Open(filepath.Join(b.TempDir(), "ha.db"), slog.Default())
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	for name, w := range map[string]World{
		"nothing stored": nowhere{},
		"in memory":      storing{a: &Agent{cfg: Config{State: state.NewMemory()}}},
		"synced":         storing{a: &Agent{cfg: Config{State: file}}},
	} {
		b.Run(name, func(b *testing.B) {
			r := &rig{c: nil, now: epoch}
			var err error
			if r.c, err = NewCore(CoreConfig{Address: agent, Nodes: []Node{{HomeAddress: home, Security: sa}}}, w); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				q := r.request(careB)
				octets, err := q.AppendSigned(nil, sa)
				if err != nil {
					b.Fatal(err)
				}
				a, err := r.c.HandleRequest(r.now, netip.AddrPortFrom(careB, 434), octets)
				if err != nil || !a.Notice.Code.Accepted() {
					b.Fatal(a.Notice, err)
				}
			}
		})
	}
}
