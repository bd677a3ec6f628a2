package aaa

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"openmpa/aaa/diameter"
	"openmpa/paa/keys"
)

// homeServer answers every DER the same way, and notes the rest.
type homeServer struct {
	mu     sync.Mutex
	eap    diameter.EAPAnswer
	result diameter.Result // of records
	over   diameter.Result // of ends
	got    []string
}

func (h *homeServer) note(s string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.got = append(h.got, s)
}

func (h *homeServer) take() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := h.got
	h.got = nil
	return out
}

func (h *homeServer) EAP(_ context.Context, from string, r diameter.EAPRequest) diameter.EAPAnswer {
	h.note(fmt.Sprintf("eap %s %s %d %s", from, r.UserName, r.MTU, r.Access.CallingStation))
	h.mu.Lock()
	defer h.mu.Unlock()
	a := h.eap
	a.MSK = a.MSK.Clone()
	return a
}

func (h *homeServer) Account(_ context.Context, _ string, r diameter.Record) diameter.Result {
	h.note(fmt.Sprintf("record %d %d %s %q cause %d in %d out %d time %v", r.Type, r.Number, r.UserName, r.Class, r.Cause, r.OctetsIn, r.OctetsOut, r.Length))
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.result
}

func (h *homeServer) Ended(_ context.Context, _ string, e diameter.Ended) diameter.Result {
	h.note(fmt.Sprintf("end %s cause %d", e.UserName, e.Cause))
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.over
}

// newDiameterCarrier has a carrier and its server run until the test ends.
func newDiameterCarrier(t *testing.T) (Carrier, *homeServer) {
	t.Helper()
	h := &homeServer{
		eap:    diameter.EAPAnswer{Result: diameter.Success, EAP: []byte{3, 1, 0, 4}, MSK: keys.NewSecret(make([]byte, mskLen)), UserName: "mn@home.example", Stateful: true},
		result: diameter.Success, over: diameter.Success,
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, err := diameter.NewServer(diameter.Config{
		Identity: "aaa.home.example", Realm: "home.example", Peers: []diameter.Peer{{Identity: "ar-a.visited.example"}}, Listeners: []diameter.Listener{{Listener: l}},
	}, h)
	if err != nil {
		t.Fatal(err)
	}
	client, err := diameter.NewClient(diameter.Config{
		Identity: "ar-a.visited.example", Realm: "visited.example", Peers: []diameter.Peer{{Identity: "aaa.home.example", Addr: l.Addr().String()}},
	}, diameter.ClientConfig{NASIdentifier: "ar-a"})
	if err != nil {
		t.Fatal(err)
	}
	c := NewDiameterCarrier(client)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, run := range []func(context.Context) error{server.Run, func(ctx context.Context) error { return c.Run(ctx, nil) }} {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() { cancel(); wg.Wait() })
	return c, h
}

// TestDiameterRecords says what a server hears of a session: its records with what the
// accept came with, and after the last one its end, if it wants to.
func TestDiameterRecords(t *testing.T) {
	c, h := newDiameterCarrier(t)
	g := Grant{Session: "ar-a.visited.example;1;2", Identity: "mn@home.example", Realm: "home.example", Server: "aaa.home.example", Class: [][]byte{[]byte("c")}, Stateful: true}
	stop := Record{Grant: g, Kind: RecordStop, Number: 2, Time: time.Now(), Cause: CauseMoved, Usage: Usage{Time: time.Minute, OctetsIn: 5, OctetsOut: 7}}
	const recorded = `record 4 2 mn@home.example ["c"] cause 7 in 5 out 7 time 1m0s`
	const ended = "end mn@home.example cause 7"
	stateless := stop
	stateless.Grant.Stateful = false
	never := stop // granted, and not used
	never.Number = 0
	for _, x := range []struct {
		name         string
		r            Record
		result, over diameter.Result // Success if 0
		want         []string
		err          error
	}{
		{name: "start", r: Record{Grant: g, Kind: RecordStart, Time: time.Now()}, want: []string{`record 2 0 mn@home.example ["c"] cause 0 in 0 out 0 time 0s`}},
		{name: "interim", r: Record{Grant: g, Kind: RecordInterim, Number: 1, Time: time.Now(), Usage: Usage{Time: time.Second, OctetsIn: 1 << 40}}, want: []string{`record 3 1 mn@home.example ["c"] cause 0 in 1099511627776 out 0 time 1s`}},
		{name: "stop", r: stop, want: []string{recorded, ended}},
		{name: "stop of a stateless session", r: stateless, want: []string{recorded}},
		{name: "stop without a start", r: never, want: []string{ended}},
		{name: "out of space", r: stop, result: diameter.OutOfSpace, want: []string{recorded}, err: ErrTimeout},
		{name: "refused for good", r: stop, result: diameter.UnableToComply, want: []string{recorded, ended}, err: ErrRefused},
		{name: "the end is unknown", r: stop, over: diameter.UnknownSession, want: []string{recorded, ended}},
		{name: "the end is refused", r: stop, over: diameter.UnableToComply, want: []string{recorded, ended}, err: ErrRefused},
	} {
		t.Run(x.name, func(t *testing.T) {
			h.mu.Lock()
			h.result, h.over = max(x.result, diameter.Success), max(x.over, diameter.Success)
			h.mu.Unlock()
			if err := c.Account(t.Context(), x.r); !errors.Is(err, x.err) {
				t.Errorf("%v, want %v", err, x.err)
			}
			if got := h.take(); !slices.Equal(got, x.want) {
				t.Errorf("the server has %q, want %q", got, x.want)
			}
		})
	}
}

// TestDiameterUnused says that an accept which nobody can use is given back at once.
func TestDiameterUnused(t *testing.T) {
	c, h := newDiameterCarrier(t)
	h.eap.MSK = keys.NewSecret(make([]byte, 32))
	r, err := NewRealms(Operator{Name: "home", Carrier: c})
	if err != nil {
		t.Fatal(err)
	}
	s, err := r.Start(t.Context(), SessionInfo{CallingStation: "10.1.0.100"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if out, err := s.Exchange(t.Context(), respond(s.Identity(), 1, []byte("mn@home.example"))); err == nil || out.Decision != Reject {
		t.Fatalf("%+v, %v: an MSK of 32 octets is taken", out, err)
	}
	want := []string{fmt.Sprintf("eap ar-a.visited.example mn@home.example %d 10.1.0.100", eapMTU), "end mn@home.example cause 3"}
	var got []string
	for deadline := time.Now().Add(10 * time.Second); len(got) < len(want) && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		got = append(got, h.take()...)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the server has %q, want %q", got, want)
	}
}

// TestDiameterAgain says that a session which authenticates again keeps its name.
func TestDiameterAgain(t *testing.T) {
	c, _ := newDiameterCarrier(t)
	old := Grant{Session: "ar-a.visited.example;1;2", Server: "aaa.home.example"}
	for _, again := range []*Grant{nil, &old} {
		with, err := c.Open(SessionInfo{Again: again}, "mn@home.example")
		if err != nil {
			t.Fatal(err)
		}
		a, err := with.Ask(t.Context(), []byte{2, 1, 0, 5, 1})
		if err != nil || a.Decision != Accept || (a.Grant.Session == old.Session) != (again != nil) || a.Grant.Session == "" {
			t.Errorf("again %v: %+v, %v", again != nil, a.Grant, err)
		}
		a.MSK.Clear()
	}
}
