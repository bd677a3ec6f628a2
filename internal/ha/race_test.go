package ha

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"openmpa/internal/inet"
	"openmpa/mn/mobility/mip4"
)

// TestOrderUnderConcurrency: while packets go down as fast as they can and the binding
// moves to and fro, nothing follows a marker on its path, nothing precedes it on the
// next one, and the packets stay in order.
func TestOrderUnderConcurrency(t *testing.T) {
	r := newRig(t)
	r.bind(markers(r.request(careB), 1))
	const moves = 50
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			r.c.Down(headed(packet(peer, home, fmt.Sprintf("%09d", i))))
		}
	})
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			r.c.Up(epoch, careA, packet(home, peer, fmt.Sprintf("%09d", i)))
			r.c.OnDeadline(epoch)
			r.c.Bindings()
		}
	})
	careOf := []netip.Addr{careA, careB}
	for i := range moves {
		r.bind(markers(r.request(careOf[i%2]), uint64(i+2)))
		time.Sleep(100 * time.Microsecond)
	}
	close(stop)
	wg.Wait()

	current, last, seen := careB.String(), "", 0
	for _, line := range r.w.log {
		f := strings.Fields(line)
		if f[0] != "to" {
			continue
		}
		if f[1] != current {
			t.Fatalf("%q while the path is to %s", line, current)
		}
		if f[2] == "marker" {
			seen++
			current = careOf[(seen-1)%2].String()
			continue
		}
		if f[2] <= last {
			t.Fatalf("%s after %s", f[2], last)
		}
		last = f[2]
	}
	if seen != moves || last == "" {
		t.Errorf("%d markers, last packet %q", seen, last)
	}
	r.balance()
}

// nowhere is a World that takes everything and keeps nothing.
type nowhere struct{}

func (nowhere) To(netip.Addr, []byte) error { return nil }
func (nowhere) From([]byte) error           { return nil }
func (nowhere) Bound(netip.Addr) error      { return nil }
func (nowhere) Unbound(netip.Addr)          {}
func (nowhere) Keep(netip.Addr, Kept) error { return nil }
func (nowhere) Wake()                       {}

func TestNoAllocationPerPacket(t *testing.T) {
	c, err := NewCore(CoreConfig{Address: agent, Nodes: []Node{{HomeAddress: home, Security: sa}}}, nowhere{})
	if err != nil {
		t.Fatal(err)
	}
	q := mip4.Request{
		Flags: mip4.FlagD | mip4.FlagT, Lifetime: 600, HomeAddress: home, HomeAgent: agent, CareOf: careB, ID: inet.NTP(epoch),
	}
	b, err := q.AppendSigned(nil, sa)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.HandleRequest(epoch, netip.AddrPortFrom(careB, 434), b); err != nil {
		t.Fatal(err)
	}
	down, up := headed(packet(peer, home, "down")), packet(home, peer, "up")
	if n := testing.AllocsPerRun(100, func() { c.Down(down) }); n != 0 {
		t.Errorf("down: %v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { c.Up(epoch, careB, up) }); n != 0 {
		t.Errorf("up: %v allocations", n)
	}
	if got := c.Counters(); got["down_sent"] == 0 || got["up_delivered"] == 0 {
		t.Errorf("%v", got)
	}
}
