package mip4

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"openmpa/internal/inet"
)

func TestRegister(t *testing.T) {
	b := newBench(t, nil)
	b.c.Register(b.now, careB)
	q := b.request()
	if s := b.sent[0]; s.From != careB || s.To != netip.AddrPortFrom(agent, 434) || s.Path != q.ID || s.Try != 1 {
		t.Errorf("send %+v", s)
	}
	if q.Flags != FlagD|FlagT || q.Lifetime != 600 || q.HomeAddress != home || q.HomeAgent != agent || q.CareOf != careB {
		t.Errorf("request %+v", q)
	}
	if pm, ok := q.PathMarkers(); !ok || pm.Path != q.ID || pm.OldPath {
		t.Errorf("offer %+v, %v", pm, ok)
	}
	if d := inet.Skew(q.ID, inet.NTP(b.now)); d > 0 || d < -time.Microsecond {
		t.Errorf("identification is %v from the clock", d)
	}
	b.now = b.now.Add(30 * time.Millisecond)
	r := b.answer(q, CodeAcceptedOneBinding)
	r.Extensions = []Extension{PathMarkers{Path: q.ID, OldPath: true}.Extension()}
	b.accept(r)
	got := next[Registered](b)
	want := Registered{
		CareOf: careB, Lifetime: 600 * time.Second, Expires: epoch.Add(600 * time.Second), ID: q.ID, PathMarkers: true,
		Code: 1, Tries: 1, RTT: 30 * time.Millisecond,
	}
	if got != want {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if at, ok := b.c.CareOf(); !ok || at != careB || b.c.Busy() {
		t.Errorf("care-of %v, %v", at, ok)
	}
}

// TestRetransmission: 1, 2, 4 ... s apart, a new identification each time, the same path.
func TestRetransmission(t *testing.T) {
	b := newBench(t, func(c *ClientConfig) { c.Maximum = 8 * time.Second })
	b.c.Register(b.now, careB)
	var at []time.Duration
	seen := 0
	end := epoch.Add(29 * time.Second)
	for b.now.Before(end) {
		b.run(100 * time.Millisecond)
		for ; seen < len(b.sent); seen++ {
			at = append(at, b.now.Sub(epoch))
		}
	}
	want := []time.Duration{0, 1, 3, 7, 15, 23}
	if len(at) != len(want) {
		t.Fatalf("sent at %v", at)
	}
	var last uint64
	for i, s := range b.sent {
		if d := at[i] - want[i]*time.Second; d < 0 || d > 100*time.Millisecond {
			t.Errorf("request %d after %v, want %v s", i+1, at[i], int(want[i]))
		}
		r, err := ParseRequest(s.Data)
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 && !inet.Newer(r.ID, last) {
			t.Errorf("identification %#x after %#x", r.ID, last)
		}
		last = r.ID
		if s.Path != b.sent[0].Path || s.Try != i+1 {
			t.Errorf("request %d: path %#x, try %d", i+1, s.Path, s.Try)
		}
	}
	b.run(2 * time.Second)
	f := next[Failed](b)
	var timeout *TimeoutError
	if !errors.As(f.Err, &timeout) || timeout.Tries != 6 || timeout.Waited != 30*time.Second || f.CareOf != careB {
		t.Errorf("failed %+v", f)
	}
	if _, ok := b.c.Deadline(); ok {
		t.Error("a deadline is left")
	}
}

func TestReplyToEarlierRequestDiscarded(t *testing.T) {
	b := newBench(t, nil)
	b.c.Register(b.now, careB)
	first := b.request()
	b.run(1500 * time.Millisecond)
	if err := b.deliver(b.answer(first, CodeAccepted)); !errors.Is(err, ErrUnexpectedReply) {
		t.Errorf("got %v", err)
	}
	b.quiet()
	b.accept(b.answer(b.request(), CodeAccepted))
	if got := next[Registered](b); got.Tries != 2 || !got.Expires.Equal(epoch.Add(601*time.Second)) {
		t.Errorf("got %+v: the lifetime counts from the second request", got)
	}
}

func TestReplyValidation(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Reply)
		sa     Security
		want   error
	}{
		"other low identification":  {func(r *Reply) { r.ID++ }, sha2SA, ErrUnexpectedReply},
		"other high identification": {func(r *Reply) { r.ID += 1 << 32 }, sha2SA, ErrFormat},
		"other home address":        {func(r *Reply) { r.HomeAddress = careA }, sha2SA, ErrUnexpectedReply},
		"other home agent":          {func(r *Reply) { r.HomeAgent = careA }, sha2SA, ErrFormat},
		"other algorithm":           {func(*Reply) {}, md5SA, ErrAuthenticator},
		"other spi":                 {func(*Reply) {}, Security{SPI: 300, Key: sha2SA.Key, Algorithm: HMACSHA256}, ErrSPI},
		"denial by other key":       {func(r *Reply) { r.Code = CodeMNAuthentication }, md5SA, ErrAuthenticator},
		"denial by a foreign agent": {func(r *Reply) { r.Code = 65 }, md5SA, ErrAuthenticator},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			b.c.Register(b.now, careB)
			r := b.answer(b.request(), CodeAccepted)
			c.change(&r)
			if err := b.c.HandleReply(b.now, mustReply(t, r, c.sa)); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			b.quiet()
			if !b.c.Busy() || b.c.Stats().Discarded != 1 {
				t.Errorf("busy %v, %+v", b.c.Busy(), b.c.Stats())
			}
			b.accept(b.answer(b.request(), CodeAccepted))
			next[Registered](b)
		})
	}
	b := newBench(t, nil)
	if err := b.c.HandleReply(b.now, nil); !errors.Is(err, ErrFormat) {
		t.Errorf("empty: %v", err)
	}
	if err := b.deliver(Reply{HomeAddress: home, HomeAgent: agent}); !errors.Is(err, ErrUnexpectedReply) {
		t.Errorf("idle: %v", err)
	}
}

