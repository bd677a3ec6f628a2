package link

import (
	"bufio"
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"openmpa/internal/osnet"
	"openmpa/internal/osnet/osnettest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// controller is a fake link controller: script answers each line; "" says nothing, "HANGUP" ends the connection.
type controller struct {
	l      net.Listener
	script func(line string) string

	mu    sync.Mutex
	conns []net.Conn
	lines []string
	wg    sync.WaitGroup
}

func start(t *testing.T, path string, script func(string) string) *controller {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c := &controller{l: l, script: script}
	c.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			c.mu.Lock()
			c.conns = append(c.conns, conn)
			c.mu.Unlock()
			c.wg.Go(func() { c.serve(conn) })
		}
	})
	t.Cleanup(c.stop)
	return c
}

func (c *controller) serve(conn net.Conn) {
	defer conn.Close()
	for s := bufio.NewScanner(conn); s.Scan(); {
		c.mu.Lock()
		c.lines = append(c.lines, s.Text())
		answer := c.script(s.Text())
		c.mu.Unlock()
		if rest, cut := strings.CutSuffix(answer, "HANGUP"); cut {
			_, _ = conn.Write([]byte(rest))
			return
		}
		if _, err := conn.Write([]byte(answer)); err != nil {
			return
		}
	}
}

func (c *controller) stop() {
	c.l.Close()
	c.mu.Lock()
	for _, conn := range c.conns {
		conn.Close()
	}
	c.mu.Unlock()
	c.wg.Wait()
}

func (c *controller) count() (conns, lines int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.conns), len(c.lines)
}

