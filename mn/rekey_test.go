package mn

import (
	"context"
	"fmt"
	"testing"
	"time"

	"openmpa/internal/event"
	"openmpa/paa/pana"
	"openmpa/par"
	"openmpa/tunnel"
	"openmpa/tunnel/esp"
)

// prepared prepares a move to a.
func (b *bed) prepared() *candidate { b.t.Helper(); return b.preparedFor("a") }

func (b *bed) preparedFor(network string) *candidate {
	b.t.Helper()
	h, err := b.node.Prepare(network)
	if err != nil {
		b.t.Fatal(err)
	}
	if o, err := h.Wait(context.Background()); o != event.OK {
		b.t.Fatalf("%s, %v", o, err)
	}
	return b.complete().c
}

// replaced waits until the tunnel's association was replaced n times.
func (b *bed) replaced(tun *tunnel.Tunnel, n uint64) {
	b.t.Helper()
	eventually(b.t, fmt.Sprintf("%d rekeyings", n), func() bool { return tun.Stats().Rekeys >= n })
}

// eventually waits for something.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("in vain: ", what)
		}
	}
}

// unhurt says what a tunnel has dropped, but for dummies.
func unhurt(t *testing.T, tun *tunnel.Tunnel) {
	t.Helper()
	s := tun.Stats()
	delete(s.DroppedIn, tunnel.ReasonDummy)
	if len(s.DroppedIn)+len(s.DroppedOut) != 0 {
		t.Errorf("the tunnel dropped %v arriving, %v to be sent", s.DroppedIn, s.DroppedOut)
	}
}

// TestRekey: by the node's limits, by the router's, by both at once, and when the
// session was authenticated again, with packets both ways all the time; then the move.
func TestRekey(t *testing.T) {
	soon := esp.RekeyLimits{Packets: 200, Linger: 200 * time.Millisecond}
	slow := esp.RekeyLimits{Linger: 200 * time.Millisecond}
	for name, c := range map[string]struct{ node, router esp.RekeyLimits }{
		"node": {soon, slow}, "router": {slow, soon}, "both": {soon, soon}, "session": {slow, slow},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, func(n *Config) { n.Rekey = c.node }, func(r *par.Config) { r.Rekey = c.router })
			stop := b.flow()
			k := b.prepared()
			tun := k.tunnel.Load()
			if name == "session" {
				for n := range uint64(2) {
					if err := k.session.Load().client.Do(func(now time.Time, p *pana.PaC) { p.Reauthenticate(now) }); err != nil {
						t.Fatal(err)
					}
					b.replaced(tun, n+1)
				}
			} else {
				b.replaced(tun, 3)
			}
			unhurt(t, tun)
			if o, err := b.handover("a"); o != event.Completed {
				t.Errorf("%s, %v", o, err)
			}
			stop()
		})
	}
}

// TestSuites: the node's wish decides among those that the router allows.
func TestSuites(t *testing.T) {
	for name, c := range map[string]struct {
		offered, allowed []esp.Transform
		fails            bool
	}{
		"aes-256":      {[]esp.Transform{esp.AES256GCM, esp.AES128GCM}, nil, false},
		"chacha":       {esp.Transforms(false), nil, false},
		"second":       {esp.Transforms(true), []esp.Transform{esp.ChaCha20}, false},
		"none is both": {[]esp.Transform{esp.AES128GCM}, []esp.Transform{esp.ChaCha20}, true},
	} {
		t.Run(name, func(t *testing.T) {
			limits := esp.RekeyLimits{Packets: 50, Linger: 50 * time.Millisecond}
			b := start(t, func(n *Config) { n.Suites, n.Rekey = c.offered, limits }, func(r *par.Config) { r.Suites, r.Rekey = c.allowed, limits })
			if c.fails {
				if o, err := b.handover("a"); o != event.Failed || err == nil {
					t.Errorf("%s, %v", o, err)
				}
				return
			}
			stop := b.flow()
			tun := b.prepared().tunnel.Load()
			b.replaced(tun, 1)
			unhurt(t, tun)
			stop()
		})
	}
}
