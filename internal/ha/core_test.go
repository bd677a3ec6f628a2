package ha

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"openmpa/mn/mobility/mip4"
	"openmpa/paa/keys"
	"openmpa/tunnel/flow"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	agent = netip.MustParseAddr("10.0.3.1")
	home  = netip.MustParseAddr("10.9.0.2")
	home2 = netip.MustParseAddr("10.9.0.3")
	peer  = netip.MustParseAddr("10.0.4.1")
	careB = netip.MustParseAddr("10.1.0.100")
	careA = netip.MustParseAddr("10.2.0.100")
	careC = netip.MustParseAddr("10.3.0.100")
	sa    = mip4.Security{SPI: 256, Key: keys.NewSecret([]byte("0123456789abcdef")), Algorithm: mip4.HMACSHA256}
	sa2   = mip4.Security{SPI: 257, Key: keys.NewSecret([]byte("fedcba9876543210"))}
)

// fakeWorld writes down what the core does, in order.
type fakeWorld struct {
	mu     sync.Mutex
	log    []string
	refuse error // of Bound
	lost   error // of To
	wakes  int
}

func (w *fakeWorld) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = append(w.log, fmt.Sprintf(format, args...))
}

func (w *fakeWorld) To(careOf netip.Addr, inner []byte) error {
	if w.lost != nil {
		return w.lost
	}
	if m, ok := mip4.ParseMarkerPacket(inner, sa); ok {
		w.note("to %v marker %x down=%v", careOf, m.ID, m.Down)
	} else {
		w.note("to %v %s", careOf, inner[20:])
	}
	return nil
}

func (w *fakeWorld) From(inner []byte) error { w.note("from %s", inner[20:]); return nil }

func (w *fakeWorld) Bound(home netip.Addr) error {
	if w.refuse != nil {
		return w.refuse
	}
	w.note("bound %v", home)
	return nil
}

func (w *fakeWorld) Unbound(home netip.Addr) { w.note("unbound %v", home) }
func (w *fakeWorld) Wake()                   { w.mu.Lock(); w.wakes++; w.mu.Unlock() }

// rig is a core, its world, and a mobile node's hand at the requests.
type rig struct {
	*testing.T
	c   *Core
	w   *fakeWorld
	now time.Time
}

func newRig(t *testing.T) *rig {
	t.Helper()
	w := &fakeWorld{}
	c, err := NewCore(CoreConfig{
		Address: agent, Hold: flow.Limits{Packets: 100},
		Nodes: []Node{{HomeAddress: home, Security: sa}, {HomeAddress: home2, Security: sa2}},
	}, w)
	if err != nil {
		t.Fatal(err)
	}
	return &rig{T: t, c: c, w: w, now: epoch}
}

// request is a good one from home to careOf at the present time.
func (r *rig) request(careOf netip.Addr) mip4.Request {
	r.now = r.now.Add(time.Millisecond)
	return mip4.Request{
		Flags: mip4.FlagD | mip4.FlagT, Lifetime: 600,
		HomeAddress: home, HomeAgent: agent, CareOf: careOf, ID: mip4.NTP(r.now),
	}
}

func markers(q mip4.Request, path uint64) mip4.Request {
	q.Extensions = []mip4.Extension{mip4.PathMarkers{Path: path}.Extension()}
	return q
}

func (r *rig) octets(q mip4.Request, sa mip4.Security) []byte {
	r.Helper()
	b, err := q.AppendSigned(nil, sa)
	if err != nil {
		r.Fatal(err)
	}
	return b
}

// ask delivers a request and parses the reply.
func (r *rig) ask(q mip4.Request) (mip4.Reply, Answer) {
	r.Helper()
	return r.askOctets(r.octets(q, sa))
}

func (r *rig) askOctets(b []byte) (mip4.Reply, Answer) {
	r.Helper()
	a, err := r.c.HandleRequest(r.now, netip.AddrPortFrom(careB, 40000), b)
	if err != nil {
		r.Fatalf("dropped: %v", err)
	}
	p, err := mip4.ParseReply(a.Data)
	if err != nil {
		r.Fatal(err)
	}
	if err := p.Verify(sa); err != nil {
		r.Fatal(err)
	}
	return p, a
}

