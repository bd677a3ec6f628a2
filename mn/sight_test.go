package mn

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"openmpa/internal/event"
	"openmpa/internal/host"
	"openmpa/internal/osnet/osnettest"
	"openmpa/mn/decision"
	"openmpa/mn/link"
)

// radio is an adapter that sees points.
type radio struct {
	link.Adapter
	mu      sync.Mutex
	signals map[string]int
	looked  []string
}

func (r *radio) MayStray()                                         {}
func (r *radio) Scan(context.Context, ...int) error                { return nil }
func (r *radio) Reported(context.Context) ([]link.Sighting, error) { return nil, nil }

func (r *radio) Look(_ context.Context, points ...string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.looked = append(r.looked, strings.Join(points, " "))
	return nil
}

func (r *radio) Seen(context.Context) (out []link.Sighting, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for p, dBm := range r.signals {
		out = append(out, link.Sighting{Point: p, Signal: dBm})
	}
	return out, nil
}

func (r *radio) Signal(ctx context.Context) (int, error) {
	at, err := r.Current(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.signals[at], err
}

func (r *radio) change(signals map[string]int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.signals = signals
}

// withRadio makes a node see points, of which network a has two.
func withRadio(r *radio) func(*Config) {
	return func(c *Config) {
		inner := c.Interfaces[0].Link
		c.Interfaces[0].Link = func(h host.Host) (a link.Adapter, err error) {
			r.Adapter, err = inner(h)
			return r, err
		}
		for i := range c.Networks {
			if c.Networks[i].Name == "a" {
				c.Networks[i].Points = append([]string{"poa-far"}, c.Networks[i].Points...)
			}
		}
	}
}

// TestBestInSight: a move is to the point that is seen best, which was looked for before.
func TestBestInSight(t *testing.T) {
	r := &radio{signals: map[string]int{"poa-far": -80, "poa-a": -40, "poa-b": -50}}
	b := start(t, withRadio(r))
	if o, err := b.handover("a"); o != event.Completed || b.link.at() != "poa-a" {
		t.Fatalf("%s at %s: %v", o, b.link.at(), err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if want := []string{"poa-far poa-a", "poa-a"}; !slices.Equal(r.looked, want) {
		t.Errorf("looked for %q, want %q", r.looked, want)
	}
}

// TestDecidedPoint: a move that was decided goes to the point that was meant, not to one that is louder at the moment; to the
// best where that one is not in sight.
func TestDecidedPoint(t *testing.T) {
	r := &radio{signals: map[string]int{"poa-far": -30, "poa-a": -60, "poa-b": -70}}
	b := start(t, withRadio(r))
	h, err := b.node.handoverTo(spot{"a", "poa-a"}, false)
	if err != nil {
		t.Fatal(err)
	}
	if o, err := h.Wait(t.Context()); o != event.Completed || b.link.at() != "poa-a" {
		t.Fatalf("%s at %s: %v", o, b.link.at(), err)
	}
	net, err := b.node.network("a")
	if err != nil {
		t.Fatal(err)
	}
	wished := func(point string) (was string) {
		b.node.mu.Lock()
		defer b.node.mu.Unlock()
		was, b.node.wish = b.node.wish, point
		return was
	}
	if was := wished(""); was != "" {
		t.Errorf("%q is still wished for when the move is over", was)
	}
	for wish, want := range map[string]string{"": "poa-far", "poa-a": "poa-a", "poa-gone": "poa-far", "poa-b": "poa-far"} {
		wished(wish)
		if got := b.node.servingPort().target(t.Context(), net); got != want {
			t.Errorf("with %q wished for: to %s, expected %s", wish, got, want)
		}
	}
}

// TestDecidedHandover: the signal goes, and the node prepares and moves with nothing lost.
func TestDecidedHandover(t *testing.T) {
	r := &radio{signals: map[string]int{"poa-a": -80, "poa-b": -50}}
	b := start(t, func(c *Config) {
		withRadio(r)(c)
		c.Deciding = &Deciding{Policy: decision.DefaultPolicy(decision.Enterprise), Interval: defaultInterval / 10}
	})
	b.eventually("a sample", func(s Status) bool {
		return s.Decision.Signal == -50 && s.Decision.Reason != ""
	})
	stop := b.flow()
	r.change(map[string]int{"poa-a": -50, "poa-b": -68})
	b.eventually("the preparation", func(s Status) bool {
		return len(s.Standing) == 1 && s.Standing[0].Network == "a" && s.Standing[0].Depth == s.Standing[0].Wanted && s.Network == "b"
	})
	r.change(map[string]int{"poa-a": -45, "poa-b": -75})
	b.eventually("the move", func(s Status) bool { return s.Network == "a" && s.State == "attached" })
	b.eventually("the end of it", func(s Status) bool { return s.Decision.Point == "poa-a" && s.Decision.Signal == -45 })
	stop()
	b.node.mu.Lock()
	id := b.node.current.ID
	b.node.mu.Unlock()
	var reasons []string
	for _, e := range b.node.cfg.Recorder.Events(id) {
		if e.Name == "decision" {
			reasons = append(reasons, e.Attrs["action"].(string))
		}
	}
	if want := []string{"handover"}; !slices.Equal(reasons, want) {
		t.Errorf("decisions %q, want %q", reasons, want)
	}
}

// TestRoutersKnown: the routers of the old and the new link are in the neighbour table for good, before the one link goes and
// the other comes: no packet waits for ARP on either.
func TestRoutersKnown(t *testing.T) {
	b := start(t, nil)
	known := func(when string, routers ...string) {
		t.Helper()
		table := osnettest.IP(t, "neigh show dev eth0 nud permanent")
		for _, r := range routers {
			if !strings.Contains(table, r+" lladdr ") {
				t.Errorf("%s: %s is not known:\n%s", when, r, table)
			}
		}
	}
	known("attached", "10.1.0.1")
	b.prepare("a")
	known("prepared", "10.1.0.1", "10.2.0.1")
	b.link.onLeave(func(string) { known("leaving", "10.1.0.1", "10.2.0.1") })
	b.link.die(true, "poa-a")
	if o, err := b.handover("a"); o != event.SwitchedBack {
		t.Fatalf("%s: %v", o, err)
	}
	known("back", "10.1.0.1")
	b.link.onLeave(nil)
	b.link.die(false, "poa-a")
	if o, err := b.handover("a"); o != event.Completed {
		t.Fatalf("%s: %v", o, err)
	}
	known("arrived", "10.2.0.1")
	ups := b.node.ports[0].carrier.look().ups
	if err := b.link.Attach(t.Context(), "poa-a"); err != nil { // a roam
		t.Fatal(err)
	}
	known("roamed", "10.2.0.1")
	b.eventually("the roam", func(Status) bool { return b.node.ports[0].carrier.look().ups > ups && len(b.node.turn) == 0 })
}

// TestInterfaceSetDown: a program that ends, wpa_supplicant say, sets the interface down: addresses stay, routes and permanent
// entries do not. The node puts them back.
func TestInterfaceSetDown(t *testing.T) {
	b := start(t, nil)
	osnettest.IP(t, "link set eth0 down")
	b.eventually("the loss", func(Status) bool { return !b.node.ports[0].carrier.look().Up })
	osnettest.IP(t, "link set eth0 up")
	b.eventually("the return", func(s Status) bool {
		return strings.Contains(osnettest.IP(t, "neigh show dev eth0 nud permanent"), "10.1.0.1 lladdr") && len(b.node.turn) == 0
	})
	b.works()
}

// TestRouterReplaced: the router gets another link-layer address, of which nobody tells. The node finds it when the router does
// not answer any more.
func TestRouterReplaced(t *testing.T) {
	b := start(t, func(c *Config) { c.Ping, c.Timers.Auth = time.Second, time.Second })
	const card = "02:77:00:00:00:01"
	b.inside["b"](func() { osnettest.IP(t, "link set lan0 address "+card) })
	b.eventually("the new address", func(s Status) bool {
		return s.Session != 0 && strings.Contains(osnettest.IP(t, "neigh show dev eth0 nud permanent"), "10.1.0.1 lladdr "+card)
	})
	b.works()
}