func adapter(t *testing.T, cfg ExternalConfig) *External {
	t.Helper()
	e, err := NewExternal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func TestStatusAndAttach(t *testing.T) {
	path := filepath.Join(t.TempDir(), "link.sock")
	point := "poa-b1"
	c := start(t, path, func(line string) string {
		switch line {
		case `{"op":"status"}`:
			if point == "" {
				return `{"ok":true}` + "\n"
			}
			return `{"ok":true,"point":"` + point + `"}` + "\n"
		case `{"op":"attach","point":"poa-a1"}`:
			point = "poa-a1"
			return `{"ok":true}` + "\n"
		}
		return `{"ok":false,"error":"no such \u001b[1mpoint"}` + "\n"
	})
	e := adapter(t, ExternalConfig{Socket: path})
	for _, want := range []string{"poa-b1", "poa-a1"} {
		if got, err := e.Current(t.Context()); got != want || err != nil {
			t.Errorf("current %q %v, want %q", got, err, want)
		}
		if err := e.Attach(t.Context(), "poa-a1"); err != nil {
			t.Error(err)
		}
	}
	var refused *RefusedError
	if err := e.Attach(t.Context(), "poa-x"); !errors.As(err, &refused) || refused.Text != "no such [1mpoint" || refused.Point != "poa-x" {
		t.Errorf("refusal: %v", err)
	}
	c.mu.Lock()
	point = ""
	c.mu.Unlock()
	if got, err := e.Current(t.Context()); got != "" || err != nil {
		t.Errorf("not attached: %q %v", got, err)
	}
	if conns, _ := c.count(); conns != 1 {
		t.Errorf("%d connections, want one for all requests, a refused one included", conns)
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := e.Current(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, bad := range []string{"", "with space", "tab\t", "ü", strings.Repeat("x", 65)} {
		if err := e.Attach(t.Context(), bad); err == nil {
			t.Errorf("point %q: want an error", bad)
		}
	}
	if _, err := NewExternal(ExternalConfig{}); err == nil {
		t.Error("no socket: want an error")
	}
	if _, err := NewExternal(ExternalConfig{Socket: "x", Timeout: -1}); err == nil {
		t.Error("negative timeout: want an error")
	}
}

// TestReconnect: a controller that was restarted is found again without an error.
func TestReconnect(t *testing.T) {
	path := filepath.Join(t.TempDir(), "link.sock")
	ok := func(string) string { return `{"ok":true,"point":"p"}` + "\n" }
	c := start(t, path, ok)
	e := adapter(t, ExternalConfig{Socket: path})
	if _, err := e.Current(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.stop()
	if _, err := e.Current(t.Context()); err == nil || !strings.Contains(err.Error(), "start it") {
		t.Errorf("controller gone: %v", err)
	}
	start(t, path, ok)
	if p, err := e.Current(t.Context()); p != "p" || err != nil {
		t.Errorf("controller back: %q %v", p, err)
	}
	// The connection dies while idle, and the controller has a new one ready.
	hang := true
	path2 := filepath.Join(t.TempDir(), "link.sock")
	c2 := start(t, path2, func(string) string {
		hang = !hang
		if hang {
			return "HANGUP"
		}
		return `{"ok":true,"point":"p"}` + "\n"
	})
	e2 := adapter(t, ExternalConfig{Socket: path2})
	for range 3 {
		if _, err := e2.Current(t.Context()); err != nil {
			t.Errorf("idle connection lost: %v", err)
		}
	}
	if conns, lines := c2.count(); conns != 3 || lines != 5 {
		t.Errorf("%d connections and %d requests, want 3 and 5", conns, lines)
	}
}

func TestBadAnswers(t *testing.T) {
	for name, answer := range map[string]string{
		"not JSON":       "yes\n",
		"no ok":          "{}\n",
		"null":           "null\n",
		"array":          "[true]\n",
		"unknown field":  `{"ok":true,"quality":7}` + "\n",
		"two objects":    `{"ok":true}{"ok":true}` + "\n",
		"ok and error":   `{"ok":true,"error":"x"}` + "\n",
		"wrong type":     `{"ok":"true"}` + "\n",
		"bad point":      `{"ok":true,"point":"a b"}` + "\n",
		"another point":  `{"ok":true,"point":"other"}` + "\n",
		"long line":      `{"ok":true,"point":"` + strings.Repeat("x", maxLine) + `"}` + "\n",
		"cut":            `{"ok":tr` + "HANGUP",
		"no newline":     `{"ok":true}` + "HANGUP",
		"empty line":     "\n",
		"invalid number": `{"ok":true,"point":7}` + "\n",
	} {
		path := filepath.Join(t.TempDir(), "link.sock")
		c := start(t, path, func(string) string { return answer })
		e := adapter(t, ExternalConfig{Socket: path})
		err := e.Attach(t.Context(), "poa-a1")
		if !errors.Is(err, ErrProtocol) || strings.Count(err.Error(), "link: ") != 1 || len(err.Error()) > 600 {
			t.Errorf("%s: %v", name, err)
		}
		if _, lines := c.count(); lines != 1 {
			t.Errorf("%s: asked %d times, want once", name, lines)
		}
		if e.orders.conn != nil {
			t.Errorf("%s: the connection is kept", name)
		}
	}
	// Something unasked behind an answer.
	path := filepath.Join(t.TempDir(), "link.sock")
	start(t, path, func(string) string { return `{"ok":true}` + "\n" + `{"ok":true}` + "\n" })
	e := adapter(t, ExternalConfig{Socket: path})
	if err := e.Attach(t.Context(), "p"); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Current(t.Context()); !errors.Is(err, ErrProtocol) {
		t.Errorf("unasked answer: %v", err)
	}
}

func TestTimeouts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "link.sock")
	silent := true
	c := start(t, path, func(string) string {
		if silent {
			return ""
		}
		return `{"ok":true,"point":"p"}` + "\n"
	})
	e := adapter(t, ExternalConfig{Socket: path, Timeout: 30 * time.Millisecond})
	if _, err := e.Current(t.Context()); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), path) {
		t.Errorf("silent controller: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.Current(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	c.mu.Lock()
	silent = false
	c.mu.Unlock()
	patient := adapter(t, ExternalConfig{Socket: path})
	if p, err := patient.Current(t.Context()); p != "p" || err != nil {
		t.Errorf("after silence: %q %v", p, err)
	}
	c.mu.Lock()
	silent = true
	c.mu.Unlock()
	// Close ends a request under way.
	done := make(chan error)
	go func() { _, err := patient.Current(context.Background()); done <- err }()
	for {
		if _, lines := c.count(); lines >= 3 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	patient.Close()
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	if _, err := patient.Current(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	nobody := adapter(t, ExternalConfig{Socket: filepath.Join(t.TempDir(), "none.sock")})
	if err := nobody.Attach(t.Context(), "p"); err == nil || !strings.Contains(err.Error(), "no link controller listens on") {
		t.Errorf("nobody: %v", err)
	}
	if _, err := nobody.Watch(t.Context()); err == nil {
		t.Error("no interface to watch: want an error")
	}
}

func TestWatch(t *testing.T) {
	osnettest.Enter(t)
	osnettest.Veth(t, "eth0", "air0")
	n, err := osnet.Open(nil, osnet.OwnerMobileNode)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	e := adapter(t, ExternalConfig{Socket: "unused", Interface: "eth0", Net: n})
	ch, err := e.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := <-ch
	for !s.Up {
		s = <-ch
	}
	osnettest.IP(t, "link set air0 down")
	if s := <-ch; s.Up {
		t.Errorf("after loss of carrier: %+v", s)
	}
	osnettest.IP(t, "link set air0 up")
	if s := <-ch; !s.Up {
		t.Errorf("after return of carrier: %+v", s)
	}
	bad := adapter(t, ExternalConfig{Socket: "unused", Interface: "nosuch", Net: n})
	if _, err := bad.Watch(t.Context()); err == nil {
		t.Error("want an error")
	}
}

func FuzzAnswer(f *testing.F) {
	ops := []string{opStatus, opAttach, opSignal, opSeen}
	for i, s := range []string{
		`{"ok":true}`, `{"ok":false,"error":"x"}`, `{"ok":true,"signal_dbm":-60.5,"loss":0.1,"rate_mbps":54}`,
		`{"ok":true,"seen":[{"point":"poa-a1","signal_dbm":-70,"age_ms":20}]}`, `{"ok":true,"point":"poa-b1"}`, `null`, `{`,
	} {
		f.Add(uint8(i), []byte(s)) //nolint:gosec // few
	}
	f.Fuzz(func(t *testing.T, op uint8, line []byte) {
		a, err := parseAnswer(request{Op: ops[int(op)%len(ops)]}, line)
		if err != nil {
			return
		}
		if a.OK == nil || !*a.OK || a.Point != nil && *a.Point != "" && CheckPoint(*a.Point) != nil || len(a.Seen) > maxSeen {
			t.Errorf("believed %q", line)
		}
		if a.Signal != nil && !heard(*a.Signal) {
			t.Errorf("believed the signal of %q", line)
		}
		for _, s := range a.Seen {
			if !heard(s.Signal) || CheckPoint(s.Point) != nil || s.Age < 0 {
				t.Errorf("believed a sighting of %q", line)
			}
		}
	})
}
