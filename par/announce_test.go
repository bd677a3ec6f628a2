package par

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"openmpa/internal/osnet/osnettest"
	"openmpa/testbed/space"
)

// neighbour makes a host on the access link that knows a link-layer address of leased, and
// returns how it runs things and a socket for packets to there.
func (b *bed) neighbour() (in func(func()), conn net.Conn) {
	t := b.t
	t.Helper()
	name := fmt.Sprintf("par-%d-host", os.Getpid())
	host, err := space.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(host.Close(), space.Remove(name)); err != nil {
			t.Error(err)
		}
	})
	b.in(func() { osnettest.IP(t, "link add link eth0 name lan1 netns "+name+" type macvlan mode bridge") })
	in = func(f func()) { _ = host.Do(func() error { f(); return nil }) }
	in(func() {
		osnettest.IP(t, "link set lan1 up")
		osnettest.IP(t, "address add 10.2.0.50/24 dev lan1")
		osnettest.IP(t, "neighbour replace "+leased.String()+" lladdr "+b.mac.String()+" dev lan1 nud reachable")
		conn, err = net.Dial("udp4", leased.String()+":9000")
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return in, conn
}

// TestAnnounced: a host on the access link that knows the node's link-layer address, of now or of a
// visit before, sends to the router while that answers for the node.
func TestAnnounced(t *testing.T) {
	for name, away := range map[string]func(*bed) *guest{
		"it leaves": func(b *bed) *guest {
			g := b.attach(1)
			g.depart(moved)
			g.cut()
			return g
		},
		"it went on without a word": func(b *bed) *guest {
			g := b.attach(1)
			g.cut()
			g.resume(moved)
			return g
		},
		"it will come": func(b *bed) *guest { return b.prepared(1) },
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, nil)
			in, conn := b.neighbour()
			g := away(b)
			b.await("the host to know", func() (knows bool) {
				in(func() {
					knows = strings.Contains(osnettest.IP(t, "neighbour show "+g.addr.String()+" dev lan1"), b.r.mac.String())
				})
				return knows
			})
			if _, err := conn.Write([]byte{0, 0, 0, 0}); err != nil {
				t.Fatal(err)
			}
			b.await("its packet", func() bool { return b.status(1).Packets == 1 })
			in(func() { osnettest.IP(t, "neighbour del "+g.addr.String()+" dev lan1") })
			if _, err := conn.Write([]byte{0, 0, 0, 1}); err != nil {
				t.Fatal(err)
			}
			b.await("another, of a host that has to ask", func() bool { return b.status(1).Packets == 2 })
			if s := b.r.Status().ARP; s.Answered == 0 {
				t.Errorf("nobody was answered: %+v", s)
			}
			if b.status(1).Mode == "hold" {
				g.resume(moved)
			}
			g.exact(2)
		})
	}
}
