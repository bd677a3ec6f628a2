package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// answers is a script of a controller that has one answer for each op; without one it refuses.
func answers(of map[string]string) func(string) string {
	return func(line string) string {
		op := strings.TrimSuffix(strings.TrimPrefix(line, `{"op":"`), `"}`)
		if a, ok := of[op]; ok {
			return a + "\n"
		}
		return `{"ok":false,"error":"unknown op"}` + "\n"
	}
}

func TestSenses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "link.sock")
	start(t, path, answers(map[string]string{
		opStatus: `{"ok":true,"point":"poa-b1"}`,
		opSignal: `{"ok":true,"point":"poa-b1","signal_dbm":-61.6,"loss":0.25,"rate_mbps":6.5}`,
		opSeen:   `{"ok":true,"seen":[{"point":"poa-a2","signal_dbm":-80,"age_ms":40000},{"point":"poa-a1","signal_dbm":-70.4,"age_ms":12.5}]}`,
	}))
	e := adapter(t, ExternalConfig{Socket: path})
	q, err := e.Measure(t.Context())
	if want := (Quality{Point: "poa-b1", Signal: -61.6, Loss: 0.25, Rate: 6.5}); q != want || err != nil {
		t.Errorf("%+v %v, want %+v", q, err, want)
	}
	if dBm, err := e.Signal(t.Context()); dBm != -62 || err != nil {
		t.Errorf("%d dBm, %v", dBm, err)
	}
	seen, err := e.Seen(t.Context())
	if diff := cmp.Diff([]Sighting{
		{Point: "poa-a2", Signal: -80, Age: 40 * time.Second}, {Point: "poa-a1", Signal: -70, Age: 12500 * time.Microsecond},
	}, seen); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	if got := Best(t.Context(), e, []string{"poa-a2", "poa-a1"}); got[0] != "poa-a1" {
		t.Errorf("%q", got)
	}
	for what, err := range map[string]error{"scan": e.Scan(t.Context()), "look": e.Look(t.Context(), "poa-a1")} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestSenseUnknown: a signal that is not known just now is none, and no reason not to ask again.
func TestSenseUnknown(t *testing.T) {
	path := filepath.Join(t.TempDir(), "link.sock")
	c := start(t, path, answers(map[string]string{opSignal: `{"ok":true}`, opSeen: `{"ok":true}`}))
	e := adapter(t, ExternalConfig{Socket: path})
	for range 2 {
		if q, err := e.Measure(t.Context()); q != (Quality{Loss: -1}) || err != nil {
			t.Errorf("%+v %v", q, err)
		}
		if seen, err := e.Seen(t.Context()); len(seen) != 0 || err != nil {
			t.Errorf("%v %v", seen, err)
		}
	}
	if _, lines := c.count(); lines != 4 {
		t.Errorf("%d requests", lines)
	}
}

// TestSenseOldController: who does not know the ops is not asked again and again, and serves as ever.
func TestSenseOldController(t *testing.T) {
	for name, refuses := range map[string]string{"refuses": `{"ok":false,"error":"unknown op"}` + "\n", "hangs up": "HANGUP", "says nothing": "", "babbles": "what?\n"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "link.sock")
			c := start(t, path, func(line string) string {
				if line == `{"op":"status"}` {
					return `{"ok":true,"point":"poa-b1"}` + "\n"
				}
				return refuses
			})
			e := adapter(t, ExternalConfig{Socket: path, Timeout: 200 * time.Millisecond})
			for range 3 {
				if q, err := e.Measure(t.Context()); q.Signal != 0 || !errors.Is(err, ErrNoSignal) {
					t.Errorf("%+v %v", q, err)
				}
				if seen, err := e.Seen(t.Context()); seen != nil || !errors.Is(err, ErrNoSignal) {
					t.Errorf("%+v %v", seen, err)
				}
				if at, err := e.Current(t.Context()); at != "poa-b1" || err != nil {
					t.Errorf("%q %v", at, err)
				}
			}
			if got := Best(t.Context(), e, []string{"b", "a"}); got[0] != "b" {
				t.Errorf("%q", got)
			}
			if _, lines := c.count(); lines != 5 {
				t.Errorf("%d requests, want five: three of them for the state", lines)
			}
			e.mu.Lock() // ten seconds later
			for op := range e.senseOf {
				e.senseOf[op] = sense{deaf: time.Now().Add(-deafFor)}
			}
			e.mu.Unlock()
			_, _ = e.Measure(t.Context())
			if _, lines := c.count(); lines != 6 {
				t.Errorf("%d requests, want six: it is asked again", lines)
			}
		})
	}
}