// TestTimeoutTellsWhyRepliesWereDiscarded: with a wrong key only that line helps.
func TestTimeoutTellsWhyRepliesWereDiscarded(t *testing.T) {
	b := newBench(t, nil)
	b.c.Register(b.now, careB)
	r := b.answer(b.request(), CodeMNAuthentication)
	_ = b.c.HandleReply(b.now, mustReply(t, r, md5SA))
	b.run(31 * time.Second)
	f := next[Failed](b)
	if !errors.Is(f.Err, ErrAuthenticator) || !strings.Contains(f.Err.Error(), "code 131") {
		t.Errorf("%v", f.Err)
	}
}

func TestLifetimeShortened(t *testing.T) {
	for _, c := range []struct {
		asked   time.Duration
		granted uint16
		want    time.Duration
	}{
		{600 * time.Second, 60, 60 * time.Second},
		{600 * time.Second, 6000, 600 * time.Second}, // longer than asked: ours counts
		{Infinite, 60, 60 * time.Second},
		{Infinite, LifetimeInfinite, Infinite},
	} {
		b := newBench(t, func(cfg *ClientConfig) { cfg.Lifetime = c.asked })
		b.c.Register(b.now, careB)
		r := b.answer(b.request(), CodeAccepted)
		r.Lifetime = c.granted
		b.accept(r)
		got := next[Registered](b)
		if got.Lifetime != c.want || got.Expires.IsZero() != (c.want == Infinite) {
			t.Errorf("asked %v, granted %d: %+v", c.asked, c.granted, got)
		}
	}
}

func TestGrantOfZero(t *testing.T) {
	b := newBench(t, nil)
	b.c.Register(b.now, careB)
	r := b.answer(b.request(), CodeAccepted)
	r.Lifetime = 0
	b.accept(r)
	if f := next[Failed](b); !errors.Is(f.Err, ErrDeregisteredByPeer) {
		t.Errorf("%+v", f)
	}
	if _, ok := b.c.CareOf(); ok {
		t.Error("a binding is left")
	}
}

// bind makes the binding to care-of careB.
func (b *bench) bind(markers bool) Request {
	b.Helper()
	b.c.Register(b.now, careB)
	q := b.request()
	r := b.answer(q, CodeAccepted)
	if markers {
		r.Extensions = []Extension{PathMarkers{Path: q.ID}.Extension()}
	}
	b.accept(r)
	next[Registered](b)
	return q
}