// bind registers and expects it to be accepted.
func (r *rig) bind(q mip4.Request) mip4.Reply {
	r.Helper()
	p, a := r.ask(q)
	if !p.Code.Accepted() {
		r.Fatalf("denied: %v, %s", p.Code, a.Notice.Reason)
	}
	return p
}

// packet is an IPv4 packet with text in it.
func packet(src, dst netip.Addr, text string) []byte {
	b := make([]byte, 20, 20+len(text))
	b[0], b[8], b[9] = 0x45, 64, 253
	s, d := src.As4(), dst.As4()
	copy(b[12:], s[:])
	copy(b[16:], d[:])
	b = append(b, text...)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	return b
}

func (r *rig) up(careOf netip.Addr, text string) { r.c.Up(r.now, careOf, packet(home, peer, text)) }

func (r *rig) upMarker(careOf netip.Addr, id uint64) (Notice, bool) {
	r.Helper()
	pkt, err := mip4.AppendMarkerPacket(nil, mip4.Marker{HomeAddress: home, HomeAgent: agent, ID: id}, sa)
	if err != nil {
		r.Fatal(err)
	}
	return r.c.Up(r.now, careOf, pkt)
}

func (r *rig) down(text string) { r.c.Down(packet(peer, home, text)) }

// did checks what the world saw since the last time.
func (r *rig) did(want ...string) {
	r.Helper()
	r.w.mu.Lock()
	got := r.w.log
	r.w.log = nil
	r.w.mu.Unlock()
	if !slices.Equal(got, want) {
		r.Errorf("the world saw\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func (r *rig) counted(name string, want uint64) {
	r.Helper()
	if got := r.c.Counters()[name]; got != want {
		r.Errorf("%s is %d, want %d", name, got, want)
	}
}

// balance checks that every packet has been delivered, dropped or is held.
func (r *rig) balance() {
	r.Helper()
	n := r.c.Counters()
	var down, up, held uint64
	for name, v := range n {
		switch {
		case name == "down_sent" || strings.HasPrefix(name, "down_dropped"):
			down += v
		case name != "up_in" && strings.HasPrefix(name, "up_"):
			up += v
		}
	}
	for _, b := range r.c.Bindings() {
		held += b.Gate.Queued
		for _, v := range b.Gate.Dropped {
			held += v
		}
	}
	if n["down_in"] != down || n["up_in"] != up+held {
		r.Errorf("down %d of %d, up %d+%d of %d accounted for", down, n["down_in"], up, held, n["up_in"])
	}
}

func TestLifeOfABinding(t *testing.T) {
	r := newRig(t)
	r.down("early")
	r.up(careB, "early")
	r.did()
	q := r.request(careB)
	p := r.bind(q)
	if p.Code != mip4.CodeAcceptedOneBinding || p.Lifetime != 600 || p.HomeAddress != home || p.HomeAgent != agent || p.ID != q.ID {
		t.Errorf("reply %+v", p)
	}
	if _, ok := p.PathMarkers(); ok {
		t.Error("markers were not offered")
	}
	r.did("bound 10.9.0.2")
	r.down("one")
	r.up(careB, "two")
	r.did("to 10.1.0.100 one", "from two")
	b := r.c.Bindings()[0]
	if !b.Bound || *b.CareOf != careB || !b.Expires.Equal(r.now.Add(600*time.Second)) || !b.ReverseTunnel || b.PathMarkers {
		t.Errorf("status %+v", b)
	}
	at, ok := r.c.Deadline()
	if !ok || !at.Equal(*b.Expires) {
		t.Errorf("deadline %v, %v", at, ok)
	}
	r.now = at
	got := r.c.OnDeadline(r.now)
	if len(got) != 1 || got[0].What != NoticeExpired || got[0].CareOf != careB {
		t.Errorf("%+v", got)
	}
	r.did("unbound 10.9.0.2")
	r.down("late")
	r.up(careB, "late")
	r.did()
	if _, ok := r.c.Deadline(); ok {
		t.Error("a deadline is left")
	}
	r.balance()
}

func TestMoveWithMarkers(t *testing.T) {
	r := newRig(t)
	p := r.bind(markers(r.request(careB), 11))
	if pm, ok := p.PathMarkers(); !ok || pm != (mip4.PathMarkers{Path: 11}) {
		t.Errorf("first: %+v, %v", pm, ok)
	}
	r.did("bound 10.9.0.2")
	r.down("d1")
	p = r.bind(markers(r.request(careA), 22))
	if pm, ok := p.PathMarkers(); !ok || pm != (mip4.PathMarkers{Path: 22, OldPath: true}) {
		t.Errorf("move: %+v, %v", pm, ok)
	}
	r.down("d2")
	r.did("to 10.1.0.100 d1", "to 10.1.0.100 marker 16 down=true", "to 10.2.0.100 d2")

	// Up: the new path waits for the marker by the old one.
	r.up(careB, "u1")
	r.up(careA, "u3")
	r.up(careB, "u2")
	r.up(careA, "u4")
	r.did("from u1", "from u2")
	if n, ok := r.upMarker(careB, 22); !ok || n.What != NoticeMarker || n.Path != 22 || n.Released != 2 {
		t.Errorf("%+v, %v", n, ok)
	}
	r.up(careA, "u5")
	r.did("from u3", "from u4", "from u5")
	r.up(careB, "after the marker")
	r.did()
	r.counted("up_dropped_not_bound", 1)
	r.counted("down_markers", 1)
	r.counted("up_markers", 1)

	// A renewal says the same of the path, and moves nothing.
	p = r.bind(markers(r.request(careA), 22))
	if pm, ok := p.PathMarkers(); !ok || pm != (mip4.PathMarkers{Path: 22, OldPath: true}) {
		t.Errorf("renewal: %+v, %v", pm, ok)
	}
	r.up(careA, "u6")
	r.did("from u6")
	r.balance()
}

// TestRetransmittedMove: the reply was lost; the change is not made twice.
func TestRetransmittedMove(t *testing.T) {
	r := newRig(t)
	r.bind(markers(r.request(careB), 11))
	r.bind(markers(r.request(careA), 22))
	r.up(careA, "u2")
	p := r.bind(markers(r.request(careA), 22)) // another identification, the same path
	if pm, _ := p.PathMarkers(); pm != (mip4.PathMarkers{Path: 22, OldPath: true}) {
		t.Errorf("%+v", pm)
	}
	r.up(careB, "u1")
	r.upMarker(careB, 22)
	r.did("bound 10.9.0.2", "to 10.1.0.100 marker 16 down=true", "from u1", "from u2")
	r.balance()
}

func TestMarkerMissed(t *testing.T) {
	r := newRig(t)
	r.bind(markers(r.request(careB), 11))
	r.bind(markers(r.request(careA), 22))
	r.w.wakes = 0
	r.up(careA, "u1")
	if r.w.wakes != 1 {
		t.Errorf("%d wakes for a new deadline", r.w.wakes)
	}
	r.did("bound 10.9.0.2", "to 10.1.0.100 marker 16 down=true")
	at, _ := r.c.Deadline()
	if !at.Equal(r.now.Add(DefaultMarkerWait)) {
		t.Errorf("deadline in %v", at.Sub(r.now))
	}
	r.c.OnDeadline(at.Add(-time.Nanosecond))
	r.did()
	r.now = at
	if n := r.c.OnDeadline(r.now); len(n) != 1 || n[0].What != NoticeMarkerMissed || n[0].Released != 1 || n[0].Path != 22 {
		t.Errorf("%+v", n)
	}
	r.up(careB, "late but good")
	r.did("from u1", "from late but good")
	if _, ok := r.upMarker(careB, 22); ok {
		t.Error("a marker nobody waits for was told")
	}
	r.up(careB, "after the marker")
	r.did()
	r.balance()
}

// TestMoveWithoutMarkers: packets under way are taken from the old path for a while.
func TestMoveWithoutMarkers(t *testing.T) {
	r := newRig(t)
	r.bind(r.request(careB))
	r.bind(r.request(careA))
	r.up(careA, "u2")
	r.up(careB, "u1")
	r.did("bound 10.9.0.2", "from u2", "from u1")
	r.now = r.now.Add(DefaultOldPath)
	r.up(careB, "too late")
	r.did()
	r.c.OnDeadline(r.now)
	if b := r.c.Bindings()[0]; b.Previous != nil {
		t.Errorf("%+v", b)
	}
	r.balance()
}

// TestForthAndBack before the first change is settled.
func TestForthAndBack(t *testing.T) {
	r := newRig(t)
	r.bind(markers(r.request(careB), 1))
	r.bind(markers(r.request(careA), 2))
	r.up(careA, "a1") // waits for marker 2 from B
	r.bind(markers(r.request(careC), 3))
	r.up(careC, "c1") // waits for marker 3 from A
	r.up(careA, "a2")
	r.did("bound 10.9.0.2", "to 10.1.0.100 marker 2 down=true", "to 10.2.0.100 marker 3 down=true")
	r.upMarker(careA, 3)
	r.did()
	for range 3 {
		at, ok := r.c.Deadline()
		if !ok || at.Sub(r.now) > DefaultOldPath {
			break
		}
		r.now = at
		r.c.OnDeadline(at)
	}
	r.did("from a1", "from a2", "from c1")
	r.balance()
}

func TestDeregister(t *testing.T) {
	for name, c := range map[string]struct {
		careOf netip.Addr
		gone   bool
	}{
		"all":     {home, true},
		"this":    {careA, true},
		"another": {careC, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.bind(markers(r.request(careB), 1))
			r.bind(markers(r.request(careA), 2))
			r.up(careA, "held")
			r.did("bound 10.9.0.2", "to 10.1.0.100 marker 2 down=true")
			q := r.request(c.careOf)
			q.Lifetime = 0
			p, a := r.ask(q)
			if !p.Code.Accepted() || p.Lifetime != 0 || a.Notice.What != NoticeUnbound {
				t.Errorf("%+v, %+v", p, a.Notice)
			}
			if c.gone {
				r.did("unbound 10.9.0.2", "from held")
				r.up(careA, "later")
				r.did()
				// A new binding starts without the old one's gate.
				r.bind(markers(r.request(careC), 3))
				r.up(careC, "new")
				r.did("bound 10.9.0.2", "from new")
			} else {
				r.did()
			}
			r.balance()
		})
	}
}

func TestDenials(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*mip4.Request)
		want   mip4.Code
	}{
		"other home agent":      {func(q *mip4.Request) { q.HomeAgent = peer }, mip4.CodeUnknownHomeAgent},
		"bit r":                 {func(q *mip4.Request) { q.Flags |= mip4.FlagR }, mip4.CodePoorlyFormed},
		"bit x":                 {func(q *mip4.Request) { q.Flags |= mip4.FlagX }, mip4.CodePoorlyFormed},
		"minimal encapsulation": {func(q *mip4.Request) { q.Flags |= mip4.FlagM }, mip4.CodeNoSuchEncapsulation},
		"GRE":                   {func(q *mip4.Request) { q.Flags |= mip4.FlagG }, mip4.CodeNoSuchEncapsulation},
		"care-of is us":         {func(q *mip4.Request) { q.CareOf = agent }, mip4.CodePoorlyFormed},
		"care-of is at home":    {func(q *mip4.Request) { q.CareOf = home }, mip4.CodePoorlyFormed},
		"care-of is another's":  {func(q *mip4.Request) { q.CareOf = home2 }, mip4.CodePoorlyFormed},
		"care-of is nobody":     {func(q *mip4.Request) { q.CareOf = netip.IPv4Unspecified() }, mip4.CodePoorlyFormed},
		"care-of is a group":    {func(q *mip4.Request) { q.CareOf = netip.MustParseAddr("224.0.0.1") }, mip4.CodePoorlyFormed},
		"clock ahead":           {func(q *mip4.Request) { q.ID += 8 << 32 }, mip4.CodeIdentification},
		"clock behind":          {func(q *mip4.Request) { q.ID -= 8 << 32 }, mip4.CodeIdentification},
		"clock of another era":  {func(q *mip4.Request) { q.ID = 5 }, mip4.CodeIdentification},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			q := r.request(careB)
			c.change(&q)
			p, a := r.ask(q)
			if p.Code != c.want || a.Notice.What != NoticeDenied || a.Notice.Reason == "" || p.HomeAgent != agent {
				t.Errorf("got %v (%+v), want %v", p.Code, a.Notice, c.want)
			}
			if c.want == mip4.CodeIdentification {
				if uint32(p.ID) != uint32(q.ID) || p.ID>>32 != mip4.NTP(r.now)>>32 {
					t.Errorf("identification %#x for %#x at %#x", p.ID, q.ID, mip4.NTP(r.now))
				}
			} else if p.ID != q.ID {
				t.Errorf("identification %#x for %#x", p.ID, q.ID)
			}
			r.did()
			r.counted("requests_denied", 1)
		})
	}
}

