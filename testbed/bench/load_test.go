package bench

import (
	"testing"
	"time"

	"openmpa/internal/osnet/osnettest"
	"openmpa/testbed/bed"
)

// TestLoads: on the bare link every kind of traffic arrives, and a pinger's packets
// come back; nothing is left.
func TestLoads(t *testing.T) {
	osnettest.NeedRoot(t)
	p, err := newPair(t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.close(); err != nil {
			t.Error(err)
		}
	}()
	bare := &subject{name: nameBare}
	for name, start := range map[string]func() (*load, error){
		"TCP, one":   func() (*load, error) { return p.tcp(t.Context(), bare, 1) },
		"TCP, eight": func() (*load, error) { return p.tcp(t.Context(), bare, 8) },
		"UDP":        func() (*load, error) { return p.udp(bare, 64) },
	} {
		l, err := start()
		if err != nil {
			t.Fatal(name, err)
		}
		var m sample
		for end := time.Now().Add(20 * time.Second); m.octets == 0 && time.Now().Before(end); {
			if m, err = bare.measure(t.Context(), l, 50*time.Millisecond); err != nil {
				t.Fatal(name, err)
			}
		}
		if m.octets == 0 {
			t.Errorf("%s: nothing arrived", name)
		}
		if err := l.stop(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	g, err := p.ping(bare)
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); g.percentile(50) == 0 && time.Now().Before(end); {
		if err := bed.Sleep(t.Context(), 20*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	if rtt := g.percentile(99); rtt <= 0 || rtt > 10*time.Second {
		t.Errorf("a round trip takes %v", rtt)
	}
	g.reset()
	if err := g.stop(); err != nil {
		t.Error(err)
	}
}