// TestSenseLostOnce: one that has told signals is asked again at once when an answer does not come; nobody there is no old controller.
func TestSenseLostOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "link.sock")
	e := adapter(t, ExternalConfig{Socket: path, Timeout: 100 * time.Millisecond})
	if _, err := e.Measure(t.Context()); err == nil || errors.Is(err, ErrNoSignal) {
		t.Errorf("nobody there: %v", err)
	}
	silent := false
	c := start(t, path, func(string) string {
		if silent {
			return ""
		}
		return `{"ok":true,"signal_dbm":-50}` + "\n"
	})
	for i, wanted := range []bool{true, false, true} {
		c.mu.Lock()
		silent = !wanted
		c.mu.Unlock()
		if q, err := e.Measure(t.Context()); wanted != (err == nil) || wanted && q.Signal != -50 || errors.Is(err, ErrNoSignal) {
			t.Errorf("%d: %+v %v", i, q, err)
		}
	}
}

// TestSenseInNobodysWay: an order is carried out while a question about the signal is not answered.
func TestSenseInNobodysWay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "link.sock")
	c := start(t, path, func(line string) string {
		if line == `{"op":"attach","point":"poa-a1"}` {
			return `{"ok":true}` + "\n"
		}
		return ""
	})
	e := adapter(t, ExternalConfig{Socket: path})
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan error, 1)
	go func() { _, err := e.Measure(ctx); asked <- err }()
	eventually(t, "the question", func() bool { _, lines := c.count(); return lines == 1 })
	if err := e.Attach(t.Context(), "poa-a1"); err != nil {
		t.Error(err)
	}
	select {
	case err := <-asked:
		t.Errorf("the question was answered: %v", err)
	default:
	}
	cancel()
	if err := <-asked; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestBadSenses(t *testing.T) {
	many := strings.Repeat(`{"point":"p","signal_dbm":-1,"age_ms":0},`, maxSeen)
	for op, lines := range map[string][]string{
		opSignal: {`"signal_dbm":0`, `"signal_dbm":7`, `"signal_dbm":-201`, `"signal_dbm":"-50"`, `"loss":1.5`, `"loss":-1`, `"rate_mbps":-1`, `"rate_mbps":1e7`, `"seen":[]`, `"signal_dbm":-1e99`},
		opSeen: {
			`"seen":[{"point":"a b","signal_dbm":-50,"age_ms":0}]`, `"seen":[{"point":"a","signal_dbm":5,"age_ms":0}]`, `"seen":[{"point":"a","signal_dbm":-5,"age_ms":-1}]`,
			`"seen":[{"point":"a","signal_dbm":-5,"age_ms":3600001}]`, `"seen":[null]`, `"seen":[{"point":"a","age_ms":1}]`, `"signal_dbm":-50`,
			`"seen":[` + many + `{"point":"p","signal_dbm":-1,"age_ms":0}]`, `"seen":[{"point":"` + strings.Repeat("x", maxSeenLine) + `"}]`,
		},
		opStatus: {`"signal_dbm":-50`, `"seen":[]`, `"loss":0`},
	} {
		for _, fields := range lines {
			path := filepath.Join(t.TempDir(), "link.sock")
			start(t, path, func(string) string { return fmt.Sprintf("{\"ok\":true,%s}\n", fields) })
			e := adapter(t, ExternalConfig{Socket: path})
			var err error
			switch op {
			case opSignal:
				_, err = e.Measure(t.Context())
			case opSeen:
				_, err = e.Seen(t.Context())
			default:
				_, err = e.Current(t.Context())
			}
			if !errors.Is(err, ErrProtocol) || len(err.Error()) > 700 {
				t.Errorf("%s %.80s: %v", op, fields, err)
			}
		}
	}
	full := make([]string, maxSeen) // what is allowed fits
	for i := range full {
		full[i] = fmt.Sprintf(`{"point":"%s%03d","signal_dbm":-61.5,"age_ms":1000}`, strings.Repeat("x", maxPoint-3), i)
	}
	path := filepath.Join(t.TempDir(), "link.sock")
	start(t, path, func(string) string { return `{"ok":true,"seen":[` + strings.Join(full, ",") + "]}\n" })
	if seen, err := adapter(t, ExternalConfig{Socket: path}).Seen(t.Context()); len(seen) != maxSeen || err != nil {
		t.Errorf("%d points, %v", len(seen), err)
	}
}

// TestSenseOneConnection: a controller that serves one connection after another serves orders, whatever is asked first.
func TestSenseOneConnection(t *testing.T) {
	path := filepath.Join(t.TempDir(), "link.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c := &controller{l: l, script: answers(map[string]string{opStatus: `{"ok":true,"point":"poa-b1"}`})}
	c.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			c.mu.Lock()
			c.conns = append(c.conns, conn)
			c.mu.Unlock()
			c.serve(conn)
		}
	})
	t.Cleanup(c.stop)
	e := adapter(t, ExternalConfig{Socket: path})
	if _, err := e.Measure(t.Context()); !errors.Is(err, ErrNoSignal) {
		t.Errorf("%v", err)
	}
	for range 2 {
		if at, err := e.Current(t.Context()); at != "poa-b1" || err != nil {
			t.Errorf("%q %v", at, err)
		}
	}
}