func TestIgnoredBits(t *testing.T) {
	r := newRig(t)
	q := r.request(careB)
	q.Flags |= mip4.FlagS | mip4.FlagB
	if p := r.bind(q); p.Code != mip4.CodeAcceptedOneBinding {
		t.Errorf("%v", p.Code)
	}
}

func TestDroppedInSilence(t *testing.T) {
	r := newRig(t)
	q := r.request(careB)
	good := r.octets(q, sa)
	unknown := q
	unknown.HomeAddress = peer
	for name, c := range map[string]struct {
		b       []byte
		want    error
		counter string
	}{
		"nothing":             {nil, mip4.ErrFormat, "requests_dropped_malformed"},
		"a reply":             {append([]byte{3}, good[1:]...), mip4.ErrFormat, "requests_dropped_malformed"},
		"unknown extension":   {append(slices.Clone(good), 100, 0), mip4.ErrUnknownExtension, "requests_dropped_malformed"},
		"unknown mobile node": {r.octets(unknown, sa), errUnknownNode, "requests_dropped_unknown_node"},
		"unknown spi":         {r.octets(q, sa2), mip4.ErrSPI, "requests_dropped_security"},
		"not authenticated":   {good[:24], mip4.ErrNoAuthentication, "requests_dropped_security"},
		"foreign agent":       {append(slices.Clone(good), 34, 5, 0, 0, 1, 0, 9), errForeignAgent, "requests_dropped_foreign_agent"},
	} {
		before := r.c.Counters()[c.counter]
		if _, err := r.c.HandleRequest(r.now, netip.AddrPortFrom(careB, 434), c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
		r.counted(c.counter, before+1)
	}
	r.did()
}

// TestWrongAuthenticator: code 131, but not for every packet of a flood.
func TestWrongAuthenticator(t *testing.T) {
	r := newRig(t)
	wrong := sa2
	wrong.SPI = 256
	b := r.octets(r.request(careB), wrong)
	p, a := r.askOctets(b)
	if p.Code != mip4.CodeMNAuthentication || a.Notice.What != NoticeDenied {
		t.Errorf("%+v", p)
	}
	if _, err := r.c.HandleRequest(r.now, netip.AddrPortFrom(careB, 434), b); !errors.Is(err, mip4.ErrAuthenticator) {
		t.Errorf("second: %v", err)
	}
	r.now = r.now.Add(deniedEvery)
	r.askOctets(b)
	r.did()
}

func TestReplay(t *testing.T) {
	r := newRig(t)
	first := r.octets(r.request(careB), sa)
	r.askOctets(first)
	second := r.octets(r.request(careA), sa)
	r.askOctets(second)
	if p, _ := r.askOctets(first); p.Code != mip4.CodeIdentification {
		t.Errorf("replay of the first: %v", p.Code)
	}
	if b := r.c.Bindings()[0]; *b.CareOf != careA {
		t.Errorf("care-of %v", *b.CareOf)
	}
	// A duplicate of the current one is answered again; its lifetime does not grow.
	r.now = r.now.Add(100 * time.Second)
	if p, _ := r.askOctets(second); !p.Code.Accepted() || p.Lifetime != 500 {
		t.Errorf("duplicate: %v, %d s", p.Code, p.Lifetime)
	}
	// What was denied for another reason counts as seen, too.
	q := r.request(careB)
	q.Flags |= mip4.FlagG
	b := r.octets(q, sa)
	r.askOctets(b)
	if p, _ := r.askOctets(b); p.Code != mip4.CodeIdentification {
		t.Errorf("replay of a denied one: %v", p.Code)
	}
}

func TestLifetimeGranted(t *testing.T) {
	for asked, want := range map[uint16]uint16{1: 1, 599: 599, 601: 600, mip4.LifetimeInfinite: 600} {
		r := newRig(t)
		q := r.request(careB)
		q.Lifetime = asked
		if p := r.bind(q); p.Lifetime != want {
			t.Errorf("asked %d, granted %d, want %d", asked, p.Lifetime, want)
		}
	}
}

func TestReplyGoesWhereTheRequestCameFrom(t *testing.T) {
	r := newRig(t)
	b := r.octets(r.request(careB), sa)
	from := netip.MustParseAddrPort("[::ffff:192.0.2.7]:5000")
	a, err := r.c.HandleRequest(r.now, from, b)
	if err != nil || a.To != netip.MustParseAddrPort("192.0.2.7:5000") || a.OnHomeLink {
		t.Errorf("%+v, %v", a, err)
	}
	q := r.request(home)
	q.Lifetime = 0
	a, err = r.c.HandleRequest(r.now, netip.AddrPortFrom(home, 434), r.octets(q, sa))
	if err != nil || !a.OnHomeLink {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestWorldRefuses(t *testing.T) {
	r := newRig(t)
	r.w.refuse = errors.New("the route is somebody else's")
	p, a := r.ask(r.request(careB))
	if p.Code != mip4.CodeReason || !strings.Contains(a.Notice.Reason, "somebody else") {
		t.Errorf("%v, %+v", p.Code, a.Notice)
	}
	r.w.refuse = nil
	r.bind(r.request(careB))
	r.w.lost = errors.New("no route")
	r.down("d")
	r.counted("down_dropped_error", 1)
	r.bind(markers(r.request(careA), 2))
	if b := r.c.Bindings()[0]; *b.CareOf != careA {
		t.Error("a marker that could not be sent stopped the change")
	}
}

func TestForwardChecks(t *testing.T) {
	r := newRig(t)
	r.bind(r.request(careB))
	noReverse := mip4.Request{Flags: mip4.FlagD, Lifetime: 60, HomeAddress: home2, HomeAgent: agent, CareOf: careC, ID: mip4.NTP(r.now)}
	if _, err := r.c.HandleRequest(r.now, netip.AddrPortFrom(careC, 434), r.octets(noReverse, sa2)); err != nil {
		t.Fatal(err)
	}
	r.did("bound 10.9.0.2", "bound 10.9.0.3")
	zero := packet(home, peer, "x")
	zero[8] = 0
	down := packet(peer, home, "x")
	down[8] = 0
	forged, err := mip4.AppendMarkerPacket(nil, mip4.Marker{HomeAddress: home, HomeAgent: agent, ID: 1}, sa2)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		counter string
		do      func()
	}{
		{"up_dropped_format", func() { r.c.Up(r.now, careB, nil) }},
		{"up_dropped_format", func() { r.c.Up(r.now, careB, zero) }},
		{"up_dropped_unknown_node", func() { r.c.Up(r.now, careB, packet(peer, home, "x")) }},
		{"up_dropped_not_bound", func() { r.up(careA, "x") }},
		{"up_dropped_not_bound", func() { r.c.Up(r.now, netip.Addr{}, packet(home, peer, "x")) }},
		{"up_dropped_no_reverse_tunnel", func() { r.c.Up(r.now, careC, packet(home2, peer, "x")) }},
		{"up_dropped_marker", func() { r.c.Up(r.now, careB, forged) }},
		{"down_dropped_format", func() { r.c.Down([]byte{0x60, 0, 0}) }},
		{"down_dropped_unbound", func() { r.c.Down(packet(peer, careA, "x")) }},
		{"down_dropped_loop", func() { r.c.Down(packet(careB, home, "x")) }},
		{"down_dropped_loop", func() { r.c.Down(down) }},
	} {
		before := r.c.Counters()[c.counter]
		c.do()
		r.counted(c.counter, before+1)
	}
	r.did()
	padded := append(packet(home, peer, "short"), "padding"...)
	r.c.Up(r.now, careB, padded)
	r.did("from short")
	r.balance()
}

func TestCloseUndoes(t *testing.T) {
	r := newRig(t)
	r.bind(r.request(careB))
	r.c.Close()
	r.c.Close()
	r.did("bound 10.9.0.2", "unbound 10.9.0.2")
}
