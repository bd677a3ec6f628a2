package mn

import (
	"strings"
	"testing"
	"time"

	"openmpa/internal/event"
	"openmpa/mn/link"
)

// TestElsewhere: the link layer finds no way to the point it was told, and goes to
// another of the network: the node is there.
func TestElsewhere(t *testing.T) {
	b := start(t, func(c *Config) { c.Networks[1].Points = []string{"poa-a1", "poa-a"} })
	b.link.astray = map[string]string{"poa-a1": "poa-a"}
	if o, err := b.handover("a"); o != event.Completed || err != nil {
		t.Fatalf("%s, %v", o, err)
	}
	b.works()
}

// TestBackByItself: the link layer goes back to where it came from; what was kept for
// the new link is not sent there.
func TestBackByItself(t *testing.T) {
	b := start(t, withRadio(&radio{signals: map[string]int{"poa-a": -50}}))
	b.link.astray = map[string]string{"poa-a": "poa-b"}
	o, err := b.handover("a")
	if o != event.SwitchedBack || err == nil || !strings.Contains(err.Error(), "connected to poa-b instead") {
		t.Errorf("%s, %v", o, err)
	}
	b.eventually("the old network", func(s Status) bool { return s.State == "attached" && s.Network == "b" && s.Bound == "10.1.0.100" })
	b.works()
}

// TestAstray: the link layer goes where nobody wanted to: the node attaches there at once.
func TestAstray(t *testing.T) {
	b := start(t, func(c *Config) {
		c.Networks[1].Points = []string{"poa-x"}
		c.Networks = append(c.Networks, Network{Name: "c", PAA: c.Networks[1].PAA, Points: []string{"poa-a"}})
		withRadio(&radio{signals: map[string]int{"poa-x": -50}})(c)
	})
	b.link.astray = map[string]string{"poa-x": "poa-a"}
	if o, err := b.handover("a"); o != event.Failed || err == nil || !strings.Contains(err.Error(), "it is at poa-a now, of c") {
		t.Errorf("%s, %v", o, err)
	}
	b.eventually("the third network", func(s Status) bool { return s.Network == "c" && s.State == "attached" })
	b.works()
}

// TestWrongKey: the point has another key than the link was given: that is told, the key
// is taken from the link before it goes back, and the next preparation brings another.
func TestWrongKey(t *testing.T) {
	b, a, of := keyed(t)
	b.link.fails["poa-a"] = &link.AttachError{Point: "poa-a", Reason: 15, Text: "disconnected within the handshake, reason code 15: do the keys differ?"}
	o, err := b.handover("a")
	if o != event.SwitchedBack || err == nil || !strings.Contains(err.Error(), "do the keys differ?") {
		t.Errorf("%s, %v", o, err)
	}
	a.mu.Lock()
	first := append([]string{""}, a.removed...)[min(1, len(a.removed))]
	a.mu.Unlock()
	if first != "poa-a" {
		t.Errorf("keys taken from the link first: %q", first)
	}
	delete(b.link.fails, "poa-a")
	b.eventually("the other keys to go", func(Status) bool { return a.matches(of["b"]) })
	if o, err := b.handover("a"); o != event.Completed || err != nil {
		t.Errorf("afterwards: %s, %v", o, err)
	}
	b.eventually("the keys of the new one", func(Status) bool { return a.matches(of["a"]) })
}

// TestOpensLate: an access point drops what comes before it has seen the end of the handshake: nothing is sent to it then
// but the arrival, which is sent again.
func TestOpensLate(t *testing.T) {
	b, a, _ := keyed(t)
	a.opens = 15 * time.Millisecond
	stop := b.flow()
	for _, to := range []string{"a", "b"} {
		time.Sleep(50 * time.Millisecond)
		if o, err := b.handover(to); o != event.Completed || err != nil {
			t.Errorf("%s, %v", o, err)
		}
	}
	time.Sleep(50 * time.Millisecond)
	stop()
}
