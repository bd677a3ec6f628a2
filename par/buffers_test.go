package par

import (
	"net/netip"
	"testing"
	"time"

	"openmpa/tunnel/flow"
)

func oneClass(t *testing.T) *flow.Classes {
	t.Helper()
	c, err := flow.NewClasses(flow.Class{Name: "all"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPlace(t *testing.T) {
	for addr, want := range map[string]string{
		"10.1.0.100": "10.1.0.0/24", "::ffff:10.1.0.7": "10.1.0.0/24", "2001:db8::1": "2001:db8::/64",
	} {
		if got := place(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %q, want %q", addr, got, want)
		}
	}
	if got := place(netip.Addr{}); got != "" {
		t.Errorf("no address: %q", got)
	}
}

// What a node is given room for follows from its moves before and from what comes.
func TestRoomLearns(t *testing.T) {
	b := newBuffers(DefaultBuffer(), oneClass(t))
	r := b.open()
	defer r.close()
	now := time.Unix(1000, 0)
	m := flow.Move{Node: "mn@home.example", From: "10.1.0.0/24", To: here}
	stream := func(length time.Duration) {
		for end := now.Add(length); now.Before(end); now = now.Add(time.Millisecond) {
			r.came(now, 0, 1000)
		}
	}
	move := func(gap time.Duration) {
		stream(500 * time.Millisecond)
		r.away(now, m)
		r.away(now.Add(time.Millisecond), m) // a repeated word
		stream(gap)
		r.found(now, true)
		r.ended()
		r.found(now, true) // known already
		r.ended()
	}
	move(40 * time.Millisecond)
	if r.expect != 500*time.Millisecond {
		t.Errorf("the first move: expected %v", r.expect)
	}
	for range 40 {
		move(40 * time.Millisecond)
	}
	if r.expect < 40*time.Millisecond || r.expect > 45*time.Millisecond {
		t.Errorf("moves of 40 ms: expected %v", r.expect)
	}
	if n := r.sizer.Size().Packets; n < 50 || n > 60 {
		t.Errorf("1000 packets/s, 40 ms: room for %d", n)
	}
	r.away(now, m)
	stream(time.Second)
	r.found(now, false) // it came back to where it was
	r.ended()
	r.away(now, m)
	stream(time.Second)
	r.ended() // nobody knows where it is
	other := b.open()
	defer other.close()
	other.away(now, flow.Move{Node: "somebody", From: m.From, To: here})
	if other.expect < 40*time.Millisecond || other.expect > 45*time.Millisecond {
		t.Errorf("another node between the same places: expected %v", other.expect)
	}
	if b.gaps.Len() != 2 {
		t.Errorf("%d moves remembered, want the node's and everybody's", b.gaps.Len())
	}
}

// More visitors than can be guaranteed anything are visitors as well.
func TestRoomWithoutGuarantee(t *testing.T) {
	cfg := DefaultBuffer()
	cfg.All = flow.Limits{Packets: 40, Bytes: 1 << 20}
	b := newBuffers(cfg, oneClass(t))
	var rooms []*room
	for range 5 {
		rooms = append(rooms, b.open())
	}
	if s := b.bank.Stats(); s.Accounts != 5 {
		t.Errorf("%d visitors have an account", s.Accounts)
	}
	for _, r := range rooms {
		r.close()
	}
	if s := b.bank.Stats(); s.Accounts != 0 {
		t.Errorf("%d visitors have an account in the end", s.Accounts)
	}
}

func TestBufferCheck(t *testing.T) {
	if err := DefaultBuffer().Check(); err != nil {
		t.Error(err)
	}
	for name, edit := range map[string]func(*Buffer){
		"guarantee": func(b *Buffer) { b.Guaranteed.Packets = b.All.Packets + 1 },
		"spare":     func(b *Buffer) { b.Spare = -0.1 },
		"gap":       func(b *Buffer) { b.Gap = -1 },
	} {
		b := DefaultBuffer()
		edit(&b)
		if b.Check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestPace(t *testing.T) {
	if b := (Link{Rate: 1e6}).burst(); b != leastBurst {
		t.Errorf("a slow link: a burst of %d", b)
	}
	if b := (Link{Rate: 1e9}).burst(); b != 1250000 {
		t.Errorf("a fast link: a burst of %d", b)
	}
	now := time.Unix(1000, 0)
	p, unknown := newPace(Link{Rate: 8e6, Burst: 3000}), newPace(Link{})
	for range 4 { // three at once, and one more may begin
		if w := p.wait(now); w != 0 {
			t.Errorf("within the burst: wait %v", w)
		}
		p.sent(now, 1000)
		unknown.sent(now, 1000)
	}
	if w := p.wait(now); w != time.Millisecond {
		t.Errorf("beyond the burst: wait %v", w)
	}
	if w := unknown.wait(now); w != 0 {
		t.Errorf("nothing is known of the link: wait %v", w)
	}
}

// A queue behind what comes goes twice as fast, and never takes much longer than a second.
func TestChase(t *testing.T) {
	for _, c := range []struct {
		name        string
		comes       float64       // octets a second
		queued      int           // octets
		least, most time.Duration // until the queue is empty
	}{
		{"half a second of 100 Mb/s", 12.5e6, 6.25e6, 400 * time.Millisecond, 550 * time.Millisecond},
		{"five seconds of 100 Mb/s", 12.5e6, 62.5e6, 1100 * time.Millisecond, 1300 * time.Millisecond},
		{"nothing comes any more", 0, 5e6, 900 * time.Millisecond, 1100 * time.Millisecond},
		{"a call", 8600, 8600, 0, time.Millisecond}, // less than any way takes at once
	} {
		const size = 1000
		var v chase
		start := time.Unix(1000, 0)
		now, queued := start, float64(c.queued)
		for queued >= size {
			wait := v.wait(now, c.comes, int(queued))
			now = now.Add(wait)
			v.pacer.Sent(now, size)
			queued += c.comes*wait.Seconds() - size
		}
		if took := now.Sub(start); took < c.least || took > c.most {
			t.Errorf("%s: the queue is empty after %v, want %v to %v", c.name, took, c.least, c.most)
		}
	}
}
