package linkctl

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"

	"openmpa/testbed/space"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lab makes a node with a link into "air" and two points of attachment.
func lab(t *testing.T, gap time.Duration) (node *space.Space, c *Controller) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" || os.Getenv("OPENMPA_TEST_ALL") != "" {
			t.Fatal("network namespaces need root")
		}
		t.Skip("network namespaces need root")
	}
	newSpace := func(name string) *space.Space {
		s, err := space.Create(fmt.Sprintf("linkctltest-%d-%s", os.Getpid(), name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := errors.Join(s.Close(), space.Remove(s.Name())); err != nil {
				t.Error(err)
			}
		})
		return s
	}
	node, air := newSpace("node"), newSpace("air")
	la := netlink.NewLinkAttrs()
	la.Name, la.Index = "eth0", 77
	err := node.Netlink().LinkAdd(&netlink.Veth{LinkAttrs: la, PeerName: "port", PeerNamespace: netlink.NsFd(air.FD())})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"p1", "p2"} {
		la := netlink.NewLinkAttrs()
		la.Name = name
		br := &netlink.Bridge{LinkAttrs: la}
		if err := air.Netlink().LinkAdd(br); err != nil {
			t.Fatal(err)
		}
		if err := air.Netlink().LinkSetUp(br); err != nil {
			t.Fatal(err)
		}
	}
	eth, err := node.Netlink().LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Netlink().LinkSetUp(eth); err != nil {
		t.Fatal(err)
	}
	if c, err = New(air, "port", gap); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return node, c
}

func carrier(t *testing.T, node *space.Space) bool {
	t.Helper()
	l, err := node.Netlink().LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	return l.Attrs().RawFlags&(1<<16) != 0 // IFF_LOWER_UP
}

func TestAttachMovesTheLink(t *testing.T) {
	node, c := lab(t, 3*time.Millisecond)
	var seen []Move
	c.OnMove(func(m Move) { seen = append(seen, m) })
	for _, p := range []string{"p1", "p2"} {
		m, err := c.Attach(context.Background(), p)
		if err != nil {
			t.Fatal(err)
		}
		if m.Gap() < 3*time.Millisecond {
			t.Errorf("the link was gone for %v only", m.Gap())
		}
		if !carrier(t, node) || c.Point() != p {
			t.Errorf("carrier %v at %q, expected a link at %q", carrier(t, node), c.Point(), p)
		}
	}
	if len(seen) != 4 || !seen[2].Up.IsZero() || seen[3].From != "p1" || seen[3].Up.IsZero() {
		t.Errorf("moves told of: %+v", seen)
	}
	for _, bad := range []string{"nowhere", "port", ""} {
		if m, err := c.Attach(context.Background(), bad); err == nil {
			t.Errorf("attached to %q: %+v", bad, m)
		}
	}
	if !carrier(t, node) || c.Point() != "p2" {
		t.Error("an order for an unknown point took the link away")
	}
}

func TestFailures(t *testing.T) {
	node, c := lab(t, time.Millisecond)
	if _, err := c.Attach(context.Background(), "p1"); err != nil {
		t.Fatal(err)
	}
	c.Fail("p2", Dead)
	m, err := c.Attach(context.Background(), "p2")
	if err != nil || !m.Up.IsZero() || carrier(t, node) || c.Point() != "" {
		t.Fatalf("dead point: %+v, %v, carrier %v", m, err, carrier(t, node))
	}
	if _, err := c.Attach(context.Background(), "p1"); err != nil || !carrier(t, node) {
		t.Fatalf("back: %v", err)
	}
	c.Fail("p2", Refuses)
	if _, err := c.Attach(context.Background(), "p2"); !errors.Is(err, ErrRefused) || carrier(t, node) {
		t.Fatalf("refusing point: %v", err)
	}
	c.Fail("p2", Works)
	if _, err := c.Attach(context.Background(), "p2"); err != nil || !carrier(t, node) {
		t.Fatalf("working again: %v", err)
	}
}

func TestDivert(t *testing.T) {
	node, c := lab(t, time.Millisecond)
	c.Divert("p1", "p2")
	m, err := c.Attach(context.Background(), "p1")
	if !errors.Is(err, ErrElsewhere) || m.To != "p2" || m.Up.IsZero() || c.Point() != "p2" || !carrier(t, node) {
		t.Fatalf("%+v, %v, at %q", m, err, c.Point())
	}
	c.Divert("p1", "")
	if _, err := c.Attach(context.Background(), "p1"); err != nil || c.Point() != "p1" {
		t.Fatalf("%v, at %q", err, c.Point())
	}
}

func TestServer(t *testing.T) {
	_, c := lab(t, 0)
	path := filepath.Join(t.TempDir(), "link.sock")
	s, err := Serve(c, path)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	for _, x := range []struct{ send, want string }{
		{`{"op":"status"}`, `{"ok":true,"point":""}`},
		{`{"op":"attach","point":"p2"}`, `{"ok":true}`},
		{`{"op":"status"}`, `{"ok":true,"point":"p2"}`},
		{`{"op":"attach","point":"px"}`, `{"ok":false,"error":"linkctl: no point of attachment \"px\": Link not found"}`},
		{`{"op":"fly"}`, `{"ok":false,"error":"unknown op \"fly\": \"status\", \"attach\", \"signal\" and \"seen\" are known"}`},
	} {
		if _, err := fmt.Fprintln(conn, x.send); err != nil {
			t.Fatal(err)
		}
		got, err := in.ReadString('\n')
		if err != nil || strings.TrimSpace(got) != x.want {
			t.Errorf("%s: got %s (%v), expected %s", x.send, got, err, x.want)
		}
	}
	if _, err := fmt.Fprintln(conn, "not JSON"); err != nil {
		t.Fatal(err)
	}
	if got, err := in.ReadString('\n'); err != nil || !strings.HasPrefix(got, `{"ok":false`) {
		t.Errorf("got %s, %v", got, err)
	}
	fmt.Fprint(conn, strings.Repeat("x", maxLine+1))
	if got, err := in.ReadString('\n'); err != nil || !strings.Contains(got, "at most") {
		t.Errorf("got %s, %v", got, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
}
