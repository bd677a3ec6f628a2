package aaa

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"openmpa/aaa/radius"
	"openmpa/paa/keys"
)

// written are the calls of Orders, in words; n matched.
type written struct {
	n   int
	got []string
}

func (w *written) End(m Match, why string) int {
	w.got = append(w.got, fmt.Sprintf("end %s %q", m.Session, why))
	return w.n
}

func (w *written) Again(m Match) int { w.got = append(w.got, "again "+m.Identity); return w.n }

func (w *written) Extend(m Match, life time.Duration) int {
	w.got = append(w.got, fmt.Sprintf("extend %s%s%s %v", m.Station, m.Handle, m.Class, life))
	return w.n
}

// TestRADIUSOrders: what servers say is what sessions are told, and they learn what came
// of it.
func TestRADIUSOrders(t *testing.T) {
	from := netip.MustParseAddrPort("10.0.5.1:50000")
	for name, c := range map[string]struct {
		order radius.Order
		n     int
		cause radius.Cause
		call  string
	}{
		"end":       {radius.Order{Code: radius.DisconnectRequest, Session: "s-1"}, 1, radius.CauseNone, `end s-1 "the server 10.0.5.1 wants its end"`},
		"again":     {radius.Order{Code: radius.CoARequest, UserName: "mn", Again: true}, 2, radius.CauseInitiated, "again mn"},
		"extend":    {radius.Order{Code: radius.CoARequest, CallingStation: "a", Handle: []byte("b"), Class: []byte("c"), Life: time.Hour}, 1, radius.CauseNone, "extend abc 1h0m0s"},
		"none":      {radius.Order{Code: radius.DisconnectRequest, Session: "s-2"}, 0, radius.CauseNotFound, `end s-2 "the server 10.0.5.1 wants its end"`},
		"by a port": {radius.Order{Code: radius.DisconnectRequest, Session: "s-1", NASPort: "7"}, 1, radius.CauseUnsupportedAttribute, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := &written{n: c.n}
			c.order.Server = from
			if cause := carryOut(w, c.order); cause != c.cause || strings.Join(w.got, "\n") != c.call {
				t.Errorf("%v: %v, expected %v: %s", cause, w.got, c.cause, c.call)
			}
		})
	}
}

// TestRADIUSRecords: a record is the same on the other side, and a copy of it has the same
// number.
func TestRADIUSRecords(t *testing.T) {
	g := Grant{
		Session: "s-1", Identity: "mn@home.example", Realm: "home.example", Station: "10.1.0.100", Called: "ar", NASPort: "7",
		Class: [][]byte{[]byte("c")}, Handle: []byte("h"),
	}
	at := time.Unix(1700000000, 0)
	for cause := CauseNone; cause <= CauseError; cause++ {
		for _, kind := range []RecordKind{RecordStart, RecordInterim, RecordStop} {
			want := Record{Grant: g, Kind: kind, Time: at, Usage: Usage{Time: time.Minute, OctetsIn: 1 << 40, OctetsOut: 2, PacketsIn: 3, PacketsOut: 4}}
			if kind != RecordStart {
				want.Number = uint32(at.Unix())
			}
			if kind == RecordStop {
				want.Cause = cause
			}
			sent := radiusRecord(want)
			got, ok := RecordOfRADIUS(&sent, time.Now())
			if d := cmp.Diff(want, got); !ok || d != "" {
				t.Errorf("%v by %v: %s", kind, cause, d)
			}
		}
	}
	timeless := radiusRecord(Record{Grant: g, Kind: RecordStop, Usage: Usage{Time: time.Minute}})
	timeless.Time, timeless.Delay = time.Time{}, 5*time.Second
	first, _ := RecordOfRADIUS(&timeless, at)
	timeless.Delay = 9 * time.Second
	again, _ := RecordOfRADIUS(&timeless, at.Add(4*time.Second))
	if first.Number != again.Number || !first.Time.Equal(again.Time) || !first.Time.Equal(at.Add(-5*time.Second)) {
		t.Errorf("%+v, again %+v", first, again)
	}
	if _, ok := RecordOfRADIUS(&radius.Record{Kind: radius.RecordOn, Session: "x"}, at); ok {
		t.Error("a record of no session")
	}
}

// pair is two RADIUS servers in memory behind one socket; those that are down are silent.
type pair struct {
	t     *testing.T
	mu    sync.Mutex
	down  map[netip.AddrPort]bool
	reply func(*radius.ServerRequest) radius.Reply
	in    chan answered
	once  sync.Once
	seen  []*radius.ServerRequest
}

type answered struct {
	b    []byte
	from netip.AddrPort
}

func (p *pair) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	a, ok := <-p.in
	if !ok {
		return 0, netip.AddrPort{}, net.ErrClosed
	}
	return copy(b, a.b), a.from, nil
}

func (p *pair) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	req, err := radius.ParseRequest(b, secret(), radius.AccessRequest, radius.AccountingRequest)
	if err != nil {
		p.t.Error(err)
		return 0, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, req)
	if p.down[to] {
		return len(b), nil
	}
	out, err := req.Encode(p.reply(req), secret(), bytes.NewReader(make([]byte, 64)))
	if err != nil {
		p.t.Error(err)
	}
	p.in <- answered{out, to}
	return len(b), nil
}

func (p *pair) Close() error { p.once.Do(func() { close(p.in) }); return nil }

var spareAddr = netip.MustParseAddrPort("10.0.5.2:1812")

