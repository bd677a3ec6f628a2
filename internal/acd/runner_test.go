package acd

import (
	"context"
	"errors"
	"net"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fakeConn is one station's Conn to a link in memory.
type fakeConn struct {
	in      chan Packet
	failed  chan error // what ReadARP returns once
	respond func(Packet) (Packet, bool)
	werr    error

	mu  sync.Mutex
	out []sent // guarded by mu
}

type sent struct {
	at  time.Time
	dst string
	p   Packet
}

func newFakeConn() *fakeConn {
	return &fakeConn{in: make(chan Packet, 100), failed: make(chan error, 1)}
}

func (c *fakeConn) ReadARP(ctx context.Context) (Packet, error) {
	select {
	case p := <-c.in:
		return p, nil
	case err := <-c.failed:
		return Packet{}, err
	case <-ctx.Done():
		return Packet{}, ctx.Err()
	}
}

func (c *fakeConn) WriteARP(dst net.HardwareAddr, p Packet) error {
	if c.werr != nil {
		return c.werr
	}
	c.mu.Lock()
	c.out = append(c.out, sent{time.Now(), dst.String(), p})
	c.mu.Unlock()
	if c.respond != nil {
		if answer, ok := c.respond(p); ok {
			c.in <- answer
		}
	}
	return nil
}

func (c *fakeConn) written() []sent {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]sent(nil), c.out...)
}

func TestProbeFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeConn()
		c.respond = func(p Packet) (Packet, bool) { return p, true } // an access point that echoes broadcasts
		start := time.Now()
		go func() { // traffic of others
			for range 20 {
				time.Sleep(100 * time.Millisecond)
				c.in <- Packet{Op: OpRequest, SenderMAC: them, SenderIP: other, TargetIP: addr}
			}
		}()
		if err := Probe(t.Context(), c, addr, ours.HardwareAddr(), DefaultTimers(), constant(0)); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != 4*time.Second {
			t.Errorf("took %v", took)
		}
		got := c.written()
		if len(got) != 3 {
			t.Fatalf("want 3 probes, got %+v", got)
		}
		for i, s := range got {
			if s.p != ProbePacket(addr, ours) || s.dst != "ff:ff:ff:ff:ff:ff" || s.at.Sub(start) != time.Duration(i)*time.Second {
				t.Errorf("probe %d: got %+v after %v", i, s, s.at.Sub(start))
			}
		}
	})
}

func TestProbeConflict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeConn()
		n := 0
		c.respond = func(p Packet) (Packet, bool) {
			n++ // a station that sleeps through the first probe
			return ReplyPacket(p, addr, them), n == 2
		}
		err := Probe(t.Context(), c, addr, ours.HardwareAddr(), DefaultTimers(), constant(0))
		var conflict *ConflictError
		if !errors.As(err, &conflict) || conflict.Addr != addr || conflict.By.String() != them.String() {
			t.Fatalf("want a ConflictError, got %#v", err)
		}
		if got := err.Error(); got != "acd: 10.2.0.100 is in use by 02:00:00:00:00:09" {
			t.Errorf("got %q", got)
		}
		if len(c.written()) != 2 {
			t.Errorf("probed on after the conflict: %+v", c.written())
		}
	})
}

// Two routers probe for the same address at once: one gives way.
func TestProbeSimultaneously(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newFakeConn(), newFakeConn()
		a.respond = func(p Packet) (Packet, bool) { b.in <- p; return p, false }
		b.respond = func(p Packet) (Packet, bool) { a.in <- p; return p, false }
		errs := make(chan error, 2)
		go func() { errs <- Probe(t.Context(), a, addr, ours.HardwareAddr(), DefaultTimers(), constant(0x20)) }()
		go func() { errs <- Probe(t.Context(), b, addr, them.HardwareAddr(), DefaultTimers(), constant(0x80)) }()
		var conflicts int
		for range 2 {
			var conflict *ConflictError
			if err := <-errs; errors.As(err, &conflict) {
				conflicts++
			}
		}
		// The second to send hears the first one's probe before its own. The first goes
		// on alone then; it is the one that may have the address.
		if conflicts != 1 {
			t.Errorf("want one to give way before it sent anything, got %d conflicts", conflicts)
		}
	})
}

func TestProbeEnds(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		spoil func(*fakeConn)
		want  error
		text  string
	}{
		"read":  {func(c *fakeConn) { c.failed <- broken }, broken, "acd: probe 10.2.0.100: read: broken"},
		"write": {func(c *fakeConn) { c.werr = broken }, broken, "acd: probe 10.2.0.100: write: broken"},
		"time":  {func(*fakeConn) {}, context.DeadlineExceeded, "acd: probe 10.2.0.100: context deadline exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn := newFakeConn()
				c.spoil(conn)
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				err := Probe(ctx, conn, addr, ours.HardwareAddr(), DefaultTimers(), constant(0))
				if !errors.Is(err, c.want) || err.Error() != c.text {
					t.Errorf("want %q, got %v", c.text, err)
				}
			})
		})
	}
	if err := Probe(t.Context(), newFakeConn(), addr, nil, DefaultTimers(), constant(0)); err == nil {
		t.Error("no hardware address: want an error")
	}
	if err := Probe(t.Context(), newFakeConn(), addr, ours.HardwareAddr(), DefaultTimers(), nil); err == nil {
		t.Error("no random source: want an error")
	}
}

func TestKeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeConn()
		start := time.Now()
		var reports []Output
		done := make(chan error)
		go func() {
			done <- Keep(t.Context(), c, addr, ours.HardwareAddr(), DefaultTimers(), DefendOnce, func(o Output) { reports = append(reports, o) })
		}()
		time.Sleep(time.Minute)
		c.in <- AnnouncementPacket(addr, them)
		time.Sleep(time.Second)
		c.in <- AnnouncementPacket(addr, them)
		var conflict *ConflictError
		if err := <-done; !errors.As(err, &conflict) {
			t.Fatalf("want a ConflictError, got %v", err)
		}
		if want := []Output{Defended{By: them, Announced: true}, Ceased{By: them}}; !reflect.DeepEqual(reports, want) {
			t.Errorf("want %+v, got %+v", want, reports)
		}
		var at []time.Duration
		for _, s := range c.written() {
			if s.p != AnnouncementPacket(addr, ours) {
				t.Errorf("sent %+v", s.p)
			}
			at = append(at, s.at.Sub(start))
		}
		if want := []time.Duration{0, 2 * time.Second, time.Minute}; !reflect.DeepEqual(at, want) {
			t.Errorf("want announcements at %v, got %v", want, at)
		}
	})
}

func TestKeepEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Hour, cancel)
		err := Keep(ctx, newFakeConn(), addr, ours.HardwareAddr(), DefaultTimers(), DefendAlways, nil)
		if !errors.Is(err, context.Canceled) || !strings.HasPrefix(err.Error(), "acd: keep 10.2.0.100: ") {
			t.Errorf("got %v", err)
		}
	})
	if err := Keep(t.Context(), newFakeConn(), addr, nil, DefaultTimers(), GiveUp, nil); err == nil {
		t.Error("no hardware address: want an error")
	}
}

func TestLinkLimitsTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := DefaultTimers()
		x.MaxConflicts = 2
		l, err := NewLink(x)
		if err != nil {
			t.Fatal(err)
		}
		occupied := func() *fakeConn { // a link on which everything is taken
			c := newFakeConn()
			c.respond = func(p Packet) (Packet, bool) { return ReplyPacket(p, p.TargetIP, them), true }
			return c
		}
		start := time.Now()
		var at []time.Duration
		for range 4 {
			c := occupied()
			var conflict *ConflictError
			if err := l.Probe(t.Context(), c, addr, ours.HardwareAddr(), constant(0)); !errors.As(err, &conflict) {
				t.Fatalf("want a conflict, got %v", err)
			}
			at = append(at, c.written()[0].at.Sub(start))
		}
		if want := []time.Duration{0, 0, time.Minute, 2 * time.Minute}; !reflect.DeepEqual(at, want) {
			t.Errorf("want attempts at %v, got %v", want, at)
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		c := occupied()
		err = l.Probe(ctx, c, addr, ours.HardwareAddr(), constant(0))
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "rate limit after 2 conflicts") || len(c.written()) != 0 {
			t.Errorf("want the limit named and nothing sent, got %v, %+v", err, c.written())
		}

		for range 2 { // an address found free ends the limit
			if err := l.Probe(t.Context(), newFakeConn(), addr, ours.HardwareAddr(), constant(0)); err != nil {
				t.Fatal(err)
			}
			start = time.Now()
		}
		if err := l.Probe(t.Context(), newFakeConn(), addr, ours.HardwareAddr(), constant(0)); err != nil || time.Since(start) != 4*time.Second {
			t.Errorf("after a success: %v, took %v", err, time.Since(start))
		}
	})
	if _, err := NewLink(Timers{}); err == nil {
		t.Error("no timers: want an error")
	}
}

// TestLinkLimitsThePatient: who cannot wait for a turn takes none away, so that
// one who comes again and again is served in the end.
func TestLinkLimitsThePatient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := DefaultTimers()
		x.MaxConflicts = 1
		l, err := NewLink(x)
		if err != nil {
			t.Fatal(err)
		}
		l.Conflict()
		l.mu.Lock()
		l.limiter.Attempt(time.Now()) // the address that had the conflict
		l.mu.Unlock()
		start, refused := time.Now(), 0
		for {
			ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second)
			err := l.Probe(ctx, newFakeConn(), addr, ours.HardwareAddr(), constant(0))
			cancel()
			if err == nil {
				break
			}
			if !errors.Is(err, ErrLimited) || !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
			if refused++; refused == 10 {
				t.Fatalf("no turn in %v", time.Since(start))
			}
			time.Sleep(25 * time.Second)
		}
		if refused == 0 {
			t.Error("the rate was not limited")
		}
	})
}
