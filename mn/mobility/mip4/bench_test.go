package mip4

import (
	"io"
	"testing"
	"time"

	"openmpa/internal/inet"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// zeros is a source of randomness that makes tests repeatable.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

type noRandom struct{}

func (noRandom) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// bench drives a client under a clock of its own and answers as told.
type bench struct {
	*testing.T
	c    *Client
	now  time.Time
	peer time.Duration // home agent's clock minus now
	sent []Send        // all requests so far
	out  []Output      // everything else, not yet looked at
}

func newBench(t *testing.T, change func(*ClientConfig)) *bench {
	t.Helper()
	cfg := ClientConfig{
		HomeAddress: home, HomeAgent: agent, SPI: 256, Key: md5SA.Key, Algorithm: HMACSHA256,
		Lifetime: 600 * time.Second, Rand: zeros{},
	}
	if change != nil {
		change(&cfg)
	}
	c, err := NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &bench{T: t, c: c, now: epoch}
}

func (b *bench) poll() {
	for {
		o, ok := b.c.Poll()
		if !ok {
			return
		}
		if s, ok := o.(Send); ok {
			b.sent = append(b.sent, s)
		} else {
			b.out = append(b.out, o)
		}
	}
}

// run lets the clock go on to t, calling OnDeadline whenever it is due.
func (b *bench) run(d time.Duration) {
	b.Helper()
	end := b.now.Add(d)
	for range 1000 {
		b.poll()
		at, ok := b.c.Deadline()
		if !ok || at.After(end) {
			b.now = end
			return
		}
		if at.After(b.now) {
			b.now = at
		}
		b.c.OnDeadline(b.now)
	}
	b.Fatal("the deadline does not move")
}

// request parses and verifies the most recent request.
func (b *bench) request() Request {
	b.Helper()
	b.poll()
	if len(b.sent) == 0 {
		b.Fatal("no request was sent")
	}
	r, err := ParseRequest(b.sent[len(b.sent)-1].Data)
	if err != nil {
		b.Fatal(err)
	}
	if err := r.Verify(b.c.cfg.Security()); err != nil {
		b.Fatal(err)
	}
	return r
}

// answer makes the reply a home agent would send to q.
func (b *bench) answer(q Request, code Code) Reply {
	r := Reply{Code: code, Lifetime: q.Lifetime, HomeAddress: q.HomeAddress, HomeAgent: agent, ID: q.ID}
	if code == CodeIdentification {
		r.ID = inet.NTP(b.now.Add(b.peer))>>32<<32 | q.ID&0xffffffff
	}
	return r
}

func (b *bench) deliver(r Reply) error {
	b.Helper()
	err := b.c.HandleReply(b.now, mustReply(b, r, b.c.cfg.Security()))
	b.poll()
	return err
}

func (b *bench) accept(r Reply) {
	b.Helper()
	if err := b.deliver(r); err != nil {
		b.Fatal(err)
	}
}

// next takes the oldest output that is not a Send.
func next[T Output](b *bench) T {
	b.Helper()
	var zero T
	if len(b.out) == 0 {
		b.Fatalf("expected a %T, nothing came", zero)
	}
	o, ok := b.out[0].(T)
	if !ok {
		b.Fatalf("expected a %T, %+v came", zero, b.out[0])
	}
	b.out = b.out[1:]
	return o
}

func (b *bench) quiet() {
	b.Helper()
	b.poll()
	if len(b.out) != 0 {
		b.Fatalf("unexpected %+v", b.out)
	}
}
