package mn

import (
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"openmpa/internal/event"
	"openmpa/mn/decision"
)

// TestBloat: where only the node sends, four times what the link carries, no alarm is raised,
// be it kept by a queue of seconds beyond the node, or one of its own, which a question passes;
// and when the link dies then, that is found out.
func TestBloat(t *testing.T) {
	for where, at := range map[string]func(*bed) (do func(func()), dev string){
		"at the node": func(*bed) (func(func()), string) { return func(f func()) { f() }, "eth0" },
		"beyond":      func(b *bed) (func(func()), string) { return b.air, "ub" },
	} {
		t.Run(where, func(t *testing.T) {
			b := start(t, func(c *Config) { c.Watch = decision.DefaultWatch() })
			do, dev := at(b)
			tc := func(args string) {
				do(func() {
					if out, err := exec.Command("tc", strings.Fields(args)...).CombinedOutput(); err != nil {
						t.Errorf("tc %s: %v\n%s", args, err, out)
					}
				})
			}
			tc("qdisc add dev " + dev + " root handle 1: tbf rate 5mbit burst 5kb limit 100mb")
			if where == "at the node" {
				tc("qdisc add dev " + dev + " parent 1:1 pfifo_fast") // as most interfaces have
			}
			defer tc("qdisc del dev " + dev + " root")
			up, err := net.DialUDP("udp4", &net.UDPAddr{IP: homeAddress.AsSlice()}, &net.UDPAddr{IP: agentAddr.AsSlice(), Port: 7000})
			if err != nil {
				t.Fatal(err)
			}
			defer up.Close()
			sending := func(d time.Duration) {
				for end := time.Now().Add(d); time.Now().Before(end) && !b.said("dead"); time.Sleep(10 * time.Millisecond) {
					for range 20 {
						_, _ = up.Write(make([]byte, 1200)) // the link may be known to be dead
					}
				}
			}
			sending(2 * time.Second)
			if b.said("dead") {
				t.Fatal("a link with a queue was found dead")
			}
			b.link.silence(true)
			cut := time.Now()
			sending(bloated)
			if !b.said("dead") {
				t.Fatalf("a link that carries nothing was not found dead within %v", bloated)
			}
			t.Logf("found dead after %v", time.Since(cut))
		})
	}
}

// bloated is for what takes ten seconds, and longer while the machine has no time: then it does not count.
const bloated = 3 * patience

// said says whether the watchdog has said so of a link.
func (b *bed) said(what string) bool {
	for _, e := range b.node.cfg.Recorder.Events(event.HandoverID{}) {
		if e.Phase == event.PhaseL2 && e.Name == what {
			return true
		}
	}
	return false
}
