package server

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"openmpa/aaa"
	"openmpa/aaa/radius"
)

// told are orders that a router carried out.
type told struct {
	mu      sync.Mutex
	session string // the one it has; empty: s-1
	all     []string
}

func (o *told) note(what string, m aaa.Match) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	if m.Session != cmp.Or(o.session, "s-1") || m.Identity != nodeName {
		return 0
	}
	o.all = append(o.all, what)
	return 1
}

func (o *told) End(m aaa.Match, _ string) int { return o.note("end", m) }
func (o *told) Again(m aaa.Match) int         { return o.note("again", m) }
func (o *told) Extend(m aaa.Match, life time.Duration) int {
	return o.note("extend "+life.String(), m)
}

// orderAll gives every order by a front to a client, and one for a session it does not
// know.
func orderAll(t *testing.T, f Front, client string, o *told) {
	t.Helper()
	grant := aaa.Grant{Session: "s-1", Identity: nodeName}
	for _, order := range []Order{
		{Kind: OrderAgain, Grant: grant},
		{Kind: OrderExtend, Grant: grant, Life: 90 * time.Minute},
		{Kind: OrderEnd, Grant: grant},
	} {
		if err := f.Order(t.Context(), client, order); err != nil {
			t.Errorf("%v: %v", order.Kind, err)
		}
	}
	o.mu.Lock()
	if got := strings.Join(o.all, ", "); got != "again, extend 1h30m0s, end" {
		t.Errorf("carried out: %s", got)
	}
	o.mu.Unlock()
	err := f.Order(t.Context(), client, Order{Kind: OrderEnd, Grant: aaa.Grant{Session: "s-2", Identity: nodeName}})
	if refused := (*radius.OrderError)(nil); !errors.As(err, &refused) || refused.Cause != radius.CauseNotFound {
		t.Errorf("of another session: %v", err)
	}
	if err := f.Order(t.Context(), client, Order{Kind: OrderEnd}); err == nil {
		t.Error("of no session")
	}
	if err := f.Order(t.Context(), client, Order{Kind: OrderExtend, Grant: grant}); err == nil {
		t.Error("by no time")
	}
}

func TestOrdersRadSec(t *testing.T) {
	s := newRadSecSite(t, nil)
	o := &told{}
	client, backend := s.router(t, "ar-a.visited.example", o)
	if _, r, err := authenticate(t, backend, s.node); err != nil || r.Decision != aaa.Accept {
		t.Fatalf("%v, %v", r.Decision, err)
	}
	orderAll(t, s.front, "radsec:ar-a.visited.example", o)
	if err := s.front.Order(t.Context(), "radsec:ar-b.visited.example", Order{Kind: OrderEnd, Grant: aaa.Grant{Session: "s-1"}}); err == nil || !strings.Contains(err.Error(), "no connection") {
		t.Errorf("a router that is away: %v", err)
	}
	if n := client.Counters(); n.Orders != 4 {
		t.Errorf("%+v", n)
	}
}

func TestOrdersUDP(t *testing.T) {
	free, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	at := free.LocalAddr().(*net.UDPAddr).AddrPort()
	_ = free.Close()
	anywhere := client("127.0.0.0/8", "testing123")
	anywhere.Orders = netip.AddrPortFrom(netip.IPv4Unspecified(), at.Port())
	s := newSite(t, nil, anywhere)
	router, err := radius.NewClient(radius.Config{
		NASIdentifier: "ar-a", Servers: []radius.Server{{Addr: netip.MustParseAddrPort("127.0.0.1:1"), Secret: secret("testing123")}}, Orders: at,
	})
	if err != nil {
		t.Fatal(err)
	}
	o := &told{}
	carrier := aaa.NewRADIUSCarrier(router)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- carrier.Run(ctx, o) }()
	defer func() {
		cancel()
		if err := errors.Join(<-done, router.Close()); err != nil {
			t.Error(err)
		}
	}()
	orderAll(t, s.front, "radius:127.0.0.1", o)
	for client, want := range map[string]string{"radius:10.0.2.1": "takes no orders", "radius:192.0.2.1": "takes no orders", "diameter:x": "no client of RADIUS"} {
		if err := s.front.Order(t.Context(), client, Order{Kind: OrderEnd, Grant: aaa.Grant{Session: "s-1"}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", client, err)
		}
	}
	cancelled, stop := context.WithCancel(t.Context())
	stop()
	if err := s.front.Order(cancelled, "radius:127.0.0.2", Order{Kind: OrderEnd, Grant: aaa.Grant{Session: "s-1"}}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