func TestRenewal(t *testing.T) {
	b := newBench(t, nil)
	first := b.bind(true)
	b.run(449 * time.Second)
	if len(b.sent) != 1 {
		t.Fatal("renewed too early")
	}
	b.run(1500 * time.Millisecond)
	q := b.request()
	pm, _ := q.PathMarkers()
	if len(b.sent) != 2 || q.CareOf != careB || pm.Path != first.ID || !inet.Newer(q.ID, first.ID) {
		t.Fatalf("renewal %+v on path %#x, was %#x", q, pm.Path, first.ID)
	}
	b.accept(b.answer(q, CodeAccepted))
	if got := next[Registered](b); !got.Renewal || !got.Expires.Equal(epoch.Add(1050*time.Second)) {
		t.Errorf("%+v", got)
	}
}

// TestRenewalUnanswered: tried until the binding is over, which is then told.
func TestRenewalUnanswered(t *testing.T) {
	b := newBench(t, nil)
	b.bind(false)
	b.run(599 * time.Second)
	b.quiet()
	if n := len(b.sent); n < 5 {
		t.Errorf("only %d requests", n)
	}
	b.run(2 * time.Second)
	if e := next[Expired](b); e.CareOf != careB {
		t.Errorf("%+v", e)
	}
	f := next[Failed](b)
	var timeout *TimeoutError
	if !f.Renewal || !errors.As(f.Err, &timeout) {
		t.Errorf("%+v", f)
	}
	b.run(time.Hour)
	b.quiet()
	if _, ok := b.c.Deadline(); ok {
		t.Error("a deadline is left")
	}
}

func TestRenewalDeniedTriedAgain(t *testing.T) {
	b := newBench(t, nil)
	b.bind(false)
	b.run(450 * time.Second)
	b.accept(b.answer(b.request(), CodeResources))
	var code *CodeError
	if f := next[Failed](b); !f.Renewal || f.Code != CodeResources || !errors.As(f.Err, &code) || code.Code != CodeResources {
		t.Errorf("%+v", f)
	}
	if _, ok := b.c.CareOf(); !ok {
		t.Fatal("the binding went with the renewal")
	}
	b.run(76 * time.Second)
	b.accept(b.answer(b.request(), CodeAccepted))
	if got := next[Registered](b); !got.Renewal {
		t.Errorf("%+v", got)
	}
}

// TestMoveFails: the old binding and its lifetime stay.
func TestMoveFails(t *testing.T) {
	b := newBench(t, nil)
	b.bind(true)
	b.run(time.Second)
	b.c.Register(b.now, careA)
	b.accept(b.answer(b.request(), CodeProhibited))
	if f := next[Failed](b); f.CareOf != careA || f.Code != CodeProhibited || f.Renewal {
		t.Errorf("%+v", f)
	}
	if at, ok := b.c.CareOf(); !ok || at != careB {
		t.Errorf("care-of %v, %v", at, ok)
	}
	b.run(450 * time.Second)
	if q := b.request(); q.CareOf != careB {
		t.Errorf("renewed %v", q.CareOf)
	}
}

// TestMove: each registration asked for has a path of its own.
func TestMove(t *testing.T) {
	b := newBench(t, nil)
	first := b.bind(true)
	b.run(time.Second)
	b.c.Register(b.now, careA)
	q := b.request()
	pm, _ := q.PathMarkers()
	if pm.Path != q.ID || pm.Path == first.ID || b.sent[len(b.sent)-1].From != careA {
		t.Errorf("path %#x, identification %#x", pm.Path, q.ID)
	}
	r := b.answer(q, CodeAccepted)
	r.Extensions = []Extension{PathMarkers{Path: q.ID, OldPath: true}.Extension()}
	b.accept(r)
	if got := next[Registered](b); got.ID != q.ID || !got.PathMarkers || got.CareOf != careA {
		t.Errorf("%+v", got)
	}
}

func TestRegisterReplacesWhatIsUnderWay(t *testing.T) {
	b := newBench(t, nil)
	b.c.Register(b.now, careB)
	old := b.request()
	b.c.Register(b.now, careA)
	q := b.request()
	if !inet.Newer(q.ID, old.ID) || q.CareOf != careA {
		t.Errorf("%+v after %+v", q, old)
	}
	if err := b.deliver(b.answer(old, CodeAccepted)); !errors.Is(err, ErrUnexpectedReply) {
		t.Errorf("%v", err)
	}
	b.c.Cancel()
	b.run(time.Minute)
	b.quiet()
	if len(b.sent) != 2 {
		t.Errorf("%d requests after Cancel", len(b.sent))
	}
}