func newPair(t *testing.T, reply func(*radius.ServerRequest) radius.Reply) (*pair, Carrier) {
	p := &pair{t: t, down: map[netip.AddrPort]bool{}, reply: reply, in: make(chan answered, 64)}
	c, err := radius.NewClient(radius.Config{
		NASIdentifier: "ar-a", Listen: func() (radius.Conn, error) { return p, nil },
		Servers: []radius.Server{{Addr: serverAddr, Secret: secret()}, {Addr: spareAddr, Secret: secret()}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return p, NewRADIUSCarrier(c)
}

func goOn(*radius.ServerRequest) radius.Reply {
	return radius.Reply{Code: radius.AccessChallenge, EAP: []byte{1, 50, 0, 6, 13, 0x20}, State: []byte("one")}
}

// TestRADIUSLost: the server of a conversation falls silent. Another stands by: the node
// may begin anew. None does: it is silence.
func TestRADIUSLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, carrier := newPair(t, goOn)
		with, err := carrier.Open(SessionInfo{}, "mn@home.example")
		if err != nil {
			t.Fatal(err)
		}
		if a, err := with.Ask(t.Context(), respond([]byte{1, 1}, 1, identity)); err != nil || a.Server != serverAddr.String() {
			t.Fatalf("%+v, %v", a, err)
		}
		p.mu.Lock()
		p.down[serverAddr] = true
		p.mu.Unlock()
		_, err = with.Ask(t.Context(), respond([]byte{1, 50}, 13, []byte{0}))
		lost := (*LostError)(nil)
		if !errors.As(err, &lost) || lost.Server != serverAddr.String() || lost.Next != spareAddr.String() || !errors.Is(err, ErrTimeout) {
			t.Fatalf("%v", err)
		}
		with, err = carrier.Open(SessionInfo{}, "mn@home.example")
		if err != nil {
			t.Fatal(err)
		}
		if a, err := with.Ask(t.Context(), respond([]byte{1, 1}, 1, identity)); err != nil || a.Server != spareAddr.String() {
			t.Fatalf("%+v, %v", a, err)
		}
		p.mu.Lock()
		p.down[spareAddr] = true
		p.mu.Unlock()
		_, err = with.Ask(t.Context(), respond([]byte{1, 50}, 13, []byte{0}))
		if silent := (*SilentError)(nil); errors.As(err, &lost) || !errors.As(err, &silent) {
			t.Errorf("%v", err)
		}
	})
}

// TestRADIUSLostBehind: the server forwards, and has lost the home server.
func TestRADIUSLostBehind(t *testing.T) {
	for name, c := range map[string]struct {
		reply radius.Reply
		lost  bool
	}{
		"lost":             {radius.Reply{Code: radius.AccessReject, ErrorCause: radius.CauseUnroutable}, true},
		"rejected by EAP":  {radius.Reply{Code: radius.AccessReject, ErrorCause: radius.CauseUnroutable, EAP: []byte{4, 1, 0, 4}}, false},
		"rejected at once": {radius.Reply{Code: radius.AccessReject}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, carrier := newPair(t, func(*radius.ServerRequest) radius.Reply { return c.reply })
				with, err := carrier.Open(SessionInfo{}, "mn@home.example")
				if err != nil {
					t.Fatal(err)
				}
				a, err := with.Ask(t.Context(), respond([]byte{1, 1}, 1, identity))
				lost := (*LostError)(nil)
				if errors.As(err, &lost) != c.lost || !c.lost && (err != nil || a.Decision != Reject) {
					t.Errorf("%+v, %v", a, err)
				}
			})
		})
	}
}

// TestRADIUSGrant: what an accept tells of the session, and what is said of it when it
// authenticates again.
func TestRADIUSGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, carrier := newPair(t, func(*radius.ServerRequest) radius.Reply {
			return radius.Reply{
				Code: radius.AccessAccept, EAP: []byte{3, 50, 0, 4}, MSK: keys.NewSecret(make([]byte, 64)), UserName: "real@home.example",
				Class: [][]byte{[]byte("one"), []byte("two")}, Handle: []byte("cui"), Interim: 5 * time.Second, SessionTimeout: time.Hour,
			}
		})
		sessions := map[string]bool{}
		for range 100 {
			with, err := carrier.Open(SessionInfo{}, "mn@home.example")
			if err != nil {
				t.Fatal(err)
			}
			a, err := with.Ask(t.Context(), respond([]byte{1, 1}, 1, identity))
			if err != nil {
				t.Fatal(err)
			}
			want := Grant{Session: a.Grant.Session, Identity: "real@home.example", Class: [][]byte{[]byte("one"), []byte("two")}, Handle: []byte("cui"), Interim: 5 * time.Second}
			if d := cmp.Diff(want, a.Grant); d != "" || a.Timeout != time.Hour || sessions[a.Grant.Session] || len(a.Grant.Session) != 24 {
				t.Fatalf("%s: %s", a.Grant.Session, d)
			}
			sessions[a.Grant.Session] = true
		}
		with, err := carrier.Open(SessionInfo{Again: &Grant{Session: "s-1", Handle: []byte("cui")}}, "mn@home.example")
		if err != nil {
			t.Fatal(err)
		}
		if a, err := with.Ask(t.Context(), respond([]byte{1, 1}, 1, identity)); err != nil || a.Grant.Session != "s-1" || p.seen[len(p.seen)-1].Session != "s-1" {
			t.Errorf("%+v, %v", a, err)
		}
	})
}
