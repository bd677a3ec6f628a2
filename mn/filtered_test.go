package mn

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"openmpa/internal/event"
)

// closes has the router of network name get nothing for a UDP port, as behind a filter on the
// path.
func (b *bed) closes(name, port string) {
	b.t.Helper()
	if _, err := exec.LookPath("nft"); err != nil && os.Getenv("OPENMPA_TEST_ALL") == "" {
		b.t.Skip("needs nft: apt install nftables")
	}
	b.inside[name](func() {
		rules := "table ip wall { chain input { type filter hook input priority 0; udp dport " + port + " drop; }; }"
		if out, err := exec.Command("nft", rules).CombinedOutput(); err != nil {
			b.t.Fatalf("nft: %v: %s", err, out)
		}
	})
}

// reopens ends what closes has begun.
func (b *bed) reopens(name string) {
	b.inside[name](func() {
		if out, err := exec.Command("nft", "delete table ip wall").CombinedOutput(); err != nil {
			b.t.Errorf("nft: %v: %s", err, out)
		}
	})
}

// TestFiltered: a path that lets PANA or ESP through no more is named as what it may be, with
// its port, and the node stays where it is served.
func TestFiltered(t *testing.T) {
	for _, port := range []string{"716", "4500"} {
		t.Run(port, func(t *testing.T) {
			b := start(t, func(c *Config) {
				c.Timers.Bind, c.Timers.Auth, c.Ping = 500*time.Millisecond, 500*time.Millisecond, time.Second
			})
			b.stopRouter("b") // which could hold what comes, and so do without a binding ahead
			b.eventually("the end of the session", func(s Status) bool { return s.Session == 0 && s.Problem != "" })
			b.closes("a", port)
			o, err := b.handover("a")
			if o != event.Failed || err == nil || !strings.Contains(err.Error(), "does the path let UDP port "+port+" through") {
				t.Errorf("%s, %v", o, err)
			}
			if s := b.node.Status(); s.State != "attached" || s.Network != "b" || s.Bound != "10.1.0.100" {
				t.Errorf("status %+v", s)
			}
		})
	}
}