func TestDeregister(t *testing.T) {
	b := newBench(t, nil)
	b.bind(true)
	b.run(time.Second)
	b.c.Deregister(b.now, careB)
	q := b.request()
	s := b.sent[len(b.sent)-1]
	if q.Lifetime != 0 || q.CareOf != home || s.From != careB || s.Path != 0 {
		t.Errorf("%+v, %+v", q, s)
	}
	if _, ok := q.PathMarkers(); ok {
		t.Error("markers offered for a path that ends")
	}
	b.run(1500 * time.Millisecond)
	b.accept(b.answer(b.request(), CodeAccepted))
	next[Deregistered](b)
	if _, ok := b.c.CareOf(); ok {
		t.Error("a binding is left")
	}
	if _, ok := b.c.Deadline(); ok {
		t.Error("a deadline is left")
	}
}

func TestFirstTimeoutConfigurable(t *testing.T) {
	b := newBench(t, func(c *ClientConfig) { c.Initial = 200 * time.Millisecond; c.NoPathMarkers = true })
	b.c.Register(b.now, careB)
	b.run(650 * time.Millisecond)
	if len(b.sent) != 3 || b.sent[0].Path != 0 {
		t.Errorf("%d requests in 650 ms", len(b.sent))
	}
	q := b.request()
	if _, ok := q.PathMarkers(); ok {
		t.Error("markers offered")
	}
	b.c.OfferPathMarkers(true)
	b.c.Register(b.now, careA)
	q = b.request()
	if pm, ok := q.PathMarkers(); !ok || pm.Path != q.ID || b.sent[len(b.sent)-1].Path != q.ID {
		t.Error("markers not offered")
	}
}

func TestNoRandomness(t *testing.T) {
	b := newBench(t, func(c *ClientConfig) { c.Rand = noRandom{} })
	b.c.Register(b.now, careB)
	b.poll()
	if f := next[Failed](b); !errors.Is(f.Err, io.ErrUnexpectedEOF) || len(b.sent) != 0 {
		t.Errorf("%+v", f)
	}
}

func TestWallClock(t *testing.T) {
	wall := epoch.Add(5 * time.Hour)
	b := newBench(t, func(c *ClientConfig) { c.Now = func() time.Time { return wall } })
	b.c.Register(b.now, careB)
	first := b.request()
	if d := inet.Skew(first.ID, inet.NTP(wall)); d > 0 || d < -time.Microsecond {
		t.Errorf("off by %v", d)
	}
	wall = wall.Add(-time.Hour) // the clock is set back
	b.run(1100 * time.Millisecond)
	if q := b.request(); !inet.Newer(q.ID, first.ID) {
		t.Errorf("%#x after %#x", q.ID, first.ID)
	}
}

func TestConfigCheck(t *testing.T) {
	good := ClientConfig{HomeAddress: home, HomeAgent: agent, SPI: 256, Key: md5SA.Key, Rand: zeros{}}
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	if good.Lifetime != DefaultLifetime || good.Initial != time.Second || good.Maximum != DefaultMaximum {
		t.Errorf("defaults %+v", good)
	}
	for name, change := range map[string]func(*ClientConfig){
		"no home address":  func(c *ClientConfig) { c.HomeAddress = netip.Addr{} },
		"IPv6 home agent":  func(c *ClientConfig) { c.HomeAgent = netip.MustParseAddr("::1") },
		"reserved spi":     func(c *ClientConfig) { c.SPI = 1 },
		"no key":           func(c *ClientConfig) { c.Key = nil },
		"no randomness":    func(c *ClientConfig) { c.Rand = nil },
		"lifetime too big": func(c *ClientConfig) { c.Lifetime = 65535 * time.Second },
		"negative":         func(c *ClientConfig) { c.Lifetime = -time.Second },
		"time-outs":        func(c *ClientConfig) { c.Initial = time.Hour },
	} {
		cfg := good
		change(&cfg)
		if err := cfg.Check(); err == nil {
			t.Errorf("%s: no error", name)
		}
		if _, err := NewClient(cfg); err == nil {
			t.Errorf("%s: a client was made", name)
		}
	}
}

// TestRequestsDiffer: two requests are never the same octets.
func TestRequestsDiffer(t *testing.T) {
	b := newBench(t, nil)
	for range 5 {
		b.c.Register(b.now, careB)
	}
	b.poll()
	for i := 1; i < len(b.sent); i++ {
		if bytes.Equal(b.sent[i].Data, b.sent[i-1].Data) {
			t.Error("the same request twice")
		}
	}
}
