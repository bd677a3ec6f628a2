// Package hatest has what the tests of home agents of either family share: one that runs in a
// namespace or in a process of its own, and the host on the home link that speaks to mobile nodes.
package hatest

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"testing"
	"time"
)

// Patience bounds every wait.
const Patience = 10 * time.Second

// Run has run serve until end is called, at the latest at the end of the test; then clean
// checks that nothing is left.
func Run(t testing.TB, run func(context.Context) error, clean func()) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	over := false
	end = func() {
		if over {
			return
		}
		over = true
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("it ended with: %v", err)
			}
		case <-time.After(Patience):
			t.Fatal("it does not end")
		}
		clean()
	}
	t.Cleanup(end)
	return end
}

// Until waits for what happens by itself.
func Until(t testing.TB, what string, happened func() bool, status func() string) {
	t.Helper()
	for end := time.Now().Add(Patience); !happened(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it did not happen that %s\n%s", what, status())
		}
	}
}

// Numbers are the texts of packets first to last.
func Numbers(first, last int) (out []string) {
	for i := first; i <= last; i++ {
		out = append(out, text(i))
	}
	return out
}

func text(i int) string { return fmt.Sprintf("%06d", i) }

// Number is the number in a packet's text.
func Number(t testing.TB, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Equal compares what came with what should.
func Equal(t testing.TB, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %v\nwant %v", what, got, want)
	}
}

// Host is a host that speaks to a mobile node.
type Host struct {
	testing.TB
	conn   *net.UDPConn
	node   netip.AddrPort
	status func() string
}

// OpenHost opens the host's socket in the namespace of the calling thread. status is shown when
// nothing comes.
func OpenHost(t testing.TB, local, node netip.AddrPort, status func() string) *Host {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(local))
	if err != nil {
		t.Error(err) // another goroutine's, perhaps
		return nil
	}
	t.Cleanup(func() { conn.Close() })
	return &Host{TB: t, conn: conn, node: node, status: status}
}

// Send sends numbers to the mobile node.
func (h *Host) Send(first, last int) {
	h.Helper()
	for _, s := range Numbers(first, last) {
		if _, err := h.conn.WriteToUDPAddrPort([]byte(s), h.node); err != nil {
			h.Fatal(err)
		}
	}
}

// Read reads count numbers of the mobile node's.
func (h *Host) Read(count int) (got []string) {
	h.Helper()
	buf := make([]byte, 2048)
	for range count {
		_ = h.conn.SetReadDeadline(time.Now().Add(Patience))
		n, src, err := h.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			h.Fatalf("after %d of %d: %v\n%s", len(got), count, err, h.status())
		}
		if src != h.node {
			h.Errorf("from %v", src)
		}
		got = append(got, string(buf[:n]))
	}
	return got
}

// Flow sends numbers to the mobile node until the test ends.
func (h *Host) Flow() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 1; ctx.Err() == nil; i++ {
			_, _ = h.conn.WriteToUDPAddrPort([]byte(text(i)), h.node) // refused while nobody answers for the address
			time.Sleep(2 * time.Millisecond)
		}
	}()
	h.Cleanup(func() { cancel(); <-done })
}
